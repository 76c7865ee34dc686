"""An installation with people and booked calls in it, made at once rather than through forms and providers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from gateway import installation as installations
from gateway import redis as redis_clients
from gateway.accounts import people
from gateway.accounts.change import OPERATOR, changing
from gateway.accounts.people import MemberRole
from gateway.db import connect
from gateway.invoices.month import month_start
from gateway.wire import keys
from gateway.wire.event import UsageEvent, encode_event
from tests.billing.events import job_id, part, usage_event
from tests.operating import Installation, until

PASSWORD = "correct horse battery"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Person:
    """Somebody who can sign in."""

    id: str
    email: str
    name: str
    password: str = PASSWORD


class Site(Installation):
    """An installation in which people can be made at once, with the password that tests know."""

    def person(self, name: str, *, org: str = "", role: MemberRole = "owner", operator: bool = False) -> Person:
        """A person, member of that organisation if one is named."""
        there = installations.find(self.state, {})
        engine, redis = connect.engine(there.database_url, pool_size=1), redis_clients.connect(there.redis_url)
        try:
            with changing(engine, redis, OPERATOR) as change:
                email = f"person-{next(_numbers)}@example.kr"
                made = people.create(change, email, name, PASSWORD, operator=operator)
                if org:
                    people.join(change, org, made.id, role)
        finally:
            redis.close()
            engine.dispose()
        return Person(made.id, email, name)

    def book(self, events: Iterable[UsageEvent]) -> None:
        """Puts calls into the books as if workers had made them; returns when all are there."""
        redis = redis_clients.connect(installations.find(self.state, {}).redis_url)
        try:
            pipe = redis.pipeline(transaction=False)
            for event in events:
                fields = {
                    "job": event.job, "org": event.org, "key": event.key, "out": "posted", "micro": event.micro, "ep": 1,
                    "hold": 0, "ev": encode_event(event), "att": b"",
                }  # fmt: skip
                pipe.xadd(keys.USAGE, fields)  # type: ignore[arg-type]
            pipe.execute()
        finally:
            redis.close()
        until(lambda: self.ask("window")["unsettled"] == 0, "the calls are in the books")

    def postpaid(self, name: str, registration: str = "999-88-12349", representative: str = "김하늘") -> str:
        """A postpaid organisation with everything an invoice needs; its id."""
        made = str(self.ask("org", "create", "--name", name, "--billing", "postpaid")["id"])
        self.run(
            "billing-profile", "set", made, "--legal-name", name, "--registration", registration,
            "--representative", representative, "--address", "경기도 성남시 분당구 판교역로 10", "--json",
        )  # fmt: skip
        return made

    def customer(self, name: str, month: str, calls: int = 12) -> str:
        """A postpaid organisation with calls of a month that is over; its id."""
        made = self.postpaid(name)
        key = str(self.ask("key", "create", "--org", made, "--name", "운영 키")["id"])
        first = int(month_start(month).timestamp() * 1000)
        self.book(
            usage_event(
                made, key, job=job_id(first + number * 3_600_000), title=("상담 봇", "번역기")[number % 2],
                parts=[part(1_000 + number, 500, rate="1400.60", model=("openai/gpt-4o", "openai/gpt-4o-mini")[number % 2])],
            )
            for number in range(calls)
        )  # fmt: skip
        return made
