"""The guarded HTTP client: where it goes, and where it never goes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway import http
from gateway.http import ForbiddenAddress, UpstreamTransport, check_address, checked_url
from tests.provider.fixtures import provider
from tests.provider.server import Provider

__all__ = ["provider"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "100.64.0.1", "192.0.0.1", "198.18.0.1", "::1", "fd00::1",
        "fec0::1", "5f00::1", "::ffff:10.0.0.1", "::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::10.0.0.1",
        "64:ff9b:1::10.0.0.1", "2002:a00:1::1", "2001:0:1::f5ff:fffe",
    ],
)  # fmt: skip
def test_private_addresses_are_for_operators_only(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_address(address, allow_private=False)
    check_address(address, allow_private=True)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
    ],
)  # fmt: skip
def test_some_addresses_are_for_nobody(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_address(address, allow_private=True)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700::1111", "64:ff9b::93.184.215.14"])
def test_the_public_may_be_called(address: str) -> None:
    check_address(address, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.com/x", "http://10.0.0.1/x", "http://[::1]/x", "http://127.0.0.1./x",
        "http://2130706433/", "http://017700000001/", "http://0x7f000001/", "http://0x7f.1/", "http://127.1/", "http://0/",
        "http://public.example@127.0.0.1/", "http://127。0。0。1/", "http://１２７.0.0.1/", "http://[fe80::1%25eth0]/", "http://[::ffff:7f00:1]/",
    ],
)  # fmt: skip
def test_urls_that_lead_inside_are_refused(url: str) -> None:
    with pytest.raises(ForbiddenAddress):
        checked_url(url, allow_private=False)


@pytest.mark.anyio
async def test_a_name_that_resolves_inside_is_refused(provider: Provider) -> None:
    transport = UpstreamTransport(connect_timeout_s=60)
    try:
        with pytest.raises(ForbiddenAddress, match="not public"):
            await transport.send("GET", f"http://localhost:{provider.port}/v1/models", {}, b"")
    finally:
        await transport.aclose()


@pytest.mark.anyio
async def test_an_operators_address_is_called(provider: Provider) -> None:
    transport = UpstreamTransport(connect_timeout_s=60, allow_private=True)
    headers = {"authorization": "Bearer x"}
    response = await transport.send("GET", f"http://localhost:{provider.port}/v1/models", headers, b"")
    assert b"".join([piece async for piece in response.body()]).startswith(b'{"object":"list"')
    response.close()
    await transport.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1.", "127.1", "2130706433", "0x7f.1"])
async def test_no_way_to_write_an_address_leads_past_the_guard(provider: Provider, host: str) -> None:
    transport = UpstreamTransport(connect_timeout_s=60)
    with pytest.raises(ForbiddenAddress):
        await transport.send("GET", f"http://{host}:{provider.port}/v1/models", {}, b"")
    await transport.aclose()


@pytest.mark.anyio
async def test_a_name_that_means_another_address_at_the_second_look_is_refused_where_it_connects(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    async def rebound(self: Any, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        looks.append(host)  # the guard's own look is behind it: what it found has changed since
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    monkeypatch.setattr(http._GuardedResolver, "resolve", rebound)
    transport = UpstreamTransport(connect_timeout_s=60)
    with pytest.raises(ForbiddenAddress, match="not public"):
        await transport.send("GET", f"http://rebound.example:{provider.port}/v1/models", {}, b"")
    await transport.aclose()
    assert looks == ["rebound.example"]


@contextlib.asynccontextmanager
async def answering(head: str, body: bytes = b"") -> AsyncIterator[str]:
    """A server that says the same to everybody."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {head}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.anyio
async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    transport = UpstreamTransport(connect_timeout_s=60, allow_private=True)
    async with answering("302 Found\r\nlocation: http://169.254.169.254/latest") as url:
        response = await transport.send("GET", url, {}, b"")
        assert (response.status, response.headers["location"]) == (302, "http://169.254.169.254/latest")
        response.close()
    await transport.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip,gzip,gzip", "br", "zstd", "x-unheard"])
async def test_an_answer_that_could_grow_without_bound_is_not_opened(coding: str) -> None:
    transport = UpstreamTransport(connect_timeout_s=60, allow_private=True)
    async with answering(f"200 OK\r\ncontent-encoding: {coding}", gzip.compress(gzip.compress(b"0" * 10**6))) as url:
        with pytest.raises(aiohttp.ClientPayloadError):
            await transport.send("GET", url, {}, b"")
    await transport.aclose()


@pytest.mark.anyio
async def test_an_answer_compressed_once_is_read() -> None:
    transport = UpstreamTransport(connect_timeout_s=60, allow_private=True)
    async with answering("200 OK\r\ncontent-encoding: gzip", gzip.compress(b"plain")) as url:
        response = await transport.send("GET", url, {}, b"")
        assert b"".join([piece async for piece in response.body()]) == b"plain"
        response.close()
    await transport.aclose()


@pytest.mark.anyio
async def test_an_answer_whose_head_is_forgotten_is_read_and_keeps_no_header_of_it() -> None:
    transport = UpstreamTransport(connect_timeout_s=60, allow_private=True)
    async with answering("200 OK\r\nx-long: " + "y" * 1_000, b"plain") as url:
        answer = await transport.send("GET", url, {"authorization": "Bearer k"}, b"")
        kept: aiohttp.ClientResponse = answer._arriving.release.__self__  # pyright: ignore[reportFunctionMemberAccess]
        assert (answer.headers["x-long"], kept.headers["x-long"]) == ("y" * 1_000, "y" * 1_000)
        assert kept.raw_headers and kept.request_info.headers
        answer.forget_head()
        assert not (answer.headers or kept.headers or kept.raw_headers or kept.request_info.headers)
        assert b"".join([piece async for piece in answer.body()]) == b"plain"
        answer.close()
    await transport.aclose()
