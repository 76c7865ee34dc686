"""What has been kept long enough goes, with a proof that can be checked; the books stay whole."""

from __future__ import annotations

import datetime as dt
import hashlib
import time
import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from billing.reconcile import reconcile
from gateway.accounts import retention
from gateway.accounts.change import Change
from gateway.errors import InvalidRequest
from tests.billing.books import Books
from tests.billing.events import job_id

DAY_MS = 86_400_000
NOW_MS = int(time.time() * 1000)
"""Calls of so many days ago are all of one day."""


def settled(books: Books, days: int, user: str | None = "hash") -> str:
    """A settled call of so many days ago; its job."""
    job = job_id(NOW_MS - days * DAY_MS)
    books.append(books.event(job=job, user=user))
    books.settle()
    return str(uuid.UUID(job))


def digest(ids: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def proofs(books: Books) -> list[retention.Proof]:
    with books.owner.connect() as connection:
        return list(retention.proofs(connection, books.org))


def test_end_users_are_forgotten_after_their_time_and_the_sums_stay(books: Books) -> None:
    old = [settled(books, 400), settled(books, 400, "other"), settled(books, 380)]
    settled(books, 400, None)
    young = settled(books, 10)
    retention.delete_due(books.billing)
    left = books.rows("SELECT job FROM usage WHERE user_hash IS NOT NULL AND org = :org", org=books.org)
    assert [str(job) for (job,) in left] == [young]
    days = books.rows("SELECT calls FROM usage_day WHERE org = :org AND user_hash = '' ORDER BY day", org=books.org)
    assert [calls for (calls,) in days] == [3, 1]
    found = [(proof.records, proof.digest) for proof in proofs(books)]
    assert sorted(found) == sorted([(2, digest(old[:2])), (1, digest(old[2:]))])
    assert reconcile(books.owner, books.redis)["rollups"] == 0
    retention.delete_due(books.billing)
    assert len(proofs(books)) == 2, "what is gone goes once"


def test_logs_sessions_and_links_go_when_their_time_is_over(books: Books) -> None:
    values = {"org": books.org}
    with books.owner.begin() as connection:
        for age in (4 * 365, 900):
            statement = (
                "INSERT INTO access_log (at, org, actor, address, action, subject, reason, records) VALUES "
                f"(now() - interval '{age} days', :org, 'a', 'b', 'c', 'd', 'e', 1) RETURNING id"
            )
            connection.execute(sa.text(statement), values)
            connection.execute(
                sa.text(
                    "INSERT INTO audit_log (at, org, actor, action, subject) VALUES "
                    f"(now() - interval '{age} days', :org, 'a', 'b', 'c')"
                ),
                values,
            )
            connection.execute(
                sa.text(
                    "INSERT INTO guardrail_event (at, org, key, call, outcome, place, kinds) VALUES "
                    f"(now() - interval '{age} days', :org, gen_random_uuid(), '', 'masked', 'request', '{{}}')"
                ),
                values,
            )
        connection.execute(
            sa.text(
                "INSERT INTO one_time_link (id, hash, kind, org, role, email, expires_at) VALUES "
                "(gen_random_uuid(), sha256(gen_random_uuid()::text::bytea), 'invitation', :org, 'owner', 'a@b.kr', "
                "now() - interval '100 days')"
            ),
            values,
        )
    gone = retention.delete_due(books.billing)
    assert {name for name, records in gone.items() if records} >= {"access_log", "audit_log", "guardrail_event"}
    counts = {proof.name: proof.records for proof in proofs(books)}
    assert counts == {"access_log": 1, "audit_log": 1, "guardrail_event": 2, "one_time_link": 1}
    assert {proof.actor for proof in proofs(books)} == {"wonrouter_billing"}


def test_a_log_younger_than_two_years_cannot_be_retired_by_anybody(books: Books) -> None:
    with books.owner.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO audit_log (at, actor, action, subject) VALUES (now() - interval '1 year', 'a', 'b', 'c')"
            )
        )
    with pytest.raises(DBAPIError, match="two years"), books.billing.begin() as connection:
        connection.execute(sa.text("SELECT retire('audit_log', now(), 10)"))
    with pytest.raises(DBAPIError, match="looks back"), books.billing.begin() as connection:
        connection.execute(sa.text("SELECT retire('session', now() + interval '1 day', 10)"))


def test_how_long_is_set_within_the_law_and_written_down(books: Books) -> None:
    with books.owner.begin() as connection:
        change = Change(connection, "operator")
        assert retention.set_days(change, "end_user", 30).days == 30
        for name, days in (("access_log", 729), ("usage", 1), ("nothing", 1), ("end_user", -1)):
            with pytest.raises(InvalidRequest):
                retention.set_days(change, name, days)
        said = connection.execute(sa.text("SELECT details FROM audit_log WHERE action = 'retention.set'")).scalars()
        assert {"days": 30, "was": 365} in said.all()
    job = settled(books, 40)
    retention.delete_due(books.billing)
    assert books.rows("SELECT user_hash FROM usage WHERE job = :job", job=job) == [(None,)]
    with books.owner.begin() as connection:
        connection.execute(sa.text("DELETE FROM retention_setting"))


def test_a_proof_cannot_be_changed_even_by_the_owner(books: Books) -> None:
    settled(books, 500)
    retention.delete_due(books.billing)
    for statement in ("UPDATE deletion_proof SET records = 0", "DELETE FROM deletion_proof", "TRUNCATE deletion_proof"):
        with pytest.raises(DBAPIError, match="append-only"), books.owner.begin() as connection:
            connection.execute(sa.text(statement))


def test_an_erased_end_user_is_gone_from_the_sums_by_day_too(books: Books) -> None:
    jobs = [settled(books, 1, "kim"), settled(books, 1, "kim")]
    settled(books, 1, "lee")
    with books.owner.begin() as connection:
        proof = retention.erase_subject(Change(connection, "operator"), books.org, "kim")
    assert (proof.records, proof.digest, proof.actor) == (2, digest(jobs), "operator")
    assert proof.at <= dt.datetime.now(dt.UTC)
    left = books.rows("SELECT DISTINCT user_hash FROM usage_day WHERE org = :org", org=books.org)
    assert {name for (name,) in left} == {"", "lee"}
    assert reconcile(books.owner, books.redis)["rollups"] == 0
    with books.owner.begin() as connection:
        nothing = retention.erase_subject(Change(connection, "operator"), books.org, "kim")
    assert (nothing.records, nothing.digest) == (0, digest([]))
