"""What several routes read and write: money as text, changes that say nothing about what they leave alone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from gateway.errors import InvalidRequest
from gateway.money import exact, won_text


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body. An unknown field is refused: a mistyped limit must not pass for one that was set."""


class LimitOfModel(Input, frozen=True):
    """Requests and tokens in any 60 seconds, requests at once, of one model; null = no limit."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


class Done(msgspec.Struct, frozen=True):
    """Nothing to tell but that it happened."""

    done: bool = True


class Error(msgspec.Struct, frozen=True):
    """See the public API, section 6."""

    code: str
    message: str
    type: str
    param: str | None = None
    details: dict[str, Any] | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """Every error has this shape."""

    error: Error


def given(body: msgspec.Struct) -> dict[str, Any]:
    """The fields that the body names, null included."""
    fields = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET}
    if "model_limits" in fields:
        fields["model_limits"] = msgspec.to_builtins(fields["model_limits"])
    return fields


def won_in(value: str | int | None, param: str) -> Decimal | None:
    """An amount in won as people send it: text or a whole number. Raises ``InvalidRequest``."""
    if value is None:
        return None
    try:
        return exact(value)
    except ValueError:
        raise InvalidRequest(f"'{param}' must be an amount in won.", param=param) from None


def won_out(value: Decimal | None) -> str | None:
    """An amount in won, every digit, as text."""
    return None if value is None else won_text(value)
