"""Every HTTP client of WonRouter, built here and guarded here.

httpx over aiohttp's transport: the same requests and responses at a third of the processor time. A client follows no
redirect, keeps no cookie, resolves a name once and connects to what it resolved. Unless it is told otherwise it
refuses private and loopback addresses, so that a URL that a customer gives cannot reach into our own network.
Link-local addresses, where clouds keep their machines' credentials, are refused to everybody.
"""

from __future__ import annotations

import ipaddress
import socket

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp import AiohttpTransport

MAX_CONNECTIONS = 20_000
"""Far above what one process runs at once: a call never waits for a connection of another."""
IDLE_CONNECTION_S = 55.0
"""Below the 60 s after which common load balancers close an idle connection without a word."""
DNS_CACHE_S = 30

HttpError = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, TimeoutError)
"""What a request can raise, whichever layer noticed."""


class ForbiddenAddress(OSError):
    """The URL leads to an address that this client must not reach."""


def check_address(address: str, allow_private: bool) -> None:
    """Raises `ForbiddenAddress` for an IP address that this client must not reach."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        raise ForbiddenAddress(f"address {ip} is never called")
    if not allow_private and (not ip.is_global or ip.is_reserved):
        raise ForbiddenAddress(f"address {ip} is not public")


def check_url(url: httpx.URL, allow_private: bool) -> None:
    """Raises `ForbiddenAddress` where the URL itself names a forbidden address or is not HTTP."""
    if url.scheme not in ("http", "https"):
        raise ForbiddenAddress(f"{url.scheme or 'no'} scheme is not called")
    try:
        ipaddress.ip_address(url.host)
    except ValueError:
        return  # a name: the resolver looks at what it means
    check_address(url.host, allow_private)


class _GuardedResolver(AbstractResolver):
    """Resolves names and refuses those that lead where this client must not go."""

    def __init__(self, allow_private: bool) -> None:
        self._plain = aiohttp.ThreadedResolver()
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._plain.resolve(host, port, family)
        for result in found:
            check_address(result["host"], self._allow_private)
        return found

    async def close(self) -> None:
        await self._plain.close()


class UpstreamTransport:
    """Sends requests without the layers of a full httpx client: no cookies, no redirects, no default headers.

    Args:
        connect_timeout_s: for the TCP and TLS handshakes.
        allow_private: private and loopback addresses may be called: an operator wrote them down.
    """

    def __init__(self, *, connect_timeout_s: float, allow_private: bool = False) -> None:
        self._timeout = {"connect": connect_timeout_s, "read": None, "write": None, "pool": None}
        self._allow_private = allow_private
        self._transport = AiohttpTransport(client=self._session)

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=MAX_CONNECTIONS,
            keepalive_timeout=IDLE_CONNECTION_S,
            ttl_dns_cache=DNS_CACHE_S,
            resolver=_GuardedResolver(self._allow_private),
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def send(self, method: str, url: str, headers: dict[str, str], content: bytes) -> httpx.Response:
        """The answer once its headers are here; close it. Raises one of `HttpError`; the caller sets time limits."""
        target = httpx.URL(url)
        check_url(target, self._allow_private)
        request = httpx.Request(method, target, headers=headers, content=content, extensions={"timeout": self._timeout})
        try:
            return await self._transport.handle_async_request(request)
        except httpx.TransportError as failed:
            if (forbidden := _forbidden_behind(failed)) is not None:
                raise forbidden from failed
            raise

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()


def arriving(response: httpx.Response) -> aiohttp.StreamReader | None:
    """The body as it comes from the connection, undecoded: three layers of generators less for every token.

    None where the response has not come over aiohttp. Closing the response gives the connection back all the same.
    """
    below = getattr(response.stream, "_aiohttp_response", None)
    return below.content if isinstance(below, aiohttp.ClientResponse) else None


def _forbidden_behind(error: BaseException) -> ForbiddenAddress | None:
    """The resolver's refusal, which aiohttp wraps as a failed connection like any other."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ForbiddenAddress):
            return cause
        if isinstance(cause, aiohttp.ClientConnectorError) and isinstance(cause.os_error, ForbiddenAddress):
            return cause.os_error
        cause = cause.__cause__
    return None
