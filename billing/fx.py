"""Exchange rates from outside into the books: by hand, from a CSV file, or fetched. Won per USD, at most 4 decimals.

Rates are immutable. A date entered again adds a further row, and the later entry counts from then on; calls that were
admitted before keep the rate they were admitted with. Which rate applies to a call is the catalogue's rule
(``gateway.catalogue.snapshot``).
"""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast
from urllib.parse import urlencode

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from gateway.db.tables.accounts import audit_log
from gateway.db.tables.catalogue import exchange_rate
from gateway.finance.rates import listed, staleness
from gateway.http import HttpError, UpstreamTransport
from gateway.money import EXACT, won_text
from gateway.wire.ids import SEOUL

__all__ = ["listed", "staleness"]  # what commands look for here, too

EXIMBANK_URL = "https://oapi.koreaexim.go.kr/site/program/financial/exchangeJSON"
FETCH_S = 20.0
LARGEST_BODY = 1_000_000
LARGEST_STEP = Decimal("0.1")
"""A rate that differs by more than a tenth from the one before it is a typing mistake until somebody insists."""
FARTHEST_AHEAD = dt.timedelta(days=31)

_RATE = re.compile(r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,7})(?:\.[0-9]{1,4})?")
_DATE = re.compile(r"([0-9]{4})[-./]?([0-9]{2})[-./]?([0-9]{2})")
_DATE_HEADINGS = frozenset(("date", "일자", "날짜", "고시일", "기준일"))
_RATE_HEADINGS = frozenset(("rate", "환율", "매매기준율", "deal_bas_r"))
_ANSWERS = {2: "it does not know the kind of data", 3: "it refused the key", 4: "today's number of requests is used up"}


class RateError(ValueError):
    """A rate was not taken; the text is for the person who entered it."""


@dataclass(frozen=True, slots=True)
class Published:
    """A rate as its source gives it: won per USD, for a date in Seoul."""

    date: dt.date
    rate: Decimal
    source: str


@dataclass(frozen=True, slots=True)
class Entered:
    """A rate as it was stored. ``new`` is False where the very same was in force for that date already."""

    id: str
    published: Published
    new: bool


def read_rate(written: str) -> Decimal:
    """``"1,400.60"`` or ``"1400.6"`` as won per USD. Raises ``RateError``."""
    if not _RATE.fullmatch(written.strip()):
        raise RateError(f"{written.strip()[:40]!r} is no rate: won per USD, at most 4 decimals")
    rate = Decimal(written.strip().replace(",", ""))
    if rate <= 0:
        raise RateError("a rate is above zero")
    return rate


def read_date(written: str) -> dt.date:
    """2026-11-20, 2026.11.20, 2026/11/20 or 20261120. Raises ``RateError``."""
    match = _DATE.fullmatch(written.strip())
    try:
        if match:
            return dt.date(*(int(part) for part in match.groups()))
    except ValueError:
        pass
    raise RateError(f"{written.strip()[:40]!r} is no date")


def enter(
    connection: Connection,
    rates: Iterable[Published],
    actor: str,
    *,
    insist: bool = False,
    now: dt.datetime | None = None,
) -> list[Entered]:
    """Stores rates, all or none, in force from now on, and notes who did it.

    Raises ``RateError`` for a date far ahead, and, unless ``insist``, for one that leaps away from its neighbour.
    """
    moment = now or dt.datetime.now(dt.UTC)
    # Two people entering at once would each compare with a rate that is about to be replaced.
    connection.execute(text("SELECT pg_advisory_xact_lock(7301004)"))
    return [_enter(connection, rate, actor, moment, insist=insist) for rate in sorted(rates, key=lambda r: r.date)]


def _enter(connection: Connection, given: Published, actor: str, now: dt.datetime, *, insist: bool) -> Entered:
    if given.date > now.astimezone(SEOUL).date() + FARTHEST_AHEAD:
        raise RateError(f"{given.date} is more than {FARTHEST_AHEAD.days} days ahead")
    same_date = connection.execute(
        select(exchange_rate).where(exchange_rate.c.date == given.date).order_by(exchange_rate.c.effective_from.desc())
    ).all()
    if same_date and (same_date[0].rate, same_date[0].source) == (given.rate, given.source):
        return Entered(same_date[0].id, given, new=False)
    if not insist:
        _refuse_leap(connection, given)
    name = f"{given.source}@{given.date}"
    rate_id = f"{name}#{len(same_date) + 1}" if any(row.id.startswith(name) for row in same_date) else name
    connection.execute(
        insert(exchange_rate).values(
            id=rate_id, date=given.date, rate=given.rate, source=given.source, effective_from=now
        )
    )
    details = {"date": given.date.isoformat(), "rate": won_text(given.rate), "source": given.source}
    connection.execute(audit_log.insert().values(actor=actor, action="fx.set", subject=rate_id, details=details))
    return Entered(rate_id, given, new=True)


def _refuse_leap(connection: Connection, given: Published) -> None:
    before = connection.execute(
        select(exchange_rate.c.rate, exchange_rate.c.date)
        .where(exchange_rate.c.date <= given.date, exchange_rate.c.source != "demo")
        .order_by(exchange_rate.c.date.desc(), exchange_rate.c.effective_from.desc())
        .limit(1)
    ).one_or_none()
    if before and abs(EXACT.subtract(given.rate, before.rate)) > EXACT.multiply(before.rate, LARGEST_STEP):
        raise RateError(
            f"{won_text(given.rate)} for {given.date} is more than a tenth away from {won_text(before.rate)} "
            f"of {before.date}; say that it is meant (--insist) if it is"
        )


def from_csv(raw: bytes) -> list[Published]:
    """Rates of a CSV file with a column for the date and one for the rate. Raises ``RateError`` naming the line."""
    try:
        written = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        written = raw.decode("cp949", errors="replace")  # what Excel in Korea saves
    lines = csv.reader(io.StringIO(written, newline=""))
    nothing: list[str] = []
    first = next(lines, nothing)
    head = [cell.strip().lower() for cell in first]
    at_date = next((place for place, name in enumerate(head) if name in _DATE_HEADINGS), None)
    at_rate = next((place for place, name in enumerate(head) if name in _RATE_HEADINGS), None)
    if at_date is None or at_rate is None:
        raise RateError("the first line names the columns: date and rate (일자 and 매매기준율)")
    found: list[Published] = []
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        try:
            found.append(Published(read_date(cells[at_date]), read_rate(cells[at_rate]), "csv"))
        except (RateError, IndexError) as error:
            raise RateError(f"line {lines.line_num}: {error}") from error
    return found


def from_eximbank(body: bytes, date: dt.date) -> Published | None:
    """The rate in an answer of the Korea Eximbank shape; None for a day without one (weekend, holiday, before 11:00).

    Raises ``RateError`` where the answer says why it gives none, or is something else.
    """
    try:
        answer: object = json.loads(body)
    except ValueError as error:
        raise RateError("the source answered something else than JSON") from error
    if isinstance(answer, dict):
        answer = [cast("object", answer)]
    if not isinstance(answer, list):
        raise RateError("the source answered something else than a list of currencies")
    rows = [cast("Mapping[str, Any]", row) for row in cast("Sequence[object]", answer) if isinstance(row, Mapping)]
    for row in rows:
        if row.get("cur_unit") == "USD" and isinstance(row.get("deal_bas_r"), str):
            return Published(date, read_rate(row["deal_bas_r"]), "eximbank")
        if isinstance(row.get("result"), int) and row["result"] in _ANSWERS:
            raise RateError(f"the source gave no rate: {_ANSWERS[row['result']]}")
    return None


def fetch(url: str, key: str, date: dt.date, *, allow_private: bool = False) -> Published | None:
    """Asks the source for the rate of ``date``. None where it has none for that day. Raises ``RateError``."""
    query = urlencode({"authkey": key, "searchdate": date.strftime("%Y%m%d"), "data": "AP01"})
    try:
        body = asyncio.run(_get(f"{url}?{query}", allow_private))
    except HttpError as error:
        # Its text may repeat the address, and the address holds the key.
        raise RateError(f"the source cannot be reached: {type(error).__name__}") from None
    return from_eximbank(body, date)


async def _get(url: str, allow_private: bool) -> bytes:
    transport = UpstreamTransport(connect_timeout_s=5, allow_private=allow_private)
    try:
        async with asyncio.timeout(FETCH_S):
            response = await transport.send("GET", url, {"accept": "application/json"}, b"")
            try:
                body = bytearray()
                async for chunk in response.body():
                    body += chunk
                    if len(body) > LARGEST_BODY:
                        raise RateError("the source's answer is far too long")
            finally:
                response.close()
    finally:
        await transport.aclose()
    if response.status != 200:
        raise RateError(f"the source answered with status {response.status}")
    return bytes(body)
