"""Limits for single models, of a key or an organisation, as people set them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.accounts import limits
from gateway.catalogue.packaged import builtin
from gateway.errors import InvalidRequest

MOST_MODELS = 200
"""Above the catalogue's size: the whole is read with every identity."""
_MOST = {
    "rpm": limits.MOST_PER_MINUTE,
    "tpm": limits.MOST_TOKENS_PER_MINUTE,
    "concurrency": limits.MOST_AT_ONCE,
}

ModelLimits = dict[str, dict[str, int]]
"""Catalogue id -> what is limited (``rpm``, ``tpm``, ``concurrency``); what is missing is not."""


def checked(wanted: Mapping[str, Mapping[str, Any]] | None, param: str = "model_limits") -> ModelLimits:
    """The limits as they are stored. Aliases stand for their model. Raises ``InvalidRequest``."""
    packaged = builtin()
    made: ModelLimits = {}
    for name, given in (wanted or {}).items():
        model = packaged.aliases.get(name, name)
        if model not in packaged.models:
            raise InvalidRequest(f"unknown model: {name}", param=param)
        made[model] = _limits(given, param)
    if len(made) > MOST_MODELS:
        raise InvalidRequest(f"at most {MOST_MODELS} models", param=param)
    return {model: given for model, given in sorted(made.items()) if given}


def parse(text: str) -> tuple[str, dict[str, int]]:
    """``MODEL:rpm=…,tpm=…,concurrency=…``, as the command line takes it. Raises ``ValueError``."""
    model, colon, rest = text.rpartition(":")
    if not colon or not model:
        raise ValueError("no limits")
    pairs = [part.partition("=") for part in rest.split(",")]
    given = {name.strip(): int(value) for name, _, value in pairs}
    if len(given) < len(pairs):
        raise ValueError("a limit is given twice")
    return model, given


def _limits(given: Mapping[str, Any], param: str) -> dict[str, int]:
    if unknown := sorted(set(given) - set(_MOST)):
        raise InvalidRequest(f"no such limit: {', '.join(unknown)}", param=param)
    for name, value in given.items():
        limits.count(value, f"{param}.{name}", _MOST[name])
    return {name: value for name, value in given.items() if value is not None}
