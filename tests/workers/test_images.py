"""Pictures by URL: loaded within limits, and never from our own network."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import pytest

from gateway.http import UpstreamTransport
from tests.provider.server import Provider
from tests.workers.line import Line, deployment, started
from workers import images
from workers.providers.base import Fetched

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n and more"


class Site:
    """A tiny web site; counts its visitors."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.visits: list[str] = []
        self.url = ""

    def page(self, path: str, status: str = "200 OK", body: bytes = PNG, headers: str = "content-type: x/y\r\n") -> str:
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{headers}\r\n"
        self.pages[path] = head.encode() + body
        return self.url + path

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        self.visits.append(path)
        writer.write(self.pages[path])
        await writer.drain()
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()
    await server.wait_closed()


@pytest.fixture
async def http() -> AsyncIterator[UpstreamTransport]:
    """Allowed to reach this machine, where the test's site is."""
    made = UpstreamTransport(connect_timeout_s=60, allow_private=True)
    yield made
    await made.aclose()


async def test_each_picture_is_loaded_once_and_its_type_is_told_by_its_bytes(
    site: Site, http: UpstreamTransport
) -> None:
    url = site.page("/a.png")
    assert await images.load(http, [url, url]) == {url: Fetched("image/png", PNG)}
    assert site.visits == ["/a.png"]


async def test_the_guarded_client_reaches_nothing_of_ours(site: Site) -> None:
    guarded = UpstreamTransport(connect_timeout_s=2)
    url = site.page("/a.png")
    assert await images.load(guarded, [url, "http://169.254.169.254/", "file:///etc/passwd", "http://[::1]/"]) == {}
    await guarded.aclose()
    assert site.visits == []


async def test_redirects_are_followed_a_few_times_and_checked_again(site: Site, http: UpstreamTransport) -> None:
    site.page("/end", body=PNG)
    once = site.page("/once", "302 Found", b"", "location: /end\r\n")
    inside = site.page("/inside", "302 Found", b"", "location: http://169.254.169.254/latest\r\n")
    loop = site.page("/loop", "302 Found", b"", "location: /loop\r\n")
    assert (await images.load(http, [once, inside, loop])).keys() == {once}
    assert site.visits.count("/loop") == images.MAX_REDIRECTS + 1


async def test_what_is_no_picture_too_large_or_not_there_is_left_out(
    site: Site, http: UpstreamTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    good = site.page("/good", body=b"\xff\xd8\xff")
    bad = [
        site.page("/page", body=b"<html>", headers="content-type: text/html\r\n"),
        site.page("/missing", "404 Not Found"),
        site.page("/large", body=PNG + b"x" * 200),
        "http://nobody.invalid/a.png",
    ]
    assert await images.load(http, [good, *bad]) == {good: Fetched("image/jpeg", b"\xff\xd8\xff")}


async def test_a_picture_at_a_url_reaches_a_model_that_wants_it_inside(
    line: Line, provider: Provider, site: Site, http: UpstreamTransport
) -> None:
    reader = "google/gemini-2.5-flash"
    place = deployment(provider.native_url, "d1", reader, provider="google", upstream_model="gemini-2.5-flash")
    worker = await started(line, [place])
    guarded, worker.room.pictures = worker.room.pictures, http
    url = site.page("/a.png")
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    for stream in (True, False):
        job = await line.place(
            {"model": reader, "messages": [{"role": "user", "content": parts}], "stream": stream}, models=(reader,)
        )
        await worker.run(job)
        final = (await line.ended(job)).final
        assert final is not None and final.status == 200
        sent = json.loads(provider.bodies["gemini-2.5-flash"])["contents"][-1]["parts"]
        (picture,) = [part["inlineData"] for part in sent if "inlineData" in part]
        assert picture == {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}
    assert site.visits == ["/a.png"] * 2
    await guarded.aclose()
    await worker.drain(5)
    await worker.close()


async def test_no_setting_lets_pictures_be_fetched_from_our_own_network(line: Line, site: Site) -> None:
    worker = await started(line, [], allow_private_upstreams=True)
    assert await images.load(worker.room.pictures, [site.page("/a.png")]) == {}
    assert site.visits == []
    await worker.close()
