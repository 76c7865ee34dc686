"""What PostgreSQL holds: schema, roles and what they may do, rates, prices, deployments, the books' last check."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from sqlalchemy import Connection, Engine, text

from gateway.accounts.checks import last_run
from gateway.catalogue.packaged import builtin
from gateway.db import migrate
from gateway.db.migrate import ROLES
from gateway.deployments import store
from gateway.doctor.finding import Finding, fail, graded, ok, warn
from gateway.finance.rates import staleness
from gateway.resealing import look
from gateway.settings import Settings
from gateway.wire.ids import SEOUL

CHECKED_WITHIN = dt.timedelta(hours=2)
OUTBOX_WARN_S, OUTBOX_FAIL_S = 60, 600

_API, _WORKER, _BILLING = ROLES
MUST: tuple[tuple[str, str, str], ...] = (
    (_API, "api_key", "SELECT"), (_API, "organisation", "SELECT"), (_API, "price", "SELECT"),
    (_API, "exchange_rate", "SELECT"), (_API, "usage", "SELECT"), (_API, "outbox", "INSERT"), (_API, "task", "INSERT"),
    (_WORKER, "deployment", "SELECT"),
    (_BILLING, "usage", "INSERT"), (_BILLING, "entry", "INSERT"), (_BILLING, "window_org", "UPDATE"),
    (_BILLING, "outbox", "UPDATE"), (_BILLING, "invariant_run", "INSERT"),
)  # fmt: skip
"""A few of each role's rights: without one of them its process cannot work."""
MUST_NOT: tuple[tuple[str, str, str], ...] = (
    *((role, table, right) for role in ROLES for table in ("entry", "ledger_transaction") for right in ("UPDATE", "DELETE")),
    *((role, "usage", "DELETE") for role in ROLES),
    (_API, "entry", "INSERT"), (_WORKER, "entry", "INSERT"), (_API, "invoice", "INSERT"), (_WORKER, "api_key", "SELECT"),
    (_WORKER, "person", "SELECT"), (_BILLING, "session", "SELECT"), (_BILLING, "deployment", "UPDATE"),
)  # fmt: skip
"""Rights that would undo the ledger's promises, or show a process what is not its business."""


def schema(engine: Engine) -> Iterator[Finding]:
    """Reachable, of the right version, and at the newest migration."""
    with engine.connect() as connection:
        version = connection.execute(text("SELECT current_setting('server_version')")).scalar_one()
        current, newest = migrate.revision(connection), migrate.newest()
    major = int(version.split(".")[0])
    if major < migrate.OLDEST_SERVER:
        yield fail("database", f"PostgreSQL {version}", f"PostgreSQL {migrate.OLDEST_SERVER} or newer is needed")
    else:
        yield ok("database", f"PostgreSQL {version} answers")
    if current == newest:
        yield ok("migrations", f"at {current}, the newest")
    else:
        yield fail(
            "migrations", f"at {current or 'nothing'}, this version wants {newest}",
            "run `wonrouter migrate` (an older program beside a newer schema: upgrade it)",
        )  # fmt: skip


def roles(engine: Engine) -> Iterator[Finding]:
    """The processes' roles exist, own nothing, and may do what they must and no more."""
    with engine.connect() as connection:
        found = {
            row.rolname: row
            for row in connection.execute(
                text(
                    "SELECT rolname, rolcanlogin, rolsuper, (SELECT count(*) FROM pg_class c JOIN pg_namespace n "
                    "ON n.oid = c.relnamespace WHERE c.relowner = r.oid AND n.nspname = 'public') AS owns "
                    "FROM pg_roles r WHERE rolname = ANY(:roles)"
                ),
                {"roles": list(ROLES)},
            )
        }
        if missing := [role for role in ROLES if role not in found]:
            yield fail("roles", f"missing: {', '.join(missing)}", "run `wonrouter migrate`")
            return
        if strong := [role for role, row in found.items() if row.rolsuper or row.owns]:
            yield fail(
                "roles",
                f"superuser, or owner of tables: {', '.join(strong)}",
                "take that away: ALTER ROLE, REASSIGN OWNED",
            )
        elif silent := [role for role, row in found.items() if not row.rolcanlogin]:
            yield warn(
                "roles",
                f"cannot log in: {', '.join(silent)}",
                "give `wonrouter migrate` their passwords, so that each process has a role of its own",
            )
        else:
            yield ok("roles", "each process has its own")
        yield from _rights(connection)


def _rights(connection: Connection) -> Iterator[Finding]:
    def has(role: str, table: str, right: str) -> bool:
        function = "has_table_privilege" if right == "DELETE" else "has_any_column_privilege"
        return bool(
            connection.execute(
                text(f"SELECT {function}(:role, :table, :right)"), {"role": role, "table": table, "right": right}
            ).scalar_one()
        )

    lacking = [f"{role}: {right} on {table}" for role, table, right in MUST if not has(role, table, right)]
    beyond = [f"{role}: {right} on {table}" for role, table, right in MUST_NOT if has(role, table, right)]
    if lacking:
        yield fail(
            "rights",
            f"lacking: {'; '.join(lacking)}",
            "grant them as the migrations do, or restore into a fresh database",
        )
    if beyond:
        yield fail("rights", f"too many: {'; '.join(beyond)}", "revoke them: the ledger's promises rest on that")
    if not lacking and not beyond:
        yield ok("rights", "as the migrations gave them")


def money(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """What calls are priced with, and whether the books add up."""
    now = dt.datetime.now(dt.UTC)
    with engine.connect() as connection:
        rate = staleness(connection, now.astimezone(SEOUL).date())
        run = last_run(connection)
        age = connection.execute(
            text("SELECT extract(epoch FROM now() - min(created_at)) FROM outbox WHERE applied_at IS NULL")
        ).scalar_one()
        pending = connection.execute(text("SELECT count(*) FROM topup_request WHERE state = 'pending'")).scalar_one()
    enter = "enter one with `wonrouter fx set`, or set WONROUTER_FX_URL"
    if rate.newest is None:
        yield fail("rate", "there is no exchange rate", enter)
    elif rate.demo:
        yield warn("rate", f"the demo rate of {rate.newest}", enter)
    else:
        yield graded(
            "rate", rate.business_days, settings.fx_stale_business_days, settings.fx_stop_business_days,
            f"of {rate.newest}, {rate.business_days} business days old", enter,
        )  # fmt: skip
    if run is None:
        yield warn("books", "not checked yet", "billing checks them every hour; `wonrouter reconcile` does it now")
    elif run.violations:
        broken = ", ".join(f"{name} {count}" for name, count in run.found.items() if count)
        yield fail(
            "books", f"violations: {broken}", "see InvariantBroken in docs/operations.md; do not close the month"
        )
    elif now - run.at > CHECKED_WITHIN:
        yield warn("books", f"last checked at {run.at:%Y-%m-%d %H:%M} UTC", "see whether billing runs")
    else:
        yield ok("books", f"checked at {run.at:%H:%M} UTC, no violation")
    yield graded(
        "outbox", float(age or 0), OUTBOX_WARN_S, OUTBOX_FAIL_S,
        f"oldest change waits {float(age or 0):.0f} s, {pending} top-ups to book", "billing applies them: see whether it runs",
    )  # fmt: skip


def deployments(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """There are some, their keys open, their models are known and have a price."""
    count = len(store.listed(engine))
    with engine.connect() as connection:
        sealed = look(connection, settings.sealer)
    if sealed.unopenable:
        yield fail(
            "secret",
            f"does not open what is stored: {', '.join(sealed.unopenable)}",
            "set the WONROUTER_SECRET that sealed it, or apply the deployments and make the webhooks' secrets anew",
        )
    elif sealed.accepted:
        yield warn(
            "secret",
            f"{sealed.accepted} stored values open with an accepted secret only",
            "once every process has the new one: `wonrouter secret reseal`",
        )
    else:
        yield ok(
            "secret",
            "opens what is stored" if sealed.own else "is well-formed; nothing is stored to try it on",
        )
    if not count and not settings.sandbox:
        yield warn("deployments", "none: no model can be called", "`wonrouter deployments apply FILE`")
        return
    models = store.available_models(engine, sandbox=False)
    with engine.connect() as connection:
        priced = set(
            connection.execute(text("SELECT DISTINCT model FROM price WHERE effective_from <= now()")).scalars()
        )
    if unknown := sorted(models - builtin().models.keys()):
        yield fail(
            "deployments",
            f"of models that the catalogue does not know: {', '.join(unknown)}",
            "mend the deployments' file",
        )
    else:
        yield ok("deployments", f"{count} of {len(models)} models")
    if unpriced := sorted(models - priced):
        yield fail("prices", f"missing for {', '.join(unpriced)}", "enter them with `wonrouter price set`")
    else:
        yield ok("prices", "every deployed model has one")
