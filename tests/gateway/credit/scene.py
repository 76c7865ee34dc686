"""A small stage for tests of the credit window: one organisation, one key, easy placements."""

from __future__ import annotations

from typing import Any

import msgspec
from redis import Redis

from gateway.credit import admission, running, upkeep
from gateway.credit.admission import NONE, Placed, Placement, RateLimit, Refused
from gateway.wire import ids, keys
from tests.gateway.credit.blocking import Blocking, InOneMoment, done

ORG, KEY, EPOCH = "org-1", "key-1", "7"
OTHER, OTHER_KEY = "org-2", "key-2"


def placement(**changes: Any) -> Placement:
    """A placement that costs 100 micro-won of input and 10 per output token, up to 50 tokens."""
    base = Placement(
        window_epoch=EPOCH,
        org=ORG,
        key=KEY,
        org_version=1,
        key_version=1,
        digits=ids.random_parts(),
        valid_from_ms=0,
        valid_until_ms=2**52,
        month="202611",
        prepaid=True,
        month_limit_micro=NONE,
        key_limit_micro=NONE,
        input_micro=100,
        unit_micro=10,
        cap=50,
        least_cap=16,
        org_slots=NONE,
        key_slots=NONE,
        rates=(),
        queue_max=1_000,
        lease_ms=60_000,
        grace_ms=12_000,
        body=b"sealed",
        body_ttl_s=60,
        reply="wr:reply:a",
        base_event=b"base",
        open_body_bytes=10**9,
    )
    return msgspec.structs.replace(base, **changes)


class Stage:
    """The window of one organisation in a real Redis, with every action as one call."""

    def __init__(self, url: str, *, balance: int = 10_000, org: str = ORG, key: str = KEY) -> None:
        self.client: Redis = Redis.from_url(url)
        self.executor: Blocking = Blocking(self.client)
        self.org, self.key = org, key
        upkeep.rebuild_begin(self.client)
        upkeep.rebuild_end(self.client, [upkeep.OrgWindow(org, 1, balance, 0, [], [(key, 1, 0)])], EPOCH)

    def place(self, **changes: Any) -> Placed | Refused:
        return done(admission.place(self.executor, placement(**changes)))

    def placed(self, **changes: Any) -> Placed:
        answer = self.place(**changes)
        assert isinstance(answer, Placed), answer
        return answer

    def refused(self, **changes: Any) -> Refused:
        answer = self.place(**changes)
        assert isinstance(answer, Refused), answer
        return answer

    def claim(self, job: str, lease_ms: int = 60_000, worker: str = "w1") -> running.Claim | running.NotClaimed:
        return done(running.claim(self.executor, job, worker, lease_ms))

    def claimed(self, job: str, lease_ms: int = 60_000, worker: str = "w1") -> running.Claim:
        answer = self.claim(job, lease_ms, worker)
        assert isinstance(answer, running.Claim), answer
        return answer

    def take(
        self, places: int, worker: str = "w1", *, listening: bool = False, background: int = 1_000, behind: bool = False
    ) -> list[str]:
        """The jobs that a worker with so many places takes of those that wait; `behind`: it leaves some of the background."""
        taken = done(running.take(self.executor, worker, 60_000, places, background, listening=listening))
        assert behind == (taken[-1:] == [running.NotClaimed("behind", "")])
        taken = taken[: len(taken) - behind]
        assert all(isinstance(one, running.Claim) for one in taken), taken
        return [one.job for one in taken]

    def waiting(self, org: str = "") -> list[str]:
        """An organisation's waiting jobs, oldest first."""
        return [job.decode() for job in self.client.lrange(keys.ready(org or self.org), 0, -1)]  # pyright: ignore[reportGeneralTypeIssues]

    def messages(self) -> int:
        """How many messages are on the queue of the call workers."""
        return int(self.client.llen(keys.CALL_QUEUE))  # pyright: ignore[reportArgumentType]

    def renew(self, *beats: running.Heartbeat, lease_ms: int = 60_000) -> list[int]:
        return done(running.renew(self.executor, beats, lease_ms))

    def finish(self, job: str, epoch: int, micro: int, outcome: str = "posted") -> str:
        ending = running.Ending(
            job,
            epoch,
            self.org,
            self.key,
            outcome,
            micro,
            b"event",
            "wr:reply:a",
            b"",
            b"",
            60,  # pyright: ignore[reportArgumentType]
        )
        return done(running.finish(self.executor, ending))[0]

    def cancel(self, job: str, *, free: bool = False) -> str:
        return done(admission.cancel(self.executor, job, free=free))

    def lapse(self, job: str, by_ms: int = 1) -> None:
        """Makes the job's lease lie ``by_ms`` in the past."""
        seconds, micros = self.client.time()  # pyright: ignore[reportGeneralTypeIssues]
        self.client.zadd(keys.LEASES, {job: seconds * 1000 + micros // 1000 - by_ms})

    def reading(self) -> upkeep.Reading:
        found = upkeep.read(self.client, self.org)
        assert found is not None
        return found

    def events(self) -> list[dict[str, str]]:
        rows: Any = self.client.xrange(keys.USAGE)
        return [{k.decode(): v.decode() for k, v in fields.items()} for _, fields in rows]


def stage_of_two(url: str) -> Stage:
    """A rich organisation, and another one as rich: `OTHER` with `OTHER_KEY`."""
    made = Stage(url, balance=10**9)
    windows = [upkeep.OrgWindow(org, 1, 10**9, 0, [], [(key, 1, 0)]) for org, key in ((ORG, KEY), (OTHER, OTHER_KEY))]
    upkeep.rebuild_begin(made.client)
    upkeep.rebuild_end(made.client, windows, EPOCH)
    return made


WOKEN = "wr:woken"
FLAGS = (keys.CALLED, WOKEN)
"""What says that a worker was called a moment ago; they lapse within half a second."""


class Unhurried(InOneMoment):
    """The flags stay until the test takes them away: what a test does within half a second may take longer."""

    def __init__(self, client: Redis) -> None:
        super().__init__(client)
        self.after = [(command, flag) for flag in FLAGS for command in ("PTTL", "PERSIST")]

    def lasts_ms(self, flag: str) -> int:
        """For how long the last command has set the flag; -1 where it did not, -2 where there is none."""
        return self.told[2 * FLAGS.index(flag)]


def limited(scope: str, limit: int) -> tuple[RateLimit, ...]:
    return (RateLimit(scope, limit),)
