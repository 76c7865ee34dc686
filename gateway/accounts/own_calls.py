"""The installation's own organisation: what operators call to see whether something works is booked here, on no customer.

It is prepaid like any other, with a little promotional credit, so that its calls take the path of a customer's and can
spend no more than that; an operator tops it up on its page.
"""

from __future__ import annotations

import uuid

from sqlalchemy.dialects.postgresql import insert

from gateway.accounts import console_keys, topups
from gateway.accounts.change import Change
from gateway.db.tables.accounts import organisation

OWN = uuid.UUID("00000000-0000-4000-8000-000000000001")
"""The same in every installation, so that two operators who begin at once make one."""
NAME = "운영 점검 (operator checks)"
CREDIT_WON = 10_000
"""For thousands of calls of a few tokens."""
CREDIT_REFERENCE = "operator-checks"


def ensure(change: Change, person: str) -> tuple[bytes, bool]:
    """The hash of the operator's key in it, and whether the organisation was made just now.

    A new one can be called once billing has opened its window and booked its credit, within seconds. The caller has
    checked that the person is an operator.
    """
    values = {"id": OWN, "name": NAME, "billing": "prepaid", "policy": "optimistic"}
    statement = insert(organisation).values(values).on_conflict_do_nothing(index_elements=["id"])
    row = change.connection.execute(statement.returning(organisation.c.version)).one_or_none()
    if row is not None:
        change.audit("org.create", str(OWN), OWN, name=NAME, billing="prepaid", policy="optimistic")
        change.organisation_changed(OWN, row.version)
        topups.request(change, str(OWN), CREDIT_WON, "promotion", CREDIT_REFERENCE)
    known = console_keys.find(change.connection, str(OWN), person)
    return known or console_keys.ensure(change, str(OWN), person), row is not None
