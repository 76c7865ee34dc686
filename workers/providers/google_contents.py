"""A conversation in OpenAI's messages, told as Gemini's contents.

Function calls go back with the signature that Gemini gave them (signatures.py); a model that insists on one gets
Google's documented stand-in where the client's history has none. Pictures of other sites have to be in the request.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from workers.providers.base import Fetched, ProviderCall
from workers.providers.parts import arguments_of, file_of, inline, messages_of, parts_of, text_of, tool_calls_of, url_of
from workers.providers.refusals import Unservable
from workers.providers.signatures import read

NO_SIGNATURE = "skip_thought_signature_validator"
"""Google accepts it in place of a signature that is not there any more."""

FILES = ("https://generativelanguage.googleapis.com/", "gs://")
"""Addresses that Gemini reads by itself."""

_AUDIO = {"wav": "audio/wav", "mp3": "audio/mp3"}
_decode = msgspec.json.Decoder().decode

Part = dict[str, Any]
Content = dict[str, Any]


def pictures_elsewhere(call: ProviderCall) -> tuple[str, ...]:
    """URLs in the messages that have to be loaded before the request can be written, each once."""
    if b"http" not in bytes(call.fields.get("messages", b"")):
        return ()
    found: dict[str, None] = {}
    for message in messages_of(call):
        for part in _pictures(message):
            url = url_of(part)
            if not url.startswith(FILES) and url[:5].lower() != "data:":
                found[url] = None
    return tuple(found)


def _pictures(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (part for part in parts_of(message.get("content")) if part.get("type") == "image_url")
    yield from cast("list[dict[str, Any]]", message.get("images") or [])


class Conversation:
    """`system` parts and `contents`. Raises `Unservable` for what Gemini cannot take."""

    def __init__(self, call: ProviderCall) -> None:
        self.system: list[Part] = []
        self.contents: list[Content] = []
        self._model = call.deployment.upstream_model
        self._signed = call.model.quirks.return_reasoning
        self._fetched = call.fetched
        self._names: dict[str, str] = {}
        for message in messages_of(call):
            self._add(message)
        if not self.contents:
            self.contents, self.system = [{"role": "user", "parts": self.system}], []
        if not self.contents[0]["parts"]:
            raise Unservable("messages must hold some content", "messages")

    def _add(self, message: Mapping[str, Any]) -> None:
        role = message.get("role")
        if role in ("system", "developer"):
            self.system += [{"text": part["text"]} for part in parts_of(message.get("content")) if "text" in part]
        elif role == "assistant":
            self._turn("model", self._answer(message))
        elif role in ("tool", "function"):
            parts = self._result(message)
            last = self.contents[-1] if self.contents else None
            if last is not None and any("functionResponse" in part for part in last["parts"]):
                last["parts"] += parts
            else:
                self._turn("user", parts)
        else:
            self._turn("user", [self._part(part) for part in parts_of(message.get("content"))])

    def _turn(self, role: str, parts: list[Part]) -> None:
        if parts:
            self.contents.append({"role": role, "parts": parts})

    def _part(self, part: Mapping[str, Any]) -> Part:
        kind = part.get("type")
        if kind == "text":
            return {"text": part["text"]}
        if kind == "refusal":
            return {"text": str(part.get("refusal") or " ")}
        if kind == "image_url":
            return self._image(url_of(part))
        if kind == "file":
            file = file_of(part)
            return {"inlineData": {"mimeType": file.media_type, "data": file.data}}
        if kind == "input_audio":
            audio = cast("dict[str, Any]", part.get("input_audio") or {})
            media_type = _AUDIO.get(str(audio.get("format")))
            if media_type and audio.get("data"):
                return {"inlineData": {"mimeType": media_type, "data": audio["data"]}}
        raise Unservable(f"this model cannot read a content part of type {kind}", "messages")

    def _image(self, url: str) -> Part:
        data = inline(url)
        if data is not None:
            return {"inlineData": {"mimeType": data.media_type, "data": data.data}}
        if url.startswith(FILES):
            return {"fileData": {"fileUri": url}}
        fetched: Fetched | None = self._fetched.get(url)
        if fetched is None:
            raise Unservable("an image could not be loaded from its URL", "messages")
        encoded = base64.b64encode(fetched.data).decode()
        return {"inlineData": {"mimeType": fetched.media_type, "data": encoded}}

    def _answer(self, message: Mapping[str, Any]) -> list[Part]:
        parts = [self._part(part) for part in parts_of(message.get("content"))]
        if not parts and (refusal := text_of(message.get("refusal"))):
            parts.append({"text": refusal})
        if parts and (signature := self._kept(message)):
            parts[0]["thoughtSignature"] = signature
        for image in cast("list[dict[str, Any]]", message.get("images") or []):
            part = self._image(url_of(image))
            if signature := self._kept(image) or (NO_SIGNATURE if self._signed else None):
                part["thoughtSignature"] = signature
            parts.append(part)
        calls = tool_calls_of(message)
        for number, call in enumerate(calls):
            parts.append(self._call(call, first=number == 0))
        return parts

    def _kept(self, item: Mapping[str, Any]) -> str | None:
        """The signature that an answer's `extra_content` carried, the way Google's own OpenAI endpoint does it."""
        extra = item.get("extra_content")
        google = cast("dict[str, Any]", extra).get("google") if isinstance(extra, dict) else None
        found = cast("dict[str, Any]", google).get("thought_signature") if isinstance(google, dict) else None
        return found if isinstance(found, str) and found else None

    def _call(self, call: Mapping[str, Any], first: bool) -> Part:
        """A function call; of parallel ones Gemini signs the first."""
        name, arguments = arguments_of(call)
        given = str(call.get("id") or "")
        self._names[given] = name
        part: Part = {"functionCall": {"name": name, "args": arguments}}
        signature = read(given, self._model).signature or self._kept(call)
        if signature or (first and self._signed):
            part["thoughtSignature"] = signature or NO_SIGNATURE
        return part

    def _result(self, message: Mapping[str, Any]) -> list[Part]:
        given = str(message.get("tool_call_id") or "")
        name = self._names.get(given) or str(message.get("name") or "")
        if not name:
            raise Unservable("a tool message answers a call that is not in messages", "messages")
        content = message.get("content")
        pictures = [self._part(part) for part in parts_of(content) if part.get("type") != "text"]
        return [{"functionResponse": {"name": name, "response": _response(text_of(content))}}, *pictures]


def _response(text: str) -> dict[str, Any]:
    """Gemini takes an object; anything else is put into one."""
    try:
        value: object = _decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        value = text
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {"result": value}
