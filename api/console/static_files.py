"""Our own style sheet and script: held in memory, named by what is in them, kept by browsers for a year."""

from __future__ import annotations

import functools
import hashlib
from importlib import resources
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api.console import BASE
from gateway.errors import NotFound

KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
FOREVER = "public, max-age=31536000, immutable"
A_WHILE = "public, max-age=300"


@functools.cache
def files() -> dict[str, tuple[bytes, str]]:
    """Name -> content and its digest."""
    folder = resources.files("api.console").joinpath("static")
    found = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name.rpartition(".")[2] in KINDS}
    return {name: (content, hashlib.sha256(content).hexdigest()[:16]) for name, content in found.items()}


def address(name: str) -> str:
    """Where a page finds the file. Another content has another address, so no browser shows yesterday's."""
    return f"{BASE}/static/{name}?v={files()[name][1]}"


def static_routes() -> list[HTTPRouteHandler]:
    """The handler."""

    @get("/static/{name:str}", action="public")
    async def static_file(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
        if name not in files():
            raise NotFound()
        content, digest = files()[name]
        tag = f'"{digest}"'
        headers = {
            "etag": tag,
            "cache-control": FOREVER if request.query_params.get("v") == digest else A_WHILE,
            "x-content-type-options": "nosniff",
        }
        if request.headers.get("if-none-match") == tag:
            return Response(b"", status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=KINDS[name.rpartition(".")[2]])

    return [static_file]
