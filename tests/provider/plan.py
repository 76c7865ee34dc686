"""The seam between a provider's dialect and the server: what is asked, and all bytes that may be answered."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from tests.provider.behaviour import Behaviour


class Request(msgspec.Struct):
    """An HTTP request as a dialect needs it. Header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Plan(msgspec.Struct):
    """One answer, before time and faults are laid over it.

    A streamed one is `head`, `piece(0)` … `piece(pieces - 1)`, `tail`; any other is `body`. `pieces` counts tokens.
    """

    response_id: str
    behaviour: Behaviour
    model: str = ""
    status: int = 200
    headers: str = ""
    """Further header lines, each ending in CRLF."""
    stream: bool = False
    prompt_tokens: int = 0
    pieces: int = 0
    body: bytes = b""
    head: bytes = b""
    piece: Callable[[int], bytes] = lambda _: b""
    tail: bytes = b""
    last: bytes = b""
    """The dialect's last event, part of a whole stream's end after `tail`."""
    ping: bytes = b": keep-alive\n\n"
    unreadable: bytes = b'data: {"id":"broken\n\n'
    error_event: bytes = b""
    content_type: str = "text/event-stream; charset=utf-8"


Choose = Callable[[str, str, str], Behaviour]
"""(model, text of the last message, `x-mock` header) -> behaviour."""


class Dialect(Protocol):
    """A provider's API."""

    def matches(self, request: Request) -> bool:
        """Whether this dialect serves the request's path."""
        ...

    def plan(self, request: Request, choose: Choose) -> Plan:
        """What to answer. Never raises for a bad request: the plan then carries the provider's own error."""
        ...
