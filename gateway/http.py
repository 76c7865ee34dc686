"""Every HTTP client of WonRouter, built here and guarded here.

httpx over aiohttp's transport: the same requests and responses at a third of the processor time. A client follows no
redirect, keeps no cookie, resolves a name once and connects to what it resolved. Unless it is told otherwise it
refuses private and loopback addresses, so that a URL that a customer gives cannot reach into our own network.
Link-local addresses, where clouds keep their machines' credentials, are refused to everybody. What decides is the
address of the socket, as it is made: however a URL was written and whatever resolved it, nothing is connected unseen.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp import AiohttpTransport

MAX_CONNECTIONS = 20_000
"""Far above what one process runs at once: a call never waits for a connection of another."""
IDLE_CONNECTION_S = 55.0
"""Below the 60 s after which common load balancers close an idle connection without a word."""
DNS_CACHE_S = 30
CODINGS = "gzip, deflate"
"""What an answer may be compressed with, once. A thousandfold is all that these make of a piece; other codings, and
several on top of each other, make gigabytes of it before anybody can count."""

_CODED = frozenset({"", "identity", "gzip", "deflate"})

_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
"""All that has been given out of IPv6 for the public; the rest is inside, whatever it is called."""
_STANDING_FOR_4 = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")))
"""IPv6 addresses whose last 32 bits are an IPv4 address: compatible, translated, NAT64."""
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        # where AWS and Google (by IPv6), Alibaba, Oracle and Azure keep what others keep at a link-local address
        ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)

HttpError = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, TimeoutError)
"""What a request can raise, whichever layer noticed."""


class ForbiddenAddress(OSError):
    """The URL leads to an address that this client must not reach."""


def check_address(address: str, allow_private: bool) -> None:
    """Raises `ForbiddenAddress` for an IP address that this client must not reach."""
    ip = _meant(ipaddress.ip_address(address.partition("%")[0]))
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip in _METADATA:
        raise ForbiddenAddress(f"address {ip} is never called")
    if allow_private:
        return
    if not ip.is_global or ip.is_reserved or (isinstance(ip, ipaddress.IPv6Address) and ip not in _PUBLIC_6):
        raise ForbiddenAddress(f"address {ip} is not public")


def _meant(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 address leads to, where it leads to one."""
    if isinstance(ip, ipaddress.IPv4Address) or int(ip) <= 1:  # `::` and `::1` are themselves
        return ip
    inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
    if inner is None and any(ip in network for network in _STANDING_FOR_4):
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip if inner is None else inner


def check_url(url: httpx.URL, allow_private: bool) -> None:
    """Raises `ForbiddenAddress` where the URL itself names a forbidden address or is not HTTP."""
    if url.scheme not in ("http", "https"):
        raise ForbiddenAddress(f"{url.scheme or 'no'} scheme is not called")
    host = url.host.rstrip(".")
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if _is_number(host):
            raise ForbiddenAddress("an address is written as four numbers") from None
        return  # a name: the resolver looks at what it means
    check_address(host, allow_private)


def _is_number(host: str) -> bool:
    """Whether the system takes the text for an IPv4 address: `127.1`, `0x7f000001`, `017700000001`, `2130706433`."""
    try:
        socket.inet_aton(host)
    except (OSError, UnicodeEncodeError, ValueError):
        return False
    return True


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
            socket_factory=self._socket,
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    def _socket(self, address: Any) -> socket.socket:
        """A socket to an address, as getaddrinfo has it, that may be called. Raises `ForbiddenAddress`."""
        family, kind, protocol, _, place = address
        check_address(str(place[0]), self._allow_private)
        return socket.socket(family, kind, protocol)

    async def send(self, method: str, url: str, headers: dict[str, str], content: bytes) -> httpx.Response:
        """The answer once its headers are here; close it. Raises one of `HttpError`; the caller sets time limits."""
        target = httpx.URL(url)
        check_url(target, self._allow_private)
        request = httpx.Request(method, target, headers=headers, content=content, extensions={"timeout": self._timeout})
        request.headers.setdefault("accept-encoding", CODINGS)
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError as failed:
            if (forbidden := _forbidden_behind(failed)) is not None:
                raise forbidden from failed
            raise
        if response.headers.get("content-encoding", "identity").strip().lower() not in _CODED:
            await response.aclose()
            raise httpx.DecodingError("the answer is compressed in a way that nobody asked for", request=request)
        return response

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
