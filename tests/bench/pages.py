"""What the console's pages cost the server with a million calls in the books: `python -m tests.bench.pages [CALLS]`.

Calls are written into the usage table and the rollups directly, since settling them is measured elsewhere. Milliseconds
are from the request to the last byte on this machine, the middle one of several; on a crowded one the second figure,
Python's own time, still says something.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import sys
import time
import uuid
from typing import Any

import httpx
import sqlalchemy as sa

from gateway import redis as redis_clients
from gateway.accounts import latency, people
from gateway.accounts.change import OPERATOR, changing
from gateway.credit import upkeep
from gateway.db import connect, migrate
from gateway.db.seed import seed
from gateway.settings import Settings
from gateway.wire import ids
from tests.api.conftest import SECRET, front_end
from tests.api.manage.conftest import Staff
from tests.bench.settlement import servers
from tests.billing.books import add_org
from tests.browser.pages import PAGES

CALLS, TIMES, DAYS = 1_000_000, 7, 30
PASSWORD = "correct horse battery"
MORE = ["/?days=90", "/live", "/calls/{call}", "/models.csv", "/operator/state"]
"""What no list of pages has: the longest period, what an open page asks for each second, a receipt, a download."""

# Ten keys, five models, twenty apps over the last thirty days.
_FILL = """
INSERT INTO usage (month, job, org, key, prepaid, asked, model, provider, deployment, surface, endpoint, stream, title,
    outcome, estimated, prompt_tokens, completion_tokens, won, micro, loss_won, parts, attempts, first_token_ms,
    duration_ms, admitted_at)
SELECT to_char(to_timestamp(ms / 1000.0) AT TIME ZONE 'Asia/Seoul', 'YYYYMM'),
    CAST(lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0') AS uuid),
    CAST(:org AS uuid), (CAST(:keys AS uuid[]))[1 + n % 10], true, 'm', 'openai/m' || n % 5, 'openai', 'd', 'bizrouter',
    'chat', false, 'app ' || n % 20, CASE WHEN n % 200 = 0 THEN 'failed' ELSE 'complete' END, false, 1000, 500, 10.125,
    10125000, 0, '[]', '[]', 100 + n % 900, 500 + n % 9000, to_timestamp(ms / 1000.0)
FROM (SELECT n, CAST(:start AS bigint) + n * CAST(:step AS bigint) AS ms FROM generate_series(1, :calls) n) c
"""
_KEYS = """
INSERT INTO api_key (id, org, name, surface, hash, hint)
SELECT key, CAST(:org AS uuid), 'key ' || n, 'bizrouter', sha256(CAST(key AS text)::bytea), 'sk…'
FROM unnest(CAST(:keys AS uuid[])) WITH ORDINALITY AS k (key, n)
"""
_HOURS = """
INSERT INTO usage_hour (org, hour, key, model, provider, title, calls, failed, estimated, prompt_tokens, cached_tokens,
    completion_tokens, won)
SELECT org, date_trunc('hour', admitted_at), key, model, provider, title, count(*),
    count(*) FILTER (WHERE outcome = 'failed'), 0, sum(prompt_tokens), 0, sum(completion_tokens), sum(won)
FROM usage GROUP BY 1, 2, 3, 4, 5, 6
"""


def fill(url: str, calls: int) -> tuple[str, str]:
    """An organisation with its calls; its id and its owner's address."""
    engine, org, keys = connect.engine(url, statement_timeout_ms=None), str(uuid.uuid4()), list[str]()
    now_ms = int(time.time() * 1000)
    span = DAYS * 86_400_000
    with engine.begin() as connection:
        for ahead in (0, 1):
            moment = f"now() AT TIME ZONE 'Asia/Seoul' - interval '{ahead} month'"
            connection.execute(sa.text(f"SELECT ensure_usage_month(to_char({moment}, 'YYYYMM'))"))
        add_org(connection, org, str(uuid.uuid4()))
        keys = [str(uuid.uuid4()) for _ in range(10)]
        connection.execute(sa.text(_KEYS), {"org": org, "keys": keys})
        values = {"org": org, "keys": keys, "calls": calls, "start": now_ms - span, "step": max(1, span // calls)}
        connection.execute(sa.text(_FILL), values)
        connection.execute(sa.text(_HOURS))
        connection.execute(sa.text(latency.settled_statement("usage")))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    engine.dispose()
    return org, "owner@example.kr"


async def measure(url: str, redis_url: str, paths: list[str], email: str) -> dict[str, list[float]]:
    """Milliseconds of each page for an owner who is an operator too, and those of them that Python worked (this client's
    among them; the rest is PostgreSQL, Redis and who else wants the machine). The slowest first.
    """
    settings = Settings(database_url=url, redis_url=redis_url, secret=SECRET)
    figures: dict[str, list[float]] = {}
    async with (
        front_end(redis_url, Staff(settings)) as (_, _, port, _),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        page = (await client.get("/console/sign-in")).text
        token = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
        assert token is not None
        await client.post("/console/sign-in", data={"email": email, "password": PASSWORD, "csrf": token[1]})
        for path in paths:
            took: list[float] = []
            worked: list[float] = []
            for _ in range(TIMES):
                began, began_cpu = time.perf_counter(), time.process_time()
                answer = await client.get(path)
                took.append((time.perf_counter() - began) * 1000)
                worked.append((time.process_time() - began_cpu) * 1000)
                assert answer.status_code == 200, (path, answer.text[:300])
            figures[path] = [round(statistics.median(each), 1) for each in (took, worked)]
    return dict(sorted(figures.items(), key=lambda entry: -entry[1][0]))


def paths_of(url: str, org: str) -> list[str]:
    """Every page of the console, with something to show."""
    engine = connect.engine(url)
    with engine.connect() as connection:
        job, key, month = connection.execute(sa.text("SELECT job, key, month FROM usage ORDER BY job LIMIT 1")).one()
    engine.dispose()
    known = {"call": ids.public(job.hex), "key": key, "org": org, "month": month}
    patterns = dict.fromkeys(path for pages in PAGES.values() for path in (*pages, *MORE))
    return [f"/console{path.replace('/?', '?').format(**known)}" for path in patterns]


def main(calls: int) -> dict[str, Any]:
    """Fills the books and asks for every page."""
    with servers() as (postgres, redis_server):
        migrate.upgrade(postgres.owner_url)
        seed(postgres.owner_url)
        began = time.perf_counter()
        org, email = fill(postgres.owner_url, calls)
        filled = round(time.perf_counter() - began, 1)
        engine, redis = connect.engine(postgres.owner_url), redis_clients.connect(redis_server.url)
        upkeep.rebuild_begin(redis)
        upkeep.rebuild_end(redis, [], "1")
        with changing(engine, redis, OPERATOR) as change:
            made = people.create(change, email, "김하나", PASSWORD, operator=True)
            people.join(change, org, made.id, "owner")
        pages = asyncio.run(measure(postgres.owner_url, redis_server.url, paths_of(postgres.owner_url, org), email))
        engine.dispose()
        redis.close()
    return {"calls": calls, "fill_s": filled, "milliseconds": pages}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else CALLS), indent=2))
