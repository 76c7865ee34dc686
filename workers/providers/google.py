"""Google's Gemini API, native `generateContent`: images out, signatures and thinking budgets exist only there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from workers.providers.base import ProviderCall, ProviderFailure, Reader, UpstreamRequest
from workers.providers.bodies import StreamReader, WholeReader
from workers.providers.google_answer import Answer
from workers.providers.google_contents import Conversation, pictures_elsewhere
from workers.providers.google_errors import classify
from workers.providers.parameters import Parameters, cap_of, parameters
from workers.providers.refusals import Unservable, refusal
from workers.providers.tools import Function, Tools, tools_of

_NAMES = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "seed": "seed",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}
_IMAGE_NAMES = {"aspect_ratio": "aspectRatio", "image_size": "imageSize"}
_PASSED = {"safety_settings": "safetySettings", "cached_content": "cachedContent"}
"""Gemini's own fields that a client may send along."""

_encode = msgspec.json.Encoder().encode


class Google:
    """The adapter; it keeps no state."""

    counts_deltas = False

    def to_fetch(self, call: ProviderCall) -> tuple[str, ...]:
        """Pictures at URLs: Gemini takes them inside the request only."""
        try:
            return pictures_elsewhere(call)
        except Unservable:
            return ()  # `request` says why

    def request(self, call: ProviderCall) -> UpstreamRequest:
        """The client's request as contents; refused with a 400 where Gemini cannot serve it."""
        try:
            content = _encode(body_of(call))
        except Unservable as why:
            return refusal(why)
        deployment = call.deployment
        base = deployment.base_url.rstrip("/")
        if not base.rpartition("/")[2].startswith("v1"):
            base += "/v1beta"
        method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if call.stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": "wonrouter",
            "x-client-request-id": call.client_request_id,
        }
        if deployment.api_key:
            headers["x-goog-api-key"] = deployment.api_key
        for name, value in deployment.options.items():
            if name.startswith("header."):
                headers[name.removeprefix("header.").lower()] = value
        return UpstreamRequest("POST", f"{base}/models/{deployment.upstream_model}:{method}", headers, content)

    def reader(self, call: ProviderCall) -> Reader:
        """Streamed or whole, as the call asked."""
        try:
            warnings = parameters(call).warnings
        except Unservable:
            warnings = []  # refused: there is no answer to read
        return StreamReader(Answer(call), warnings) if call.stream else WholeReader(Answer(call), warnings)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
        """Classified by code, status and details of the error body."""
        return classify(status, headers, body)


def body_of(call: ProviderCall) -> dict[str, Any]:
    """The body of `generateContent`. Raises `Unservable`."""
    found = parameters(call)
    found.log_removed(call)
    tools = tools_of(found)
    talk = Conversation(call)
    body: dict[str, Any] = {"contents": talk.contents}
    if talk.system:
        body["systemInstruction"] = {"parts": talk.system}
    if tools.functions:
        body["tools"] = [{"functionDeclarations": [_declaration(function) for function in tools.functions]}]
        if config := _calling(tools):
            body["toolConfig"] = {"functionCallingConfig": config}
    body["generationConfig"] = _generation(call, found)
    for asked, known in _PASSED.items():
        if asked in found.fields:
            body[known] = found.fields[asked]
    body.update(call.model.quirks.body)
    return body


def _declaration(function: Function) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": function.name}
    if function.description:
        declared["description"] = function.description
    if function.schema.get("properties"):
        declared["parametersJsonSchema"] = function.schema
    return declared


def _calling(tools: Tools) -> dict[str, Any] | None:
    if tools.choice is not None and tools.choice.startswith("="):
        return {"mode": "ANY", "allowedFunctionNames": [tools.choice[1:]]}
    modes = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
    return {"mode": modes[tools.choice]} if tools.choice in modes else None


def _generation(call: ProviderCall, found: Parameters) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for asked, known in _NAMES.items():
        if (value := found.value(asked)) is not None:
            config[known] = value
    cap = cap_of(call)
    if cap is not None:
        config["maxOutputTokens"] = min(cap, call.model.max_output_tokens)
    stop = found.value("stop")
    if stop:
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    config.update(_format(found.value("response_format")))
    if call.model.image_output:
        config.update(_drawing(found))
    if thinking := _thinking(call, found):
        config["thinkingConfig"] = thinking
    return config


def _format(asked: object) -> dict[str, Any]:
    wanted = cast("dict[str, Any]", asked) if isinstance(asked, dict) else {}
    if wanted.get("type") == "json_object":
        return {"responseMimeType": "application/json"}
    if wanted.get("type") == "json_schema":
        schema = cast("dict[str, Any]", wanted.get("json_schema") or {}).get("schema")
        config: dict[str, Any] = {"responseMimeType": "application/json"}
        if schema:
            config["responseJsonSchema"] = schema
        return config
    return {}


def _drawing(found: Parameters) -> dict[str, Any]:
    """What a model that draws should give: text and pictures unless something else was asked."""
    asked = found.value("modalities")
    listed = cast("list[object]", asked) if isinstance(asked, list) and asked else ["text", "image"]
    config: dict[str, Any] = {"responseModalities": [str(modality).upper() for modality in listed]}
    image = found.value("image_config")
    if isinstance(image, dict):
        fields = cast("dict[str, Any]", image)
        config["imageConfig"] = {_IMAGE_NAMES.get(name, name): value for name, value in fields.items()}
    return config


def _thinking(call: ProviderCall, found: Parameters) -> dict[str, Any]:
    """How much to think, and that what is thought shall be told."""
    quirks, effort = call.model.quirks, found.effort
    if quirks.thinks == "never" or (quirks.thinks == "asked" and effort is None):
        return {}
    if effort is None:
        return {"includeThoughts": True}
    if quirks.effort_as == "budget":
        return {"thinkingBudget": effort, "includeThoughts": effort != 0}
    return {"thinkingLevel": effort, "includeThoughts": True}
