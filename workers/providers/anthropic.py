"""Anthropic's Messages API, native: prompt caching, signed thinking and strict tools exist nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from workers.providers.anthropic_answer import Answer
from workers.providers.anthropic_errors import classify
from workers.providers.anthropic_messages import Conversation, conversation
from workers.providers.anthropic_schema import closed
from workers.providers.base import ProviderCall, ProviderFailure, Reader, UpstreamRequest
from workers.providers.bodies import StreamReader, WholeReader
from workers.providers.parameters import Parameters, cap_of, parameters
from workers.providers.parts import messages_of
from workers.providers.refusals import Unservable, refusal
from workers.providers.tools import Function, Tools, tools_of

VERSION = "2023-06-01"
JSON_TOOL = "answer_in_json"
"""A tool whose arguments are the answer: how models without structured output keep to a schema."""

MIN_BUDGET = 1024
"""Fewer tokens of thinking are refused."""

_SAMPLING = ("temperature", "top_p", "top_k")
_encode = msgspec.json.Encoder().encode


class Anthropic:
    """The adapter; it keeps no state."""

    counts_deltas = False

    def to_fetch(self, call: ProviderCall) -> tuple[str, ...]:  # noqa: ARG002 (the protocol's)
        """Nothing: Anthropic loads images by itself."""
        return ()

    def request(self, call: ProviderCall) -> UpstreamRequest:
        """The client's request as a message; refused with a 400 where Claude cannot serve it."""
        try:
            body = body_of(call)
        except Unservable as why:
            return refusal(why)
        content = _encode(body)
        base = call.deployment.base_url.rstrip("/")
        path = call.deployment.options.get("path") or ("/messages" if base.endswith("/v1") else "/v1/messages")
        return UpstreamRequest("POST", base + path, _headers(call, len(content)), content)

    def reader(self, call: ProviderCall) -> Reader:
        """Streamed or whole, as the call asked."""
        try:
            plan = _plan(call)
        except Unservable:
            plan = _Plan(Parameters({}), Tools())  # refused: there is no answer to read
        answer = Answer(JSON_TOOL if plan.json == "tool" else "")
        warnings = plan.parameters.warnings
        return StreamReader(answer, warnings) if call.stream else WholeReader(answer, warnings)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
        """Classified by status, type and text of the error body."""
        return classify(status, headers, body)


class _Plan(msgspec.Struct):
    """The request, read. `json`: how the answer keeps to JSON, if it must."""

    parameters: Parameters
    tools: Tools
    json: Literal["no", "format", "tool", "words"] = "no"
    schema: dict[str, Any] | None = None


def _plan(call: ProviderCall) -> _Plan:
    """Raises `Unservable`."""
    found = parameters(call)
    plan = _Plan(found, tools_of(found))
    asked = found.value("response_format")
    wanted = cast("dict[str, Any]", asked) if isinstance(asked, dict) else {}
    if wanted.get("type") == "json_schema":
        schema = cast("dict[str, Any]", wanted.get("json_schema") or {}).get("schema")
        plan.schema = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {"type": "object"}
        thinks = found.effort is not None or "thinking" in found.fields
        by_tool: Literal["tool", "words"] = "words" if thinks or plan.tools.functions else "tool"
        plan.json = "format" if call.model.quirks.json_schema else by_tool
    elif wanted.get("type") == "json_object":
        plan.json = "words"
    return plan


def body_of(call: ProviderCall) -> dict[str, Any]:
    """The body of `POST /v1/messages`. Raises `Unservable`."""
    plan, model = _plan(call), call.model
    plan.parameters.log_removed(call)
    talk = conversation(messages_of(call))
    cap = min(cap_of(call) or model.max_output_tokens, model.max_output_tokens)
    body: dict[str, Any] = {"model": call.deployment.upstream_model, "max_tokens": cap}
    _tools(plan, body, model.quirks.json_schema)
    thinks = _think(call, plan, talk, body)
    if plan.json == "words":
        talk.system.append({"type": "text", "text": _words(plan.schema)})
    if talk.system:
        body["system"] = talk.system
    body["messages"] = talk.messages if thinks else talk.without_thoughts()
    if not thinks:
        for name in _SAMPLING:
            if (value := plan.parameters.value(name)) is not None:
                body[name] = value
    if stops := _stops(plan.parameters.value("stop")):
        body["stop_sequences"] = stops
    user = plan.parameters.value("user")
    if isinstance(user, str) and user:
        body["metadata"] = {"user_id": user}
    if plan.json == "format" and plan.schema is not None:
        body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": closed(plan.schema)}
    if "cache_control" in plan.parameters.fields:
        body["cache_control"] = plan.parameters.fields["cache_control"]
    body.update(model.quirks.body)
    if call.stream:
        body["stream"] = True
    return body


def _tools(plan: _Plan, body: dict[str, Any], strict: bool) -> None:
    if plan.json == "tool":
        description = "Gives the answer. Call it once, with the whole answer."
        body["tools"] = [{"name": JSON_TOOL, "description": description, "input_schema": _object(plan.schema or {})}]
        body["tool_choice"] = {"type": "tool", "name": JSON_TOOL}
        return
    tools = plan.tools
    if not tools.functions:
        return
    body["tools"] = [_tool(function, strict) for function in tools.functions]
    kinds = {"auto": "auto", "required": "any", "none": "none"}
    choice: dict[str, Any] | None = None
    if tools.choice is not None and tools.choice.startswith("="):
        choice = {"type": "tool", "name": tools.choice[1:]}
    elif tools.choice in kinds or not tools.parallel:
        choice = {"type": kinds.get(tools.choice or "auto", "auto")}
    if choice is not None:
        if not tools.parallel and choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
        body["tool_choice"] = choice


def _tool(function: Function, strict: bool) -> dict[str, Any]:
    tool: dict[str, Any] = {"name": function.name, "input_schema": _object(function.schema)}
    if function.strict and strict:
        tool["strict"], tool["input_schema"] = True, closed(tool["input_schema"])
    if function.description:
        tool["description"] = function.description
    if function.cache_control:
        tool["cache_control"] = function.cache_control
    return tool


def _object(schema: dict[str, Any]) -> dict[str, Any]:
    """Anthropic wants `type: object` said, even of a function without parameters."""
    return {**schema, "type": "object", "properties": schema.get("properties") or {}}


def _think(call: ProviderCall, plan: _Plan, talk: Conversation, body: dict[str, Any]) -> bool:
    """Turns thinking on where it was asked for and Anthropic allows it here; whether it did."""
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    asked = plan.parameters.value("thinking")
    effort = plan.parameters.effort
    if call.model.quirks.effort_as == "effort" and effort is not None:
        body["output_config"] = {"effort": effort}
        body["thinking"] = {"type": "adaptive"}
    elif call.model.reasoning and isinstance(asked, dict) and cast("dict[str, Any]", asked).get("type") == "enabled":
        body["thinking"] = asked
    elif type(effort) is int and body["max_tokens"] > MIN_BUDGET:
        budget = max(MIN_BUDGET, min(effort, body["max_tokens"] * 3 // 4))  # a quarter is left for the answer itself
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:
        return False
    if forced or not talk.may_think():
        del body["thinking"]
        return False
    return True


def _words(schema: dict[str, Any] | None) -> str:
    text = "Answer with one JSON object and nothing else: no introduction, no code fence."
    return text if schema is None else f"{text} It must fit this JSON schema: {_encode(schema).decode()}"


def _stops(value: object) -> list[str]:
    """Sequences of blanks alone are refused, so they are left out."""
    listed = cast("list[object]", value) if isinstance(value, list) else [value]
    return [stop for stop in listed if isinstance(stop, str) and stop.strip()]


def _headers(call: ProviderCall, size: int) -> dict[str, str]:
    deployment, quirks = call.deployment, call.model.quirks
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream" if call.stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": "wonrouter",
        "anthropic-version": VERSION,
        "x-client-request-id": call.client_request_id,
    }
    if deployment.api_key:
        headers["x-api-key"] = deployment.api_key
    if quirks.long_above and size > quirks.long_above:  # no text has more tokens than bytes
        headers.update(quirks.long_headers)
    for name, value in deployment.options.items():
        if name.startswith("header."):
            headers[name.removeprefix("header.").lower()] = value
    return headers
