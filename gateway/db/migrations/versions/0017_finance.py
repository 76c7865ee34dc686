"""Holidays that the government declares at short notice, and payments that are given back."""

from __future__ import annotations

from alembic import op

revision = "0017_finance"
down_revision = "0016_retention"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE holiday (
    day DATE NOT NULL,
    name TEXT NOT NULL,
    entered_by TEXT NOT NULL,
    entered_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_holiday PRIMARY KEY (day)
);
"""
# below zero: given back to the customer, or booked by mistake before
GIVEN_BACK = """
ALTER TABLE payment DROP CONSTRAINT ck_payment_amount;
ALTER TABLE payment ADD CONSTRAINT ck_payment_amount CHECK (amount <> 0);
"""
RIGHTS = "GRANT SELECT ON holiday TO wonrouter_billing, wonrouter_api;"


def upgrade() -> None:
    for statements in (TABLE, GIVEN_BACK, RIGHTS):
        op.execute(statements)
