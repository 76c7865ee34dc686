"""The console as people use it: Debian's chromium against a whole installation.

Where chromium, the playwright package or npm is missing these tests are skipped with a line that says so; with CI set in
the environment they fail instead.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.browser.scene import Scene, build
from tests.browser.site import Person, Site
from tests.browser.visitor import Visitor
from tests.operating import UNHURRIED, installed
from tests.provider.server import Provider, running_provider

BROWSER = [pytest.mark.browser, pytest.mark.installation, pytest.mark.timeout(600)]
"""Of every module here. The first test also waits for the installation, which takes minutes on a machine under load."""
_NODE = Path(__file__).parent / "node"


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"CI must run the browser tests: {what}")
    pytest.skip(f"the browser tests did not run: {what}")


@pytest.fixture(scope="session")
def program() -> str:
    """Where chromium is."""
    found = shutil.which("chromium")
    if found is None:
        _missing("chromium is not on the PATH (Debian: apt-get install chromium)")
    if importlib.util.find_spec("playwright") is None:
        _missing("the package playwright is not installed (python3 dev.py --ci test)")
    return found


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def upstream() -> Iterator[Provider]:
    """The mock that stands for OpenAI."""
    with running_provider() as running:
        yield running


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory, upstream: Provider, program: str) -> Iterator[Site]:
    """One installation for all tests here: they add to it and never break it."""
    with installed(tmp_path_factory.mktemp("browser") / "state", env=UNHURRIED, kind=Site) as running:
        yield running


@pytest.fixture(scope="package")
def scene(site: Site, upstream: Provider) -> Scene:
    """A month of it, in which every page has something to show."""
    return build(site, upstream)


@pytest.fixture(scope="package")
def chromium(program: str, scene: Scene) -> Iterator[Any]:
    """One browser process for the tests here; each has a context of its own.

    Not for the session: playwright keeps an event loop running in this thread, beside which no other test may have one,
    nor the mock start its own: hence after ``scene``.
    """
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox"] if os.geteuid() == 0 else []  # chromium's own sandbox cannot be had as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*options, "--disable-gpu"])
        yield browser
        browser.close()


Open = Callable[..., Visitor]


@pytest.fixture
def opened(chromium: Any, site: Site, scene: Scene) -> Iterator[Open]:
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
