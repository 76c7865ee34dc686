"""Which function does which kind of task.

What fits into one transaction shares it with the end of the task, so it happens exactly once. The others can be repeated
without a difference.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from billing.tasks import closing, entering, exporting
from billing.tasks.claims import Outcome
from billing.tasks.job import Job
from gateway.task_kinds import Kind

IN_ONE: dict[Kind, Callable[[Connection, Job], Outcome]] = {
    "close.amend": closing.amend,
    "close.approve": closing.approve,
    "payment.book": closing.payment,
    "fx.set": entering.set_rate,
    "fx.import": entering.import_rates,
    "price.set": entering.set_price,
    "cost.set": entering.set_cost,
    "cost.import": entering.import_costs,
    "statement.import": entering.import_statement,
}
REPEATABLE: dict[Kind, Callable[[Job], Outcome]] = {
    "close.draft": closing.draft,
    "close.review": closing.review,
    "close.finalise": closing.finalise,
    "close.issue": closing.issue,
    "export.settlement": exporting.export,
    "export.usage": exporting.export,
    "export.journal": exporting.export,
    "export.invoice": exporting.export,
    "export.tax-invoice": exporting.tax_sheets,
    "reconcile": entering.check_books,
    "dead_letters.replay": entering.replay,
    "dead_letters.discard": entering.discard,
}

LONG: tuple[Kind, ...] = tuple(kind for kind in REPEATABLE if kind.startswith("export.") or kind == "reconcile")
"""Kinds that may take minutes and change nothing: they have a thread of their own, so that a step never waits for one."""
SHORT: tuple[Kind, ...] = tuple(kind for kind in (*IN_ONE, *REPEATABLE) if kind not in LONG)
