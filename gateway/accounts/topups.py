"""Top-ups as they are asked for. Billing books what is pending: it alone writes the ledger."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, RowMapping, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from gateway.accounts import limits
from gateway.accounts.change import Change
from gateway.db.tables.accounts import organisation, topup_request
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.money import MAX_LIMIT_WON

Method = Literal["transfer", "card", "promotion"]


class TopUp(msgspec.Struct, frozen=True):
    """A request for credit. ``amount_won`` is whole won, net of VAT."""

    id: str
    org: str
    amount_won: int
    method: Method
    reference: str
    state: Literal["pending", "booked", "refused"]
    expires_at: dt.datetime | None
    booked_at: dt.datetime | None
    note: str


def request(
    change: Change,
    org: str,
    amount_won: int,
    method: Method,
    reference: str,
    *,
    expires_at: dt.datetime | None = None,
    note: str = "",
) -> TopUp:
    """Asks for credit once per payment reference: asking again with the same terms returns the first request.

    Only promotional credit may expire. Raises ``NotFound``, ``InvalidRequest``, or ``Conflict`` where the reference
    stands for another amount or method.
    """
    if not 1 <= amount_won <= MAX_LIMIT_WON:
        raise InvalidRequest(f"amount must be 1 to {MAX_LIMIT_WON} won", param="amount")
    if not 1 <= len(reference) <= limits.LONGEST_NAME:
        raise InvalidRequest(f"reference must be 1 to {limits.LONGEST_NAME} characters", param="reference")
    if expires_at is not None and method != "promotion":
        raise InvalidRequest("only promotional credit expires", param="expires_at")
    org_id = uuid.UUID(org)
    if change.connection.scalar(select(organisation.c.id).where(organisation.c.id == org_id)) is None:
        raise NotFound(f"no organisation {org}")
    values: dict[str, Any] = {"org": org_id, "amount_won": amount_won, "method": method, "reference": reference}
    values |= {"id": uuid.uuid4(), "requested_by": change.actor, "expires_at": expires_at, "note": note}
    statement = insert(topup_request).values(values).on_conflict_do_nothing(index_elements=["org", "reference"])
    row = change.connection.execute(statement.returning(topup_request)).mappings().one_or_none()
    if row is not None:
        change.audit("topup.request", str(row["id"]), org_id, amount_won=amount_won, method=method)
        return _view(row)
    known = select(topup_request).where(topup_request.c.org == org_id, topup_request.c.reference == reference)
    row = change.connection.execute(known).mappings().one()
    if (row["amount_won"], row["method"]) != (amount_won, method):
        raise Conflict(f"reference {reference!r} was used for another amount or method")
    return _view(row)


def page(connection: Connection, org: str, *, before: str | None = None, most: int = 50) -> Sequence[TopUp]:
    """An organisation's top-ups, newest first; ``before`` is the last one shown ."""
    t = topup_request.c
    query = select(topup_request).where(t.org == uuid.UUID(org)).order_by(t.created_at.desc(), t.id.desc()).limit(most)
    if before is not None:
        last = select(t.created_at, t.id).where(t.org == uuid.UUID(org), t.id == uuid.UUID(before)).subquery()
        query = query.where(tuple_(t.created_at, t.id) < select(last.c.created_at, last.c.id).scalar_subquery())
    return [_view(row) for row in connection.execute(query).mappings()]


def _view(row: RowMapping) -> TopUp:
    made: dict[str, Any] = {field: row[field] for field in TopUp.__struct_fields__}
    made |= {"id": str(row["id"]), "org": str(row["org"])}
    return TopUp(**made)
