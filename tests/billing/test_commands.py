"""The loop as a thread and the commands as people and scripts use them, against it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
import structlog
from click.testing import CliRunner, Result

import gateway.redis
from billing import cli
from billing.app import keep_house
from billing.loop import Loop
from gateway.db import connect
from gateway.wire import ids, keys
from tests.billing.books import Books
from tests.billing.test_window import SETTINGS
from tests.operating import until


@pytest.fixture
def loop(books: Books, command: CommandLine, redis_url: str) -> Iterator[Loop]:
    """A running loop, as the billing process has one."""
    engine = connect.engine(books.billing.url.render_as_string(hide_password=False), statement_timeout_ms=None)
    redis = gateway.redis.connect(redis_url)
    made = Loop(redis, engine, SETTINGS)
    made.start()
    yield made
    made.stop()
    made.join(60)
    assert not made.is_alive()
    redis.close()
    engine.dispose()


@pytest.fixture
def command(books: Books, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    monkeypatch.setenv("DATABASE_URL", books.owner.url.render_as_string(hide_password=False))
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("WONROUTER_SECRET", SETTINGS.secret.get_secret_value())
    # Logs of the loop's thread must not come between a command's lines, which share this process here.
    monkeypatch.setattr("gateway.logs.configure", lambda *_: None)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield CommandLine()
    structlog.reset_defaults()


class CommandLine:
    """`wonrouter …` without a process of its own."""

    def run(self, *arguments: str) -> Result:
        [chosen] = [c for c in cli.commands if c.name == arguments[0]]
        return CliRunner().invoke(chosen, list(arguments[1:]))

    def lines(self, *arguments: str) -> list[dict[str, object]]:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_topup_is_spendable_when_the_command_returns_and_the_same_again_changes_nothing(
    books: Books, loop: Loop, command: CommandLine
) -> None:
    arguments = ("topup", books.org, "100000", "--reference", "bank-17", "--json")
    for _ in range(2):
        [shown] = command.lines(*arguments)
        assert (shown["state"], shown["balance_micro"]) == ("booked", 100_000_000_000)
    assert command.run("topup", books.org, "5", "--reference", "bank-17").exit_code == 1
    [window] = command.lines("window", "--json")
    assert window["organisations"][books.org] == {"balance_micro": 100_000_000_000, "held_micro": 0, "slots": 0}  # type: ignore[index]
    assert (window["open_jobs"], window["unsettled"], window["open"]) == (0, 0, True)


def test_the_loop_counts_the_bodies_of_open_calls_anew(books: Books, request: pytest.FixtureRequest) -> None:
    books.redis.hset(keys.LONG, mapping={"all": 70_000, books.org: 70_000})  # of calls that have ended
    request.getfixturevalue("loop")
    assert until(lambda: not books.redis.exists(keys.LONG), "nothing is left of them", 60)


def test_usage_prints_one_object_a_line(books: Books, loop: Loop, command: CommandLine) -> None:
    events = [books.event(title="가나다"), books.event()]
    for event in events:
        books.append(event, hold=False)
    assert until(lambda: not books.redis.xlen(keys.USAGE), "the loop has settled them", 60)
    shown = command.lines("usage", "--org", books.org, "--since", "2026-01-01", "--json")
    assert {line["id"] for line in shown} == {ids.public(event.job) for event in events}
    assert {line["cost_krw"] for line in shown} == {"10.125"}
    assert command.lines("usage", "--org", books.org, "--month", "2020-01", "--json") == []


def test_the_window_can_be_rebuilt_and_the_books_checked_beside_a_running_loop(
    books: Books, loop: Loop, command: CommandLine
) -> None:
    command.lines("topup", books.org, "1000", "--reference", "a", "--json")
    [rebuilt] = command.lines("window", "rebuild", "--json")
    assert rebuilt["rebuilt"] is True
    [found] = command.lines("reconcile", "--json")
    assert set(found.values()) == {0}
    books.redis.hincrby(keys.org(books.org), "bal", 1)
    assert command.run("reconcile", "--json").exit_code == 1


def test_the_coming_months_have_their_partitions(books: Books) -> None:
    coming = "SELECT to_char(now() AT TIME ZONE 'Asia/Seoul' + n * interval '1 month', 'YYYYMM') FROM generate_series(1, 2) n"
    months = [month for (month,) in books.rows(coming)]  # asked first: this month may end before the house is kept
    with books.owner.begin() as connection:
        for month in months:
            connection.execute(sa.text(f"DROP TABLE IF EXISTS usage_{month}"))  # as where the month has only begun
    keep_house(books.billing)
    made = "SELECT to_regclass('usage_' || :month) IS NOT NULL"
    assert [books.one(made, month=month) for month in months] == [True, True]
