"""Any interleaving of what can happen to the credit window keeps it equal to the books.

The model is the ledger: what is settled, per organisation, as an integer of micro-won. After every step
``window balance = ledger − unsettled events − changes not applied yet`` and ``held = Σ open holds``; under the strict
policy, where no call costs more than its hold, the free credit is never negative.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from gateway.credit import running, upkeep
from gateway.credit.admission import ModelSlots, Placed, TokenLimit
from gateway.wire import keys
from gateway.wire.event import UsageEvent, encode_event
from tests.gateway.credit.blocking import done
from tests.gateway.credit.scene import EPOCH, ORG, Stage

GRACE_MS = 12_000
MODEL, MODEL_SLOTS, TPM = "openai/gpt-4o", 2, 1_000
TOKENS = st.sampled_from([0, 0, 50, 300, 1_200])
UNUSED = encode_event(
    UsageEvent(job="", org=ORG, key="key-1", asked="m", surface="bizrouter", endpoint="chat", stream=False)
)
"""What ends without a charge has used no tokens."""
RARELY = st.sampled_from([False, False, False, True])


@dataclasses.dataclass
class Held:
    """A job this model believes open: the epoch its worker holds (0 = unclaimed)."""

    job: str
    epoch: int = 0


class Window(RuleBasedStateMachine):
    """Drives a real window and a model of the ledger side by side."""

    url = ""
    jobs: Bundle[Held] = Bundle("jobs")

    @initialize(balance=st.integers(0, 5_000))
    def begin(self, balance: int) -> None:
        Redis.from_url(self.url).flushdb()
        self.stage = Stage(self.url, balance=balance)
        self.ledger = balance
        self.booked: set[str] = set()
        self.counted: dict[str, int] = {}
        self.outbox: list[upkeep.Change] = []
        self.seq = 0
        self.epoch = EPOCH
        self.crashed = False

    @rule(target=jobs, cap=st.integers(16, 200), claimed=st.booleans(), of_model=st.booleans(), tokens=TOKENS)
    def place(self, cap: int, claimed: bool, of_model: bool, tokens: int) -> Any:
        answer = self.stage.place(
            cap=cap,
            window_epoch=self.epoch,
            base_event=UNUSED,
            model_slots=ModelSlots(MODEL, org=MODEL_SLOTS) if of_model else None,
            token_limits=(TokenLimit("o:org-1", TPM),) if tokens else (),
            tokens=tokens,
        )
        if isinstance(answer, Placed):
            if tokens:
                self.counted[answer.job] = tokens
            return Held(answer.job, self.stage.claimed(answer.job).epoch if claimed else 0)
        assert answer.reason in ("credit", "rebuilding", "slots", "tokens", "large")
        if answer.reason == "slots":
            assert self._of_model() >= MODEL_SLOTS
        return multiple()

    @rule(held=jobs)
    def claim(self, held: Held) -> None:
        answer = self.stage.claim(held.job)
        if isinstance(answer, running.Claim):
            held.epoch = answer.epoch

    @rule(held=jobs)
    def lapse(self, held: Held) -> None:
        if self.stage.client.zscore(keys.LEASES, held.job) is not None:
            self.stage.lapse(held.job, by_ms=GRACE_MS + 1)

    @rule(held=jobs, share=st.integers(0, 100))
    def checkpoint(self, held: Held, share: int) -> None:
        hold = self._hold(held)
        self.stage.renew(running.Heartbeat(held.job, held.epoch, b"so far", hold * share // 100))

    @rule(held=jobs, tokens=st.integers(1, 100))
    def extend(self, held: Held, tokens: int) -> None:
        with contextlib.suppress(running.HoldUnknown):
            done(running.extend(self.stage.executor, held.job, held.epoch, tokens))

    @rule(held=consumes(jobs), share=st.integers(0, 100))
    def post(self, held: Held, share: int) -> None:
        if held.epoch:
            self.stage.finish(held.job, held.epoch, self._hold(held) * share // 100)

    @rule(held=jobs)
    def post_twice(self, held: Held) -> None:
        if held.epoch:
            micro = self._hold(held)
            self.stage.finish(held.job, held.epoch, micro)
            self.stage.finish(held.job, held.epoch, micro)

    @rule(held=jobs)
    def cancel(self, held: Held) -> None:
        self.stage.cancel(held.job)

    @rule()
    def sweep(self) -> None:
        upkeep.sweep(self.stage.client, GRACE_MS)

    @rule(amount=st.integers(1, 3_000))
    def top_up(self, amount: int) -> None:
        self._book(amount)

    @rule(twice=st.booleans())
    def relay(self, twice: bool) -> None:
        for change in self.outbox[:]:
            answer = upkeep.apply(self.stage.client, change, self.epoch)
            assert answer == ("rebuilding" if self.crashed else "applied")
            if answer == "applied":
                self.outbox.remove(change)
                if twice:
                    assert upkeep.apply(self.stage.client, change, self.epoch) == "known"

    @rule()
    def settle(self) -> None:
        rows: Any = self.stage.client.xrange(keys.USAGE)
        for entry, fields in rows:
            job, micro = fields[b"job"].decode(), int(fields[b"micro"])
            if job not in self.booked:
                self.booked.add(job)
                if fields[b"hold"] == b"1":
                    self.ledger -= micro
                else:
                    self._book(-micro)
            self.stage.client.xdel(keys.USAGE, entry)

    @rule(really=RARELY)
    def crash(self, really: bool) -> None:
        """Redis comes back with its events but without the windows: the holds of open jobs are lost too."""
        if not really:
            return
        for pattern in ("wr:o:*", "wr:k:*", "wr:j:*"):
            for name in self.stage.client.keys(pattern):  # pyright: ignore[reportGeneralTypeIssues]
                self.stage.client.delete(name)
        self.stage.client.delete(keys.EPOCH, keys.LEASES)
        self.crashed = True

    @rule(really=RARELY)
    def close(self, really: bool) -> None:
        """A rebuild begins; what ends before it is over leaves its charge to settlement."""
        if not really:
            return
        upkeep.rebuild_begin(self.stage.client)
        self.crashed = True

    @rule()
    def rebuild(self) -> None:
        self._rebuild(None)

    @rule(held=jobs)
    def rebuild_while_a_call_ends(self, held: Held) -> None:
        self._rebuild(held)

    def _rebuild(self, ending: Held | None) -> None:
        upkeep.rebuild_begin(self.stage.client)
        self.settle()
        self.outbox.clear()  # the ledger holds these changes, and the window is written from it
        window = upkeep.OrgWindow(ORG, 1, self.ledger, self.seq, [], [("key-1", 1, 0)])
        if ending is not None and ending.epoch:
            self.stage.finish(ending.job, ending.epoch, self._hold(ending))
        self.epoch = str(int(self.epoch) + 1)
        upkeep.rebuild_end(self.stage.client, [window], self.epoch)
        self.crashed = False

    @invariant()
    def window_equals_books(self) -> None:
        if getattr(self, "crashed", True):
            return
        now = self.stage.reading()
        rows: Any = self.stage.client.xrange(keys.USAGE)
        unsettled = sum(int(f[b"micro"]) for _, f in rows if f[b"hold"] == b"1")
        waiting = sum(change.balance_micro for change in self.outbox)
        assert now.balance_micro == self.ledger - unsettled - waiting
        jobs: Any = self.stage.client.zrange(keys.LEASES, 0, -1)
        holds = [int(self.stage.client.hget(f"wr:j:{job.decode()}", "hold") or 0) for job in jobs]  # pyright: ignore[reportArgumentType]
        assert now.held_micro == sum(holds)
        assert now.slots == len(holds)
        assert self._of_model() == self._open_of_model()
        late = sum(-c.balance_micro for c in self.outbox if c.balance_micro < 0)
        if late == 0 and not self._late_charges():
            assert now.balance_micro - now.held_micro >= 0

    @invariant()
    def tokens_counted_are_those_of_open_and_charged_calls(self) -> None:
        """Within a minute nothing leaves the count but what ended unused; it never passes the limit."""
        counted: Any = self.stage.client.hvals(keys.tokens("o:org-1")) if hasattr(self, "stage") else []
        total = sum(int(count) for count in counted)
        assert 0 <= total <= TPM
        if hasattr(self, "stage"):
            alive = [job for job in self.counted if self.stage.client.exists(f"wr:j:{job}")]
            assert total >= sum(self.counted[job] for job in alive)

    def _of_model(self) -> int:
        return int(self.stage.client.hget(keys.org(ORG), keys.model_slots(MODEL)) or 0)  # pyright: ignore[reportArgumentType]

    def _open_of_model(self) -> int:
        jobs: Any = self.stage.client.zrange(keys.LEASES, 0, -1)
        return sum(bool(self.stage.client.hexists(f"wr:j:{job.decode()}", "slot")) for job in jobs)

    def _late_charges(self) -> bool:
        """A crash that lost holds lets their calls be charged without one: the published exception to strict."""
        return self.epoch != EPOCH

    def _hold(self, held: Held) -> int:
        return int(self.stage.client.hget(f"wr:j:{held.job}", "hold") or 0)  # pyright: ignore[reportArgumentType]

    def _book(self, micro: int) -> None:
        self.seq += 1
        self.ledger += micro
        self.outbox.append(upkeep.Change(ORG, self.seq, micro))


@pytest.mark.timeout(300)
def test_any_interleaving_keeps_the_window_equal_to_the_books(redis_url: str) -> None:
    Window.url = redis_url
    run_state_machine_as_test(  # pyright: ignore[reportUnknownMemberType]
        Window,
        settings=settings(
            max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
