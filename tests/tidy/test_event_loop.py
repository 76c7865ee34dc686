"""The front end answers thousands at once from one thread: nothing in it may wait without giving that thread away."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

API = Path(__file__).parents[2] / "api"
FORBIDDEN = {
    "celery": "messages are pushed by the admission script",
    "kombu": "messages are pushed by the admission script",
    "requests": "a blocking client",
    "time.sleep": "asyncio.sleep lets others run",
    "subprocess": "waits for a process",
    "redis.Redis": "the blocking client; gateway.redis.RedisLine is the one for an event loop",
    "gateway.redis.connect": "the blocking client; gateway.redis.RedisLine is the one for an event loop",
    "gateway.db.connect.engine": "the blocking engine; async_engine is the one for an event loop",
    "sqlalchemy.create_engine": "the blocking engine; async_engine is the one for an event loop",
    "psycopg.connect": "the blocking driver",
    "httpx.Client": "a blocking client",
    "urllib.request": "a blocking client",
}


def reached(tree: ast.AST) -> Iterator[str]:
    """Full names of everything a module imports or reaches through an imported name."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts = [node.attr]
            inner = node.value
            while isinstance(inner, ast.Attribute):
                parts.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name) and inner.id in names:
                yield ".".join([names[inner.id], *reversed(parts)])


def blocking(source: str) -> set[str]:
    return {
        name
        for name in reached(ast.parse(source))
        for banned in FORBIDDEN
        if name == banned or name.startswith(f"{banned}.")
    }


@pytest.mark.parametrize("path", sorted(API.rglob("*.py")), ids=lambda path: str(path.relative_to(API)))
def test_no_module_of_the_front_end_blocks_its_event_loop(path: Path) -> None:
    assert blocking(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import celery",
        "from celery import Celery",
        "import time\npause = time.sleep",
        "from time import sleep",
        "import redis\nredis.Redis()",
        "from gateway import redis as line\nline.connect('u')",
        "from gateway.db.connect import engine",
        "import sqlalchemy as sa\nsa.create_engine('u')",
    ],
)
def test_what_would_block_is_seen(source: str) -> None:
    assert blocking(source)
