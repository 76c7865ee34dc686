"""One task being done: what its work is given, and how it says how far it is."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, select

from billing.tasks.claims import Claim
from gateway import task_kinds
from gateway.accounts.people import Person
from gateway.accounts.roles import scope_of
from gateway.db.tables.accounts import membership, organisation
from gateway.db.tables.accounts import person as people_table
from gateway.errors import GatewayError, PermissionDenied
from gateway.wire import keys
from gateway.wire.news import News, encode_news


class RefusedError(ValueError):
    """The task cannot be done; the text is for the person who asked."""


@dataclass(slots=True)
class Progress:
    """How far a task is; written by the work, read by the heartbeat."""

    done: int = 0
    total: int | None = None
    lost: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed task with all that its work needs. ``parameters`` are of the kind's own shape."""

    claim: Claim
    parameters: Any
    person: Person
    upload: bytes | None
    engine: Engine
    redis: Any
    progress: Progress

    @property
    def org(self) -> str | None:
        """The organisation it is about; None = all, or none."""
        return self.claim.org

    def file(self) -> bytes:
        """The file that came with it. Raises ``RefusedError``."""
        if self.upload is None:
            raise RefusedError("a file has to come with this")
        return self.upload

    def tell_catalogue(self) -> None:
        """Every front end loads prices and rates again."""
        self.redis.execute_command("PUBLISH", keys.NEWS, encode_news(News("catalogue")))


def who(connection: Connection, claim: Claim) -> Person:
    """The person a task is done as. Raises ``PermissionDenied`` where they may not ask for it (any more)."""
    columns = [people_table.c[name] for name in ("id", "email", "name", "operator", "state")]
    row = connection.execute(select(*columns).where(people_table.c.id == claim.person)).one()
    if row.state != "active":
        raise PermissionDenied("Whoever asked for this has been deactivated.")
    if not row.operator:
        own = task_kinds.rule(claim.kind).own
        role = None if claim.org is None else connection.scalar(_role(claim))
        if own is None or role is None or scope_of([role], own) != "all":
            raise PermissionDenied("Your role does not allow this.")
    return Person(str(row.id), row.email, row.name, row.operator, row.state)


def refusal(error: Exception) -> tuple[str, str] | None:
    """Code and text of what people are told; None for a fault of ours."""
    if isinstance(error, GatewayError):
        return error.public_code, error.message
    return ("refused", str(error)) if isinstance(error, ValueError) else None


def _role(claim: Claim) -> Any:
    return (
        select(membership.c.role)
        .join(organisation, organisation.c.id == membership.c.org)
        .where(
            membership.c.org == claim.org, membership.c.person == claim.person, membership.c.state == "active",
            organisation.c.state != "closed",
        )
    )  # fmt: skip
