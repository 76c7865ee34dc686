"""`wonrouter migrate`, `org` and `key` as people and scripts call them."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis import Redis
from sqlalchemy import Engine

from gateway import commands
from gateway.accounts import commands as account_commands
from gateway.accounts import keys
from gateway.accounts.organisations import Organisation
from gateway.credit import upkeep

Run = Callable[..., Result]


@pytest.fixture
def run(redis: Redis, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs one command against this test's database and Redis."""
    del redis  # its window is open
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("WONROUTER_SECRET", base64.b64encode(bytes(32)).decode())
    monkeypatch.setattr(account_commands, "WINDOW_PATIENCE_S", 0.01)  # no billing runs here
    by_name = {command.name: command for command in commands.commands}

    def call(name: str, *arguments: str) -> Result:
        return CliRunner().invoke(by_name[name], arguments, catch_exceptions=False)

    return call


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_migrate_fills_an_empty_database(run: Run, engine: Engine) -> None:
    assert answer(run("migrate", "--json")) == {"migrated": True}
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM price").scalar_one() >= 72


def test_migrate_says_what_it_needs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    result = run("migrate")
    assert result.exit_code == 2
    assert "DATABASE_URL" in result.output


def test_an_organisation_is_made_changed_and_shown(run: Run) -> None:
    name = f"회사 {uuid.uuid4()}"
    made = answer(
        run("org", "create", "--name", name, "--billing", "postpaid", "--policy", "strict", "--month-limit",
            "1000.5", "--rpm", "60", "--concurrency", "5", "--json")
    )  # fmt: skip
    assert (made["billing"], made["policy"], made["month_limit_won"], made["rpm"]) == ("postpaid", "strict", 1000.5, 60)
    changed = answer(run("org", "set", name, "--month-limit", "none", "--rpm", "7", "--no-training", "--json"))
    assert (changed["month_limit_won"], changed["rpm"], changed["no_training"], changed["version"]) == (
        None,
        7,
        True,
        2,
    )
    assert changed["concurrency"] == 5
    shown = answer(run("org", "show", made["id"], "--json"))
    assert shown == changed | {"balance_won": None, "held_won": None, "running": None}
    assert made["id"] in {org["id"] for org in answer(run("org", "list", "--json"))}


def test_show_tells_the_credit_left(run: Run, org: Organisation, redis: Redis) -> None:
    upkeep.apply(redis, upkeep.Change(org.id, 2, balance_micro=1_500_000), "1")
    shown = answer(run("org", "show", org.id, "--json"))
    assert (shown["balance_won"], shown["held_won"], shown["running"]) == (1.5, 0, 0)
    assert "balance_won      1.5" in run("org", "show", org.id).output


def test_a_key_is_made_changed_rotated_and_revoked(run: Run, org: Organisation, engine: Engine) -> None:
    made = answer(
        run("key", "create", "--org", org.id, "--name", "ci", "--limit-krw", "5000", "--rpm", "9", "--models",
            "openai/gpt-4o,kr/claude-sonnet", "--expires", "2099-01-01T00:00:00+09:00", "--json")
    )  # fmt: skip
    assert made["key"].startswith(f"sk-br-v1-{made['id']}_")
    assert (made["limit_won"], made["rpm"]) == (5000, 9)
    assert "openai/gpt-4o" in made["models"]
    changed = answer(run("key", "set", made["id"], "--limit-krw", "none", "--deactivated", "--json"))
    assert (changed["limit_won"], changed["state"], changed["version"]) == (None, "deactivated", 2)
    rotated = answer(run("key", "rotate", made["id"], "--json"))
    assert rotated["key"] != made["key"]
    [listed] = answer(run("key", "list", "--org", org.id, "--json"))
    assert listed["id"] == made["id"]
    assert "key" not in listed
    assert answer(run("key", "revoke", made["id"], "--json"))["state"] == "deleted"
    assert answer(run("key", "list", "--org", org.id, "--json")) == []
    with engine.connect() as connection:
        assert keys.by_secret(connection, made["key"]) is None


def test_a_krouter_key_is_shown_once_in_plain_output(run: Run, org: Organisation) -> None:
    output = run("key", "create", "--org", org.id, "--name", "k", "--surface", "krouter").output
    secret = output.split()[-1]
    assert secret.startswith("kr-")
    assert secret not in run("key", "list", "--org", org.id).output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("org", "show", "nobody"), "nobody"),
        (("org", "set", "nobody", "--rpm", "1"), "nobody"),
        (("key", "create", "--org", "nobody", "--name", "k"), "nobody"),
        (("key", "set", "nobody", "--rpm", "1"), "nobody"),
        (("key", "revoke", str(uuid.UUID(int=4))), "no key"),
        (("key", "set", str(uuid.UUID(int=4)), "--rpm", "many"), "neither"),
        (("key", "set", str(uuid.UUID(int=4)), "--expires", "2030-01-01"), "neither"),
    ],
)
def test_a_mistake_is_one_plain_line_and_a_code(run: Run, arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code in {1, 2}
    assert says in result.output
    assert "Traceback" not in result.output


def test_tokens_per_minute_and_limits_by_model_are_set_and_taken_away(run: Run, org: Organisation) -> None:
    limit = ("--model-limit", "openai/gpt-4o:rpm=5,tpm=1000", "--model-limit", "openai/gpt-4o-mini:concurrency=2")
    expected = {"openai/gpt-4o": {"rpm": 5, "tpm": 1000}, "openai/gpt-4o-mini": {"concurrency": 2}}
    made = answer(run("key", "create", "--org", org.id, "--name", "k", "--tpm", "20000", *limit, "--json"))
    assert (made["tpm"], made["model_limits"]) == (20_000, expected)
    assert '"rpm":5' in run("key", "set", made["id"], "--name", "n").output
    changed = answer(run("key", "set", made["id"], "--tpm", "none", "--model-limit", "none", "--json"))
    assert (changed["tpm"], changed["model_limits"]) == (None, {})
    assert answer(run("org", "set", org.id, *limit, "--json"))["model_limits"] == expected
    for wrong in ("openai/gpt-4o", "openai/gpt-4o:rpm=x", "openai/gpt-4o:rpm=1,rpm=2"):
        assert run("org", "set", org.id, "--model-limit", wrong).exit_code == 2
    for wrong in ("nobody/nothing:rpm=1", "openai/gpt-4o:speed=1", "openai/gpt-4o:rpm=-1"):
        assert run("org", "set", org.id, "--model-limit", wrong).exit_code == 1
