"""A database with an organisation, the billing role's connection to it, and the events of its calls."""

from __future__ import annotations

import dataclasses
import os
import uuid
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from billing.lock import SettlerLock
from billing.settlement import settle
from gateway.wire import keys
from gateway.wire.event import UsageEvent, encode_event
from tests.billing.events import usage_event

PASSWORD = "only for tests"


@dataclasses.dataclass
class Books:
    """What the tests of this room work with: both stores, and shortcuts over them."""

    owner: Engine
    billing: Engine
    redis: Any
    org: str
    key: str

    def append(self, event: UsageEvent, *, out: str = "posted", hold: bool = True, **fields: Any) -> bytes:
        """Appends an event to the stream as the scripts do."""
        entry: dict[str, Any] = {
            "job": event.job, "org": event.org, "key": event.key, "out": out, "micro": event.micro, "ep": 1,
            "hold": int(hold), "ev": encode_event(event), "att": b"",
        } | fields  # fmt: skip
        return self.redis.xadd(keys.USAGE, entry)

    def event(self, **changes: Any) -> UsageEvent:
        return usage_event(**({"org": self.org, "key": self.key} | changes))

    def settle(self, most: int = 1000) -> int:
        """One turn of settlement under the lock."""
        lock = SettlerLock(self.billing)
        with lock.turn(wait=True) as connection:
            assert connection is not None
            done = settle(self.redis, connection, most)
        lock.close()
        return done

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Reads as the owner."""
        with self.owner.connect() as connection:
            return list(connection.execute(sa.text(statement), values))

    def one(self, statement: str, **values: Any) -> Any:
        """The single value that a statement reads."""
        [[value]] = self.rows(statement, **values)
        return value

    def balance(self, kind: str) -> Any:
        """A balance in won, debit positive; the organisation's where it has one."""
        return self.one(
            "SELECT coalesce(sum(b.won), 0) FROM account a JOIN account_balance b ON b.account = a.id "
            "WHERE a.kind = :kind AND (a.org IS NULL OR a.org = :org)",
            kind=kind, org=self.org,
        )  # fmt: skip

    def request_topup(self, amount: int, reference: str, method: str = "transfer") -> str:
        """Asks for a top-up as the command line and the api do. Returns the request's id."""
        request = str(uuid.uuid4())
        with self.owner.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO topup_request (id, org, amount_won, method, reference, requested_by) "
                    "VALUES (:id, :org, :amount, :method, :reference, 'test')"
                ),
                {"id": request, "org": self.org, "amount": amount, "method": method, "reference": reference},
            )
        return request

    def new_org(self, billing: str = "prepaid") -> tuple[str, str]:
        """Another organisation and its key, known to the window as accounts would make it."""
        org, key = str(uuid.uuid4()), str(uuid.uuid4())
        with self.owner.begin() as connection:
            add_org(connection, org, key, billing)
        return org, key


def add_org(connection: Connection, org: str, key: str, billing: str = "prepaid") -> None:
    connection.execute(
        sa.text("INSERT INTO organisation (id, name, billing) VALUES (:org, '한빛상사', :billing)"),
        {"org": org, "billing": billing},
    )
    connection.execute(
        sa.text(
            "INSERT INTO api_key (id, org, name, surface, hash, hint) "
            "VALUES (:key, :org, 'k', 'bizrouter', :hash, 'sk…')"
        ),
        {"key": key, "org": org, "hash": os.urandom(32)},
    )


def as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{quote(PASSWORD)}@{place}"))
