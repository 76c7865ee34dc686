"""Changes on their way from PostgreSQL to the credit window, numbered per organisation without gaps."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from gateway.db.tables import accounts


def append(
    connection: Connection,
    org: str,
    *,
    balance_micro: int = 0,
    org_version: int | None = None,
    key: str | None = None,
    key_version: int | None = None,
    key_spent_micro: int = 0,
    month: str | None = None,
    month_spent_micro: int = 0,
    news: bytes = b"",
) -> int:
    """Appends one ``gateway.credit.upkeep.Change`` in the caller's transaction. Returns its number.

    Takes the lock of the organisation's counter until the transaction ends: two writers of one organisation follow
    each other, and numbers become visible in order. Who writes for several organisations takes them in the order of
    their ids, so that nobody waits in a circle. Money in micro-won; ``month`` is ``YYYYMM``.
    """
    org_id = uuid.UUID(org)
    counter = insert(accounts.organisation_seq).values(org=org_id, seq=1)
    seq: int = connection.execute(
        counter.on_conflict_do_update(
            index_elements=["org"], set_={"seq": accounts.organisation_seq.c.seq + 1}
        ).returning(accounts.organisation_seq.c.seq)
    ).scalar_one()
    row: dict[str, Any] = {
        "org": org_id,
        "seq": seq,
        "balance_micro": balance_micro,
        "org_version": org_version,
        "key": None if key is None else uuid.UUID(key),
        "key_version": key_version,
        "key_spent_micro": key_spent_micro,
        "month": month,
        "month_spent_micro": month_spent_micro,
        "news": news,
    }
    connection.execute(accounts.outbox.insert().values(row))
    return seq
