"""JSON schemas as Anthropic's structured output takes them.

It refuses objects that are open to further properties, and limits on numbers and lengths. Objects are closed; a limit
moves into the description, where the model still reads it.
"""

from __future__ import annotations

import json
from typing import Any, cast

_LIMITS = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
)
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_NAMED = ("properties", "$defs", "definitions")
_LISTED = ("anyOf", "allOf", "oneOf")


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema within what Anthropic allows; the argument is left as it is."""
    found = dict(schema)
    moved = {name: found.pop(name) for name in _LIMITS if name in found}
    if found.get("minItems", 0) not in (0, 1):
        moved["minItems"] = found.pop("minItems")
    if "format" in found and found["format"] not in _FORMATS:
        moved["format"] = found.pop("format")
    if moved:
        limits = json.dumps(moved, ensure_ascii=False, sort_keys=True)
        found["description"] = f"{found.get('description') or ''}\n{limits}".strip()
    if "oneOf" in found and "anyOf" not in found:
        found["anyOf"] = found.pop("oneOf")
    for name in _NAMED:
        if isinstance(found.get(name), dict):
            inner = cast("dict[str, Any]", found[name])
            found[name] = {key: _within(value) for key, value in inner.items()}
    for name in _LISTED:
        if isinstance(found.get(name), list):
            found[name] = [_within(value) for value in cast("list[Any]", found[name])]
    if "items" in found:
        found["items"] = _within(found["items"])
    if found.get("type") == "object" or "properties" in found:
        found["additionalProperties"] = False
    found.pop("$schema", None)
    return found


def _within(value: Any) -> Any:
    return closed(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
