"""From the usage stream to usage rows, ledger and the settled window, exactly once.

A batch is read from the stream's start, written in one transaction and only then deleted from the stream. Killed
between the two, the batch is read again and finds its rows there: (month, job) is unique, and ledger, window and
outbox are written only for rows that were really inserted. The stream needs no consumer group for that.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

import msgspec
import psycopg
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from billing import costs, ledger, metrics
from billing.costs import CostBook
from billing.records import PoisonError, Record, read
from gateway import tracing
from gateway.accounts import latency, outbox
from gateway.wire import ids, keys

log = structlog.get_logger(__name__)

TRACE_LINKS = 128
"""OpenTelemetry's own limit of links on one span."""

_COLUMNS = (
    "month", "job", "org", "key", "prepaid", "asked", "model", "provider", "deployment", "surface", "endpoint",
    "stream", "title", "user_hash", "outcome", "finish_reason", "error", "estimated", "prompt_tokens",
    "completion_tokens", "cached_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "reasoning_tokens",
    "image_tokens", "searches", "won", "micro", "loss_won", "price_id", "rate_id", "input_usd", "output_usd", "rate",
    "tier", "parts", "attempts", "first_token_ms", "duration_ms", "admitted_at", "trace", "cost_usd", "cost_won",
)  # fmt: skip
# The batch lies in this table inside its transaction; everything after the COPY is one statement for all of it.
_STAGE = "CREATE TEMP TABLE IF NOT EXISTS settled_now (LIKE usage INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
_COPY = f"COPY pg_temp.settled_now ({', '.join(_COLUMNS)}) FROM STDIN"
_INSERT = "INSERT INTO usage SELECT * FROM pg_temp.settled_now ON CONFLICT (month, job) DO NOTHING RETURNING job"
_FORGET_KNOWN = "DELETE FROM pg_temp.settled_now WHERE NOT job = ANY(:fresh)"
_WINDOWS = (
    """
    INSERT INTO window_org AS w (org, balance_micro, account_micro)
    SELECT org, -sum(micro), coalesce(sum(micro) FILTER (WHERE NOT prepaid), 0)
    FROM pg_temp.settled_now GROUP BY org ORDER BY org
    ON CONFLICT (org) DO UPDATE SET balance_micro = w.balance_micro + excluded.balance_micro,
        account_micro = w.account_micro + excluded.account_micro""",
    """
    INSERT INTO window_month AS w (org, month, spent_micro)
    SELECT org, month, sum(micro) FROM pg_temp.settled_now GROUP BY org, month ORDER BY org, month
    ON CONFLICT (org, month) DO UPDATE SET spent_micro = w.spent_micro + excluded.spent_micro""",
    """
    INSERT INTO window_key AS w (key, org, spent_micro)
    SELECT key, org, sum(micro) FROM pg_temp.settled_now GROUP BY key, org ORDER BY key
    ON CONFLICT (key) DO UPDATE SET spent_micro = w.spent_micro + excluded.spent_micro""",
)

_COUNTS = ("calls", "failed", "estimated", "prompt_tokens", "cached_tokens", "completion_tokens", "won",
           "cost_usd", "cost_won", "uncosted")  # fmt: skip
_COUNTED = """
    count(*), count(*) FILTER (WHERE outcome NOT IN ('complete', 'cancelled')), count(*) FILTER (WHERE estimated),
    sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(won), coalesce(sum(cost_usd), 0),
    coalesce(sum(cost_won), 0), count(*) FILTER (WHERE cost_usd IS NULL)"""


def _rollup(table: str, dimensions: Mapping[str, str]) -> str:
    """Adds the batch to a rollup. In the order of its key, as every writer takes rows that others write too."""
    names, values = ", ".join(dimensions), ", ".join(dimensions.values())
    added = ", ".join(f"{count} = r.{count} + excluded.{count}" for count in _COUNTS)
    places = ", ".join(str(place) for place in range(1, len(dimensions) + 1))
    return (
        f"INSERT INTO {table} AS r ({names}, {', '.join(_COUNTS)}) SELECT {values}, {_COUNTED} "
        f"FROM pg_temp.settled_now GROUP BY {places} ORDER BY {places} ON CONFLICT ({names}) DO UPDATE SET {added}"
    )


_WHAT = {"key": "key", "model": "model", "provider": "provider", "title": "coalesce(title, '')"}
_ROLLUPS = (
    _rollup("usage_hour", {"org": "org", "hour": "date_trunc('hour', admitted_at)"} | _WHAT),
    _rollup(
        "usage_day",
        {"org": "org", "day": "CAST(admitted_at AT TIME ZONE 'Asia/Seoul' AS date)"}
        | _WHAT
        | {"user_hash": "coalesce(user_hash, '')"},
    ),
    latency.settled_statement("pg_temp.settled_now"),
)

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_json = msgspec.json.Encoder()


class Redis(Protocol):
    """What settlement needs of a blocking client."""

    def execute_command(self, *args: Any) -> Any:
        """Runs one command and returns its reply."""
        ...

    def pipeline(self, transaction: bool = True) -> Any:
        """Commands in one MULTI/EXEC."""
        ...


def settle(redis: Redis, connection: Connection, most: int) -> int:
    """Settles up to ``most`` events from the stream's start. Returns how many entries have left the stream.

    The caller holds the settler's lock on ``connection``. Raises ``sqlalchemy.exc.DBAPIError`` or
    ``redis.RedisError`` where one of the two is away; nothing is lost then, the next turn goes on.
    """
    entries: list[tuple[bytes, dict[bytes, bytes]]] = redis.execute_command(
        "XRANGE", keys.USAGE, "-", "+", "COUNT", most
    )
    records: list[Record] = []
    poison: dict[bytes, str] = {}
    for entry, fields in entries:
        try:
            records.append(read(entry, fields))
        except PoisonError as reason:
            poison[entry] = str(reason)
    poison.update(_book(connection, records))
    good = [entry for entry, _ in entries if entry not in poison]
    if good:
        redis.execute_command("XDEL", keys.USAGE, *good)
    for entry, fields in entries:
        if entry in poison:
            _bury(redis, entry, fields, poison[entry])
    return len(entries)


def unsettled(redis: Redis) -> int:
    """How many events wait in the stream."""
    return int(redis.execute_command("XLEN", keys.USAGE))


def _bury(redis: Redis, entry: bytes, fields: Mapping[bytes, bytes], reason: str) -> None:
    """Moves an entry to ``wr:dead`` with the reason: the rest must not wait for what cannot be booked."""
    pipe = redis.pipeline(transaction=True)
    pipe.execute_command("XADD", keys.DEAD, "*", *chain(*fields.items()), "why", reason)
    pipe.execute_command("XDEL", keys.USAGE, entry)
    pipe.execute()
    metrics.POISON.inc()
    log.error("poison_usage_event", job=fields.get(b"job", b"").decode(errors="replace"), reason=reason)


def _book(connection: Connection, records: list[Record]) -> dict[bytes, str]:
    """Books the records, halving a batch that the database refuses until the culprits stand alone: entry -> reason."""
    if not records:
        return {}
    try:
        return book(connection, records)
    except (DataError, IntegrityError, psycopg.DataError, psycopg.IntegrityError, ValueError, ArithmeticError) as error:
        # COPY runs on the driver's own cursor and raises the driver's errors; figures beyond all sense raise Python's.
        if len(records) == 1:
            cause = error.orig if isinstance(error, DBAPIError) else error
            return {records[0].entry: f"{type(cause).__name__}: {cause}".strip().replace("\n", " ")[:500]}
    half = len(records) // 2
    return _book(connection, records[:half]) | _book(connection, records[half:])


def book(connection: Connection, records: Sequence[Record]) -> dict[bytes, str]:
    """Writes records in one transaction: usage rows, ledger, settled window, outbox. Those known already are left.

    Returns the entries whose organisation does not exist, with that as the reason.
    """
    unknown: dict[bytes, str] = {}
    began_ms = int(time.time() * 1000)
    with connection.begin():
        for month in {record.month for record in records}:
            connection.execute(text("SELECT ensure_usage_month(:month)"), {"month": month})
    with metrics.BATCH_SECONDS.time(), connection.begin():
        billing = _billing_kinds(connection, {record.org for record in records})
        first: dict[str, Record] = {}
        for record in records:
            if record.org not in billing:
                unknown[record.entry] = "no such organisation"
            else:
                record.prepaid = _kind_at(billing[record.org], ids.milliseconds(record.job)) == "prepaid"
                first.setdefault(record.job, record)
        models = {attempt.model for record in first.values() for attempt in record.event.attempts}
        _stage(connection, first.values(), costs.read_book(connection, models))
        inserted = {row.job.hex for row in connection.execute(text(_INSERT))}
        fresh = [record for job, record in first.items() if job in inserted]
        if fresh:
            if len(fresh) < len(first):
                connection.execute(
                    text(_FORGET_KNOWN),
                    {"fresh": [uuid.UUID(record.job) for record in fresh]},
                )
            ledger.ensure_accounts(connection, {record.org for record in fresh})
            ledger.post_usage(connection)
            for statement in (*_WINDOWS, *_ROLLUPS):
                connection.execute(text(statement))
            _charge_window_late(connection, fresh)
    metrics.booked(fresh, duplicates=len(records) - len(unknown) - len(fresh))
    if tracing.on():
        _trace(fresh, began_ms)
    return unknown


def _trace(fresh: Sequence[Record], began_ms: int) -> None:
    """A span in each traced job's own trace, linked with the batch's, which stands for all that it wrote at once."""
    traced = [(record, record.event.trace) for record in fresh if record.event.trace]
    if not traced:
        return
    links = [trace for _, trace in traced[:TRACE_LINKS]]
    batch = tracing.start("settlement batch", parent=None, links=links, start_ms=began_ms)
    above = tracing.header(batch)
    for record, trace in traced:
        span = tracing.start(
            "settlement",
            "consumer",
            parent=trace,
            attributes={"wonrouter.job": record.job, "wonrouter.outcome": record.event.outcome},
            start_ms=began_ms,
            links=[above] if above else [],
        )
        tracing.end(span)
    tracing.end(batch, {"wonrouter.events": len(fresh)})


_Kinds = list[tuple[int, str]]


def _billing_kinds(connection: Connection, orgs: set[str]) -> dict[str, _Kinds]:
    """From which moment (Unix, ms) each organisation had which kind of billing, oldest first."""
    rows = connection.execute(
        text(
            "SELECT o.id, o.billing, c.at, c.billing AS since FROM organisation o LEFT JOIN billing_change c ON c.org = o.id "
            "WHERE o.id = ANY(CAST(:orgs AS uuid[])) ORDER BY o.id, c.at"
        ),
        {"orgs": list(orgs)},
    )
    kinds: dict[str, _Kinds] = {}
    for row in rows:
        moment = 0 if row.at is None else (row.at - _EPOCH) // _MILLISECOND
        kinds.setdefault(str(row.id), []).append((moment, row.since or row.billing))
    return kinds


def _kind_at(kinds: _Kinds, at_ms: int) -> str:
    """The kind of billing a call was admitted under. Redis's clock may be a moment behind at the very first one."""
    place = bisect_right(kinds, at_ms, key=lambda kind: kind[0]) - 1
    return kinds[max(place, 0)][1]


def _stage(connection: Connection, records: Iterable[Record], book: CostBook) -> None:
    connection.execute(text(_STAGE))
    raw: Any = connection.connection.driver_connection
    with raw.cursor() as cursor, cursor.copy(_COPY) as copy:
        for record in records:
            copy.write_row(_row(record, book))


def _row(record: Record, book: CostBook) -> tuple[Any, ...]:
    event, tokens = record.event, record.event.tokens
    part = event.parts[0] if event.parts else None
    admitted_ms = ids.milliseconds(record.job)
    cost = book.cost(event.attempts, tokens, admitted_ms, part and part.rate) or (None, None)
    return (
        record.month, record.job, record.org, record.key, record.prepaid, event.asked, event.model, event.provider,
        event.deployment, event.surface, event.endpoint, event.stream, event.title, event.user, event.outcome,
        event.finish_reason, event.error, event.estimated, tokens.prompt, tokens.completion, tokens.cached,
        tokens.cache_write_5m, tokens.cache_write_1h, tokens.reasoning, tokens.image, tokens.search,
        event.won, record.micro, event.loss_won,
        part and part.price_id, part and part.rate_id, part and part.input_usd, part and part.output_usd,
        part and part.rate, part and part.tier,
        _json.encode(event.parts).decode(), _json.encode(event.attempts).decode(),
        event.first_token_ms, event.duration_ms, _EPOCH + dt.timedelta(milliseconds=admitted_ms), event.trace,
        *cost,
    )  # fmt: skip


def _charge_window_late(connection: Connection, fresh: Sequence[Record]) -> None:
    """Events whose hold the window no longer knew have not been charged there: the outbox does it.

    One change for all events of an organisation, key and month; in the order of the organisations' ids, as the
    outbox asks of those who write for several.
    """
    owed: dict[tuple[str, str, str], int] = defaultdict(int)
    for record in fresh:
        if not record.held and record.micro:
            owed[record.org, record.key, record.month] += record.micro
    for (org, key, month), micro in sorted(owed.items()):
        outbox.append(
            connection, org, balance_micro=-micro, key=key, key_spent_micro=micro, month=month, month_spent_micro=micro
        )
