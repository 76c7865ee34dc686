"""Which of the client's parameters reach a model, and as what. The rules are the catalogue's; see `Quirks`.

A parameter that the model does not know is left out. Where that changes the answer the client is told in a warning;
where it would make the answer something else altogether (tools, several choices) the call is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

import msgspec

from gateway.catalogue.model import Model
from workers.providers.base import ProviderCall, Warned
from workers.providers.refusals import Unservable

log = logging.getLogger("workers.providers.parameters")

GATEWAY_FIELDS = frozenset({"models", "provider", "route", "transforms", "plugins"})
"""Words for the gateway; providers refuse what they do not know."""

EXTENSIONS = frozenset({"top_k", "min_p", "repetition_penalty", "verbosity", "reasoning_effort"})
"""Documented as ignored where the model does not know them."""

_TOLD = frozenset(
    {"stop", "response_format", "tool_choice", "logprobs", "top_logprobs", "logit_bias", "seed", "modalities"}
)
"""Left out with a warning in the answer: it may differ from what was asked."""

_QUIET = frozenset(
    {
        *("temperature", "top_p", "frequency_penalty", "presence_penalty", "user", "parallel_tool_calls", "prediction"),
        *("metadata", "store", "service_tier", "prompt_cache_key", "safety_identifier", "image_config"),
    }
)
"""Left out without a word: the answer is as good without. What is in none of these sets passes through."""

_CAPS = ("max_completion_tokens", "max_tokens")
_NULL = b"null"
_decode = msgspec.json.Decoder().decode


def plain(name: str, raw: bytes | msgspec.Raw) -> Any:
    """A parameter's JSON as a value. Raises `Unservable` for a number that no double holds: JSON allows it, nobody else."""
    try:
        return _decode(raw)
    except msgspec.DecodeError as odd:
        raise Unservable(f"'{name}' holds a number that is out of range", name) from odd


class Parameters(msgspec.Struct):
    """The parameters of one call. `fields` keeps the client's order; its values are JSON or plain.

    `effort` is what the client's `reasoning_effort` becomes at the provider, None where nothing is to be said.
    `removed` names parameters whose values nobody knows: a warning is logged for them.
    """

    fields: dict[str, Any]
    effort: str | int | bool | None = None
    warnings: list[Warned] = []
    removed: list[str] = []

    def value(self, name: str) -> Any:
        """A parameter's plain value, None where it is not there."""
        value = self.fields.get(name)
        return plain(name, value) if isinstance(value, msgspec.Raw) else value

    def log_removed(self, call: ProviderCall) -> None:
        """Writes the promised warning."""
        if self.removed:
            log.warning("parameter_removed", extra={"model": call.model.id, "parameters": self.removed})


def parameters(call: ProviderCall) -> Parameters:
    """What of the client's body goes to the model, without `model`, `messages`' contents untouched.

    Raises `Unservable` where the model cannot do what is asked at all.
    """
    model = call.model
    found = Parameters({})
    for name, value in call.fields.items():
        if name in GATEWAY_FIELDS or name in ("stream", "stream_options") or bytes(value) == _NULL:
            continue
        if name in ("reasoning_effort", "verbosity"):
            _choice(model, found, name, value)
        elif name in ("n", "tools", "functions"):
            _whole_or_nothing(model, found, name, value, call.fields)
        elif model.supports(name) or not (name in EXTENSIONS or name in _QUIET or name in _TOLD):
            found.fields[name] = value
        elif name in _TOLD and not _says_nothing(name, bytes(value)):
            found.warnings.append(Warned("parameter_ignored", f"{model.id} does not support {name}; it was left out."))
    _fit(model, found)
    return found


def cap_of(call: ProviderCall) -> int | None:
    """The output limit to send, in tokens: what is granted, else what the client asked for, else None."""
    if call.cap is not None:
        return call.cap
    for name in _CAPS:
        raw = bytes(call.fields.get(name, b""))
        if raw.isdigit():
            return int(raw)
    return None


def choices_of(call: ProviderCall) -> int:
    """How many choices the answer must have: the client's `n`, where the model knows it."""
    raw = bytes(call.fields.get("n", b""))
    return max(1, int(raw)) if raw.isdigit() and call.model.supports("n") else 1


def _choice(model: Model, found: Parameters, name: str, raw: msgspec.Raw) -> None:
    """One of a few words; any other is taken out with a logged warning, as the API documents."""
    value = plain(name, raw)
    if name == "verbosity":
        if value in model.quirks.verbosities:
            found.fields[name] = value
        else:
            found.removed.append(name)
    elif isinstance(value, str) and value in model.quirks.efforts and model.supports(name):
        found.effort = model.quirks.efforts[value]
    else:
        found.removed.append(name)


def _whole_or_nothing(
    model: Model, found: Parameters, name: str, raw: msgspec.Raw, fields: Mapping[str, msgspec.Raw]
) -> None:
    if name == "n":
        if model.supports("n"):
            found.fields["n"] = raw
        elif bytes(raw) != b"1":
            raise Unservable(f"{model.id} gives one choice only: n must be 1", "n")
    elif model.supports("tools"):
        found.fields[name] = raw
    elif bytes(raw) != b"[]" and bytes(fields.get("tool_choice", b"")) != b'"none"':
        raise Unservable(f"{model.id} does not support {name}", name)


def _says_nothing(name: str, raw: bytes) -> bool:
    """A value that asks for what happens anyway."""
    if raw in (b"false", b"[]", b"{}", b"0", b'""'):
        return True
    if name == "tool_choice":
        return raw in (b'"auto"', b'"none"')
    if name == "modalities":
        return plain(name, raw) == ["text"]
    if name == "response_format":
        value = plain(name, raw)
        return isinstance(value, dict) and cast("dict[str, Any]", value).get("type") == "text"
    return False


def _fit(model: Model, found: Parameters) -> None:
    """Brings numbers into what the model takes."""
    quirks, fields = model.quirks, found.fields
    for group in quirks.exclusive:
        present = [name for name in group if name in fields]
        for name in present[1:]:
            del fields[name]
    for name, only in quirks.fixed.items():
        if name in fields:
            fields[name] = _number(only)
    for bound, limits in ((max, quirks.minimum), (min, quirks.maximum)):
        for name, limit in limits.items():
            value = found.value(name)
            if type(value) in (int, float):
                fields[name] = bound(value, _number(limit))


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)
