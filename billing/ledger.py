"""The only writer of ledger entries. Debits are positive, credits negative, a transaction sums to zero.

==================  ==========================================  ===========================================
transaction         debit                                       credit
==================  ==========================================  ===========================================
usage               wallet (prepaid) or unbilled (postpaid),    revenue, of both
                    the charge; loss_unbilled, the loss
topup               cash_clearing, amount + VAT                 wallet, amount; vat_payable, VAT
topup, promotion    promo, amount                               wallet, amount
invoice             receivable, what is due; revenue, the       unbilled, what was on account; wallet, what was
                    promotions used; rounding, the fraction     overdrawn; vat_payable; promo, the promotions used
payment             cash_clearing                               receivable
expiry              wallet, what a lot had left                 promo
adjustment          as given                                    as given
==================  ==========================================  ===========================================

The database checks the sums and keeps the balances (migration 0002). Entries are never changed: what was wrong is put
right by further entries.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Literal

from sqlalchemy import Connection, text

from gateway.db.tables.ledger import OF_THE_INSTALLATION, PER_ORGANISATION
from gateway.money import VatMode, vat_on
from gateway.wire.ids import month_of

Method = Literal["transfer", "card", "promotion"]

_USAGE_TRANSACTIONS = """
INSERT INTO ledger_transaction (id, kind, org, month, job, occurred_at)
SELECT job, 'usage', org, month, job, admitted_at FROM pg_temp.settled_now
"""
_USAGE_ENTRIES = """
INSERT INTO entry (txn, account, won)
SELECT u.job, a.id, p.won
FROM pg_temp.settled_now u
CROSS JOIN LATERAL (VALUES
    (CASE WHEN u.prepaid THEN 'wallet' ELSE 'unbilled' END, u.won),
    ('loss_unbilled', u.loss_won),
    ('revenue', -u.won - u.loss_won)
) AS p (kind, won)
JOIN account a ON a.org = u.org AND a.kind = p.kind
WHERE p.won <> 0
"""


def ensure_accounts(connection: Connection, orgs: Iterable[str]) -> None:
    """Makes the accounts of these organisations, and the installation's own, where they are missing."""
    connection.execute(
        text(
            "INSERT INTO account (org, kind) "
            "SELECT o, k FROM unnest(CAST(:orgs AS uuid[])) o, unnest(CAST(:own AS text[])) k "
            "UNION ALL SELECT NULL, k FROM unnest(CAST(:shared AS text[])) k ORDER BY 1, 2 ON CONFLICT DO NOTHING"
        ),
        {"orgs": sorted(orgs), "own": list(PER_ORGANISATION), "shared": list(OF_THE_INSTALLATION)},
    )


def post_usage(connection: Connection) -> None:
    """Books the new usage rows that settlement has staged in ``pg_temp.settled_now``; one transaction for each.

    Their organisations' accounts exist. A job that cost nothing has a transaction without entries, so that every
    usage row has exactly one.
    """
    connection.execute(text(_USAGE_TRANSACTIONS))
    connection.execute(text(_USAGE_ENTRIES))


def top_up(
    connection: Connection,
    org: str,
    amount: int,
    method: Method,
    reference: str,
    *,
    expires_at: dt.datetime | None = None,
    memo: str | None = None,
    vat_mode: VatMode = "floor",
    zero_rated: bool = False,
) -> uuid.UUID | None:
    """Books credit of ``amount`` whole won, net of VAT, and makes it a lot.

    Returns the transaction, or None where this organisation's ``reference`` was booked before. Paid credit owes its
    VAT at once; promotional credit is a gift and owes none.
    """
    if amount <= 0:
        raise ValueError("a top-up is above zero")
    txn = _open(connection, "topup", org, reference, memo)
    if txn is None:
        return None
    vat = 0 if method == "promotion" or zero_rated else vat_on(amount, vat_mode)
    sides: dict[tuple[str, str | None], Decimal]
    if method == "promotion":
        sides = {("promo", org): Decimal(amount), ("wallet", org): Decimal(-amount)}
    else:
        sides = {
            ("cash_clearing", None): Decimal(amount + vat),
            ("wallet", org): Decimal(-amount),
            ("vat_payable", None): Decimal(-vat),
        }
    _post(connection, txn, org, sides)
    connection.execute(
        text(
            "INSERT INTO lot (id, org, method, amount, vat, remaining, reference, expires_at) "
            "VALUES (:id, :org, :method, :amount, :vat, :amount, :reference, :expires_at)"
        ),
        {
            "id": txn, "org": org, "method": method, "amount": amount, "vat": vat, "reference": reference,
            "expires_at": expires_at,
        },
    )  # fmt: skip
    return txn


def adjust(
    connection: Connection,
    org: str,
    reference: str,
    memo: str,
    sides: Mapping[tuple[str, str | None], Decimal],
) -> uuid.UUID | None:
    """A correction: ``sides`` maps (account kind, organisation or None) to won, debits positive.

    Returns None where the reference was booked before. Raises ``sqlalchemy.exc.IntegrityError`` where the sides do
    not sum to zero. The credit window is not told: who corrects a wallet appends to the outbox too.
    """
    txn = _open(connection, "adjustment", org, reference, memo)
    if txn is not None:
        _post(connection, txn, org, sides)
    return txn


def post(
    connection: Connection,
    kind: Literal["invoice", "payment", "expiry"],
    org: str,
    reference: str,
    sides: Mapping[str, Decimal],
    *,
    memo: str | None = None,
    month: str | None = None,
) -> uuid.UUID | None:
    """Books one transaction of the close: ``sides`` maps account kinds to won, debits positive.

    ``month`` (``YYYYMM``) is the one it belongs to, now if None. Returns None where the reference was booked before.
    Raises ``sqlalchemy.exc.IntegrityError`` where the sides do not sum to zero.
    """
    txn = _open(connection, kind, org, reference, memo, month)
    if txn is not None:
        whose = {(name, None if name in OF_THE_INSTALLATION else org): won for name, won in sides.items()}
        _post(connection, txn, org, whose)
    return txn


def _open(
    connection: Connection, kind: str, org: str, reference: str, memo: str | None, month: str | None = None
) -> uuid.UUID | None:
    now = dt.datetime.now(dt.UTC)
    return connection.execute(
        text(
            "INSERT INTO ledger_transaction (id, kind, org, month, reference, memo, occurred_at) "
            "VALUES (uuidv7(), :kind, :org, :month, :reference, :memo, :now) "
            "ON CONFLICT (org, kind, reference) WHERE reference IS NOT NULL DO NOTHING RETURNING id"
        ),
        {
            "kind": kind, "org": org, "reference": reference, "memo": memo, "now": now,
            "month": month or month_of(int(now.timestamp() * 1000)),
        },
    ).scalar_one_or_none()  # fmt: skip


def _post(connection: Connection, txn: uuid.UUID, org: str, sides: Mapping[tuple[str, str | None], Decimal]) -> None:
    ensure_accounts(connection, [org])
    posted = [(kind, whose, won) for (kind, whose), won in sides.items() if won]
    if not posted:
        return
    written = connection.execute(
        text(
            "INSERT INTO entry (txn, account, won) SELECT :txn, a.id, p.won "
            "FROM unnest(CAST(:kinds AS text[]), CAST(:orgs AS uuid[]), CAST(:wons AS numeric[])) "
            "AS p (kind, org, won) JOIN account a ON a.kind = p.kind AND a.org IS NOT DISTINCT FROM p.org"
        ),
        {
            "txn": txn,
            "kinds": [kind for kind, _, _ in posted],
            "orgs": [whose for _, whose, _ in posted],
            "wons": [won for _, _, won in posted],
        },
    )
    if written.rowcount != len(posted):
        raise ValueError(f"no such account among {[(kind, whose) for kind, whose, _ in posted]}")
