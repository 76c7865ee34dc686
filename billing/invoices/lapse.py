"""Lots that lapse, and what moves an organisation's settled balance apart from top-ups and usage.

A balance is lowered by amounts rounded up and raised by amounts rounded down to micro-won: the credit window never
offers more than the wallet holds.
"""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Literal

import structlog
from sqlalchemy import Connection, text

from billing import ledger
from billing.invoices.collecting import NotCollectedError, check_until
from gateway.accounts import outbox
from gateway.invoices.lots import Lot, Used, consume, dates_of
from gateway.invoices.month import month_start
from gateway.invoices.totals import ZERO
from gateway.money import EXACT

log = structlog.get_logger(__name__)

_DUE = text("""
SELECT l.id, l.org, l.expires_at FROM lot l LEFT JOIN lot_expiry e ON e.lot = l.id
WHERE l.expires_at <= now() AND e.lot IS NULL ORDER BY l.org, l.expires_at, l.id
""")
_LOTS = text("""
SELECT l.id, l.method, l.created_at, l.expires_at, l.remaining AS left FROM lot l
WHERE l.org = CAST(:org AS uuid) ORDER BY l.created_at, l.id
""")
# Months that are final have taken their part from the lots; the others are worked out here, up to the lot's end.
_UNCLOSED = text("""
SELECT width_bucket(u.admitted_at, CAST(:dates AS timestamptz[])) AS place, sum(u.won) AS won
FROM usage u WHERE u.org = CAST(:org AS uuid) AND u.prepaid AND u.won > 0 AND u.admitted_at < :until
AND NOT EXISTS (SELECT FROM invoice i WHERE i.org = u.org AND i.month = u.month AND i.finalised_at IS NOT NULL)
GROUP BY 1 ORDER BY 1
""")


ORG_LOCK = 7_301_005
"""Advisory lock class: one at a time takes from an organisation's lots, a step of the close or what lapses."""


def lock(connection: Connection, org: str) -> None:
    """Held until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock, hashtext(:org))"), {"lock": ORG_LOCK, "org": org})


def expire(redis: Any, connection: Connection) -> int:
    """Books what lapsed lots had left, once all calls admitted before their end are in the books. Returns how many.

    The caller holds the settler's lock.
    """
    with connection.begin():
        due = connection.execute(_DUE).all()
    done = 0
    for lot in due:
        try:
            with connection.begin():
                check_until(redis, connection, int(lot.expires_at.timestamp() * 1000))
        except NotCollectedError as reason:
            log.info("lot_waits_to_lapse", lot=str(lot.id), reason=str(reason))
            continue
        with connection.begin():
            done += _expire(connection, str(lot.id), str(lot.org), lot.expires_at)
    return done


def _expire(connection: Connection, lot: str, org: str, until: dt.datetime) -> bool:
    lock(connection, org)  # or a month that becomes final between two looks would be counted twice
    left = left_at(connection, org, until).get(lot, ZERO)
    noted = connection.execute(
        text("INSERT INTO lot_expiry (lot, won) VALUES (:lot, :won) ON CONFLICT DO NOTHING"), {"lot": lot, "won": left}
    )
    if not noted.rowcount:
        return False
    connection.execute(
        text("UPDATE lot SET remaining = remaining - :won WHERE id = CAST(:lot AS uuid)"), {"lot": lot, "won": left}
    )
    if left:
        ledger.post(connection, "expiry", org, lot, {"wallet": left, "promo": EXACT.minus(left)}, memo="lapsed")
        micro = int(left.scaleb(6, EXACT).to_integral_value(ROUND_CEILING))
        correct_window(connection, org, "expired", lot, -micro)
    return True


def left_at(connection: Connection, org: str, until: dt.datetime) -> dict[str, Decimal]:
    """What each lot has left at a moment, in exact won."""
    lots = [
        Lot(str(row.id), row.method, Decimal(row.left), row.created_at, row.expires_at)
        for row in connection.execute(_LOTS, {"org": org})
    ]
    dates = [moment for moment in dates_of(lots, month_start("200001"), until) if moment < until]
    rows = connection.execute(_UNCLOSED, {"org": org, "dates": dates, "until": until})
    won = {row.place: Decimal(row.won) for row in rows}
    paid = consume(lots, [Used(moment, won.get(place, ZERO)) for place, moment in enumerate(dates, 1)])
    return {lot.id: EXACT.subtract(lot.left, paid.taken.get(lot.id, ZERO)) for lot in lots}


def lapsed(connection: Connection, org: str) -> None:
    """Raises ValueError while a lot of the organisation has lapsed and that is not booked: the next turn does it."""
    waiting = connection.execute(
        text(
            "SELECT count(*) FROM lot l LEFT JOIN lot_expiry e ON e.lot = l.id "
            "WHERE l.org = CAST(:org AS uuid) AND l.expires_at <= now() AND e.lot IS NULL"
        ),
        {"org": org},
    ).scalar_one()
    if waiting:
        raise ValueError(f"{waiting} lapsed lots of {org} are not booked yet: the billing process does it by itself")


def give_back_overdrawn(connection: Connection, org: str, reference: str, won: Decimal) -> None:
    """What was used beyond the prepaid credit has become due, so it no longer burdens the balance."""
    micro = int(won.scaleb(6, EXACT).to_integral_value(ROUND_FLOOR))
    if micro:
        correct_window(connection, org, "overdrawn", reference, micro)


def give_back_on_account(connection: Connection) -> int:
    """Usage on account burdens the balance, which nobody looks at until the organisation turns to prepaid: then it is
    given back, and what still arrives of it as well. Returns for how many organisations. In the caller's transaction."""
    rows = connection.execute(
        text(
            "SELECT w.org, w.account_micro FROM window_org w JOIN organisation o ON o.id = w.org "
            "WHERE o.billing = 'prepaid' AND w.account_micro > 0 ORDER BY w.org FOR UPDATE OF w"
        )
    ).all()
    for row in rows:
        connection.execute(
            text("UPDATE window_org SET account_micro = account_micro - :micro WHERE org = :org"),
            {"org": row.org, "micro": row.account_micro},
        )
        reference = str(connection.execute(text("SELECT uuidv7()")).scalar_one())
        correct_window(connection, str(row.org), "on_account", reference, row.account_micro)
    return len(rows)


def correct_window(
    connection: Connection, org: str, reason: Literal["expired", "overdrawn", "on_account"], reference: str, micro: int
) -> None:
    """Adds micro-won to the settled balance, and to the credit window by the outbox."""
    values = {"org": org, "reason": reason, "reference": reference, "micro": micro}
    connection.execute(
        text(
            "INSERT INTO window_correction (org, reason, reference, micro) VALUES (:org, :reason, :reference, :micro)"
        ),
        values,
    )
    connection.execute(
        text(
            "INSERT INTO window_org AS w (org, balance_micro) VALUES (:org, :micro) "
            "ON CONFLICT (org) DO UPDATE SET balance_micro = w.balance_micro + excluded.balance_micro"
        ),
        values,
    )
    outbox.append(connection, org, balance_micro=micro)
