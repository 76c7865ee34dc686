"""The console as people use it: Debian's chromium against a whole installation.

Where chromium, the playwright package or npm is missing these tests are skipped with a line that says so; with CI set in
the environment they fail instead.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gateway import installation as installations
from gateway import redis as redis_clients
from gateway.accounts import people
from gateway.accounts.change import OPERATOR, changing
from gateway.accounts.people import MemberRole
from gateway.db import connect
from gateway.invoices.month import month_start
from gateway.wire import keys
from gateway.wire.event import encode_event
from tests.billing.events import job_id, part, usage_event
from tests.browser.visitor import Visitor
from tests.operating import Installation, installed, until
from tests.provider.server import Provider, running_provider

MODELS = {"openai/gpt-4o": "gpt-4o", "openai/gpt-4o-mini": "gpt-4o-mini"}
BROWSER = [pytest.mark.browser, pytest.mark.installation, pytest.mark.timeout(600)]
"""Of every module here. The first test also waits for the installation, which takes minutes on a machine under load."""
PASSWORD = "correct horse battery"
_NODE = Path(__file__).parent / "node"
_numbers = itertools.count(1)


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"CI must run the browser tests: {what}")
    pytest.skip(f"the browser tests did not run: {what}")


@dataclass(frozen=True)
class Person:
    """Somebody who can sign in."""

    id: str
    email: str
    name: str
    password: str = PASSWORD


class Site(Installation):
    """An installation in which people can be made at once, with the password that tests know."""

    def person(self, name: str, *, org: str = "", role: MemberRole = "owner", operator: bool = False) -> Person:
        """A person, member of that organisation if one is named."""
        there = installations.find(self.state, {})
        engine, redis = connect.engine(there.database_url, pool_size=1), redis_clients.connect(there.redis_url)
        try:
            with changing(engine, redis, OPERATOR) as change:
                email = f"person-{next(_numbers)}@example.kr"
                made = people.create(change, email, name, PASSWORD, operator=operator)
                if org:
                    people.join(change, org, made.id, role)
        finally:
            redis.close()
            engine.dispose()
        return Person(made.id, email, name)

    def customer(self, name: str, month: str, calls: int = 12) -> str:
        """A postpaid organisation with everything an invoice needs, and calls of a month that is over, in the books."""
        made = str(self.ask("org", "create", "--name", name, "--billing", "postpaid")["id"])
        self.run(
            "billing-profile", "set", made, "--legal-name", name, "--registration", "999-88-12349",
            "--representative", "김하늘", "--address", "경기도 성남시", "--json",
        )  # fmt: skip
        key = str(self.ask("key", "create", "--org", made, "--name", "운영 키")["id"])
        there = installations.find(self.state, {})
        redis = redis_clients.connect(there.redis_url)
        first = int(month_start(month).timestamp() * 1000)
        try:
            for number in range(calls):
                event = usage_event(
                    made, key, job=job_id(first + number * 3_600_000), title=("상담 봇", "번역기")[number % 2],
                    parts=[part(1_000 + number, 500, rate="1400.60", model=("openai/gpt-4o", "openai/gpt-4o-mini")[number % 2])],
                )  # fmt: skip
                fields = {
                    "job": event.job, "org": made, "key": key, "out": "posted", "micro": event.micro, "ep": 1, "hold": 0,
                    "ev": encode_event(event), "att": b"",
                }  # fmt: skip
                redis.xadd(keys.USAGE, fields)  # type: ignore[arg-type]
        finally:
            redis.close()
        until(lambda: self.ask("window")["unsettled"] == 0, "the month's calls are in the books")
        return made


@pytest.fixture(scope="session")
def program() -> str:
    """Where chromium is."""
    found = shutil.which("chromium")
    if found is None:
        _missing("chromium is not on the PATH (Debian: apt-get install chromium)")
    if importlib.util.find_spec("playwright") is None:
        _missing("the package playwright is not installed (python3 dev.py --ci test)")
    return found


@pytest.fixture(scope="module")
def chromium(program: str) -> Iterator[Any]:
    """One browser process for a module's tests; each test has a context of its own.

    Not for the session: playwright keeps an event loop running in this thread, beside which no other test may have one.
    """
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox"] if os.geteuid() == 0 else []  # chromium's own sandbox cannot be had as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*options, "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core as its lock file names it, installed outside the source tree; its script."""
    if shutil.which("npm") is None:
        _missing("npm is not on the PATH, and axe-core comes by it")
    folder = tmp_path_factory.mktemp("axe") / "node"
    shutil.copytree(_NODE, folder, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(["npm", "ci"], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        _missing(f"npm ci failed: {done.stderr[-500:]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def upstream() -> Iterator[Provider]:
    """The mock that stands for OpenAI."""
    with running_provider() as running:
        yield running


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, upstream: Provider, program: str) -> Iterator[Site]:
    """One installation for all tests here: they add to it and never break it."""
    with installed(tmp_path_factory.mktemp("browser") / "state", kind=Site) as running:
        running.deploy("browser", upstream.base_url, MODELS)
        yield running


Open = Callable[..., Visitor]


@pytest.fixture
def opened(chromium: Any, site: Site) -> Iterator[Open]:
    """Opens browsers of people who share nothing; after the test each must have been without a complaint."""
    visitors: list[Visitor] = []

    def make(person: Person | None = None, **options: Any) -> Visitor:
        visitor = Visitor(chromium, site.root, **options)
        visitors.append(visitor)
        if person is not None:
            visitor.sign_in(person.email, person.password)
        return visitor

    yield make
    complaints = [complaint for visitor in visitors for complaint in visitor.complaints]
    for visitor in visitors:
        visitor.close()
    assert complaints == []
