"""The tools of a request, for the dialects that describe them in other words."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from workers.providers.parameters import Parameters
from workers.providers.refusals import Unservable


class Function(msgspec.Struct, frozen=True):
    """One function that the model may call."""

    name: str
    description: str | None
    schema: dict[str, Any]
    strict: bool
    cache_control: Any = None


class Tools(msgspec.Struct, frozen=True):
    """`choice`: auto, none, required, the name of a function after `=`, or None where nothing was said."""

    functions: list[Function] = []
    choice: str | None = None
    parallel: bool = True


def tools_of(parameters: Parameters) -> Tools:
    """Raises `Unservable` for tools that only OpenAI's own API has."""
    if parameters.value("functions"):
        raise Unservable("functions is no longer supported here: use tools", "functions")
    listed = parameters.value("tools")
    functions = [_function(tool) for tool in cast("list[Any]", listed)] if isinstance(listed, list) else []
    if not functions:
        return Tools()
    choice, allowed = _choice(parameters.value("tool_choice"))
    if allowed is not None:
        functions = [function for function in functions if function.name in allowed]
    return Tools(functions, choice, parameters.value("parallel_tool_calls") is not False)


def _function(tool: object) -> Function:
    outer = cast("dict[str, Any]", tool) if isinstance(tool, dict) else {}
    inner = outer.get("function")
    if outer.get("type", "function") != "function" or not isinstance(inner, dict):
        raise Unservable("this model takes tools of type function only", "tools")
    fields = cast("dict[str, Any]", inner)
    schema = fields.get("parameters")
    return Function(
        name=str(fields.get("name") or ""),
        description=fields.get("description"),
        schema=cast("dict[str, Any]", schema) if isinstance(schema, dict) else {},
        strict=fields.get("strict") is True,
        cache_control=outer.get("cache_control") or fields.get("cache_control"),
    )


def _choice(asked: object) -> tuple[str | None, set[str] | None]:
    """The choice, and the names that it limits the tools to."""
    if isinstance(asked, str):
        return asked, None
    if not isinstance(asked, dict):
        return None, None
    fields = cast("dict[str, Any]", asked)
    if fields.get("type") == "allowed_tools":
        allowed = cast("dict[str, Any]", fields.get("allowed_tools") or {})
        tools = cast("list[dict[str, Any]]", allowed.get("tools") or [])
        names = {str(cast("dict[str, Any]", tool.get("function") or {}).get("name")) for tool in tools}
        return str(allowed.get("mode") or "auto"), names
    name = cast("dict[str, Any]", fields.get("function") or {}).get("name")
    return (f"={name}" if name else None), None
