"""Every HTTP client of WonRouter, built here and guarded here.

httpx's requests and responses over a transport of our own on aiohttp's connections, at a third of the processor time of
httpx's own. A client follows no redirect, keeps no cookie, resolves a name once and connects to what it resolved. Unless
it is told otherwise it refuses private and loopback addresses, so that a URL that a customer gives cannot reach into our
own network. Link-local addresses, where clouds keep their machines' credentials, are refused to everybody. What decides
is the address of the socket, as it is made: however a URL was written and whatever resolved it, nothing is connected
unseen.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

MAX_CONNECTIONS = 20_000
"""Far above what one process runs at once: a call never waits for a connection of another."""
IDLE_CONNECTION_S = 55.0
"""Below the 60 s after which common load balancers close an idle connection without a word."""
DNS_CACHE_S = 30
CODINGS = "gzip, deflate"
"""What an answer may be compressed with, once. A thousandfold is all that these make of a piece; other codings, and
several on top of each other, make gigabytes of it before anybody can count."""

PIECE_BYTES = 16 * 1024
"""Of a compressed body, opened at a time."""
URLS_KEPT = 1_024
"""Parsed and checked URLs: those of all deployments, and some of the pictures that clients name."""

_TARGET = "wonrouter.target"
"""Among a request's extensions: its URL, checked."""
_PLAIN = frozenset({"", "identity"})
_CODED = frozenset({"gzip", "deflate"})
_NO_HEADERS = CIMultiDictProxy[str](CIMultiDict())
_OWN_HEADERS = ("user-agent", "accept", "accept-encoding", "content-type")

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


@functools.lru_cache(URLS_KEPT)
def checked_url(url: str, allow_private: bool) -> URL:
    """The URL, parsed. Raises `ForbiddenAddress` where it names a forbidden address itself or is not HTTP, and
    `aiohttp.InvalidURL` where it is none."""
    try:
        target = URL(url)
    except ValueError as wrong:
        raise aiohttp.InvalidURL(url[:200]) from wrong
    if target.scheme not in ("http", "https"):
        raise ForbiddenAddress(f"{target.scheme or 'no'} scheme is not called")
    if not target.raw_host:
        raise aiohttp.InvalidURL(url[:200])
    host = target.raw_host.rstrip(".")  # as it goes out: other scripts' digits and dots are plain here
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if _is_number(host):
            raise ForbiddenAddress("an address is written as four numbers") from None
        return target  # a name: the resolver looks at what it means
    check_address(host, allow_private)
    return target


@functools.lru_cache(URLS_KEPT)
def _named(target: URL) -> httpx.URL:
    """The same URL for httpx. Raises `httpx.InvalidURL`."""
    return httpx.URL(str(target))


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


class Answer:
    """An answer whose head has arrived. Read it to its end or not, but `close` it.

    Raises `aiohttp.ClientPayloadError` where it is compressed in a way that nobody asked for.
    """

    def __init__(self, response: httpx.Response) -> None:
        assert isinstance(response.stream, _Arriving)
        self._arriving = response.stream
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        """Found by names in any case."""
        coding = response.headers.get("content-encoding", "").strip().lower()
        self._packed = None if coding in _PLAIN else _opener(coding)

    async def read(self) -> bytes:
        """The body's next bytes as they arrive, opened where they are compressed; b"" at the end."""
        content = self._arriving.content
        if self._packed is None:
            return await content.readany()
        while piece := await content.read(PIECE_BYTES):
            if opened := _opened(self._packed, piece):
                return opened
        return b""

    def forget_head(self) -> None:
        """Its headers are not needed any more: with some forty of them, four kilobytes for as long as the body comes."""
        self.headers = {}
        self._arriving.forget_head()

    async def body(self) -> AsyncIterator[bytes]:
        """The body, piece by piece."""
        while piece := await self.read():
            yield piece

    def close(self) -> None:
        """Gives the connection back where the body was read to its end, else closes it. Safe to repeat."""
        self._arriving.release()


class _Response(aiohttp.ClientResponse):
    """aiohttp's, which keeps the headers of request and answer for whoever may ask."""

    def forget_head(self) -> None:
        """Nobody will."""
        self._headers, self._raw_headers = _NO_HEADERS, ()
        self._request_info = aiohttp.RequestInfo(self.url, self.method, _NO_HEADERS)
        self._cache.clear()  # its properties remember what they said


class _Arriving(httpx.AsyncByteStream):
    """A body that comes in. `content` is the connection itself: three generators less for every token."""

    def __init__(self, response: _Response) -> None:
        self.content = response.content
        self.release = response.release
        self.forget_head = response.forget_head

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.content.readany():
            yield piece

    async def aclose(self) -> None:
        self.release()


def _opener(coding: str) -> Any:
    if coding not in _CODED:
        raise aiohttp.ClientPayloadError("the answer is compressed in a way that nobody asked for")
    return zlib.decompressobj(zlib.MAX_WBITS | 32)  # finds out by itself which of the two it is


def _opened(packed: Any, piece: bytes) -> bytes:
    try:
        return packed.decompress(piece)
    except zlib.error as damaged:
        raise aiohttp.ClientPayloadError(f"the answer does not open: {damaged}") from damaged


class UpstreamTransport(httpx.AsyncBaseTransport):
    """Sends requests.

    Args:
        connect_timeout_s: for the TCP and TLS handshakes.
        allow_private: private and loopback addresses may be called: an operator wrote them down.
    """

    def __init__(self, *, connect_timeout_s: float, allow_private: bool = False) -> None:
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s)
        self._allow_private = allow_private
        self._session: aiohttp.ClientSession | None = None

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=MAX_CONNECTIONS,
            keepalive_timeout=IDLE_CONNECTION_S,
            ttl_dns_cache=DNS_CACHE_S,
            resolver=_GuardedResolver(self._allow_private),
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            skip_auto_headers=_OWN_HEADERS,
            auto_decompress=False,
            response_class=_Response,
        )
        return self._session

    def _socket(self, address: Any) -> socket.socket:
        """A socket to an address, as getaddrinfo has it, that may be called. Raises `ForbiddenAddress`."""
        family, kind, protocol, _, place = address
        check_address(str(place[0]), self._allow_private)
        return socket.socket(family, kind, protocol)

    async def send(self, method: str, url: str, headers: Mapping[str, str], content: bytes) -> Answer:
        """The answer once its head is here; close it.

        Raises one of `HttpError`; the caller sets time limits.
        """
        target = checked_url(url, self._allow_private)
        request = httpx.Request(method, _named(target), headers=headers, content=content or None)
        request.extensions[_TARGET] = target
        response = await self.handle_async_request(request)
        try:
            return Answer(response)
        except aiohttp.ClientPayloadError:
            await response.aclose()
            raise

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """What httpx asks of a transport. Raises one of `HttpError`."""
        target = request.extensions.get(_TARGET) or checked_url(str(request.url), self._allow_private)
        request.headers.setdefault("accept-encoding", CODINGS)
        session = self._session or self._opened()
        try:
            response = await session.request(
                request.method,
                target,
                headers=CIMultiDict(request.headers.multi_items()),
                data=request.content or None,
                allow_redirects=False,
            )
        except aiohttp.ConnectionTimeoutError as late:
            raise ConnectionError("no connection in time") from late  # not the caller's own limit
        except aiohttp.ClientConnectionError as failed:
            if (forbidden := _forbidden_behind(failed)) is not None:
                raise forbidden from failed
            raise
        assert isinstance(response, _Response)
        return httpx.Response(
            response.status, headers=list(response.raw_headers), stream=_Arriving(response), request=request
        )

    async def aclose(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()


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
