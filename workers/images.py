"""Loads pictures that a client gave by URL, for providers that want them inside the request.

The client chooses the URL, so the guarded HTTP client loads it: public addresses alone, a redirect is checked like the
URL it came from, and time and size are limited. What cannot be loaded is left out; the adapter then refuses the call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from urllib.parse import urljoin

from gateway.http import ForbiddenAddress, HttpError, UpstreamTransport
from workers.providers.base import Fetched

log = logging.getLogger("workers.images")

MAX_BYTES = 15 * 1024 * 1024
"""Of all pictures of a request together: in base64 they grow by a third, and Gemini takes 20 MB a request."""
MAX_PICTURES = 32
"""More are not loaded: one call must not make us a crawler."""
MAX_REDIRECTS = 3
AT_ONCE = 4
TIMEOUT_S = 10.0
"""For one picture, redirects included: well below the wait for a first token."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


class _NotAPicture(ValueError):
    """What the URL leads to cannot be used."""


async def load(http: UpstreamTransport, urls: Sequence[str]) -> dict[str, Fetched]:
    """The pictures that could be loaded, by URL. `http` must refuse private addresses."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(url: str) -> Fetched | None:
        try:
            async with room, asyncio.timeout(TIMEOUT_S):
                return await _load(http, url)
        except (*HttpError, _NotAPicture) as error:
            # a connection's error names the host, which is the customer's to know: it stood in the prompt
            said = str(error) if isinstance(error, _NotAPicture | ForbiddenAddress) else type(error).__name__
            log.warning("picture_not_loaded", extra={"error": said[:200]})
            return None

    wanted = list(dict.fromkeys(urls))[:MAX_PICTURES]
    loaded: dict[str, Fetched] = {}
    size = 0
    for url, picture in zip(wanted, await asyncio.gather(*map(one, wanted)), strict=True):
        if picture is not None and size + len(picture.data) <= MAX_BYTES:
            loaded[url] = picture
            size += len(picture.data)
    return loaded


async def _load(http: UpstreamTransport, url: str) -> Fetched:
    for _ in range(MAX_REDIRECTS + 1):
        headers = {"accept": "image/*", "accept-encoding": "identity", "user-agent": "wonrouter"}
        response = await http.send("GET", url, headers, b"")
        try:
            if response.status in _REDIRECTS and "location" in response.headers:
                url = urljoin(url, response.headers["location"])
                continue
            if response.status != 200:
                raise _NotAPicture(f"status {response.status}")
            data = bytearray()
            async for piece in response.body():
                data += piece
                if len(data) > MAX_BYTES:
                    raise _NotAPicture("the picture is too large")
            return Fetched(_kind(bytes(data[:16]), response.headers.get("content-type", "")), bytes(data))
        finally:
            response.close()
    raise _NotAPicture("too many redirects")


def _kind(start: bytes, told: str) -> str:
    """The media type by the first bytes, which do not lie, else as the server tells it."""
    for magic, kind in _KINDS:
        if start.startswith(magic):
            return kind
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    kind = told.partition(";")[0].strip().lower()
    if kind.startswith("image/"):
        return kind
    raise _NotAPicture(f"neither a picture nor a PDF: {kind or 'no type'}")
