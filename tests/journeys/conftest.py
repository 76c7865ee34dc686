"""One installation and one mock provider for all journeys; each test may open an account of its own."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest

from tests.operating import UNHURRIED, Installation, installed, until
from tests.otlp import Collector, collecting
from tests.provider.server import Provider, running_provider

MODELS = {"openai/gpt-4o": "gpt-4o", "openai/gpt-4o-mini": "gpt-4o-mini"}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Account:
    """An organisation with keys of both kinds, and the ways in which its people call."""

    installation: Installation
    organisation: str
    key: str
    krouter_key: str
    since: datetime
    opened: ExitStack
    """Closes the clients when the account's tests are over."""

    def client(self, path: str = "/api/v1", key: str = "") -> openai.OpenAI:
        """openai-python on that base path. No retries: a journey's count of calls is exact."""
        own = self.krouter_key if path == "/v1" else self.key
        made = openai.OpenAI(base_url=self.installation.root + path, api_key=key or own, max_retries=0, timeout=60)
        return self.opened.enter_context(made)

    def asynchronous(self, path: str = "/api/v1") -> openai.AsyncOpenAI:
        """The same, asynchronous."""
        own = self.krouter_key if path == "/v1" else self.key
        return openai.AsyncOpenAI(base_url=self.installation.root + path, api_key=own, max_retries=0, timeout=60)

    def get(self, path: str, **query: str) -> Any:
        """The JSON of GET `path` with this account's key in `X-API-Key`."""
        url, headers = self.installation.root + path, {"X-API-Key": self.key}
        answer = httpx.get(url, params=query, headers=headers, timeout=60)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    def booked(self, answer_id: str) -> dict[str, Any]:
        """The usage row of the call that was answered with this id, once it is booked."""

        def find() -> dict[str, Any] | None:
            rows = self.installation.usage(self.organisation, self.since)
            return next((row for row in rows if job_of(row["id"]) == job_of(answer_id)), None)

        return until(find, f"the usage row of {answer_id}", pause=0.2)

    def available_won(self) -> Decimal:
        """What `GET /api/v1/credits` says is left, in won."""
        return Decimal(str(self.get("/api/v1/credits")["data"]["balance_krw"]))


def job_of(answer_id: str) -> str:
    """The job behind an answer's id; the row of a call carries it with or without the answer's prefix."""
    return answer_id.rpartition("-")[2]


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the installation sends its traces."""
    with collecting() as running:
        yield running


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Installation]:
    """One api process, one worker. All journeys are traced."""
    environ = {**UNHURRIED, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with installed(tmp_path_factory.mktemp("journeys") / "state", env=environ) as running:
        yield running


@pytest.fixture(scope="session")
def upstream() -> Iterator[Provider]:
    """The mock that stands for OpenAI in all journeys."""
    with running_provider() as running:
        yield running


@pytest.fixture(scope="session")
def served(installation: Installation, upstream: Provider) -> Installation:
    """The installation with two models deployed at the mock."""
    installation.deploy("journeys", upstream.base_url, MODELS)
    return installation


@contextmanager
def opened_account(installation: Installation, won: int) -> Iterator[Account]:
    """A new organisation with that much credit."""
    since = datetime.now(UTC)
    organisation = installation.organisation(f"journey-{next(_numbers)}", won=won)
    key = installation.key(organisation, "bizrouter")
    krouter_key = installation.key(organisation, "kr", surface="krouter")
    with ExitStack() as opened:
        yield Account(installation, organisation, key, krouter_key, since, opened)


@pytest.fixture(scope="session")
def account(served: Installation) -> Iterator[Account]:
    """A customer with 100,000 won."""
    with opened_account(served, 100_000) as account:
        yield account


@pytest.fixture(scope="session")
def poor_account(served: Installation) -> Iterator[Account]:
    """A customer without any credit."""
    with opened_account(served, 0) as account:
        yield account
