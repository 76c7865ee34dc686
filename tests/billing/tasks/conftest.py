"""Tasks asked for as the front end's role, done as billing's."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from billing.tasks.kinds import IN_ONE, REPEATABLE
from billing.tasks.runner import Lane
from gateway import tasks
from gateway.accounts import people
from gateway.accounts.change import Change, changing
from gateway.accounts.people import MemberRole
from gateway.db import connect
from gateway.tasks import Task
from tests.billing.books import Books
from tests.billing.conftest import books, engines, role_url
from tests.billing.invoices.closing import Closing

__all__ = ["books", "engines", "role_url"]  # the fixtures of the books


@dataclasses.dataclass
class Counter:
    """Where tasks are asked for, and a lane that does them when the test says so."""

    closing: Closing
    front: Engine

    @property
    def books(self) -> Books:
        return self.closing.books

    def person(self, role: MemberRole | None = None, *, operator: bool = False) -> str:
        with changing(self.books.owner, self.books.redis, "test") as change:
            made = people.create(change, f"{secrets.token_hex(8)}@example.kr", "김하나", operator=operator)
            if role is not None:
                people.join(change, self.books.org, made.id, role)
        return made.id

    def ask(self, person: str, kind: str, parameters: Any = None, org: str | None = None, upload: Any = None) -> Task:
        return self.change(lambda change: tasks.ask(change, person, kind, parameters, org, upload))

    def change(self, work: Callable[[Change], Task]) -> Task:
        with changing(self.front, self.books.redis, "test") as change:
            return work(change)

    def show(self, task: Task, org: str | None = None) -> Task:
        with self.front.connect() as connection:
            return tasks.show(connection, task.id, org)

    def file(self, task: Task) -> bytes:
        with self.front.connect() as connection:
            return b"".join(tasks.parts(connection, task.id))

    def lane(self, lease_s: float = 30.0) -> Lane:
        return Lane(self.books.billing, self.books.redis, [*IN_ONE, *REPEATABLE], lease_s)

    def do(self, person: str, kind: str, parameters: Any = None, org: str | None = None, upload: Any = None) -> Task:
        """Asked and done."""
        asked = self.ask(person, kind, parameters, org, upload)
        assert self.lane().once()
        return self.show(asked)


@pytest.fixture
def counter(books: Books, role_url: Callable[[str], str]) -> Iterator[Counter]:
    front = connect.engine(role_url("wonrouter_api"))
    with books.owner.begin() as connection:
        connection.exec_driver_sql("UPDATE task SET state = 'failed', error_code = 'x', finished_at = now() "
                                   "WHERE finished_at IS NULL")  # fmt: skip
    yield Counter(Closing(books), front)
    front.dispose()
