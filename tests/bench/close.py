"""How long a month's close takes and how much memory: `python -m tests.bench.close [CALLS] [ORGANISATIONS] [FILE…]`.

A file is named like `settlement.xlsx`; all of them, if none is.

The calls are written into the usage table directly, since settling them is measured elsewhere. Figures are of this
process; PostgreSQL shares the machine.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from billing import ledger
from billing.exports import books
from billing.invoices import close
from gateway.accounts.people import Person
from gateway.db import connect, migrate
from gateway.invoices import parties
from gateway.invoices.month import month_start
from tests.bench.settlement import servers
from tests.billing.books import add_org
from tests.billing.invoices.closing import DRAFTER, FINALISER, ISSUER, MONTH, PROFILE

CALLS, ORGANISATIONS = 200_000, 10

# Ten keys' worth of titles, five models, two rates: some hundred lines per organisation.
_FILL = """
INSERT INTO usage (month, job, org, key, prepaid, asked, model, provider, deployment, surface, endpoint, stream, title,
    outcome, estimated, prompt_tokens, completion_tokens, won, micro, loss_won, price_id, rate_id, input_usd, output_usd,
    rate, tier, parts, attempts, admitted_at)
SELECT :month, CAST(lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8'
        || lpad(to_hex(n), 15, '0') AS uuid),
    CAST(:org AS uuid), CAST(:key AS uuid), false, 'm', model, 'openai', 'd', 'bizrouter', 'chat', false, 'app ' || n % 10,
    'complete', false, prompt, completion, won, ceil(won * 1000000), 0, 'p', 'r' || n % 2, 2.5, 10, rate, 'base',
    jsonb_build_array(jsonb_build_object('model', model, 'price_id', 'p', 'rate_id', 'r' || n % 2, 'prompt', prompt,
        'completion', completion, 'input_usd', '2.5', 'output_usd', '10', 'rate', CAST(rate AS text), 'tier', 'base',
        'won', CAST(won AS text))),
    '[]', to_timestamp(ms / 1000.0)
FROM (SELECT n, CAST(:start AS bigint) + n * 100 AS ms, 'openai/m' || n % 5 AS model, 100 + n % 5000 AS prompt,
        50 + n % 900 AS completion, CAST(1400.6 + n % 2 AS numeric) AS rate FROM generate_series(1, :calls) n) c
CROSS JOIN LATERAL (SELECT (prompt * 2.5 + completion * 10) * rate * 0.000001 AS won) w
"""

# The journal is read from the ledger, so the calls are booked there as settlement would.
_STAGE = """
CREATE TEMP TABLE settled_now ON COMMIT DROP AS
SELECT * FROM usage WHERE month = :month AND org = CAST(:org AS uuid)
"""


def timed(figures: dict[str, Any], name: str, work: Callable[[], Any]) -> Any:
    """Runs one step and notes its seconds."""
    began, mine = time.perf_counter(), time.process_time()
    result = work()
    figures[name] = round(time.perf_counter() - began, 2)
    figures[f"{name}_cpu"] = round(time.process_time() - mine, 2)
    print(name, figures[name], file=sys.stderr)
    return result


def fill(owner: Engine, calls: int, organisations: int) -> list[str]:
    """Organisations with their calls of the month."""
    start = int(month_start(MONTH).timestamp() * 1000)
    orgs: list[str] = []
    with owner.begin() as connection:
        connection.execute(sa.text("SELECT ensure_usage_month(:month)"), {"month": MONTH})
        parties.set_issuer(connection, ISSUER, "bench")
        for number in range(organisations):
            org, key = str(uuid.uuid4()), str(uuid.uuid4())
            add_org(connection, org, key, "postpaid")
            parties.set_profile(connection, org, PROFILE, "bench")
            values = {"org": org, "key": key, "month": MONTH, "calls": calls // organisations}
            values["start"] = start + number  # no two calls have the same id
            connection.execute(sa.text(_FILL), values)
            orgs.append(org)
    for org in orgs:
        with owner.begin() as connection:
            connection.execute(sa.text(_STAGE), {"org": org, "month": MONTH})
            ledger.ensure_accounts(connection, [org])
            ledger.post_usage(connection)
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE usage"))
    return orgs


def main(calls: int, organisations: int, *files: str) -> dict[str, Any]:
    """Drafts, reviews and finalises the month, writes its files, and says how long each took."""
    figures: dict[str, Any] = {"calls": calls, "organisations": organisations}
    with servers() as (postgres, _), tempfile.TemporaryDirectory() as folder:
        migrate.upgrade(postgres.owner_url)
        engine = connect.engine(postgres.owner_url, statement_timeout_ms=None)
        orgs = timed(figures, "fill_s", lambda: fill(engine, calls, organisations))

        def each(step: Callable[[Connection, str, str, Person], Any], person: Person) -> None:
            for org in orgs:
                with engine.begin() as connection:
                    step(connection, org, MONTH, person)

        timed(figures, "draft_s", lambda: each(close.draft, DRAFTER))
        timed(figures, "review_s", lambda: each(close.review, FINALISER))
        timed(figures, "finalise_s", lambda: each(close.finalise, FINALISER))
        figures["close_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        exports: tuple[tuple[books.What, books.Format], ...] = (
            ("settlement", "xlsx"),
            ("settlement", "csv"),
            ("journal", "csv"),
            ("usage", "csv"),
            ("usage", "xlsx"),
        )
        for what, form in [one for one in exports if not files or ".".join(one) in files]:
            path = Path(folder) / f"{what}.{form}"
            with path.open("wb") as target:
                timed(figures, f"{what}_{form}_s", lambda: books.write(engine, what, MONTH, None, form, target))  # noqa: B023
            figures[f"{what}_{form}_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        timed(figures, "tax_invoice_s", lambda: _tax_files(engine))
        timed(figures, "invoice_pdf_s", lambda: _document(engine, orgs[0], Path(folder) / "invoice.pdf"))
        figures["most_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        engine.dispose()
    return figures


def _tax_files(engine: Engine) -> None:
    with engine.connect() as connection:
        books.tax_files(connection, MONTH, None, None)


def _document(engine: Engine, org: str, path: Path) -> None:
    with path.open("wb") as target:
        books.write(engine, "invoice", MONTH, org, "pdf", target)


if __name__ == "__main__":
    numbers, wanted = [int(given) for given in sys.argv[1:3]], sys.argv[3:]
    print(json.dumps(main(*(numbers + [CALLS, ORGANISATIONS][len(numbers) :]), *wanted), indent=2))
