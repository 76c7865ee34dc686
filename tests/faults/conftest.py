"""Installations to break. Two for the whole run: a pair of everything, and a single api and worker."""

import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.faults.books import Books
from tests.faults.load import Outcome
from tests.faults.run import WarmInstallation
from tests.operating import UNHURRIED, Installation, installed, until
from tests.provider.server import Provider, running_provider

_numbers = itertools.count(1)
_MODELS = {"openai/gpt-4o": "gpt-4o"}
_MICRO = 1_000_000
_IMPATIENT = {
    **UNHURRIED,
    "WONROUTER_PLACED_LEASE_S": "15",  # a job whose message and front end died together is voided after this
    "WONROUTER_IDENTITY_CACHE_S": "0.5",  # an outage of PostgreSQL is then one within half a second
    "WONROUTER_CLIENT_BUFFER_BYTES": "262144",  # megabytes for each client that does not read are slow to fill
}
"""What takes a minute in production is too long for a test."""
_PATIENT = {**UNHURRIED, "WONROUTER_IDLE_TIMEOUT_S": "120", "WONROUTER_FIRST_TOKEN_TIMEOUT_S": "60"}
"""A thousand streams are held at a gate until all are open; a busy machine may need longer for that than a model may
be silent."""
_REST_SECONDS = 30.0
"""Longer than lease and expiry grace together: then nothing of a dead process is left."""


@dataclass
class Scene:
    """A customer of an installation, the mock behind it, and the books of this test alone."""

    installation: Installation
    provider: Provider
    organisation: str
    key: str
    won: int
    since: datetime

    @property
    def url(self) -> str:
        return self.installation.root + "/api/v1"

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(str(self.installation.up["redis_url"]), decode_responses=True)

    def kill(self, role: str, index: int = 0) -> int:
        """SIGKILL to one process of that role; its pid."""
        pid = self.installation.pids(role)[index]
        os.kill(pid, signal.SIGKILL)
        return pid

    def replaced(self, role: str, pid: int) -> None:
        """Waits until the supervisor runs as many processes of that role as before, without the dead one."""

        def probe() -> bool:
            pids = self.installation.pids(role)
            return pid not in pids and all(Path(f"/proc/{p}").exists() for p in pids)

        until(probe, f"{role} {pid} replaced")

    def at_rest(self) -> None:
        """Waits until no job, hold, slot or unsettled event is left; AssertionError after the longest lawful time."""

        def probe() -> bool:
            window = self.window()
            return not any(window[name] for name in ("open_jobs", "slots", "held_micro", "unsettled"))

        until(probe, f"rest; the window is {self.window()}", seconds=_REST_SECONDS, pause=0.3)

    def window(self) -> dict[str, int]:
        return self.installation.window(self.organisation)

    def rows(self) -> list[dict[str, Any]]:
        """This customer's usage rows."""
        return self.installation.usage(self.organisation, self.since)

    def books(self, outcomes: list[Outcome], *, tokens_behind: int = 0) -> Books:
        """The three books, once everything is at rest and the provider's calls have ended."""
        self.at_rest()
        calls = self.provider.log.wait_for(lambda calls: all(call.ended_at for call in calls))
        return Books(calls, outcomes, self.rows(), tokens_behind)

    def balance_matches(self, books: Books) -> bool:
        """Credit left = top-up - the rows' charges, each rounded up to a millionth of a won."""
        spent = self.won * _MICRO - self.window()["balance_micro"]
        exact = sum((Decimal(row["cost_krw"]) for row in books.rows), Decimal(0)) * _MICRO
        return exact <= spent <= exact + len(books.rows)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two api processes, two workers."""
    state = tmp_path_factory.mktemp("pair") / "state"
    with installed(state, "--api", "2", "--workers", "2", env=_IMPATIENT, kind=WarmInstallation) as installation:
        yield installation


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One api process, one worker."""
    state = tmp_path_factory.mktemp("single") / "state"
    with installed(state, env=_PATIENT) as installation:
        yield installation


def open_scene(installation: Installation, provider: Provider, won: int, policy: str) -> Scene:
    """A new customer of `installation`, served by `provider`."""
    number = next(_numbers)
    since = datetime.now(UTC)
    installation.deploy(f"faults-{number}", provider.base_url, _MODELS)
    organisation = installation.organisation(f"faults-{number}", won=won, policy=policy)
    key = installation.key(organisation, rpm=1_000_000, concurrency=5_000)
    return Scene(installation, provider, organisation, key, won, since)


@pytest.fixture
def fault_provider() -> Iterator[Provider]:
    """A mock of this test's own: its log is the oracle."""
    with running_provider() as running:
        yield running


@pytest.fixture
def scene(pair: Installation, fault_provider: Provider) -> Scene:
    """A customer with plenty of credit on the pair."""
    return open_scene(pair, fault_provider, 10_000_000, "optimistic")


@pytest.fixture
def lone_scene(single: Installation, fault_provider: Provider) -> Scene:
    """A customer with plenty of credit on the single installation."""
    return open_scene(single, fault_provider, 10_000_000, "optimistic")


def every_table_text(database_url: str, needle: str) -> list[str]:
    """The tables of which a row, as text, holds `needle`: finds also what the files hold compressed."""
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        tables = connection.execute(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
            " WHERE schemaname !~ '^pg_' AND schemaname <> 'information_schema'"
        ).fetchall()
        found: list[str] = []
        for (table,) in tables:
            query = f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE %s"  # names come from the catalogue
            count = connection.execute(query.encode(), [f"%{needle}%"]).fetchone()
            if count and count[0]:
                found.append(table)
        return found
