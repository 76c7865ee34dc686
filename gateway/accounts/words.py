"""An organisation's forbidden words: one list with a version, changed as a whole, looked at a page at a time."""

from __future__ import annotations

import bisect
import uuid
from collections.abc import Callable, Iterable, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from gateway.accounts import organisations
from gateway.accounts.change import Change
from gateway.db.tables.policy import forbidden_words
from gateway.errors import InvalidRequest
from gateway.guardrails.words import MAX_WORDS, WordList


class Words(msgspec.Struct, frozen=True):
    """The list, sorted. ``version`` 0: there never was one."""

    version: int
    words: list[str]


class Changed(msgspec.Struct, frozen=True):
    """What a change came to."""

    version: int
    count: int
    added: int
    removed: int


def load(connection: Connection, org: str) -> Words:
    """The organisation's list."""
    query = sa.select(forbidden_words.c.version, forbidden_words.c.words)
    row = connection.execute(query.where(forbidden_words.c.org == uuid.UUID(org))).one_or_none()
    return Words(0, []) if row is None else Words(row.version, row.words)


def version(connection: Connection, org: str) -> int:
    """Which version of the list is in force; 0: there is none."""
    query = sa.select(forbidden_words.c.version).where(forbidden_words.c.org == uuid.UUID(org))
    return connection.scalar(query) or 0


def page(connection: Connection, org: str, *, after: str | None = None, most: int = 50) -> Sequence[str]:
    """Words in order, ``most`` at a time, those after the word ``after``."""
    words = load(connection, org).words
    start = 0 if after is None else bisect.bisect_right(words, after)
    return words[start : start + most]


def add(change: Change, org: str, words: Iterable[str]) -> Changed:
    """Adds words; known ones stay. Raises ``InvalidRequest``: too many, too long, or nothing in one to look for."""
    return _change(change, org, "words.add", lambda known: known | set(_clean(words)))


def remove(change: Change, org: str, words: Iterable[str]) -> Changed:
    """Takes words off the list; unknown ones are no error."""
    return _change(change, org, "words.remove", lambda known: known - set(_clean(words)))


def replace(change: Change, org: str, words: Iterable[str]) -> Changed:
    """Makes these the list. Raises as ``add`` does."""
    return _change(change, org, "words.import", lambda _: set(_clean(words)))


def _change(change: Change, org: str, action: str, work: Callable[[set[str]], set[str]]) -> Changed:
    org_id = uuid.UUID(org)
    organisations.touch(change, org)  # its lock keeps two changes apart, its version makes front ends look again
    before = load(change.connection, org)
    known = set(before.words)
    wanted = work(known)
    WordList.compile(sorted(wanted - known))  # each new word can be looked for
    words = sorted(wanted)
    if len(words) > MAX_WORDS:
        raise InvalidRequest(f"At most {MAX_WORDS:,} forbidden words", param="words")
    version = before.version + 1
    statement = insert(forbidden_words).values(org=org_id, version=version, words=words)
    change.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["org"], set_={"version": version, "words": words, "changed_at": sa.func.now()}
        )
    )
    made = Changed(version, len(words), len(wanted - known), len(known - wanted))
    # how many, not which: a list of what may not be said is a secret of its own
    change.audit(action, org, org_id, version=version, count=made.count, added=made.added, removed=made.removed)
    return made


def _clean(words: Iterable[str]) -> list[str]:
    return [word.strip() for word in words if word.strip()]
