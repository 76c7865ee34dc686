"""Three books of the same calls, kept by three parties: the provider's log, what clients got, and the usage rows.

`differences` lists every place where they contradict each other or a promise; an empty list is the proof.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.faults.load import Outcome
from tests.provider.log import Call

Row = dict[str, Any]


@dataclass(frozen=True)
class Books:
    """The three books, complete and at rest."""

    calls: list[Call]
    outcomes: list[Outcome]
    rows: list[Row]
    tokens_behind: int = 0
    """How many tokens an estimate may be behind what the provider sent: one checkpoint's time at the mock's speed."""

    def differences(self) -> list[str]:
        return [
            *self._rows_are_unique(),
            *self._clients_and_rows(),
            *self._calls_and_rows(),
            *self._rows_and_calls(),
        ]

    def _rows_are_unique(self) -> Iterator[str]:
        for row_id, count in Counter(row["id"] for row in self.rows).items():
            if count > 1:
                yield f"row {row_id} is booked {count} times"

    def _clients_and_rows(self) -> Iterator[str]:
        by_job = {job_of(row["id"]): row for row in self.rows}
        for outcome in self.outcomes:
            if not outcome.id:
                continue
            row = by_job.get(job_of(outcome.id))
            if row is None:
                yield f"a client has answer {outcome.id}, which has no row"
            elif outcome.whole and outcome.usage:
                yield from _same_charge(outcome, row)

    def _calls_and_rows(self) -> Iterator[str]:
        """Every call that reached the provider stands in exactly one row, as an attempt."""
        listed = Counter[str]()
        for row in self.rows:
            for attempt in row["attempts"]:
                call = self._call_of(attempt)
                if call:
                    listed[call.id] += 1
        for call in self.calls:
            if listed[call.id] != 1:
                yield f"the provider's call {_told(call)} is listed as {listed[call.id]} attempts"

    def _rows_and_calls(self) -> Iterator[str]:
        for row in self.rows:
            billed = [attempt for attempt in row["attempts"] if attempt["billed"]]
            cost = Decimal(row["cost_krw"])
            if not billed:
                if cost:
                    yield f"row {row['id']} costs {cost} won without a billed attempt"
                continue
            calls = [call for attempt in billed if (call := self._call_of(attempt))]
            if len(billed) > 1 or len(calls) != len(billed):
                yield f"row {row['id']} bills {len(billed)} attempts, of which the provider knows {len(calls)}"
                continue
            yield from self._same_tokens(row, calls[0])

    def _same_tokens(self, row: Row, call: Call) -> Iterator[str]:
        booked = (row["prompt_tokens"], row["completion_tokens"])
        sent = (call.prompt_tokens, call.completion_tokens)
        if not row["estimated"]:
            if booked != sent:
                yield f"row {row['id']} has {booked} tokens, the provider's call {_told(call)} {sent}"
            return
        if booked[0] > sent[0] or booked[1] > sent[1]:
            yield f"estimated row {row['id']} has {booked} tokens, more than the provider's {_told(call)} {sent}"
        if booked[1] < sent[1] - self.tokens_behind:
            yield f"estimated row {row['id']} has {booked[1]} of {sent[1]} tokens: more than a checkpoint behind"

    def _call_of(self, attempt: dict[str, Any]) -> Call | None:
        by_id = attempt.get("upstream_id")
        by_name = attempt.get("client_request_id")
        for call in self.calls:
            if (by_id and call.id == by_id) or (not by_id and by_name and call.client_request_id == by_name):
                return call
        return None


def job_of(answer_id: str) -> str:
    """The job behind an answer's or a row's id."""
    return answer_id.rpartition("-")[2]


def _same_charge(outcome: Outcome, row: Row) -> Iterator[str]:
    assert outcome.usage
    told = (outcome.usage["prompt_tokens"], outcome.usage["completion_tokens"], Decimal(outcome.usage["cost_krw"]))
    booked = (row["prompt_tokens"], row["completion_tokens"], Decimal(row["cost_krw"]))
    if told != booked:
        yield f"the client of {outcome.id} was told {told}, its row says {booked}"


def _told(call: Call) -> str:
    state = "finished" if call.finished else "closed early" if call.closed_early else "open"
    return f"{call.id} ({state}, {call.completion_tokens} tokens, asked as {call.client_request_id})"
