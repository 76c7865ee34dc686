"""Three books of the same run, kept by three parties, compared by the clients' tags.

The simulator's log says what was served, the clients what they received, the ledger what was charged. Prices and rules
are written down here once more (docs/billing.md): nothing of the gateway's code takes part in the judgement.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal

from tests.faults.ledger import Charge
from tests.faults.schedule import ENDED, KILLED, Fault
from tests.faults.traffic import Seen
from tests.provider.log import Call

INPUT_USD, OUTPUT_USD, RATE = Decimal("2.5"), Decimal(10), Decimal("1400.6")
"""Set by the run itself: USD per 1M tokens, won per USD."""


def price(prompt: int, completion: int) -> Decimal:
    """What a call costs, in won."""
    return (prompt * INPUT_USD + completion * OUTPUT_USD) * RATE / 1_000_000


@dataclass
class Oracle:
    """The three books and the faults, complete and at rest."""

    calls: list[Call]
    seen: list[Seen]
    charges: list[Charge]
    faults: list[Fault]
    given_away: int = 0
    """Output tokens that clients received and nobody was charged for: checkpoints are behind, estimates careful."""
    closed_after_s: list[float] = field(default_factory=list[float])
    """How long upstream calls went on after their client had left in mid-stream."""
    not_delivered: int = 0
    """Output tokens charged beyond what the client says it received: on their way when it left, or lost its front end."""
    _served: defaultdict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for call in self.calls:
            self._served[call.tag].append(call)

    def differences(self) -> list[str]:
        """Every place where the books contradict each other or a promise."""
        return [*self._clients(), *self._charges(), *self._requests(), *self._calls()]

    def balances(self, spent_micro: dict[str, int]) -> Iterator[str]:
        """`spent_micro`: what the window has taken from each organisation's credit."""
        due: Counter[str] = Counter()
        for charge in self.charges:
            due[charge.org] += int((charge.won * 1_000_000).to_integral_value(ROUND_CEILING))
        for org, spent in spent_micro.items():
            if due[org] != spent:
                yield f"the window has taken {spent} micro-won from {org}, its charges come to {due[org]}"

    def _clients(self) -> Iterator[str]:
        """A complete answer, an explicit error, or a connection that ended with its process: nothing else."""
        for seen in self.seen:
            if seen.outcome in ("hung", "silent"):
                yield f"{seen.title} ({seen.want.kind}) is {seen.outcome}: {seen.tokens} of {seen.want.tokens} tokens"
            elif seen.outcome == "broken" and not (seen.want.slow or self._api_died(seen)):
                yield f"{seen.title} ({seen.want.kind}) lost its connection and no api process died: {seen.broken}"

    def _api_died(self, seen: Seen) -> bool:
        """Killed and not yet gone while it was asked; or told to end a moment before, and its idle connections closed
        with it."""
        before = {KILLED: 0.0, ENDED: 5.0}
        return any(
            fault.what == "api"
            and fault.how in before
            and fault.at <= seen.ended_at
            and seen.sent_at - before[fault.how] <= max(fault.at, fault.until)
            for fault in self.faults
        )

    def _charges(self) -> Iterator[str]:
        for charge in self.charges:
            if charge.transactions != 1 or charge.ledger != charge.won:
                yield f"{charge.title}: row {charge.won}, ledger {charge.ledger} in {charge.transactions} transactions"
            due = price(charge.prompt, charge.completion)
            if charge.won + charge.loss_won != due:
                yield f"{charge.title} is charged {charge.won} for tokens that cost {due}"
            if charge.won:
                yield from self._above_what_was_served(charge)

    def _above_what_was_served(self, charge: Charge) -> Iterator[str]:
        calls = [call for call in self._served[charge.tag] if call.client_request_id.startswith(charge.job)]
        if not calls:
            yield f"{charge.title} is charged {charge.won} won and nothing was served"
            return
        prompt = min((call.prompt_tokens for call in calls if call.prompt_tokens), default=0)
        served = sum(call.completion_tokens for call in calls)
        if charge.prompt > prompt or charge.completion > served:
            yield f"{charge.title}: charged {charge.prompt}+{charge.completion} tokens, served {prompt}+{served}"

    def _requests(self) -> Iterator[str]:
        by_tag: defaultdict[str, list[Charge]] = defaultdict(list)
        for charge in self.charges:
            by_tag[charge.tag].append(charge)
        titles = {seen.title for seen in self.seen}
        for charge in self.charges:
            if charge.title not in titles:
                yield f"a charge is titled {charge.title}, which nobody asked"
        by_title: defaultdict[str, list[Charge]] = defaultdict(list)
        for charge in self.charges:
            by_title[charge.title].append(charge)
        for seen in self.seen:
            rows = by_title[seen.title]
            if len(rows) > 1:
                yield f"{seen.title} is booked {len(rows)} times"
            yield from self._one(seen, by_tag[seen.want.tag] if seen.want.key else rows)
        for tag, rows in by_tag.items():
            if sum(row.won > 0 for row in rows) > 1:
                yield f"{tag} was asked with one Idempotency-Key and charged {sum(row.won > 0 for row in rows)} times"

    def _one(self, seen: Seen, rows: list[Charge]) -> Iterator[str]:
        """One request and its charge; of a request with a key, all charges under it."""
        charged = [row for row in rows if row.won]
        if seen.id and not any(seen.id.endswith(row.job) for row in rows):
            yield f"{seen.title} has the answer {seen.id}, which has no row"
        if seen.outcome == "whole":
            yield from self._whole(seen, charged)
        elif seen.status >= 400 and not seen.want.key and not seen.charged and charged:
            yield f"{seen.title} was told {seen.status} {seen.error} and charged {charged[0].won} ({charged[0].outcome})"
        elif not seen.want.key:
            if seen.left and seen.tokens:
                self.closed_after_s += [
                    c.ended_at - seen.ended_at for c in self._served[seen.want.tag] if c.closed_early
                ]
            billed = sum(row.completion for row in charged)
            self.given_away += max(0, seen.tokens - billed)
            self.not_delivered += max(0, billed - seen.tokens)

    def _whole(self, seen: Seen, charged: list[Charge]) -> Iterator[str]:
        if len(charged) != 1:
            yield f"{seen.title} has its answer and is charged {len(charged)} times"
            return
        (row,) = charged
        told = seen.usage or {}
        if (told.get("prompt_tokens"), told.get("completion_tokens")) != (row.prompt, row.completion) or Decimal(
            told.get("cost_krw", 0)
        ) != row.won:
            yield f"{seen.title} was told {told}, charged {row.prompt}+{row.completion} tokens, {row.won} won"
        if not row.estimated and row.completion != seen.want.tokens:
            yield f"{seen.title} has {seen.want.tokens} tokens and is charged {row.completion}"
        if row.completion > seen.want.tokens:
            yield f"{seen.title} has {seen.want.tokens} tokens and is charged {row.completion} by estimate"

    def _calls(self) -> Iterator[str]:
        """Every call that reached the provider stands in exactly one row, as an attempt: it is what costs us."""
        listed = Counter(attempt["client_request_id"] for charge in self.charges for attempt in charge.attempts)
        for call in self.calls:
            if listed[call.client_request_id] != 1:
                yield (
                    f"the provider's call {call.client_request_id} for {call.tag} is listed "
                    f"{listed[call.client_request_id]} times as an attempt"
                )
