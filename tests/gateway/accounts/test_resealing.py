"""The installation's secret is replaced: what is stored is sealed anew, once, and nothing is lost."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pydantic import ValidationError
from redis import Redis
from sqlalchemy import Engine, text

from gateway import commands
from gateway.accounts import alerts, organisations
from gateway.accounts.change import OPERATOR, changing
from gateway.deployments import store
from gateway.deployments.deployment import Deployment
from gateway.doctor import database
from gateway.seal import Sealer
from gateway.settings import Settings

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
KEY = "sk-upstream-0001"
HOOK = "https://example.com/hook"


def said(secret: bytes) -> str:
    return base64.b64encode(secret).decode()


def settings(secret: bytes, accepted: str = "") -> Settings:
    return Settings(database_url="", redis_url="", secret=said(secret), secrets_accepted=accepted)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def stored(engine: Engine, redis: Redis) -> tuple[str, str]:
    """One provider key and one webhook under the old secret: the organisation, and the webhook's secret."""
    made = Deployment("d1", "openai/gpt-4o", "openai", "https://api.example.com/v1", "m", KEY)
    store.replace(engine, Sealer(OLD, store.PURPOSE), "file", [made])
    with changing(engine, redis, OPERATOR) as change:
        change.connection.execute(text("DELETE FROM alert_settings"))
        org = organisations.create(change, {"name": f"회사 {uuid.uuid4()}", "billing": "prepaid"}).id
        _, secret = alerts.update(change, org, {"webhook_url": HOOK}, Sealer(OLD, alerts.PURPOSE))
    assert secret is not None
    return org, secret


@pytest.fixture
def reseal(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`wonrouter secret reseal` where the environment has these secrets."""
    by_name = {command.name: command for command in commands.commands}

    def call(secret: bytes, accepted: str = "") -> Result:
        monkeypatch.setenv("DATABASE_URL", database_url)
        monkeypatch.setenv("REDIS_URL", redis_url)
        monkeypatch.setenv("WONROUTER_SECRET", said(secret))
        monkeypatch.setenv("WONROUTER_SECRETS_ACCEPTED", accepted)
        return CliRunner().invoke(by_name["secret"], ["reseal", "--json"], catch_exceptions=False)

    return call


def webhook(engine: Engine, org: str, sealer: Sealer) -> list[bytes]:
    with engine.connect() as connection:
        query = text("SELECT webhook_secret FROM alert_settings WHERE org = :org")
        return alerts.opened_secrets(connection.execute(query, {"org": org}).scalar_one(), uuid.UUID(org), sealer)


def doctors(engine: Engine, settings: Settings) -> Any:
    return next(finding for finding in database.deployments(engine, settings) if finding.check == "secret")


def test_stored_values_are_sealed_anew_once(
    engine: Engine, stored: tuple[str, str], reseal: Callable[..., Result]
) -> None:
    org, secret = stored
    between = settings(NEW, said(OLD))
    assert doctors(engine, between).level == "warn" and "reseal" in doctors(engine, between).advice
    for resealed in (2, 0):
        result = reseal(NEW, said(OLD))
        assert result.exit_code == 0
        assert json.loads(result.stdout) == {"own": 2 - resealed, "accepted": resealed, "unopenable": []}
    assert [made.api_key for made in store.load(engine, Sealer(NEW, store.PURPOSE))] == [KEY]
    assert webhook(engine, org, Sealer(NEW, alerts.PURPOSE)) == [secret.encode()]
    assert doctors(engine, settings(NEW)).level == "ok"
    with engine.connect() as connection:
        details = (
            connection.execute(text("SELECT details FROM audit_log WHERE action = 'secret.reseal'")).scalars().all()
        )
    assert details == [{"resealed": 2}]


def test_what_no_secret_opens_is_told_and_stays(
    engine: Engine, stored: tuple[str, str], reseal: Callable[..., Result]
) -> None:
    org, secret = stored
    store.replace(engine, Sealer(bytes(32), store.PURPOSE), "file", [
        Deployment("d1", "openai/gpt-4o", "openai", "https://api.example.com/v1", "m", KEY)
    ])  # fmt: skip
    result = reseal(NEW, said(OLD))
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"own": 0, "accepted": 1, "unopenable": ["deployment d1"]}
    assert webhook(engine, org, Sealer(NEW, alerts.PURPOSE)) == [secret.encode()]
    assert [made.api_key for made in store.load(engine, Sealer(bytes(32), store.PURPOSE))] == [KEY]
    assert doctors(engine, settings(NEW)).level == "fail" and "d1" in doctors(engine, settings(NEW)).text


def test_what_is_no_secret_is_named_and_not_shown(reseal: Callable[..., Result]) -> None:
    with pytest.raises(ValidationError, match="secrets_accepted") as wrong:
        reseal(NEW, "c2hvcnQ=")
    assert "c2hvcnQ" not in str(wrong.value)
