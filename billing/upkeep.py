"""One turn of the billing loop: window guard, settlement, top-ups, outbox, expired holds."""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, IntegrityError

from billing import ledger, metrics, window
from billing.lock import ask
from billing.settlement import settle
from gateway.accounts import outbox
from gateway.credit import upkeep
from gateway.credit.upkeep import Change
from gateway.invoices.parties import read_customer
from gateway.money import MAX_LIMIT_WON, MICRO
from gateway.settings import Settings

log = structlog.get_logger(__name__)

RELAYED = 500
"""Outbox rows per turn: each is one call to Redis, and the lock should come free within a moment."""
SWEPT = 200
"""Holds ended in one call: the script must not keep Redis from admitting for more than a few milliseconds."""
TOPUPS = 100
_TO_DO = f"""
SELECT CAST(epoch AS text), redis_run_id, EXISTS (SELECT FROM topup_request WHERE state = 'pending'),
    EXISTS (SELECT FROM outbox WHERE applied_at IS NULL)
FROM window_epoch WHERE cell = '{window.CELL}'"""


def turn(redis: Any, connection: Connection, settings: Settings) -> bool:
    """Does what there is to do, up to a limit each. Returns whether a limit was reached: then there is more.

    Short of a limit the loop rests before the next turn, so that events gather: a turn costs as much for one as for a
    hundred.

    The caller holds the settler's lock on ``connection``. Raises what the two stores raise when they are away.
    """
    epoch, run_id, topups, changes = ask(connection, _TO_DO)
    ours = window.is_ours(redis, epoch, run_id)
    if not ours:
        window.rebuild(redis, connection, settings.settle_batch)
    settled = settle(redis, connection, settings.settle_batch)
    booked = book_topups(connection) if topups else 0
    relayed = relay(redis, connection) if changes or booked or settled or not ours else 0
    return settled >= settings.settle_batch or booked >= TOPUPS or relayed >= RELAYED


def book_topups(connection: Connection) -> int:
    """Books what waits in ``topup_request``, each in a transaction of its own. Returns how many were decided."""
    with connection.begin():
        waiting = connection.execute(
            text("SELECT id FROM topup_request WHERE state = 'pending' ORDER BY created_at LIMIT :most"),
            {"most": TOPUPS},
        ).scalars()
        requests = list(waiting)
    for request in requests:
        try:
            with connection.begin():
                refusal = _book_topup(connection, request)
        except (DataError, IntegrityError) as error:
            log.exception("topup_failed", request=str(request), error=str(error.orig))
            refusal = "not bookable"
        if refusal:
            with connection.begin():
                connection.execute(
                    text(
                        "UPDATE topup_request SET state = 'refused', note = :note WHERE id = :id AND state = 'pending'"
                    ),
                    {"id": request, "note": refusal},
                )
    return len(requests)


def _book_topup(connection: Connection, request: Any) -> str | None:
    """Ledger, lot, settled window, outbox and the request's state in one transaction. Returns why not, or None."""
    row = connection.execute(
        text(
            "SELECT org, amount_won, method, reference, expires_at FROM topup_request "
            "WHERE id = :id AND state = 'pending' FOR UPDATE"
        ),
        {"id": request},
    ).one_or_none()
    if row is None:
        return None
    org, micro = str(row.org), row.amount_won * MICRO
    held = connection.execute(
        text("SELECT balance_micro FROM window_org WHERE org = :org"), {"org": org}
    ).scalar_one_or_none()
    if (held or 0) + micro > MAX_LIMIT_WON * MICRO:
        return f"the balance would pass {MAX_LIMIT_WON} won, up to which the credit window counts exactly"
    rule = read_customer(connection, org).rule
    booked = ledger.top_up(
        connection, org, row.amount_won, row.method, row.reference, expires_at=row.expires_at, memo=row.method,
        vat_mode=rule.mode, zero_rated=rule.zero_rated,
    )  # fmt: skip
    if booked is not None:
        connection.execute(
            text(
                "INSERT INTO window_org AS w (org, balance_micro, topup_micro, topup_id) VALUES (:org, :micro, :micro, :id) "
                "ON CONFLICT (org) DO UPDATE SET balance_micro = w.balance_micro + excluded.balance_micro, "
                "topup_micro = w.balance_micro + excluded.balance_micro, topup_id = excluded.topup_id"
            ),
            {"org": org, "micro": micro, "id": booked},
        )
        outbox.append(connection, org, balance_micro=micro)
        metrics.TOPUPS.inc()
    connection.execute(
        text("UPDATE topup_request SET state = 'booked', booked_at = now() WHERE id = :id"), {"id": request}
    )
    return None


def relay(redis: Any, connection: Connection) -> int:
    """Applies outbox rows to the window, in order per organisation. Returns how many.

    A gap means that the window has lost a number that PostgreSQL saw applied: only a rebuild can mend that, so the
    window is closed, and the next turn finds it so.
    """
    with connection.begin():
        rows = connection.execute(
            text("SELECT * FROM outbox WHERE applied_at IS NULL ORDER BY org, seq LIMIT :most"), {"most": RELAYED}
        ).all()
        if not rows:
            return 0
        epoch = window.epoch_and_run_id(connection)[0]
    done: list[Any] = []
    for row in rows:
        verdict = upkeep.apply(redis, _change(row), epoch)
        if verdict == "gap":
            log.error("outbox_gap", org=str(row.org), seq=row.seq)
            upkeep.rebuild_begin(redis)
        if verdict in {"gap", "rebuilding"}:
            break
        done.append(row)
    if done:
        with connection.begin():
            connection.execute(
                text(
                    "UPDATE outbox o SET applied_at = now() "
                    "FROM unnest(CAST(:orgs AS uuid[]), CAST(:seqs AS bigint[])) AS d (org, seq) "
                    "WHERE o.org = d.org AND o.seq = d.seq"
                ),
                {"orgs": [row.org for row in done], "seqs": [row.seq for row in done]},
            )
    return len(done)


def _change(row: Any) -> Change:
    return Change(
        org=str(row.org),
        seq=row.seq,
        balance_micro=row.balance_micro,
        org_version=row.org_version,
        key=None if row.key is None else str(row.key),
        key_version=row.key_version,
        key_spent_micro=row.key_spent_micro,
        month=row.month,
        month_spent_micro=row.month_spent_micro,
        news=row.news,
    )


def sweep(redis: Any, grace_s: float) -> int:
    """Ends jobs whose worker is gone, and unclaimed ones whose time is over. Returns how many."""
    ended = 0
    while True:
        jobs = upkeep.sweep(redis, int(grace_s * 1000), SWEPT)
        ended += len(jobs)
        if jobs:
            metrics.EXPIRED.inc(len(jobs))
            log.warning("holds_expired", jobs=jobs)
        if len(jobs) < SWEPT:
            return ended
