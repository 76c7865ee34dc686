"""Servers for tests: real PostgreSQL and Valkey, started when the first test asks for them, thrown away at the end.

Each pytest process (`-n`) has its own of both: numbered Redis databases do not isolate pub/sub, and a database server
starts in under a second. TEST_DATABASE_URL and TEST_REDIS_URL name servers that run already; the role must be allowed
to create databases and roles, and everything in that Redis is deleted. With several pytest processes TEST_REDIS_URL
lists one server for each, separated by commas.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import hypothesis
import psycopg
import pytest
import redis
from psycopg import sql

from gateway.engines import PostgresServer, ValkeyServer
from gateway.open_files import raise_limit
from tests.installation import RunningInstallation
from tests.scheduling import ByRoom

if TYPE_CHECKING:
    from xdist.remote import Producer


hypothesis.settings.register_profile(
    "unhurried",
    parent=hypothesis.settings.get_profile(hypothesis.settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("unhurried")
"""What an example takes says more about the machine than about the code; the rest is as hypothesis would have it here."""


def pytest_configure() -> None:
    """Some tests open a thousand connections, on either side."""
    raise_limit()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByRoom | None:
    """Where `--dist` asks for files to be kept together, whole installations are, too."""
    return ByRoom(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The loop that production runs on."""
    return "asyncio", {"use_uvloop": True}


@dataclass(frozen=True)
class PostgresForTests:
    """A server on which tests may create and drop databases."""

    admin_url: str

    def database(self, name: str) -> str:
        return urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{name}"))

    def create(self, name: str, template: str | None = None) -> str:
        source = sql.SQL("TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        self.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), source))
        return self.database(name)

    def drop(self, name: str) -> None:
        statement = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        for _ in range(300):
            try:
                self.execute(statement)
                return
            except psycopg.errors.InsufficientPrivilege:  # a process of the server's own is just looking at it
                time.sleep(0.1)
        self.execute(statement)

    def execute(self, statement: sql.Composable) -> None:
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresForTests]:
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield PostgresForTests(url)
        return
    folder = tmp_path_factory.mktemp("postgres")
    server = PostgresServer(
        folder / "data",
        log=folder / "postgres.log",
        superuser_password=secrets.token_hex(8),
        owner_password=secrets.token_hex(8),
        throwaway=True,
    )
    server.start()
    yield PostgresForTests(server.owner_url)
    server.stop()


@pytest.fixture(scope="session")
def template_database(postgres_server: PostgresForTests) -> Iterator[str]:
    """The name of a migrated, empty database that nobody connects to: copying it takes some 20 ms."""
    name = f"template_{secrets.token_hex(4)}"
    url = postgres_server.create(name)
    if importlib.util.find_spec("gateway.db") and importlib.util.find_spec("gateway.db.migrate"):
        from gateway.db import migrate

        migrate.upgrade(url)
    yield name
    postgres_server.drop(name)


@pytest.fixture(scope="module")
def database_url(postgres_server: PostgresForTests, template_database: str) -> Iterator[str]:
    """A migrated database of this test module's own, connected to as the role that owns the tables."""
    name = f"test_{secrets.token_hex(4)}"
    yield postgres_server.create(name, template_database)
    postgres_server.drop(name)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if urls := os.environ.get("TEST_REDIS_URL"):
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        servers = urls.split(",")
        if number >= len(servers):
            pytest.fail(
                f"TEST_REDIS_URL lists {len(servers)} servers; pytest process {number + 1} needs one of its own"
            )
        yield servers[number]
        return
    folder = tmp_path_factory.mktemp("redis")
    server = ValkeyServer(folder / "data", log=folder / "redis.log", password=secrets.token_hex(8), throwaway=True)
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """An empty Redis that no other test uses at the same time."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port of this machine's that is taken and not listened on: whoever connects is refused, and nobody else gets it."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


StartInstallation = Callable[..., RunningInstallation]


@pytest.fixture
def wonrouter_installation(tmp_path: Path) -> Iterator[StartInstallation]:
    """Starts installations of a test's own: `start("--api", "2", env={…})`. All are stopped after the test."""
    started: list[RunningInstallation] = []

    def start(*options: str, env: Mapping[str, str] | None = None, state: Path | None = None) -> RunningInstallation:
        installation = RunningInstallation(state or tmp_path / f"state{len(started)}", *options, env=env)
        started.append(installation)
        return installation

    yield start
    for installation in started:
        installation.stop()


@pytest.fixture(scope="session")
def running_installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstallation]:
    """One installation for all tests that only use it: they may add to it and must not break it."""
    installation = RunningInstallation(tmp_path_factory.mktemp("installation") / "state")
    yield installation
    installation.stop()
