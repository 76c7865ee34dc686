"""Price changes: a new, immutable version of a model's price that takes effect at a moment not yet past."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from gateway.catalogue.model import Price
from gateway.catalogue.packaged import builtin
from gateway.db.catalogue_store import milliseconds
from gateway.db.seed import price_row
from gateway.db.tables.accounts import audit_log
from gateway.db.tables.catalogue import price
from gateway.money import won_text


class PriceError(ValueError):
    """A price was not taken; the text is for the person who entered it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPrice:
    """USD per 1M tokens. Above ``threshold`` input tokens the ``over_`` prices hold for the whole request."""

    model: str
    input_usd: Decimal
    output_usd: Decimal
    threshold: int | None = None
    over_input_usd: Decimal | None = None
    over_output_usd: Decimal | None = None


def change(connection: Connection, new: NewPrice, start: dt.datetime | None, actor: str) -> dict[str, Any]:
    """Publishes a price from ``start`` on (now, if None). Raises ``PriceError``.

    A start in the past is refused: calls have been charged at what was in force.
    """
    now = dt.datetime.now(dt.UTC)
    begins = start or now
    if begins < now:
        raise PriceError("a price takes effect now or later: what was charged stays charged")
    if new.model not in builtin().models:
        raise PriceError(f"the catalogue has no model {new.model}")
    try:
        made = Price(
            id=f"{new.model}@{begins.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            model=new.model,
            effective_from_ms=milliseconds(begins),
            input_usd=new.input_usd,
            output_usd=new.output_usd,
            threshold=new.threshold,
            over_input_usd=new.over_input_usd,
            over_output_usd=new.over_output_usd,
        )
    except ValueError as error:
        raise PriceError(str(error)) from error
    row = price_row(made, actor)
    known = connection.execute(
        text("SELECT id FROM price WHERE model = :model AND effective_from = :effective_from"), row
    ).scalar_one_or_none()
    if known is not None:
        raise PriceError(f"{known} takes effect at that moment already")
    connection.execute(price.insert().values(row))
    shown = _shown(row)
    connection.execute(audit_log.insert().values(actor=actor, action="price.set", subject=made.id, details=shown))
    return shown


def listed(connection: Connection, model: str | None = None) -> list[dict[str, Any]]:
    """Every version of every price, or of one model's, newest first."""
    rows = connection.execute(
        text(
            "SELECT * FROM price WHERE CAST(:model AS text) IS NULL OR model = :model "
            "ORDER BY model, effective_from DESC"
        ),
        {"model": model},
    ).mappings()
    return [_shown(row) for row in rows]


def _shown(row: Any) -> dict[str, Any]:
    def usd(name: str) -> str | None:
        return None if row[name] is None else won_text(row[name])

    return {
        "id": row["id"],
        "model": row["model"],
        "effective_from": row["effective_from"].isoformat(),
        "input_usd": usd("input_usd"),
        "output_usd": usd("output_usd"),
        "threshold": row["threshold"],
        "over_input_usd": usd("over_input_usd"),
        "over_output_usd": usd("over_output_usd"),
    }
