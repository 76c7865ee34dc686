"""`wonrouter privacy` as people and scripts call it."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from gateway.accounts.organisations import Organisation
from gateway.accounts.subjects import user_hash
from gateway.wire import ids
from tests.gateway.accounts.test_commands import Run, answer, run

__all__ = ["run"]

USER = "kim@example.kr"


@pytest.fixture
def call(engine: Engine, org: Organisation) -> str:
    """A settled call of an end user."""
    at_ms = int(dt.datetime.now(dt.UTC).timestamp() * 1000) - 60_000
    job = f"{at_ms:012x}7" + "".join(ids.random_parts())
    attempts = [{"provider": "openai", "model": "openai/gpt-4o", "reason": "ok", "started_ms": at_ms}]
    values: dict[str, Any] = {
        "month": ids.month_of(at_ms), "job": job, "org": org.id, "key": str(uuid.uuid4()), "prepaid": True, "asked": "m",
        "model": "m", "provider": "openai", "deployment": "d", "surface": "bizrouter", "endpoint": "chat",
        "stream": False, "outcome": "complete", "estimated": False, "won": 0, "micro": 0, "loss_won": 0, "parts": "[]",
        "attempts": json.dumps(attempts), "admitted_at": dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC),
        "user_hash": user_hash(bytes(32), org.id, USER),
    }  # fmt: skip
    with engine.begin() as connection:
        # a minute ago may have been last month
        connection.execute(text("SELECT ensure_usage_month(:month)"), {"month": values["month"]})
        statement = f"INSERT INTO usage ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)})"
        connection.execute(text(statement), values)
    return ids.public(job)


def looks(engine: Engine, org: Organisation) -> list[tuple[str, str, int]]:
    query = text("SELECT action, reason, records FROM access_log WHERE org = :org ORDER BY id")
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query, {"org": org.id})]


def test_providers_and_retention_are_listed(run: Run, org: Organisation, engine: Engine) -> None:
    assert isinstance(answer(run("privacy", "providers", org.id, "--json")), list)
    assert run("privacy", "providers", org.id, "--csv").output.startswith("\ufeff제공사,")
    assert looks(engine, org) == [("providers.export", "", 0)]
    shown = {each["name"]: each for each in answer(run("privacy", "retention", "--set", "end_user", "30", "--json"))}
    assert shown["end_user"]["days"] == 30
    assert "30 days (0 to 1825)" in run("privacy", "retention").output
    refused = run("privacy", "retention", "--set", "access_log", "1")
    assert refused.exit_code == 1 and "730" in refused.output
    run("privacy", "retention", "--set", "end_user", "365")


def test_an_incident_is_written_to_a_file(
    run: Run, org: Organisation, engine: Engine, call: str, tmp_path: Path
) -> None:
    now = dt.datetime.now(dt.UTC)
    period = ["--since", (now - dt.timedelta(hours=1)).isoformat(), "--until", now.isoformat(), "--reason", "신고"]
    out = tmp_path / "incident.csv"
    sums = answer(run("privacy", "incident", *period, "--org", org.id, "--out", str(out), "--json"))
    assert (sums["calls"], sums["receivers"][0]["provider"], sums["receivers"][0]["country"]) == (1, "openai", "US")
    assert call in out.read_text("utf-8-sig") and USER not in out.read_text("utf-8-sig")
    assert "1 calls" in run("privacy", "incident", *period).output, "of the whole installation"
    assert looks(engine, org) == [("incident.export", "신고", 1)] * 2
    assert run("privacy", "incident", "--since", "2026-01-01", *period[2:]).exit_code == 2


def test_an_end_user_is_exported_and_erased_with_proof(run: Run, org: Organisation, engine: Engine, call: str) -> None:
    asked = ["subject", org.id, USER, "--reason", "열람 요구"]
    [line] = run("privacy", *asked).output.splitlines()
    assert ids.public(json.loads(line)["job"]) == call
    proof = answer(run("privacy", *asked, "--erase", "--json"))
    assert (proof["records"], proof["actor"]) == (1, "operator")
    assert run("privacy", *asked).output == ""
    assert proof["digest"] in run("privacy", "deletions", "--run").output
    assert [(action, records) for action, _, records in looks(engine, org)] == [
        ("subject.export", 1), ("subject.erase", 1), ("subject.export", 0),
    ]  # fmt: skip
