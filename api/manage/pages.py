"""Lists by pages: every list has an end, however much there is."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

import msgspec
from litestar.params import QueryParameter

from gateway.errors import InvalidRequest

MOST = 200
"""Entries of one page: an answer stays small, and a reader of everything makes few calls."""
LONGEST_NUMBER = 18
"""Digits that a bigint surely holds."""

T = TypeVar("T")

Limit = Annotated[int, QueryParameter(ge=1, le=MOST, description=f"Entries of a page, at most {MOST}.")]
After = Annotated[str | None, QueryParameter(max_length=512, description="`next` of the page before.")]


class Page(msgspec.Struct, Generic[T]):
    """One page. ``next`` is null on the last."""

    data: list[T]
    next: str | None = None


def paged(found: Sequence[T], limit: int, key: Callable[[T], str]) -> Page[T]:
    """A page from one entry more than it shows, which tells whether there is another."""
    shown = list(found[:limit])
    more = len(found) > limit
    return Page(shown, cursor(key(shown[-1])) if more and shown else None)


def cursor(text: str) -> str:
    """A place in a list, for the next call only: its shape is nobody's business."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place(after: str | None) -> str | None:
    """What ``cursor`` was made of. Raises ``InvalidRequest``."""
    if after is None:
        return None
    try:
        return base64.b64decode(after.encode() + b"=" * (-len(after) % 4), b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        raise _foreign() from None


def id_place(after: str | None) -> str | None:
    """The same, of a list that goes by ids."""
    start = place(after)
    try:
        return None if start is None else str(uuid.UUID(start))
    except ValueError:
        raise _foreign() from None


def number_place(after: str | None) -> int | None:
    """The same, of a list that is numbered."""
    start = place(after)
    if start is None:
        return None
    if not start.isdecimal() or len(start) > LONGEST_NUMBER:
        raise _foreign()
    return int(start)


def _foreign() -> InvalidRequest:
    return InvalidRequest("'after' is not the `next` of a page.", param="after")
