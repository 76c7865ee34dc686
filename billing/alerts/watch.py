"""Which thresholds have been passed: decided from what is booked, each once.

Nothing is remembered between two looks: whatever has been passed and has no row in ``alert`` yet gets one, in one
transaction with its deliveries. So a crash neither loses nor doubles an alert, and several billing processes may look
at the same time. The look runs on a connection of its own, beside settlement, never inside it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import Connection, text

from billing.alerts.message import payload
from gateway.accounts import alerts, alerts_log
from gateway.wire import ids, keys

log = structlog.get_logger(__name__)

MOST = 200
"""Alerts of one transaction."""
REFUSED_FROM = 80
"""Percent from which a refused call means that the limit is reached: what is left does not cover a call any more.
Below it, one call was too large, and others go on."""
REFUSED_KEPT_S = 60
"""How long a refusal counts: it comes before the calls are booked that used the limit up, and may be the last one."""

_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local all, names = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  names[#names + 1] = all[i]
  if now - all[i + 1] >= tonumber(ARGV[1]) then redis.call('HDEL', KEYS[1], all[i]) end
end
return names
"""
# Limits of 0 are switches, not budgets: nobody is told that nothing of nothing is left.
_PASSED = """
WITH used AS (
    SELECT o.id AS org, 'month' AS scope, '' AS subject, :month AS period,
           CAST(o.month_limit_won * 1000000 AS bigint) AS limit_micro, w.spent_micro
    FROM organisation o JOIN window_month w ON w.org = o.id AND w.month = :month
    WHERE o.state = 'active' AND o.month_limit_won > 0
    UNION ALL
    SELECT o.id, 'credit', '', CAST(w.topup_id AS text), greatest(w.topup_micro, 0), w.topup_micro - w.balance_micro
    FROM organisation o JOIN window_org w ON w.org = o.id
    WHERE o.state = 'active' AND o.billing = 'prepaid' AND w.topup_id IS NOT NULL
    UNION ALL
    SELECT k.org, 'key', CAST(k.id AS text), '', CAST(k.limit_won * 1000000 AS bigint), w.spent_micro
    FROM api_key k JOIN window_key w ON w.key = k.id JOIN organisation o ON o.id = k.org
    WHERE o.state = 'active' AND k.state = 'active' AND k.limit_won > 0
)
SELECT used.*, t.percent
FROM used CROSS JOIN unnest(CAST(:thresholds AS integer[])) AS t (percent)
WHERE (
    spent_micro * 100 >= limit_micro * t.percent
    OR t.percent = 100 AND spent_micro * 100 >= limit_micro * :refused_from
       AND scope || ' ' || coalesce(nullif(subject, ''), CAST(org AS text)) = ANY(CAST(:refused AS text[]))
) AND NOT EXISTS (
    SELECT FROM alert a WHERE a.org = used.org AND a.scope = used.scope AND a.subject = used.subject
        AND a.period = used.period AND a.limit_micro = used.limit_micro AND a.percent = t.percent
)
ORDER BY org, scope, subject, percent DESC LIMIT :most
"""
_RAISE = """
INSERT INTO alert (id, org, scope, subject, period, limit_micro, percent, spent_micro)
VALUES (uuidv7(), :org, :scope, :subject, :period, :limit_micro, :percent, :spent_micro)
ON CONFLICT DO NOTHING RETURNING id, raised_at
"""


def take_refused(redis: Any) -> list[str]:
    """For which limits calls were refused lately: ``{scope} {organisation or key}``.

    What was refused ``REFUSED_KEPT_S`` ago is told this last time and forgotten.
    """
    return [name.decode() for name in redis.execute_command("EVAL", _TAKE, 1, keys.REFUSED, REFUSED_KEPT_S * 1000)]


def look(connection: Connection, refused: Iterable[str], *, mail: bool, now: dt.datetime | None = None) -> int:
    """Raises what has been passed and puts the messages on their way. Returns how many alerts were raised.

    ``refused`` is what ``take_refused`` found; ``mail``: there is a mail server. Commits by itself.
    """
    moment = now or dt.datetime.now(dt.UTC)
    values = {
        "month": ids.month_of(int(moment.timestamp() * 1000)),
        "thresholds": list(alerts.THRESHOLDS),
        "refused": list(refused),
        "refused_from": REFUSED_FROM,
        "most": MOST,
    }
    raised = 0
    while True:
        with connection.begin():
            passed = connection.execute(text(_PASSED), values).all()
            raised += raise_passed(connection, passed, mail=mail)
        if len(passed) < MOST:
            return raised


def raise_passed(connection: Connection, passed: Iterable[Any], *, mail: bool) -> int:
    """Raises these rows of what was passed, in the caller's transaction; returns how many were new.

    Of several thresholds that one limit passed at once the highest is told; the others only stand in the list.
    """
    told: set[tuple[Any, ...]] = set()
    raised = 0
    for row in passed:
        made = connection.execute(text(_RAISE), row._asdict()).one_or_none()
        if made is None:
            continue  # another process was faster
        raised += 1
        limit = (row.org, row.scope, row.subject, row.period)
        settings = alerts.get(connection, str(row.org))
        if row.percent not in settings.thresholds or limit in told:
            continue
        told.add(limit)
        body = _payload(connection, row, made.id, made.raised_at)
        to = alerts_log.channels(connection, row.org, settings)
        alerts_log.append(connection, row.org, made.id, body, [c for c in to if mail or c[0] != "mail"])
        log.info("alert_raised", org=str(row.org), scope=row.scope, subject=row.subject, percent=row.percent)
    return raised


def _payload(connection: Connection, row: Any, made: uuid.UUID, at: dt.datetime) -> dict[str, Any]:
    org = connection.execute(text("SELECT name FROM organisation WHERE id = :id"), {"id": row.org}).scalar_one()
    key = None
    if row.scope == "key":
        named = text("SELECT name FROM api_key WHERE id = CAST(:id AS uuid)")
        key = (row.subject, connection.execute(named, {"id": row.subject}).scalar_one())
    return payload(
        str(made), (str(row.org), org), row.scope, row.percent,
        limit_won=Decimal(row.limit_micro).scaleb(-6), spent_won=Decimal(row.spent_micro).scaleb(-6),
        key=key, month=row.period if row.scope == "month" else None, at=at,
    )  # fmt: skip
