"""What an incident touched: which calls went to which providers in which countries, and whose end users'. No contents.

For the notice to the supervisory authority within 72 hours (PIPA Art. 34). Settled calls only: settlement follows a
call within a second.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.accounts.spending import months_between
from gateway.db.tables.ledger import usage
from gateway.deployments import register
from gateway.errors import InvalidRequest
from gateway.wire import ids

LONGEST_DAYS = 400
"""Of one question: a year and a month."""
MOST_CALLS = 5_000
"""Of one page."""


class Scope(msgspec.Struct, frozen=True):
    """Which calls, by their admission: from ``since`` until before ``until``; ``org`` and ``key`` None: all."""

    since: dt.datetime
    until: dt.datetime
    org: str | None = None
    key: str | None = None


class Transfer(msgspec.Struct, frozen=True):
    """One call to a provider on behalf of a request: each attempt got what was asked, also one that failed.

    ``reason``: how it ended (``ok``, ``connect`` = nothing was sent, …); ``user_hash``: the end user, keyed; tokens are
    those of the whole call.
    """

    id: str
    at: dt.datetime
    org: str
    key: str
    user_hash: str | None
    provider: str
    legal_entity: str
    country: str
    model: str
    upstream_id: str | None
    started_at: dt.datetime
    status: int
    reason: str
    outcome: str
    prompt_tokens: int
    completion_tokens: int


class Receiver(msgspec.Struct, frozen=True):
    """A provider that was called: by how many requests, and how many end users' (those that were named)."""

    provider: str
    legal_entity: str
    country: str
    calls: int
    end_users: int


class Summary(msgspec.Struct, frozen=True):
    """The whole of it: ``calls`` without the ones that never ran, distinct keys and end users, and who got something."""

    since: dt.datetime
    until: dt.datetime
    calls: int
    keys: int
    end_users: int
    receivers: list[Receiver]


COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("id", "호출 ID", "Call"),
    ("at", "시각", "At"),
    ("org", "조직", "Organization"),
    ("key", "API 키", "API key"),
    ("user_hash", "최종 이용자(해시)", "End user (keyed hash)"),
    ("provider", "제공사", "Provider"),
    ("legal_entity", "법인명", "Recipient"),
    ("country", "국가", "Country"),
    ("model", "모델", "Model"),
    ("upstream_id", "제공사 응답 ID", "Provider's id"),
    ("started_at", "전송 시각", "Sent at"),
    ("status", "HTTP 상태", "HTTP status"),
    ("reason", "결과", "Result"),
    ("outcome", "호출 결과", "Outcome"),
    ("prompt_tokens", "입력 토큰", "Input tokens"),
    ("completion_tokens", "출력 토큰", "Output tokens"),
)
"""Transfers as a table: field, Korean and English heading."""


def check(scope: Scope) -> Scope:
    """The scope. Raises ``InvalidRequest``: moments without an offset, the wrong way round or too far apart."""
    for moment, name in ((scope.since, "since"), (scope.until, "until")):
        if moment.tzinfo is None:
            raise InvalidRequest(f"'{name}' needs an offset from UTC.", param=name)
    if not dt.timedelta(0) < scope.until - scope.since <= dt.timedelta(days=LONGEST_DAYS):
        raise InvalidRequest(f"'until' must be after 'since' and at most {LONGEST_DAYS} days later.", param="until")
    return scope


def summary(connection: Connection, scope: Scope, path: str = "") -> Summary:
    """Sums over the scope; ``path`` is the operator's register of providers."""
    u = usage.c
    where = [*_where(scope), u.outcome != "voided"]
    total = sa.select(sa.func.count(), sa.func.count(sa.distinct(u.key)), sa.func.count(sa.distinct(u.user_hash)))
    calls, keys, end_users = connection.execute(total.where(*where)).one()
    attempt = sa.func.jsonb_array_elements(u.attempts).table_valued("value", name="attempt").render_derived()
    provider = attempt.c.value.op("->>")("provider").label("provider")
    reason = sa.func.coalesce(attempt.c.value.op("->>")("reason"), "")
    query = (
        sa.select(provider, sa.func.count(sa.distinct(u.job)), sa.func.count(sa.distinct(u.user_hash)))
        .select_from(usage.join(attempt, sa.true()))
        .where(*where, reason != "connect")  # no connection: nothing was sent
        .group_by(provider)
        .order_by(provider)
    )
    receivers = [
        Receiver(name, register.facts_of(name, path).legal_entity, register.facts_of(name, path).country, *counts)
        for name, *counts in connection.execute(query)
        if name
    ]
    return Summary(scope.since, scope.until, calls, keys, end_users, receivers)


def page(
    connection: Connection, scope: Scope, *, after: str | None = None, most: int = MOST_CALLS, path: str = ""
) -> tuple[list[Transfer], str | None]:
    """Transfers of the next calls in order, those after the job ``after``, and the job to go on after, if any."""
    u = usage.c
    query = (
        sa.select(
            u.job, u.admitted_at, u.org, u.key, u.user_hash, u.outcome, u.prompt_tokens, u.completion_tokens, u.attempts
        )
        .where(*_where(scope))
        .order_by(u.job)
        .limit(most + 1)
    )
    if after is not None:
        query = query.where(u.job > uuid.UUID(after))
    rows = connection.execute(query).all()
    more = rows[most - 1].job.hex if len(rows) > most else None
    return [transfer for row in rows[:most] for transfer in _transfers(row, path)], more


def every(connection: Connection, scope: Scope, path: str = "") -> Iterator[Sequence[Transfer]]:
    """All transfers, a page at a time."""
    after: str | None = None
    while True:
        found, after = page(connection, scope, after=after, path=path)
        yield found
        if after is None:
            return


def _transfers(row: Any, path: str) -> Iterator[Transfer]:
    attempts: list[dict[str, Any]] = row.attempts
    for attempt in attempts:
        facts = register.facts_of(attempt.get("provider", ""), path)
        yield Transfer(
            id=ids.public(row.job.hex), at=row.admitted_at, org=str(row.org), key=str(row.key),
            user_hash=row.user_hash, provider=attempt.get("provider", ""), legal_entity=facts.legal_entity,
            country=facts.country, model=attempt.get("model", ""), upstream_id=attempt.get("upstream_id"),
            started_at=dt.datetime.fromtimestamp(attempt.get("started_ms", 0) / 1000, dt.UTC),
            status=attempt.get("status", 0), reason=attempt.get("reason", ""), outcome=row.outcome,
            prompt_tokens=row.prompt_tokens, completion_tokens=row.completion_tokens,
        )  # fmt: skip


def _where(scope: Scope) -> list[sa.ColumnElement[bool]]:
    u = usage.c
    first, last = (ids.first_of(int(moment.timestamp() * 1000)) for moment in (scope.since, scope.until))
    found = [
        u.month.in_(months_between(scope.since, scope.until)),
        u.job >= uuid.UUID(first),
        u.job < uuid.UUID(last),
    ]
    if scope.org is not None:
        found.append(u.org == uuid.UUID(scope.org))
    if scope.key is not None:
        found.append(u.key == uuid.UUID(scope.key))
    return found
