"""The calls of a month of long ago go with sums, digests and proofs, and the books stay whole."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from billing import cli, statements
from billing.exports import books as exports
from billing.invoices import close as steps
from billing.invoices.collecting import NotCollectedError
from billing.retiring import Retirement, retire, retire_due
from billing.usage import usage_lines
from gateway import receipts
from gateway.accounts import retention
from gateway.accounts.people import Person
from gateway.accounts.retired import RetiredError
from gateway.errors import Gone
from gateway.wire import keys
from gateway.wire.ids import SEOUL
from tests.billing.books import Books
from tests.billing.invoices.closing import DRAFTER, FINALISER, Closing, at
from tests.billing.test_window import SETTINGS

YOUNG_YEAR = dt.datetime.now(SEOUL).year - 2
YOUNG = f"{YOUNG_YEAR}01"
_old = iter(f"{2005 + number // 12}{number % 12 + 1:02}" for number in range(60))


@pytest.fixture
def month() -> str:
    """A month that every law has forgotten; each test has one of its own, for a retired one is gone for good."""
    return next(_old)


@pytest.fixture
def closing(books: Books) -> Closing:
    return Closing(books)


def closed(closing: Closing, month: str) -> list[str]:
    """A closed month with three calls; their jobs."""
    made = [
        closing.use(at(1, 0, month), "0.3", user="kim"),
        closing.use(at(15, month=month), "1200.000000000001", "7", title="앱"),
        closing.use(at(28, 23, month), "0.000001", outcome="failed"),
    ]
    closing.close(month)
    return [event.job for event in made]


def go(closing: Closing, month: str) -> Retirement:
    with closing.connection() as connection:
        assert retire(closing.books.redis, connection, month, DRAFTER) == Retirement(month, "asked")
    with closing.connection() as connection:
        return retire(closing.books.redis, connection, month, FINALISER)


def refused(closing: Closing, month: str) -> str:
    with pytest.raises(RetiredError) as refusal, closing.connection() as connection:
        retire(closing.books.redis, connection, month, DRAFTER)
    return str(refusal.value)


def test_a_retired_month_leaves_sums_digests_and_proofs_and_the_books_whole(closing: Closing, month: str) -> None:
    books = closing.books
    jobs = closed(closing, month)
    rows = books.rows(
        "SELECT model, prepaid, CAST(to_jsonb(u) AS text) AS said FROM usage u WHERE month = :month ORDER BY job",
        month=month,
    )
    assert closing.violations() == {}
    assert go(closing, month) == Retirement(month, "retired", 3)
    assert closing.violations() == {}, "sums stand in for the rows"
    assert books.one("SELECT to_regclass('usage_' || :month)", month=month) is None
    assert books.one("SELECT count(*) FROM usage_hour WHERE org = :org", org=closing.org) == 0
    assert books.one("SELECT sum(calls) FROM usage_day WHERE org = :org", org=closing.org) == 3
    kept = books.rows("SELECT * FROM usage_retired WHERE month = :month ORDER BY key, model, prepaid", month=month)
    assert sum(group.calls for group in kept) == 3
    assert str(sum(group.won for group in kept)).rstrip("0") == "1207.300001000001"
    for group in kept:
        mine = [row.said for row in rows if (row.model, row.prepaid) == (group.model, group.prepaid)]
        digests = b"".join(hashlib.sha256(said.encode()).digest() for said in mine)
        assert group.digest == hashlib.sha256(digests).hexdigest()
    with books.owner.connect() as connection:
        [proof] = retention.proofs(connection, closing.org)
    told = hashlib.sha256("\n".join(group.digest for group in kept).encode()).hexdigest()
    assert (proof.name, proof.records, proof.digest, proof.actor) == ("usage", len(jobs), told, FINALISER.id)


def test_the_sums_are_compared_with_the_ledger(closing: Closing, month: str) -> None:
    closed(closing, month)
    go(closing, month)
    with closing.books.owner.begin() as connection:
        connection.execute(sa.text("ALTER TABLE usage_retired DISABLE TRIGGER insert_only"))
        connection.execute(sa.text("UPDATE usage_retired SET won = won + 1 WHERE month = :m AND won > 0"), {"m": month})
    try:
        assert {"usage_transactions", "rollups", "late_usage"} <= closing.violations().keys()
    finally:
        with closing.books.owner.begin() as connection:
            connection.execute(
                sa.text("UPDATE usage_retired SET won = won - 1 WHERE month = :m AND won > 0"), {"m": month}
            )
            connection.execute(sa.text("ALTER TABLE usage_retired ENABLE TRIGGER insert_only"))
    assert closing.violations() == {}


def test_one_person_alone_retires_nothing(closing: Closing, month: str) -> None:
    closed(closing, month)
    for _ in range(2):
        with closing.connection() as connection:
            assert retire(closing.books.redis, connection, month, DRAFTER).state == "asked"
    assert closing.books.one("SELECT count(*) FROM usage WHERE month = :month", month=month) == 3
    assert go(closing, month).state == "retired"
    assert "retired already" in refused(closing, month)
    actions = closing.books.rows("SELECT actor, action FROM audit_log WHERE subject = :month ORDER BY id", month=month)
    assert [tuple(row) for row in actions[-1:]] == [(FINALISER.id, "usage.retired")]


def test_a_month_within_the_law_stays_whatever_the_setting_says(closing: Closing, books: Books) -> None:
    closed(closing, YOUNG)
    assert f"kept until {YOUNG_YEAR + 11}-" in refused(closing, YOUNG)
    with books.owner.begin() as connection:
        connection.execute(sa.text("INSERT INTO retention_setting (class, days) VALUES ('usage', 1)"))
    try:
        assert f"kept until {YOUNG_YEAR + 6}-" in refused(closing, YOUNG), (
            "five years, and the fifteen months before they begin"
        )
    finally:
        with books.owner.begin() as connection:
            connection.execute(sa.text("DELETE FROM retention_setting WHERE class = 'usage'"))
    with pytest.raises(IntegrityError), books.billing.begin() as connection:
        connection.execute(sa.text("SELECT retire_usage_month(:month, NULL)"), {"month": YOUNG})
    assert retention.classes()["usage"].days == 3653


def test_a_month_without_its_final_documents_stays(closing: Closing, month: str) -> None:
    closing.use(at(2, month=month), "5")
    assert "1 organisations have no final document" in refused(closing, month)
    closing.draft(month)
    assert "no final document" in refused(closing, month)
    closing.review(month)
    closing.finalise(month)
    closing.use(at(3, month=month), "8")
    assert "says what its calls come to" in refused(closing, month), "late usage waits for its amendment"
    closing.amend(month)
    assert go(closing, month).calls == 2
    assert closing.violations() == {}


def test_calls_on_their_way_keep_a_month(closing: Closing, month: str) -> None:
    closed(closing, month)
    closing.books.append(closing.event(at(4, month=month), "3"), hold=False)
    with pytest.raises(NotCollectedError), closing.connection() as connection:
        retire(closing.books.redis, connection, month, DRAFTER)
    closing.books.settle()
    closing.amend(month)
    assert closing.violations() == {}


def test_an_event_of_a_retired_month_is_never_booked_again(closing: Closing, month: str) -> None:
    event = closing.use(at(5, month=month), "11")
    closing.close(month)
    go(closing, month)
    other = closing.use(at(5, month=YOUNG), "2")
    closing.books.append(event, hold=False)
    closing.books.append(third := closing.event(at(6, month=YOUNG), "2"), hold=False)
    closing.books.settle()
    [(_, dead)] = closing.books.redis.execute_command("XRANGE", keys.DEAD, "-", "+")
    assert "were retired" in dead[b"why"].decode()
    closing.books.redis.execute_command("DEL", keys.DEAD)
    assert closing.books.one("SELECT count(*) FROM usage WHERE org = :org", org=closing.org) == 2
    assert {other.job, third.job} == {
        row.job.hex for row in closing.books.rows("SELECT job FROM usage WHERE org = :org", org=closing.org)
    }


def test_what_asks_for_retired_calls_is_told_so(closing: Closing, month: str) -> None:
    closed(closing, month)
    go(closing, month)
    engine = closing.books.owner
    with pytest.raises(exports.ExportError, match="were retired on"):
        exports.write(engine, "usage", month, closing.org, "csv", io.BytesIO())
    assert exports.write(engine, "settlement", month, closing.org, "csv", io.BytesIO()) > 0
    assert exports.write(engine, "journal", month, closing.org, "csv", io.BytesIO()) > 0
    with pytest.raises(RetiredError, match="were retired on"):
        list(usage_lines(engine, month=month))
    with pytest.raises(steps.CloseError, match="were retired"):
        closing.amend(month)
    line = f"{month[:4]}-{month[4:]}-10"
    figures = statements.Figures()
    with pytest.raises(statements.StatementError, match="were retired"), engine.connect() as connection:
        statements.match(connection, "openai", {(at(10, month=month).date(), line): figures})


@pytest.mark.anyio
async def test_the_receipt_of_a_retired_call_is_gone(
    closing: Closing, month: str, role_url: Callable[[str], str]
) -> None:
    [job, *_] = closed(closing, month)
    engine = create_async_engine(role_url("wonrouter_api").replace("postgresql://", "postgresql+psycopg://"))
    assert await receipts.receipt(engine, job, closing.org) is not None
    go(closing, month)
    with pytest.raises(Gone) as gone:
        await receipts.receipt(engine, job, closing.org)
    assert gone.value.status == 410
    assert f"{month[:4]}-{month[4:]} were retired" in gone.value.message
    await engine.dispose()


def test_the_billing_process_retires_what_is_due_and_leaves_the_rest(closing: Closing, month: str) -> None:
    closed(closing, month)
    open_month = next(_old)
    closing.use(at(9, month=open_month), "5")
    done = retire_due(closing.books.billing, closing.books.redis)
    assert Retirement(month, "retired", 3) in done
    assert open_month not in {each.month for each in done}
    assert closing.violations() == {}
    closing.close(open_month)


def test_no_process_takes_a_month_or_its_sums_away_by_itself(
    closing: Closing, month: str, role_url: Callable[[str], str]
) -> None:
    closed(closing, month)
    go(closing, month)
    for statement in (
        "DELETE FROM usage_retired", "UPDATE usage_retired SET won = 0", "DELETE FROM usage_retirement",
        f"UPDATE usage_retirement SET asked_at = now() WHERE month = '{month}'",
    ):  # fmt: skip
        for engine in (closing.books.billing, closing.books.owner):
            with pytest.raises(DBAPIError), engine.begin() as connection:
                connection.execute(sa.text(statement))


def test_two_people_retire_a_month_from_the_terminal(
    closing: Closing, month: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = {"kim@operator.example": DRAFTER, "lee@operator.example": FINALISER}
    monkeypatch.setenv("DATABASE_URL", closing.books.owner.url.render_as_string(hide_password=False))
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("WONROUTER_SECRET", SETTINGS.secret.get_secret_value())

    def quiet(*_arguments: str) -> None:
        """Standard output is for what the command prints."""

    def signed_in(_connection: Connection, email: str, _password: str) -> Person:
        return people[email]

    monkeypatch.setattr("gateway.logs.configure", quiet)
    monkeypatch.setattr("billing.commands.retiring.signed_in", signed_in)
    closed(closing, month)

    def run(email: str) -> dict[str, object]:
        options = [month, "--as", email, "--password", "p", "--json"]
        done = CliRunner().invoke(cli.usage, ["retire", *options])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout.splitlines()[-1])

    assert run("kim@operator.example") == {"month": month, "state": "asked", "calls": None}
    assert run("lee@operator.example") == {"month": month, "state": "retired", "calls": 3}
    listed = CliRunner().invoke(cli.usage, ["--month", month])
    assert listed.exit_code == 1
    assert "were retired" in listed.output
