"""The close's tables as the migration makes them are those that the code knows."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gateway.db import connect
from gateway.db.base import metadata
from gateway.db.tables import close, costs, ledger, tasks

TABLES = {
    table.name
    for table in (
        close.issuer, close.billing_profile, close.billing_change, close.invoice, close.invoice_counter, close.lot_use,
        close.lot_expiry, close.window_correction, close.payment, close.month_collected, close.discarded_usage,
        close.provider_statement, close.usage_hour, close.usage_day, ledger.window_org,
        tasks.task, tasks.task_upload, tasks.task_part, tasks.invariant_run, costs.provider_price,
    )
}  # fmt: skip


def test_the_migrated_tables_are_those_that_the_code_knows(database_url: str) -> None:
    def ours(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        return kind != "table" or name in TABLES

    engine = connect.engine(database_url)
    with engine.connect() as connection:
        options = {"target_metadata": metadata, "compare_type": True, "include_object": ours}
        found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    engine.dispose()
    assert found == []
