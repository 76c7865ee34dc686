"""The invariants of the books, each a number of violations that must be 0. Hourly, and by ``wonrouter reconcile``.

====================  ===============================================================================================
name                  what must hold
====================  ===============================================================================================
debits_credits        all entries sum to zero, and so does every transaction
balances              every account's balance is the sum of its entries
usage_transactions    every usage row has one transaction with entries for its charge and loss, and no other has one
                      (of a retired month: its sums are those of its transactions)
rating                every charge is what its parts' prices, rate and tokens come to
settled_window        what PostgreSQL keeps of the window is top-ups less charges, in micro-won, to the unit, and what
                      lapsed, was overdrawn or was used on account
rollups               the hours and days of the dashboards add up to the usage rows, to the won, and to their cost
invoices              every final document's sums are its columns, and its supply the floor of its exact sum
invoice_bookings      every final document has its transaction, and receivables less payments are what is unpaid
lots                  what a lot has left is its amount less what invoices took and what lapsed
numbers               invoice numbers of an issuer and month run from 1 without a gap
late_usage            every closed month's exact charge is its last document's; what came later waits for an amendment
window                Redis = PostgreSQL less what is unsettled or on its way, and holds and slots = open jobs
====================  ===============================================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, text

from billing import metrics, window
from billing.invoices.invariants import CLOSE_QUERIES
from billing.lock import SettlerLock
from gateway.credit import upkeep
from gateway.credit.upkeep import Census
from gateway.db.tables.tasks import invariant_run
from gateway.wire import ids, keys

# Every call's charge, those of retired months as their sums.
_MICRO = """(SELECT org, key, month, prepaid, micro FROM usage
                    UNION ALL SELECT org, key, month, prepaid, micro FROM usage_retired) used"""
# Multiplied by a millionth: numeric multiplication is exact, a division rounds.
_QUERIES = {
    "debits_credits": """
        SELECT (SELECT count(*) FROM (SELECT FROM entry GROUP BY txn HAVING sum(won) <> 0) t)
             + (SELECT count(*) FROM (SELECT FROM entry HAVING sum(won) <> 0) t)""",
    "balances": """
        SELECT count(*) FROM (SELECT account, sum(won) AS won FROM entry GROUP BY account) e
        FULL JOIN account_balance b USING (account) WHERE e.won IS DISTINCT FROM b.won""",
    "usage_transactions": """
        SELECT (SELECT count(*) FROM usage u LEFT JOIN ledger_transaction t ON t.id = u.job AND t.job = u.job
                WHERE t.org IS DISTINCT FROM u.org OR t.month IS DISTINCT FROM u.month)
             + (SELECT count(*) FROM ledger_transaction t LEFT JOIN usage u ON u.month = t.month AND u.job = t.job
                WHERE t.kind = 'usage' AND u.job IS NULL
                AND NOT EXISTS (SELECT FROM usage_retirement r WHERE r.month = t.month AND r.retired_at IS NOT NULL))
             + (SELECT count(*) FROM usage u LEFT JOIN (
                    SELECT e.txn, sum(e.won) FILTER (WHERE a.kind IN ('wallet', 'unbilled')) AS charge,
                           sum(e.won) FILTER (WHERE a.kind = 'loss_unbilled') AS loss
                    FROM entry e JOIN account a ON a.id = e.account GROUP BY e.txn) b ON b.txn = u.job
                WHERE coalesce(b.charge, 0) <> u.won OR coalesce(b.loss, 0) <> u.loss_won)
             + (SELECT count(*) FROM (
                    SELECT t.org, t.month, count(DISTINCT t.id) AS calls,
                           coalesce(sum(e.won) FILTER (WHERE a.kind IN ('wallet', 'unbilled')), 0) AS won,
                           coalesce(sum(e.won) FILTER (WHERE a.kind = 'loss_unbilled'), 0) AS loss
                    FROM usage_retirement r JOIN ledger_transaction t ON t.month = r.month AND t.kind = 'usage'
                    LEFT JOIN entry e ON e.txn = t.id LEFT JOIN account a ON a.id = e.account
                    WHERE r.retired_at IS NOT NULL GROUP BY 1, 2) b
                FULL JOIN (SELECT org, month, sum(calls) AS calls, sum(won) AS won, sum(loss_won) AS loss
                    FROM usage_retired GROUP BY 1, 2) u USING (org, month)
                WHERE (b.calls, b.won, b.loss) IS DISTINCT FROM (u.calls, u.won, u.loss))""",
    "rating": """
        SELECT count(*) FROM usage u LEFT JOIN LATERAL (
            SELECT sum((p.prompt * p.input_usd + p.completion * p.output_usd) * p.rate * 0.000001) AS due,
                   bool_and((p.prompt * p.input_usd + p.completion * p.output_usd) * p.rate * 0.000001 = p.won) AS each
            FROM jsonb_to_recordset(u.parts) AS p
                (prompt numeric, completion numeric, input_usd numeric, output_usd numeric, rate numeric, won numeric)
        ) r ON true
        WHERE u.won <> coalesce(r.due, 0) OR NOT coalesce(r.each, true)""",
    "settled_window": f"""
        SELECT (SELECT count(*) FROM window_org w
                FULL JOIN (SELECT org, sum(micro) AS micro FROM {_MICRO} GROUP BY org) u USING (org)
                LEFT JOIN (SELECT org, sum(amount) * 1000000 AS micro FROM lot GROUP BY org) l USING (org)
                LEFT JOIN (SELECT org, sum(micro) AS micro FROM window_correction GROUP BY org) c USING (org)
                WHERE w.balance_micro
                    IS DISTINCT FROM coalesce(l.micro, 0) - coalesce(u.micro, 0) + coalesce(c.micro, 0))
             + (SELECT count(*) FROM window_org w
                FULL JOIN (SELECT org, sum(micro) AS micro FROM {_MICRO} WHERE NOT prepaid GROUP BY org) u USING (org)
                LEFT JOIN (SELECT org, sum(micro) AS micro FROM window_correction WHERE reason = 'on_account'
                    GROUP BY org) c USING (org)
                WHERE w.account_micro IS DISTINCT FROM coalesce(u.micro, 0) - coalesce(c.micro, 0))
             + (SELECT count(*) FROM window_month w
                FULL JOIN (SELECT org, month, sum(micro) AS micro FROM {_MICRO} GROUP BY org, month) u USING (org, month)
                WHERE w.spent_micro IS DISTINCT FROM u.micro)
             + (SELECT count(*) FROM window_key w
                FULL JOIN (SELECT key, sum(micro) AS micro FROM {_MICRO} GROUP BY key) u USING (key)
                WHERE w.spent_micro IS DISTINCT FROM u.micro)""",
    **CLOSE_QUERIES,
}

# A rebuild leaves deleted keys out: nobody is admitted by them any more.
_WINDOW_KEYS = """
    SELECT key FROM window_key w
    WHERE NOT EXISTS (SELECT 1 FROM api_key k WHERE k.id = w.key AND k.state = 'deleted') ORDER BY key"""


def reconcile(engine: Engine, redis: Any) -> dict[str, int]:
    """Counts the violations of every invariant, and keeps the counts for people to see.

    Holds the settler's lock, so settlement waits until it is done.
    """
    lock = SettlerLock(engine)
    try:
        with lock.turn(wait=True) as connection:
            assert connection is not None
            found: dict[str, int] = {}
            with connection.begin():
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
                found["window"] = len(window_violations(redis, connection))
                for name, query in _QUERIES.items():
                    found[name] = int(connection.execute(text(query)).scalar_one())
    finally:
        lock.close()
    with engine.begin() as connection:
        connection.execute(invariant_run.insert().values(found=found, violations=sum(found.values())))
    for name, count in found.items():
        metrics.INVARIANT.labels(name).set(count)
    return found


def window_violations(redis: Any, connection: Connection) -> list[str]:
    """Every number of the window that is not what the books say, in words. Inside a repeatable-read transaction.

    A window that is closed is not compared: nobody is admitted by it, and the rebuild writes it anew.
    """
    epoch, _ = window.epoch_and_run_id(connection)
    orgs = [str(org) for org in connection.execute(text("SELECT id FROM organisation ORDER BY id")).scalars()]
    key_ids = [str(key) for key in connection.execute(text(_WINDOW_KEYS)).scalars()]
    census = upkeep.census(redis, orgs, key_ids)
    if census.epoch != epoch:
        return []
    expected = _settled(connection)
    for name, micro in _on_the_way(redis, connection, census):
        expected[name] += micro
    for hold in census.holds:
        if hold.window_epoch == epoch:
            for scope in (f"o:{hold.org}", f"k:{hold.key}"):
                expected[f"{scope} held"] += hold.micro
                expected[f"{scope} slots"] += 1
    return _differences(census, expected)


def _settled(connection: Connection) -> Counter[str]:
    books: Counter[str] = Counter()
    for row in connection.execute(text("SELECT org, balance_micro FROM window_org")):
        books[f"o:{row.org} bal"] = row.balance_micro
    for row in connection.execute(text("SELECT org, month, spent_micro FROM window_month")):
        books[f"o:{row.org} m:{row.month}"] = row.spent_micro
    for row in connection.execute(text("SELECT key, spent_micro FROM window_key")):
        books[f"k:{row.key} spent"] = row.spent_micro
    return books


def _on_the_way(redis: Any, connection: Connection, census: Census) -> Iterator[tuple[str, int]]:
    """What the window has and the books have not: events not settled, less changes not yet applied."""
    streams = [(keys.DEAD, "+")] + ([(keys.USAGE, census.newest)] if census.newest else [])
    for stream, last in streams:
        for fields in _entries(redis, stream, last):
            if fields.get(b"hold") != b"1":
                continue
            micro = int(fields[b"micro"])
            org, key = fields[b"org"].decode(), fields[b"key"].decode()
            yield f"o:{org} bal", -micro
            yield f"o:{org} m:{ids.month_of(ids.milliseconds(fields[b'job'].decode()))}", micro
            yield f"k:{key} spent", micro
    for row in connection.execute(text("SELECT * FROM outbox WHERE applied_at IS NULL")):
        known = census.orgs.get(str(row.org), {}).get("seq", 0)
        if row.seq <= known:
            continue  # applied, and its note of that not yet written
        yield f"o:{row.org} bal", -row.balance_micro
        if row.month is not None:
            yield f"o:{row.org} m:{row.month}", -row.month_spent_micro
        if row.key is not None:
            yield f"k:{row.key} spent", -row.key_spent_micro


def _entries(redis: Any, stream: str, last: str) -> Iterator[dict[bytes, bytes]]:
    start = "-"
    while entries := redis.execute_command("XRANGE", stream, start, last, "COUNT", 1000):
        for _, fields in entries:
            yield fields
        start = "(" + entries[-1][0].decode()


def _differences(census: Census, expected: Counter[str]) -> list[str]:
    found: list[str] = []
    for kind, hashes, names in (
        ("o", census.orgs, ("bal", "held", "slots")),
        ("k", census.keys, ("spent", "held", "slots")),
    ):
        for identity, has in hashes.items():
            months = [name for name in has if name.startswith("m:")]
            for name in (*names, *months):
                books = expected[f"{kind}:{identity} {name}"]
                if has.get(name, 0) != books:
                    found.append(f"{kind}:{identity} {name}: window {has.get(name, 0)}, books {books}")
    return found
