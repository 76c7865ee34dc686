"""OpenAI's message contents, read for the dialects that say them in other words."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from workers.providers.base import ProviderCall
from workers.providers.refusals import Unservable

_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*?;base64,", re.IGNORECASE)
_decode = msgspec.json.Decoder().decode
_CHECKED = 64


class Inline(NamedTuple):
    """Data that came inside the request: its media type and base64 text."""

    media_type: str
    data: str


def messages_of(call: ProviderCall) -> list[dict[str, Any]]:
    """The client's messages. Raises `Unservable` where there are none."""
    try:
        found = _decode(call.fields["messages"])
    except msgspec.ValidationError as odd:
        raise Unservable("messages hold a number that is out of range", "messages") from odd
    except (KeyError, msgspec.DecodeError):
        found = None
    if not isinstance(found, list) or not found:
        raise Unservable("messages must hold at least one message", "messages")
    listed = cast("list[object]", found)
    return [cast("dict[str, Any]", message) for message in listed if isinstance(message, dict)]


def parts_of(content: object) -> Iterator[dict[str, Any]]:
    """The parts of a content, a plain string as one text part; empty texts are left out, providers refuse them."""
    if isinstance(content, str):
        if content:
            yield {"type": "text", "text": content}
        return
    for part in cast("list[object]", content) if isinstance(content, list) else ():
        if isinstance(part, str):
            yield from parts_of(part)
        elif isinstance(part, dict):
            found = cast("dict[str, Any]", part)
            if found.get("type") != "text" or found.get("text"):
                yield found


def text_of(content: object) -> str:
    """The text of a content, without anything else."""
    return "".join(str(part.get("text") or part.get("refusal") or "") for part in parts_of(content))


def url_of(part: Mapping[str, Any]) -> str:
    """The URL of an image part."""
    image = part.get("image_url")
    url = cast("dict[str, Any]", image).get("url") if isinstance(image, dict) else image
    if not isinstance(url, str) or not url:
        raise Unservable("an image part needs image_url.url", "messages")
    return url


def inline(url: str) -> Inline | None:
    """What a data URL holds; None for any other URL. Raises `Unservable` for one that cannot be read."""
    if url[:5].lower() != "data:":
        return None
    found = _DATA_URL.match(url[:256])
    if found is None:
        raise Unservable("a data URL must name its media type and be base64", "messages")
    data = url[found.end() :]
    try:
        binascii.a2b_base64(data[:_CHECKED].encode("ascii"), strict_mode=len(data) <= _CHECKED)
    except (UnicodeEncodeError, binascii.Error) as broken:
        raise Unservable("a data URL's base64 cannot be read", "messages") from broken
    return Inline(found["type"].lower().replace("image/jpg", "image/jpeg"), data)


def file_of(part: Mapping[str, Any]) -> Inline:
    """The data of a file part. Files that were uploaded elsewhere cannot be read."""
    file = part.get("file")
    data = cast("dict[str, Any]", file).get("file_data") if isinstance(file, dict) else None
    found = inline(data) if isinstance(data, str) else None
    if found is None:
        raise Unservable("a file part needs file_data as a data URL", "messages")
    return found


def tool_calls_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An earlier answer's tool calls; what is none is left out."""
    found = message.get("tool_calls")
    listed = cast("list[object]", found) if isinstance(found, list) else []
    return [cast("dict[str, Any]", call) for call in listed if isinstance(call, dict)]


def arguments_of(call: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and arguments of an earlier tool call; arguments that are no JSON object are kept as they are, in one."""
    function = call.get("function")
    fields = cast("dict[str, Any]", function) if isinstance(function, dict) else {}
    text = fields.get("arguments") or "{}"
    try:
        arguments = _decode(text) if isinstance(text, str) else text
    except (msgspec.DecodeError, RecursionError):  # a text inside the request, so its depth was not looked at
        arguments = None
    if not isinstance(arguments, dict):
        arguments = {"arguments": text}
    return str(fields.get("name") or ""), cast("dict[str, Any]", arguments)
