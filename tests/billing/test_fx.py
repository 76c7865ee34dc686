"""Rates and prices on their way in: what is taken, what is refused, and from when it counts."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Connection
from structlog.testing import capture_logs

from billing import fx, metrics, prices
from billing.app import look_after_rates
from billing.commands import rates as commands
from gateway.catalogue.model import NoRate
from gateway.db.catalogue_store import milliseconds, read_snapshot
from gateway.db.seed import seed
from gateway.finance import rates
from gateway.wire import keys
from gateway.wire.ids import SEOUL
from gateway.wire.news import News, decode_news
from tests.billing.books import Books
from tests.billing.test_window import SETTINGS

FRIDAY = dt.date(2026, 11, 20)
NOON = dt.datetime(2026, 11, 20, 12, tzinfo=SEOUL)
MODEL = "openai/gpt-4o"


@pytest.fixture
def connection(books: Books) -> Iterator[Connection]:
    """As the billing process, on a seeded database; nothing it writes stays."""
    seed(books.owner.url.render_as_string(hide_password=False))
    with books.billing.connect() as connection:
        yield connection
        connection.rollback()


def published(rate: str, date: dt.date = FRIDAY, source: str = "manual") -> fx.Published:
    return fx.Published(date, fx.read_rate(rate), source)


@pytest.mark.parametrize(("written", "rate"), [("1,400.60", "1400.60"), ("1400.6", "1400.6"), (" 1470 ", "1470")])
def test_a_rate_is_read_as_it_is_published(written: str, rate: str) -> None:
    assert fx.read_rate(written) == Decimal(rate)


@pytest.mark.parametrize("written", ["", "1.400,60", "14,00.60", "1400.60001", "-1", "0", "1e3", "NaN", "１４００"])
def test_anything_else_is_no_rate(written: str) -> None:
    with pytest.raises(fx.RateError):
        fx.read_rate(written)


def test_the_same_rate_again_changes_nothing_and_another_one_for_the_date_counts_from_its_entry(
    connection: Connection,
) -> None:
    first, again = (fx.enter(connection, [published("1,400.60")], "operator", now=NOON)[0] for _ in range(2))
    later = NOON + dt.timedelta(hours=1)
    (corrected,) = fx.enter(connection, [published("1401")], "operator", now=later)
    assert (first.new, again.new, corrected.new) == (True, False, True)
    assert again.id == first.id != corrected.id
    snapshot = read_snapshot(connection, sandbox=False)
    assert snapshot.rate_at(milliseconds(later) - 1).id == first.id
    assert snapshot.rate_at(milliseconds(later)).id == corrected.id


def test_a_rate_that_leaps_is_refused_until_somebody_insists(connection: Connection) -> None:
    fx.enter(connection, [published("1400.60")], "operator", now=NOON)
    with pytest.raises(fx.RateError, match="tenth"):
        fx.enter(connection, [published("14006", FRIDAY + dt.timedelta(days=3))], "operator", now=NOON)
    assert fx.enter(connection, [published("14006")], "operator", insist=True, now=NOON)[0].new
    with pytest.raises(fx.RateError, match="ahead"):
        fx.enter(connection, [published("1400", dt.date(2062, 11, 20))], "operator", now=NOON)


def test_a_csv_from_excel_is_read_whole_or_not_at_all() -> None:
    raw = '일자,통화,매매기준율\r\n2026.11.19,USD,"1,399.10"\r\n20261120,USD,1400.60\r\n\r\n'
    expected = [published("1399.10", FRIDAY - dt.timedelta(days=1), "csv"), published("1400.60", source="csv")]
    assert fx.from_csv(raw.encode("utf-8-sig")) == fx.from_csv(raw.encode("cp949")) == expected
    with pytest.raises(fx.RateError, match="line 3"):
        fx.from_csv((raw.replace("1400.60", "n/a")).encode())
    with pytest.raises(fx.RateError, match="first line"):
        fx.from_csv(b"a,b\n1,2\n")


def answer(**usd: object) -> bytes:
    rows = [{"result": 1, "cur_unit": "AED", "deal_bas_r": "381.34"}, {"result": 1, "cur_unit": "USD", **usd}]
    return json.dumps(rows).encode()


def test_the_eximbank_shape() -> None:
    assert fx.from_eximbank(answer(deal_bas_r="1,400.60"), FRIDAY) == published("1400.60", source="eximbank")
    assert fx.from_eximbank(b"[]", FRIDAY) is None
    with pytest.raises(fx.RateError, match="key"):
        fx.from_eximbank(b'[{"result":3,"cur_unit":null,"deal_bas_r":null}]', FRIDAY)
    for other in (b"<html>", b'"x"', answer(deal_bas_r="N/A")):
        with pytest.raises(fx.RateError):
            fx.from_eximbank(other, FRIDAY)


@pytest.fixture
def source() -> Iterator[str]:
    """A source of rates on this machine; it knows Friday's."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            known = asked["searchdate"] == ["20261120"] and asked["authkey"] == ["k"]
            body = answer(deal_bas_r="1,400.60") if known else b"[]"
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/rates"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_rate_is_fetched_through_the_guarded_client(source: str) -> None:
    assert fx.fetch(source, "k", FRIDAY, allow_private=True) == published("1400.60", source="eximbank")
    assert fx.fetch(source, "k", FRIDAY + dt.timedelta(days=1), allow_private=True) is None
    with pytest.raises(fx.RateError, match="reached") as refused:
        fx.fetch(source, "the-key", FRIDAY)
    assert "the-key" not in str(refused.value)


def test_the_hourly_task_fetches_what_is_missing_from_eleven_on(books: Books, source: str) -> None:
    settings = SETTINGS.model_copy(
        update={"fx_url": source, "fx_key": type(SETTINGS.secret)("k"), "allow_private_upstreams": True}
    )
    entered = "SELECT count(*) FROM exchange_rate WHERE date = '2026-11-20' AND source = 'eximbank'"
    look_after_rates(books.billing, books.redis, settings, NOON.replace(hour=10))
    assert books.one(entered) == 0
    for _ in range(2):
        look_after_rates(books.billing, books.redis, settings, NOON)
    assert books.one(entered) == 1


class Uncommitted:
    """An engine whose every connection is the one that is rolled back in the end."""

    def __init__(self, connection: Connection) -> None:
        self.connect = lambda: contextlib.nullcontext(connection)


def test_an_old_rate_raises_the_alarm_after_five_business_days(books: Books, connection: Connection) -> None:
    friday = dt.datetime(2035, 3, 9, 12, tzinfo=SEOUL)
    fx.enter(connection, [fx.Published(friday.date(), Decimal(1400), "manual")], "t", insist=True, now=friday)
    engine: Any = Uncommitted(connection)
    alarms: list[bool] = []
    for days in (7, 8, 9, 10):  # the fifth business day is the Friday after, the sixth the Monday after that
        with capture_logs() as told:
            look_after_rates(engine, books.redis, SETTINGS, friday + dt.timedelta(days=days))
        alarms.append("rate_is_stale" in [line["event"] for line in told])
    assert alarms == [False, False, False, True]
    assert metrics.RATE_AGE._value.get() == 6


def test_selling_stops_when_the_newest_rate_is_too_old(connection: Connection) -> None:
    last = dt.date(2030, 3, 15)  # a Friday far beyond the seeded rate; the next days are ordinary business days
    fx.enter(connection, [fx.Published(last, Decimal(1400), "manual")], "operator", insist=True,
             now=dt.datetime(2030, 3, 15, tzinfo=SEOUL))  # fmt: skip
    snapshot = read_snapshot(connection, sandbox=False, stop_business_days=2)
    wednesday = milliseconds(dt.datetime(2030, 3, 20, tzinfo=SEOUL))
    assert snapshot.terms_at(MODEL, wednesday - 1).valid_until_ms == wednesday
    with pytest.raises(NoRate):
        snapshot.terms_at(MODEL, wednesday)
    assert fx.staleness(connection, dt.date(2030, 3, 20)) == rates.Staleness(last, 3, demo=False)


def test_a_price_is_a_new_version_from_now_or_later(books: Books) -> None:
    seed(books.owner.url.render_as_string(hide_password=False))
    start = dt.datetime.now(SEOUL) + dt.timedelta(days=1)
    new = prices.NewPrice(model=MODEL, input_usd=Decimal("2.6"), output_usd=Decimal("10.4"))
    with books.owner.connect() as connection:
        before = read_snapshot(connection, sandbox=False).prices[MODEL]
        made = prices.change(connection, new, start, "operator")
        snapshot = read_snapshot(connection, sandbox=False)
        assert snapshot.prices[MODEL] == (*before, snapshot.prices[MODEL][-1])
        assert snapshot.terms_at(MODEL, milliseconds(start) + 1).price.id == made["id"]
        with pytest.raises(prices.PriceError, match="already"):
            prices.change(connection, new, start, "operator")
        with pytest.raises(prices.PriceError, match="now or later"):
            prices.change(connection, new, start - dt.timedelta(days=2), "operator")
        with pytest.raises(prices.PriceError, match="no model"):
            prices.change(
                connection, prices.NewPrice(model="x/y", input_usd=Decimal(1), output_usd=Decimal(1)), None, "o"
            )
        connection.rollback()


def run(*arguments: str) -> Result:
    [command] = [c for c in commands.commands if c.name == arguments[0]]
    return CliRunner().invoke(command, list(arguments[1:]))


def test_the_commands_enter_and_tell_the_front_ends(
    books: Books, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = books.owner.url.render_as_string(hide_password=False)
    seed(url)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("WONROUTER_SECRET", SETTINGS.secret.get_secret_value())
    monkeypatch.setattr("gateway.logs.configure", lambda *_: None)
    heard = books.redis.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(keys.NEWS)
    heard.get_message(timeout=60)
    today = dt.datetime.now(SEOUL).date().isoformat()
    done = run("fx", "set", today, "1,400.60", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"id": f"manual@{today}", "date": today, "rate": "1400.6", "new": True}
    message = heard.get_message(timeout=60)
    assert message is not None and decode_news(message["data"]) == News("catalogue")
    heard.close()
    assert run("fx", "set", today, "abc").exit_code == 1
    assert "manual" in run("fx", "list").stdout
    assert run("price", "set", MODEL, "--input", "2.6", "--output", "11").exit_code == 0
    assert len(json.loads(run("price", "list", MODEL, "--json").stdout)) == 2
