"""Carries an `UpstreamRequest` to its provider, or plays its script, and hands the body out as it arrives.

Every wait has a deadline of its caller's; closing ends the connection unless the body was read to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from gateway.http import ForbiddenAddress, HttpError, UpstreamTransport
from workers.patience import Patience
from workers.providers.base import ProviderFailure, Script, UpstreamRequest

MAX_ERROR_BYTES = 64 * 1024
"""More of a provider's error body is not read: it is an explanation, not an answer."""
MAX_BODY_BYTES = 64 * 1024 * 1024
"""A whole answer with several images stays below; beyond it the body is refused."""


class UpstreamFailed(Exception):
    """The attempt is over; `failure` says why."""

    def __init__(self, failure: ProviderFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Body(Protocol):
    """An answer under way."""

    status: int
    headers: Mapping[str, str]
    """Found by lower-case names."""

    async def read(self) -> bytes:
        """The next bytes, b"" at the end. Raises OSError or another of `HttpError`."""
        ...

    def forget_head(self) -> None:
        """Only the body is still wanted."""
        ...

    def close(self) -> None:
        """Closes the connection, or gives it back where the body was read to its end."""
        ...


class _ScriptBody:
    def __init__(self, script: Script) -> None:
        self.status = script.status
        self.headers: Mapping[str, str] = script.headers
        self._steps = iter(script.steps)
        self._ending = script.ending

    async def read(self) -> bytes:
        step = next(self._steps, None)
        if step is not None:
            wait, data = step
            await asyncio.sleep(wait)
            return data
        if self._ending == "cut":
            raise ConnectionResetError("the sandbox broke off, as asked")
        if self._ending == "silence":
            await asyncio.get_running_loop().create_future()
        return b""

    def forget_head(self) -> None:
        self.headers = {}

    def close(self) -> None:
        self._steps = iter(())


class Upstream:
    """One attempt's connection; `close` it."""

    def __init__(self, http: UpstreamTransport, request: UpstreamRequest) -> None:
        self._http = http
        self._request: UpstreamRequest | None = request
        self._body: Body | None = None
        self._patience = Patience()
        self.added: dict[str, str] = {}
        """Headers beside the adapter's own."""
        self.status = 0
        self.at_end = False

    async def open(self, deadline: float) -> Body:
        """The answer's head, within `deadline` (loop time), once. Raises `UpstreamFailed`."""
        request, self._request = self._request, None  # an answer takes minutes, and what was asked may be megabytes
        assert request is not None
        try:
            if request.script is not None:
                self._body = _ScriptBody(request.script)
            else:
                headers = {**request.headers, **self.added} if self.added else request.headers
                with self._patience.until(deadline):
                    self._body = await self._http.send(request.method, request.url, headers, request.content)
        except TimeoutError as late:
            raise UpstreamFailed(ProviderFailure(kind="timeout", message="no answer in time")) from late
        except ForbiddenAddress as forbidden:
            raise UpstreamFailed(ProviderFailure(kind="credentials", message=str(forbidden))) from forbidden
        except HttpError as broken:
            raise UpstreamFailed(ProviderFailure(kind="connect", message=describe(broken))) from broken
        self.status = self._body.status
        return self._body

    async def read(self, deadline: float) -> bytes:
        """The next bytes of the body, b"" at its end. Raises `UpstreamFailed`: `stalled` or `cut`."""
        assert self._body is not None
        try:
            with self._patience.until(deadline):
                data = await self._body.read()
        except TimeoutError as late:
            raise UpstreamFailed(ProviderFailure(kind="stalled", message="silence", status=self.status)) from late
        except HttpError as broken:
            raise UpstreamFailed(ProviderFailure(kind="cut", message=describe(broken), status=self.status)) from broken
        if not data:
            self.at_end = True
        return data

    async def rest(self, deadline: float, most: int) -> bytes:
        """What is left of the body, at most that many bytes of it. Raises `UpstreamFailed`."""
        parts: list[bytes] = []
        size = 0
        while size < most and (data := await self.read(deadline)):
            parts.append(data)
            size += len(data)
        return b"".join(parts)[:most]

    def close(self) -> None:
        """Closes what is open. Safe to repeat."""
        self._patience.close()
        body, self._body = self._body, None
        if body is not None:
            body.close()


def describe(error: BaseException) -> str:
    """A provider connection's error for logs and attempts: its class and text, without URL or key."""
    return f"{type(error).__name__}: {error}"[:200]
