"""What each deployment has put into one answer, and what the whole of it comes to.

A request is charged as one undisturbed call: the original input once, each delivered token once at the price of the
model that produced it. What a continuation needed to be told, and what of it was not delivered, is our cost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from gateway.wire.event import Tokens
from workers import estimate
from workers.metering import Use
from workers.providers.base import Delta


@dataclasses.dataclass(slots=True)
class Share:
    """One attempt's part of the answer. `added`: input tokens that only continuing made necessary, at least.

    `request_id` is the attempt's own.
    """

    model: str
    provider: str
    deployment: str
    counts_deltas: bool
    added: int = 0
    request_id: str = ""
    deltas: int = 0
    bytes: int = 0
    dropped: int = 0
    """Bytes that came and were not delivered: repetitions."""
    usage: Tokens | None = None
    estimated: bool = False
    """`usage` is an estimate of ours."""
    whole: bool = False
    """The attempt came to its end."""

    def sent(self, event: Delta) -> None:
        """Counts a delta that goes to the client."""
        self.deltas += 1
        self.bytes += estimate.bytes_of_delta(event.delta)

    def counted(self) -> int:
        """Output tokens delivered, by our own count: never above the truth."""
        return self.deltas if self.counts_deltas else self.bytes // estimate.BYTES_PER_TOKEN

    def completion(self) -> int:
        """Output tokens delivered. A provider's number covers what was dropped, too, and may be an early one."""
        if self.usage is None:
            return self.counted()
        said = self.usage.completion
        if self.dropped:
            said = said * self.bytes // (self.bytes + self.dropped)
        return said if self.whole else max(said, self.counted())

    def seen(self, input_estimate: int) -> Tokens:
        """What the attempt used, by our own count: for an answer that broke off before its provider said."""
        return Tokens(
            prompt=input_estimate + self.added,
            completion=self.counted() + self.dropped // estimate.BYTES_PER_TOKEN,
        )

    @property
    def exact(self) -> bool:
        """Whether a provider has counted all of it."""
        return self.whole and self.usage is not None and not self.estimated and not self.dropped


def used(shares: Sequence[Share], input_estimate: Callable[[], int], input_bound: int) -> tuple[Tokens, bool]:
    """Everything that is charged for, and whether some of it is an estimate."""
    told = next((share for share in shares if share.usage is not None), None)
    if told is None or told.usage is None:
        prompt, exact = input_estimate(), False
    elif told.added:  # the first speakers never said: what a continuation read, less what it read because of us
        least = input_estimate()
        prompt, exact = max(least, min(told.usage.prompt - told.added, input_bound or told.usage.prompt)), False
    else:
        prompt, exact = told.usage.prompt, not told.estimated
    counts = [share.usage for share in shares if share.usage is not None]
    said = counts[0] if counts else Tokens()
    cached = min(said.cached, prompt)
    write_5m = min(said.cache_write_5m, prompt - cached)
    completion = sum(share.completion() for share in shares)
    reasoning = min(sum(tokens.reasoning for tokens in counts), completion)
    tokens = Tokens(
        prompt=prompt,
        completion=completion,
        cached=cached,
        cache_write_5m=write_5m,
        cache_write_1h=min(said.cache_write_1h, prompt - cached - write_5m),
        reasoning=reasoning,
        image=min(sum(tokens.image for tokens in counts), completion - reasoning),
        search=sum(tokens.search for tokens in counts),
    )
    return tokens, not (exact and all(share.exact for share in shares))


def each(shares: Sequence[Share], prompt: int) -> list[Use]:
    """Every share of its own: the input with the one that spoke first."""
    return [Use(share.model, prompt if i == 0 else 0, share.completion()) for i, share in enumerate(shares)]


def uses(shares: Sequence[Share], prompt: int) -> list[Use]:
    """The parts of the charge: the input with the model that spoke first, output with the model that produced it."""
    output: dict[str, int] = {}
    for share in shares:
        output[share.model] = output.get(share.model, 0) + share.completion()
    parts = [(model, tokens) for i, (model, tokens) in enumerate(output.items()) if i == 0 or tokens]
    return [Use(model, prompt if i == 0 else 0, tokens) for i, (model, tokens) in enumerate(parts)]
