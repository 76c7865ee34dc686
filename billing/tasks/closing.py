"""The steps of the month close as tasks, for one organisation or all of them, each in a transaction of its own.

One organisation that is refused keeps none of the others from going on: the result lists it with the reason. Every step
may be repeated, so a task that is taken up again ends where it would have.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from billing.invoices import close as steps
from billing.invoices.close import Stored
from billing.invoices.collecting import check_month, note_collected
from billing.invoices.payments import book_payment
from billing.tasks.claims import Outcome
from billing.tasks.job import Job, RefusedError
from gateway.wire.ids import SEOUL

SERIALIZATION_FAILURE = "40001"
LISTED = 200
"""Refusals that a result names; more are counted."""

_Step = Callable[[Connection, str], Stored]


def draft(job: Job) -> Outcome:
    """``close.draft``."""
    month = job.parameters.month
    return _each(
        job, lambda connection, org: steps.draft(connection, org, month, job.person), collected=True, one_picture=True
    )


def review(job: Job) -> Outcome:
    """``close.review``."""
    month = job.parameters.month
    return _each(job, lambda connection, org: steps.review(connection, org, month, job.person))


def finalise(job: Job) -> Outcome:
    """``close.finalise``."""
    month = job.parameters.month
    return _each(job, lambda connection, org: steps.finalise(connection, org, month, job.person), collected=True)


def issue(job: Job) -> Outcome:
    """``close.issue``. What came to nothing has no number and does not go out."""
    month, day = job.parameters.month, job.parameters.on or dt.datetime.now(SEOUL).date()

    def step(connection: Connection, org: str) -> Stored:
        latest = steps.stored(connection, org, month)
        if latest and latest[-1].state == "final" and latest[-1].number is None:
            return latest[-1]
        return steps.issue(connection, org, month, job.person, day)

    return _each(job, step)


def amend(connection: Connection, job: Job) -> Outcome:
    """``close.amend``: drafts it; review, finalise and issue are those of an invoice."""
    given = job.parameters
    assert job.org is not None
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    return Outcome(_told(steps.amend(connection, job.org, given.month, job.person, given.code, given.reason)))


def approve(connection: Connection, job: Job) -> Outcome:
    """``close.approve``."""
    steps.approve(connection, job.parameters.number, job.parameters.approval, job.person)
    return Outcome({"number": job.parameters.number, "approval": job.parameters.approval})


def payment(connection: Connection, job: Job) -> Outcome:
    """``payment.book``."""
    given = job.parameters
    done = book_payment(connection, given.number, given.amount, given.paid_on, given.reference, job.person)
    return Outcome(dataclasses.asdict(done))


def _each(job: Job, step: _Step, *, collected: bool = False, one_picture: bool = False) -> Outcome:
    month, done, refused = job.parameters.month, list[dict[str, Any]](), list[dict[str, str]]()
    with job.engine.begin() as connection:
        if collected:
            check_month(job.redis, connection, month)
            note_collected(connection, month)
        orgs = [job.org] if job.org else steps.organisations_with_usage(connection, month)
    if not orgs:
        raise RefusedError(f"nobody has used anything in {month}")
    job.progress.total = len(orgs)
    for org in orgs:
        try:
            with job.engine.begin() as connection:
                if one_picture:
                    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
                done.append(_told(step(connection, org)))
        except ValueError as reason:
            refused.append({"org": org, "reason": str(reason)})
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != SERIALIZATION_FAILURE:
                raise
            refused.append({"org": org, "reason": "somebody else is closing it at this moment"})
        job.progress.done += 1
        if job.progress.lost.is_set():
            break  # another process goes on with it
    if not done:
        raise RefusedError(
            refused[0]["reason"] if len(refused) == 1 else f"all {len(refused)} were refused: {refused[0]}"
        )
    return Outcome({
        "month": month, "done": len(done), "documents": done[:LISTED], "refused": len(refused),
        "refusals": refused[:LISTED],
    })  # fmt: skip


def _told(row: Stored) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("id", "org", "month", "amendment", "state", "number", "digest")}
