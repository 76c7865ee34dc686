"""What calls cost us: each attempt that reached a provider, at that provider's list price when the call was admitted.

A provider's price is an entry of its own (``wonrouter cost set``); without one the catalogue's USD price is taken for the
provider's list. Counted in whole millionths of a millionth of a USD: exact, and quick enough to be part of settlement.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from gateway.catalogue.packaged import builtin
from gateway.db.catalogue_store import milliseconds
from gateway.db.tables.accounts import audit_log
from gateway.db.tables.costs import provider_price
from gateway.finance.costs import below_cost
from gateway.money import EXACT, exact, won_text
from gateway.wire.event import Attempt, Tokens

_MICRO = 1_000_000
QUANTITIES = (
    "input_usd",
    "output_usd",
    "cached_usd",
    "cache_write_5m_usd",
    "cache_write_1h_usd",
    "image_usd",
    "search_usd",
)
NEEDED = ("input_usd", "output_usd")
MOST_DECIMALS = 6


class CostError(ValueError):
    """A provider's price was not taken; the text is for the person who entered it."""


@dataclass(frozen=True, slots=True)
class _Price:
    """Millionths of a USD per million tokens; ``search`` per search. Above ``threshold`` input tokens: ``over``."""

    input: int
    output: int
    cached: int
    write_5m: int
    write_1h: int
    image: int
    search: int
    threshold: int | None = None
    over: tuple[int, int] = (0, 0)

    def cost(self, used: Tokens) -> int:
        """In 10^-12 USD."""
        if self.threshold is not None and used.prompt > self.threshold:
            return used.prompt * self.over[0] + used.completion * self.over[1]
        plain = used.prompt - used.cached - used.cache_write_5m - used.cache_write_1h
        return (
            plain * self.input
            + used.cached * self.cached
            + used.cache_write_5m * self.write_5m
            + used.cache_write_1h * self.write_1h
            + (used.completion - used.image) * self.output
            + used.image * self.image
            + used.search * self.search * _MICRO
        )


_Versions = list[tuple[int, _Price]]


class CostBook:
    """Prices of some models, and the rate for calls that were charged at none."""

    def __init__(self, provider: dict[tuple[str, str], _Versions], listed: dict[str, _Versions], rate: Decimal) -> None:
        self._provider, self._listed, self._rate = provider, listed, rate

    def cost(
        self, attempts: Sequence[Attempt], used: Tokens, at_ms: int, rate: str | None
    ) -> tuple[Decimal, Decimal] | None:
        """USD and won of a call's attempts; None where a model of theirs has no price. A failed one that counted no
        tokens costs nothing that anybody knows of."""
        total = 0
        for attempt in attempts:
            tokens = attempt.tokens
            if not (tokens.prompt or tokens.completion):
                if not attempt.billed:
                    continue
                tokens = used
            price = _at(self._provider.get((attempt.provider, attempt.model)), at_ms)
            price = price or _at(self._listed.get(attempt.model), at_ms)
            if price is None:
                return None
            total += price.cost(tokens)
        usd = Decimal(total).scaleb(-12, EXACT)
        return usd, EXACT.multiply(usd, self._rate if rate is None else exact(rate))


def read_book(connection: Connection, models: Iterable[str]) -> CostBook:
    """The prices of ``models``, as they were and are."""
    asked = {"models": sorted(set(models))}
    provider: defaultdict[tuple[str, str], _Versions] = defaultdict(list)
    for row in connection.execute(
        text("SELECT * FROM provider_price WHERE model = ANY(:models) ORDER BY effective_from"), asked
    ):
        provider[row.provider, row.model].append((milliseconds(row.effective_from), _own(row)))
    listed: defaultdict[str, _Versions] = defaultdict(list)
    for row in connection.execute(
        text("SELECT * FROM price WHERE model = ANY(:models) ORDER BY effective_from"), asked
    ):
        listed[row.model].append((milliseconds(row.effective_from), _catalogue(row)))
    rate = connection.execute(
        text("SELECT rate FROM exchange_rate ORDER BY date DESC, effective_from DESC LIMIT 1")
    ).scalar_one_or_none()
    return CostBook(dict(provider), dict(listed), Decimal(rate or 0))


def enter(
    connection: Connection, provider: str, model: str, prices: dict[str, Decimal | None], start: dt.datetime | None,
    actor: str,
) -> dict[str, Any]:  # fmt: skip
    """Enters what a provider charges for a model from ``start`` on (now, if None). Raises ``CostError``.

    A start in the past is taken: it values statements; calls that are booked keep the cost they were booked with.
    """
    if not provider.strip():
        raise CostError("name the provider, as deployments do")
    if model not in builtin().models:
        raise CostError(f"the catalogue has no model {model}")
    given = {name: value for name, value in prices.items() if value is not None}
    for name in NEEDED:
        if name not in given:
            raise CostError(f"a price needs {name}")
    for name, value in given.items():
        if value < 0 or int(value.as_tuple().exponent) < -MOST_DECIMALS:
            raise CostError(f"{name} is 0 or more USD, with at most {MOST_DECIMALS} decimals")
    begins = start or dt.datetime.now(dt.UTC)
    values = {"provider": provider.strip(), "model": model, "effective_from": begins, "entered_by": actor} | given
    statement = insert(provider_price).values(values).on_conflict_do_nothing().returning(provider_price.c.model)
    if connection.execute(statement).one_or_none() is None:
        raise CostError(f"{provider} has a price of {model} from that moment already")
    shown = {"provider": provider, "model": model, "effective_from": begins.isoformat()}
    shown |= {name: won_text(value) for name, value in given.items()}
    connection.execute(
        audit_log.insert().values(actor=actor, action="cost.set", subject=f"{provider}/{model}", details=shown)
    )
    return shown | {"below_cost": any(one.model == model for one in below_cost(connection))}


def import_csv(connection: Connection, raw: bytes, actor: str) -> list[dict[str, Any]]:
    """Enters the lines of a CSV with the columns provider, model, input_usd, output_usd and any of the others; all of
    them or none. ``from`` is the moment (ISO), now if empty. Raises ``CostError`` naming the line."""
    try:
        lines = csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
    except UnicodeDecodeError as error:
        raise CostError("the file is not UTF-8") from error
    missing = {"provider", "model", *NEEDED} - set(lines.fieldnames or ())
    if missing:
        raise CostError(f"the first line lacks the columns {', '.join(sorted(missing))}")
    entered: list[dict[str, Any]] = []
    for line in lines:
        try:
            prices = {name: exact(line[name]) if line.get(name) else None for name in QUANTITIES}
            start = dt.datetime.fromisoformat(line["from"]) if line.get("from") else None
            if start is not None and start.tzinfo is None:
                raise CostError("a moment needs its offset from UTC")
            entered.append(enter(connection, line["provider"], line["model"], prices, start, actor))
        except ValueError as error:
            raise CostError(f"line {lines.line_num}: {error}") from error
    if not entered:
        raise CostError("the file has no lines")
    return entered


def _at(versions: _Versions | None, at_ms: int) -> _Price | None:
    if not versions:
        return None
    place = bisect_right(versions, at_ms, key=lambda version: version[0]) - 1
    return versions[place][1] if place >= 0 else None


def _scaled(usd: Decimal | None, default: int = 0) -> int:
    return default if usd is None else int(usd.scaleb(6, EXACT))


def _own(row: Any) -> _Price:
    into, out = _scaled(row.input_usd), _scaled(row.output_usd)
    return _Price(
        into, out, _scaled(row.cached_usd, into), _scaled(row.cache_write_5m_usd, into),
        _scaled(row.cache_write_1h_usd, into), _scaled(row.image_usd, out), _scaled(row.search_usd),
    )  # fmt: skip


def _catalogue(row: Any) -> _Price:
    into, out = _scaled(row.input_usd), _scaled(row.output_usd)
    over = (_scaled(row.over_input_usd), _scaled(row.over_output_usd))
    return _Price(into, out, into, into, into, out, 0, row.threshold, over)
