"""The catalogue as a front end follows it: read again where something has changed, and only there."""

import pytest
from sqlalchemy import text

from gateway.db import connect
from gateway.db.catalogue_store import CatalogueReader, read_snapshot
from gateway.db.seed import seed

_CHANGES = {
    "a rate": "INSERT INTO exchange_rate (id, date, rate, source, effective_from) "
    "VALUES ('r', '2026-03-02', 1400, 't', now())",
    "a price": "INSERT INTO price (id, model, effective_from, input_usd, output_usd, source) "
    "VALUES ('p', 'openai/gpt-4o', now(), 9, 9, 't')",
    "a state": "INSERT INTO model_state VALUES ('openai/gpt-4o', 'withdrawn')",
    "another state": "UPDATE model_state SET state = 'disabled'",
    "a deployment": "INSERT INTO deployment (id, source, position, model, provider, base_url, upstream_model, api_key, "
    "weight, domestic, no_training, options) "
    "VALUES ('d', 'file', 1, 'openai/gpt-4.1', 'openai', 'http://127.0.0.1', 'gpt-4.1', '', 1, false, false, '{}')",
    "a deployment's place": "UPDATE deployment SET domestic = true",
    "a drain": "INSERT INTO deployment_weight (deployment, weight, changed_by) VALUES ('d', 0, 'operator')",
}


@pytest.mark.anyio
async def test_the_front_ends_engine_reads_the_same_snapshot_and_only_after_a_change(database_url: str) -> None:
    seed(database_url)
    blocking, engine = connect.engine(database_url), connect.async_engine(database_url)
    reader = CatalogueReader(engine, sandbox=True)
    before = await reader.load()
    for what, change in _CHANGES.items():
        assert await reader.load() is before, f"before {what}"
        with blocking.begin() as connection:
            connection.execute(text(change))
            expected = read_snapshot(connection, sandbox=True)
        after = await reader.load()
        assert after == expected != before, what
        before = after
    await engine.dispose()
    blocking.dispose()
