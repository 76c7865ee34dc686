"""Deployments at rest, in a real PostgreSQL."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy import Engine

from gateway import deployments
from gateway.catalogue.packaged import builtin
from gateway.db import connect
from gateway.deployments import change, store
from gateway.deployments.commands import deployments as command
from gateway.deployments.file import MistakesInFile
from gateway.seal import Sealer, Unsealable
from gateway.wire import keys
from gateway.wire.news import News, decode_news

SECRET = base64.b64encode(bytes(range(32))).decode()
SEALER = Sealer(bytes(range(32)), store.PURPOSE)
FILE = """
[[deployment]]
model = "openai/gpt-4o"
api_key = "env:KEY"
weight = 3
region = "kr"

[[deployment]]
model = "openai/gpt-4o-mini"
api_key = "env:KEY"
options = { path = "/other", "header.x-team" = "secret-team" }
"""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = connect.engine(database_url, pool_size=1)
    with made.begin() as connection:
        connection.execute(sa.text("DELETE FROM deployment"))
    yield made
    made.dispose()


def test_a_file_replaces_what_files_said_and_is_told(engine: Engine, database_url: str, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, client.pubsub() as listening:
        listening.subscribe(keys.NEWS)
        assert listening.get_message(timeout=60) is not None
        applied = change.apply(database_url, redis_url, SECRET, FILE, {"KEY": "sk-secret"})
        news = listening.get_message(timeout=60)
    assert applied.told
    assert news is not None
    assert decode_news(news["data"]) == News("deployments")
    loaded = store.load(engine, SEALER)
    assert [(d.model, d.weight, d.region, d.api_key) for d in loaded] == [
        ("openai/gpt-4o", 3, "kr", "sk-secret"),
        ("openai/gpt-4o-mini", 1, None, "sk-secret"),
    ]
    assert loaded[1].options["path"] == "/other"
    change.apply(database_url, redis_url, SECRET, "", {})
    assert store.load(engine, SEALER) == []


def test_a_file_with_a_mistake_changes_nothing(engine: Engine, database_url: str, redis_url: str) -> None:
    change.apply(database_url, redis_url, SECRET, FILE, {"KEY": "sk-secret"})
    with pytest.raises(MistakesInFile):
        change.apply(database_url, redis_url, SECRET, FILE, {})
    assert len(store.load(engine, SEALER)) == 2


def test_keys_lie_sealed_and_open_only_with_the_secret(engine: Engine, database_url: str, redis_url: str) -> None:
    change.apply(database_url, redis_url, SECRET, FILE, {"KEY": "sk-planted-key"})
    with engine.connect() as connection:
        everything = repr(connection.execute(sa.text("SELECT * FROM deployment")).all())
    assert "sk-planted-key" not in everything
    with pytest.raises(Unsealable):
        store.load(engine, Sealer(bytes(32), store.PURPOSE))


def test_keys_of_the_environment_reach_their_makers_models(engine: Engine, database_url: str, redis_url: str) -> None:
    made = deployments.from_environment(database_url, redis_url, SECRET, {"OPENAI_API_KEY": "sk-env"})
    native = {m.id for m in builtin().models.values() if m.provider == "openai" and m.native}
    assert {d.model for d in store.load(engine, SEALER)} == native
    assert made == len(native)
    change.apply(database_url, redis_url, SECRET, FILE, {"KEY": "sk-file"})
    by_model = {d.model: d.api_key for d in store.load(engine, SEALER)}
    assert (by_model["openai/gpt-4o"], by_model["openai/o3"]) == ("sk-file", "sk-env")
    assert deployments.from_environment(database_url, redis_url, SECRET, {}) == 0
    assert {d.model for d in store.load(engine, SEALER)} == {"openai/gpt-4o", "openai/gpt-4o-mini"}


def test_models_with_a_deployment_are_available(engine: Engine, database_url: str, redis_url: str) -> None:
    change.apply(database_url, redis_url, SECRET, FILE.replace("weight = 3", "weight = 0"), {"KEY": "sk"})
    assert store.available_models(engine, sandbox=False) == {"openai/gpt-4o-mini"}
    assert "sandbox/echo" in store.available_models(engine, sandbox=True)


@pytest.mark.parametrize(
    ("role", "column", "may"),
    [
        ("wonrouter_worker", "api_key", True),
        ("wonrouter_api", "model", True),
        ("wonrouter_api", "api_key", False),
        ("wonrouter_billing", "provider", True),
        ("wonrouter_billing", "api_key", False),
    ],
)
def test_only_the_worker_reads_keys(engine: Engine, role: str, column: str, may: bool) -> None:
    question = sa.text("SELECT has_column_privilege(:role, 'deployment', :column, 'SELECT')")
    with engine.connect() as connection:
        assert connection.execute(question, {"role": role, "column": column}).scalar_one() is may


def test_the_command_applies_and_lists_without_keys(
    engine: Engine, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "deployments.toml"
    file.write_text(FILE)
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "WONROUTER_SECRET": SECRET,
        "KEY": "sk-planted-key",
    }
    run = CliRunner(env=environment)
    applied = run.invoke(command, ["apply", str(file), "--json"])
    assert applied.exit_code == 0, applied.output
    assert len(json.loads(applied.output)["applied"]) == 2
    listed = run.invoke(command, ["list", "--json"])
    rows = json.loads(listed.output)
    assert [row["model"] for row in rows] == ["openai/gpt-4o", "openai/gpt-4o-mini"]
    assert "sk-planted-key" not in applied.output + listed.output
    assert "secret-team" not in listed.output
    file.write_text("[[deployment]]\nmodel = 'nope'")
    refused = run.invoke(command, ["apply", str(file)])
    assert refused.exit_code == 1
    assert "nothing was changed" in refused.output
