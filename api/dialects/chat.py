"""The chat completions body: what is looked at is typed, what is not travels on untouched.

Ranges and types follow the public API (section 3). The SDKs send ``null`` for "not given", and providers know
parameters that we do not: both pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from api.json_depth import too_deep
from gateway.catalogue.model import Model
from gateway.errors import InvalidRequest

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MOST_CHOICES = 128
"""``n``: as OpenAI limits it. Every choice is held for."""

TIER_FIELD, FLEX = "service_tier", "flex"
"""A call in the background. Which of our calls goes first is for us to say: it does not travel on, because a provider's
own slow lane has other prices and refuses more often."""
PRIORITY = "priority"
"""A provider's fast lane costs more than the price that our table promises: nobody can buy it here yet."""

MOST_BYTES_PER_TOKEN = 8
"""No tokenizer makes tokens of more UTF-8 bytes than this on average, of any text that people send: an input that does
not fit even so is refused at once, and the provider decides about any other."""

log = structlog.get_logger()


class Part(msgspec.Struct, gc=False):
    """One content part; whatever is not text is kept as it came."""

    type: str
    text: str | None = None
    image_url: msgspec.Raw = msgspec.Raw()
    input_audio: msgspec.Raw = msgspec.Raw()
    file: msgspec.Raw = msgspec.Raw()


class Message(msgspec.Struct):
    """One message. Tool calls and other model output that comes back count as text, as they came."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    reasoning_content: msgspec.Raw = msgspec.Raw()
    reasoning_details: msgspec.Raw = msgspec.Raw()


class StreamOptions(msgspec.Struct):
    """What the client wants to see of a stream besides its text."""

    include_usage: bool | None = None


class ChatBody(msgspec.Struct):
    """The fields that the gateway itself looks at."""

    model: str | None = None
    messages: list[Message] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    user: str | None = None
    tools: list[msgspec.Raw] | None = None
    functions: list[msgspec.Raw] | None = None
    response_format: msgspec.Raw = msgspec.Raw()
    provider: msgspec.Raw = msgspec.Raw()
    models: list[str] | None = None
    top_k: Any = None
    repetition_penalty: Any = None
    min_p: Any = None
    verbosity: Any = None
    reasoning_effort: Any = None
    service_tier: Any = None


_decoder = msgspec.json.Decoder(ChatBody)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_place = re.compile(r" - at `\$\.?([^`]*)`$")

_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0, 2),
    ("top_p", 0, 1),
    ("frequency_penalty", -2, 2),
    ("presence_penalty", -2, 2),
)


def parse(raw: bytes, most_depth: int) -> ChatBody:
    """The body, with everything checked that does not depend on the model. Raises ``InvalidRequest`` naming the field."""
    if too_deep(raw, most_depth):
        raise InvalidRequest(f"The body must be JSON that nests at most {most_depth} levels.")
    try:
        body = _decoder.decode(raw)
    except msgspec.ValidationError as exc:
        raise _named(str(exc)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest("The request body is not valid JSON.") from exc
    if not body.model and body.models:
        body.model = body.models[0]
    if not body.model:
        raise InvalidRequest("You must provide a model parameter.", param="model")
    if not body.messages:
        raise InvalidRequest("'messages' must be an array with at least one message.", param="messages")
    for at, message in enumerate(body.messages):
        if message.role not in ROLES:
            raise InvalidRequest(
                f"Invalid role: must be one of {', '.join(sorted(ROLES))}.", param=f"messages[{at}].role"
            )
    for name, low, high in _RANGES:
        value = getattr(body, name)
        if value is not None and not low <= value <= high:
            raise InvalidRequest(f"'{name}' must be between {low} and {high}.", param=name)
    if body.n is not None and not 1 <= body.n <= MOST_CHOICES:
        raise InvalidRequest(f"'n' must be between 1 and {MOST_CHOICES}.", param="n")
    return body


def _named(message: str) -> InvalidRequest:
    found = _place.search(message)
    if found is None:
        return InvalidRequest(message)
    path = found[1]
    return InvalidRequest(f"Invalid '{path or 'body'}': {message[: found.start()]}.", param=path or None)


def check_for(body: ChatBody, model: Model) -> list[str]:
    """Checks what depends on the model. Returns the parameters that must not travel on.

    Raises ``InvalidRequest`` for an output limit that the model does not have, or an extension out of its range.
    """
    for name in ("max_tokens", "max_completion_tokens"):
        value = getattr(body, name)
        if value is not None and not 1 <= value <= model.max_output_tokens:
            raise InvalidRequest(
                f"'{name}' must be between 1 and {model.max_output_tokens} for {model.id}.", param=name
            )
    removed = [TIER_FIELD] if body.service_tier in (FLEX, PRIORITY) else list[str]()
    if body.service_tier == PRIORITY:
        log.warning("parameter_removed", parameter=TIER_FIELD, model=model.id)
    for name, fits, rule in _EXTENSIONS:
        value = getattr(body, name)
        if value is None:
            continue
        if not model.supports(name):
            removed.append(name)
        elif not fits(value):
            raise InvalidRequest(f"'{name}' must be {rule}.", param=name)
    for name, accepted in (("verbosity", model.quirks.verbosities), ("reasoning_effort", model.quirks.efforts)):
        value = getattr(body, name)
        if value is not None and not (model.supports(name) and isinstance(value, str) and value in accepted):
            removed.append(name)
            log.warning("parameter_removed", parameter=name, model=model.id)
    return removed


def _number(value: object, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


_EXTENSIONS: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("top_k", lambda v: isinstance(v, int) and _number(v, 1, 100), "an integer between 1 and 100"),
    ("repetition_penalty", lambda v: _number(v, 0.1, 2.0), "between 0.1 and 2.0"),
    ("min_p", lambda v: _number(v, 0, 1), "between 0 and 1"),
)


def without(raw: bytes, names: list[str]) -> bytes:
    """The body without some of its fields; everything else byte for byte."""
    fields = _fields.decode(raw)
    for name in names:
        fields.pop(name, None)
    return msgspec.json.encode(fields)


class Size(msgspec.Struct, frozen=True):
    """What a hold is estimated from. ``text`` in UTF-8 bytes, the others counted. ``written`` are those of its bytes
    that are certainly words: what people and models wrote, without files, sound, tools and signatures."""

    text: int
    messages: int
    tools: int
    images: int
    written: int = 0


def measure(body: ChatBody) -> Size:
    """How large the input is. JSON that models read as text (tool calls, schemas) counts with its JSON length, which is
    never less than what they read; an image counts as one, not by its bytes."""
    text = len(bytes(body.response_format))
    images = written = 0
    tools = [*(body.tools or ()), *(body.functions or ())]
    for tool in tools:
        text += len(bytes(tool))
    for message in body.messages or ():
        text += len(message.name or "") * 4
        for raw in (message.tool_calls, message.function_call, message.reasoning_content, message.reasoning_details):
            text += len(bytes(raw))
        if isinstance(message.content, str):
            written += _utf8(message.content)
        else:
            for part in message.content or ():
                written += _utf8(part.text or "")
                text += len(bytes(part.input_audio)) + len(bytes(part.file))
                images += bool(bytes(part.image_url))
    return Size(text + written, len(body.messages or ()), len(tools), images, written)


def check_room(body: ChatBody, size: Size, models: Sequence[Model]) -> None:
    """Raises ``InvalidRequest`` where input and output limit together certainly fit none of ``models``."""
    least = size.written // MOST_BYTES_PER_TOKEN
    output = body.max_completion_tokens or body.max_tokens or 1
    room = max(model.context_length for model in models)
    if least + output > room:
        raise InvalidRequest(
            f"This model's maximum context length is {models[0].context_length} tokens. The messages are at least "
            f"{least} tokens, and {output} are asked for in the answer. Please shorten either.",
            param="messages",
            code="context_length_exceeded",
        )


def _utf8(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
