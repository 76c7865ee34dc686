"""What ``wonrouter doctor`` says of stores that are not as they should be. A healthy installation's is a journey."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis as blocking
from sqlalchemy import Engine, text

from gateway.db import connect
from gateway.db.seed import seed
from gateway.deployments import store
from gateway.deployments.deployment import Deployment
from gateway.doctor import database, line, machine
from gateway.doctor.finding import Finding, run
from gateway.seal import Sealer
from gateway.settings import Settings
from gateway.wire import keys

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture(scope="module")
def engine(database_url: str) -> Iterator[Engine]:
    seed(database_url)
    made = connect.engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def line_to(redis_url: str) -> Iterator[Any]:
    with blocking.Redis.from_url(redis_url) as client:
        yield client


def settings(**changes: Any) -> Settings:
    values = {"database_url": "postgresql://nobody@localhost/none", "redis_url": "redis://localhost", "secret": SECRET}
    return Settings(**{**values, **changes})


def levels(findings: Iterable[Finding]) -> dict[str, str]:
    found = list(findings)
    assert all(bool(each.advice) == (each.level != "ok") for each in found)
    return {each.check: each.level for each in found}


@contextmanager
def changed(engine: Engine, change: str, back: str) -> Iterator[None]:
    with engine.begin() as connection:
        connection.execute(text(change))
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.execute(text(back))


def test_a_migrated_database_is_well(engine: Engine) -> None:
    assert levels(database.schema(engine)) == {"database": "ok", "migrations": "ok"}
    found = levels(database.roles(engine))
    assert found["rights"] == "ok" and found["roles"] in {"ok", "warn"}  # tests give the roles no login


def test_another_schema_than_the_programs_is_told(engine: Engine) -> None:
    with engine.connect() as connection:
        now = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    with changed(engine, "UPDATE alembic_version SET version_num = '0001'",
                 f"UPDATE alembic_version SET version_num = '{now}'"):  # fmt: skip
        assert levels(database.schema(engine))["migrations"] == "fail"


@pytest.mark.parametrize(
    ("change", "back"),
    [
        ("REVOKE SELECT ON deployment FROM wonrouter_worker", "GRANT SELECT ON deployment TO wonrouter_worker"),
        ("GRANT DELETE ON entry TO wonrouter_billing", "REVOKE DELETE ON entry FROM wonrouter_billing"),
        ("GRANT UPDATE (won) ON entry TO wonrouter_api", "REVOKE UPDATE (won) ON entry FROM wonrouter_api"),
    ],
    ids=["too few", "too many", "too many, one column"],
)
def test_rights_that_are_not_those_of_the_migrations_are_told(engine: Engine, change: str, back: str) -> None:
    with changed(engine, change, back):
        assert levels(database.roles(engine))["rights"] == "fail"


def test_rate_and_books_are_looked_at(engine: Engine) -> None:
    assert levels(database.money(engine, settings())) == {"rate": "warn", "books": "warn", "outbox": "ok"}  # demo, new
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO invariant_run (found, violations) VALUES ('{\"balances\": 2}', 2)"))
    assert levels(database.money(engine, settings()))["books"] == "fail"


def test_deployments_that_cannot_be_called_are_told(engine: Engine) -> None:
    assert levels(database.deployments(engine, settings()))["deployments"] == "warn"  # there are none
    assert levels(database.deployments(engine, settings(sandbox=True)))["deployments"] == "ok"

    def deployed(model: str, secret: bytes) -> dict[str, str]:
        made = Deployment("d1", model, "openai", "https://api.example.com/v1", "m", "sk-upstream-0001")
        store.replace(engine, Sealer(secret, store.PURPOSE), "file", [made])
        return levels(database.deployments(engine, settings()))

    right = settings().hash_key
    assert deployed("openai/gpt-4o", right) == {"secret": "ok", "deployments": "ok", "prices": "ok"}
    assert deployed("openai/gpt-4o", bytes(32))["secret"] == "fail"
    assert deployed("acme/unheard-of", right) == {"secret": "ok", "deployments": "fail", "prices": "fail"}


def test_a_redis_that_may_forget_is_told(line_to: Any) -> None:
    found = levels(line.server(line_to))
    assert found == {
        "redis": "ok", "redis persistence": "fail", "redis eviction": "ok", "redis output limit": "ok",
    }  # fmt: skip  # tests' own server writes nothing to disk
    before = line_to.config_get("client-output-buffer-limit")["client-output-buffer-limit"]
    try:
        line_to.config_set("maxmemory-policy", "allkeys-lru")
        line_to.config_set("maxmemory", 64_000_000_000)
        line_to.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
        found = levels(line.server(line_to))
    finally:
        line_to.config_set("maxmemory-policy", "noeviction")
        line_to.config_set("maxmemory", 0)
        line_to.config_set("client-output-buffer-limit", before)
    assert (found["redis eviction"], found["redis output limit"], found["redis memory"]) == ("fail", "fail", "ok")


def test_a_closed_window_and_silent_processes_are_told(line_to: Any, engine: Engine) -> None:
    assert levels(line.window(line_to, engine)) == {"window": "fail"}
    assert levels(line.processes(line_to)) == {"api": "fail", "worker": "fail", "billing": "fail"}
    with engine.connect() as connection:
        epoch = connection.execute(text("SELECT epoch FROM window_epoch")).scalar_one()
    line_to.set(keys.EPOCH, str(epoch))
    line_to.set(keys.SETTLER, "host 1")
    assert levels(line.window(line_to, engine)) == {"window": "warn"}  # built in another Redis than this one
    assert levels(line.processes(line_to))["billing"] == "ok"
    assert levels(line.clocks(line_to, engine)) == {"clocks": "ok"}


def test_what_waits_too_long_is_told(line_to: Any) -> None:
    assert set(levels(line.queues(line_to, settings())).values()) == {"ok"}
    line_to.set(keys.WAITING, 15_000)
    line_to.xadd(keys.USAGE, {"job": "x"}, id="1-1")
    line_to.xadd(keys.DEAD, {"job": "x"})
    line_to.zadd(keys.LEASES, {str(n): 1 for n in range(200)})
    assert levels(line.queues(line_to, settings())) == {
        "queue": "fail", "leases": "warn", "settlement": "fail", "dead letters": "warn",
    }  # fmt: skip


def test_a_store_that_is_away_is_one_failure_among_the_other_findings(line_to: Any, deaf_port: int) -> None:
    nowhere = connect.engine(f"postgresql://x:y@127.0.0.1:{deaf_port}/z")
    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("database", lambda: database.schema(nowhere)),
        ("queues", lambda: line.queues(line_to, settings())),
    ]
    found = levels(run(checks))
    nowhere.dispose()
    assert found["database"] == "fail" and found["settlement"] == "ok"


def test_room_and_file_limits_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(machine.disk(tmp_path / "nowhere")) == []
    assert set(levels(machine.disk(tmp_path))) == {"disk"}
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, 1024))
    assert levels(machine.files(tmp_path)) == {"files": "warn"}


def test_addresses_that_nobody_answers_at_are_told(deaf_port: int) -> None:
    dead = f"http://127.0.0.1:{deaf_port}/v1"
    assert levels(machine.reachable([("openai", dead)])) == {"provider openai": "warn"}


@pytest.mark.parametrize(
    "wrong",
    [{"WONROUTER_SECRET": "c2hvcnQ="}, {"WONROUTER_SECRETS_ACCEPTED": "c2hvcnQ="}, {"WONROUTER_PORT": "eighty"}],
)
def test_settings_that_are_wrong_end_it_without_showing_them(wrong: dict[str, str]) -> None:
    environ = {**os.environ, "DATABASE_URL": "postgresql://u:hidden-word@h/d", "REDIS_URL": "redis://h", **wrong}
    environ.setdefault("WONROUTER_SECRET", SECRET)
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "doctor", "--json"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    said = json.loads(done.stdout)
    assert said["well"] is False and [each["level"] for each in said["findings"]] == ["fail"]
    assert "hidden-word" not in done.stdout and "c2hvcnQ" not in done.stdout
