"""What is entered by hand as tasks: rates, prices, statements, and what becomes of usage that could not be booked."""

from __future__ import annotations

from sqlalchemy import Connection

from billing import costs, dead, fx, prices, statements
from billing.lock import SettlerLock
from billing.reconcile import reconcile
from billing.tasks.claims import Outcome
from billing.tasks.job import Job
from gateway.money import exact, won_text


def set_rate(connection: Connection, job: Job) -> Outcome:
    """``fx.set``."""
    given = job.parameters
    rate = fx.Published(given.date, fx.read_rate(given.rate), "manual")
    return _entered(job, fx.enter(connection, [rate], job.person.id, insist=given.insist))


def import_rates(connection: Connection, job: Job) -> Outcome:
    """``fx.import``."""
    return _entered(
        job, fx.enter(connection, fx.from_csv(job.file()), job.person.id, insist=job.parameters.insist)
    )  # fmt: skip


def set_price(connection: Connection, job: Job) -> Outcome:
    """``price.set``."""
    given = job.parameters
    new = prices.NewPrice(
        model=given.model,
        input_usd=exact(given.input_usd),
        output_usd=exact(given.output_usd),
        threshold=given.threshold,
        over_input_usd=None if given.over_input_usd is None else exact(given.over_input_usd),
        over_output_usd=None if given.over_output_usd is None else exact(given.over_output_usd),
    )
    return Outcome(prices.change(connection, new, given.start, job.person.id), after=job.tell_catalogue)


def set_cost(connection: Connection, job: Job) -> Outcome:
    """``cost.set``."""
    given = job.parameters
    usd = {name: getattr(given, name) for name in costs.QUANTITIES}
    amounts = {name: None if value is None else exact(value) for name, value in usd.items()}
    return Outcome(costs.enter(connection, given.provider, given.model, amounts, given.start, job.person.id))


def import_costs(connection: Connection, job: Job) -> Outcome:
    """``cost.import``."""
    return Outcome({"costs": costs.import_csv(connection, job.file(), job.person.id)})


def import_statement(connection: Connection, job: Job) -> Outcome:
    """``statement.import``."""
    given, raw = job.parameters, job.file()
    paid_rate = None if given.paid_rate is None else fx.read_rate(given.paid_rate)
    read = statements.read_csv(raw)
    result = statements.match(connection, given.provider, read, zone=given.zone, paid_rate=paid_rate)
    new = statements.keep(connection, raw, result, job.person.id)
    return Outcome(result.shown() | {"new": new})


def check_books(job: Job) -> Outcome:
    """``reconcile``."""
    return Outcome({"found": reconcile(job.engine, job.redis)})


def replay(job: Job) -> Outcome:
    """``dead_letters.replay``."""
    lock = SettlerLock(job.engine)
    try:
        return Outcome({"replayed": dead.replay(job.redis, lock, job.parameters.entry)})
    finally:
        lock.close()


def discard(job: Job) -> Outcome:
    """``dead_letters.discard``."""
    lock = SettlerLock(job.engine)
    try:
        given = job.parameters
        return Outcome(dead.discard(job.redis, lock, given.entry, given.reason, job.person.id))
    finally:
        lock.close()


def _entered(job: Job, entered: list[fx.Entered]) -> Outcome:
    rates = [
        {"id": each.id, "date": each.published.date.isoformat(), "rate": won_text(each.published.rate), "new": each.new}
        for each in entered
    ]
    return Outcome({"rates": rates}, after=job.tell_catalogue)
