"""openai-node against both base paths. Needs Node and npm on the PATH and a reachable npm registry.

Where they are missing the test is skipped with a line that says so; with CI set in the environment it fails instead.
"""

import json
import os
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.journeys.conftest import Account
from tests.provider.dialects.openai import answer_text

pytestmark = pytest.mark.node

_SOURCE = Path(__file__).parent / "node"


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"CI must run the Node journey: {what}")
    pytest.skip(f"the Node journey did not run: {what}; install Node 20 or newer with npm to run it")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node package with its locked dependency installed, outside the source tree."""
    if not (shutil.which("node") and shutil.which("npm")):
        _missing("node or npm is not on the PATH")
    folder = tmp_path_factory.mktemp("node") / "journey"
    shutil.copytree(_SOURCE, folder, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(["npm", "ci"], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        _missing(f"npm ci failed: {done.stderr[-500:]}")
    return folder


@pytest.fixture(scope="module")
def told(package: Path, account: Account, poor_account: Account) -> dict[str, Any]:
    """What the Node program saw."""
    keys = {"KEY": account.key, "KROUTER_KEY": account.krouter_key, "POOR_KEY": poor_account.key}
    environment = {**os.environ, **keys, "ROOT": account.installation.root}
    done = subprocess.run(
        ["node", "journey.mjs"], cwd=package, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(("surface", "model"), [("bizrouter", "openai/gpt-4o"), ("krouter", "kr/gpt4o")])
def test_node_gets_whole_answers_streamed_and_not(told: dict[str, Any], surface: str, model: str) -> None:
    seen = told[surface]
    assert (seen["json"]["text"], seen["json"]["model"]) == (answer_text(12), model)
    assert (seen["stream"]["text"], seen["stream"]["finish"]) == (answer_text(12), ["stop"])
    assert seen["stream"]["usage"]["completion_tokens"] == 12
    assert seen["requestId"]


@pytest.mark.parametrize("surface", ["bizrouter", "krouter"])
def test_node_lists_and_retrieves_models(told: dict[str, Any], surface: str) -> None:
    assert told[surface]["listed"] >= 72
    assert told[surface]["retrieved"] == "openai/gpt-4o"


@pytest.mark.parametrize(("surface", "unpaid"), [("bizrouter", 403), ("krouter", 402)])
def test_node_raises_the_documented_errors(told: dict[str, Any], surface: str, unpaid: int) -> None:
    seen = told[surface]
    assert (seen["wrongKey"]["name"], seen["wrongKey"]["code"]) == ("AuthenticationError", "invalid_api_key")
    assert (seen["unknownModel"]["name"], seen["unknownModel"]["code"]) == ("NotFoundError", "model_not_found")
    assert (seen["noCredit"]["status"], seen["noCredit"]["code"]) == (unpaid, "credit_limit_exceeded")
    assert seen["noCredit"]["name"] == ("PermissionDeniedError" if unpaid == 403 else "APIError")


def test_the_documented_arithmetic_in_javascript_gives_the_charge(told: dict[str, Any], account: Account) -> None:
    booked = account.booked(told["bizrouter"]["json"]["id"])
    assert told["price"] == pytest.approx(float(booked["cost_krw"]), rel=1e-9)
    assert Decimal(told["bizrouter"]["json"]["usage"]["cost_krw"]) == Decimal(booked["cost_krw"])
