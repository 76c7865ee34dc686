"""What a moderation model is asked about a prompt, and what its answer means: OpenAI's moderation endpoint. Pure.

The texts are those that every other guardrail looks at, after masking: what is personal does not leave for this endpoint
either. They are packed into pieces of a size that such models read, in the order of the conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.errors import GatewayError, InternalError
from gateway.guardrails.body import Walk
from gateway.guardrails.personal import Match, Policy

PIECE = 8_000
"""Characters of one input: some 8,000 tokens of Korean at most, a quarter of what the usual model reads."""
OVERLAP = 200
"""Characters that stand in both of two neighbouring pieces of a long text: no sentence hides on the seam."""
IN_ONE_REQUEST = 32
"""Inputs of one request."""

_encode = msgspec.json.Encoder().encode


class Judge(msgspec.Struct, frozen=True):
    """The operator's moderation endpoint, as far as organisations have to know it. ``provider``: as in the register."""

    provider: str
    domestic: bool = False
    no_training: bool = False

    def may_read(self, *, domestic_only: bool, no_training: bool) -> bool:
        """Whether an organisation's switches let its prompts go there."""
        return (self.domestic or not domestic_only) and (self.no_training or not no_training)


class Unjudged(ValueError):
    """The answer is not what a moderation endpoint says; it quotes nothing of the prompt."""


class _Result(msgspec.Struct):
    flagged: bool
    categories: dict[str, bool | None] = {}


class _Verdict(msgspec.Struct):
    results: list[_Result]


_decode = msgspec.json.Decoder(_Verdict).decode


@dataclass
class _Gathering(Walk):
    """Collects what the guardrails look at instead of looking for words in it."""

    texts: list[str] = field(default_factory=list[str])

    def look_for_words(self, text: str, location: str) -> None:  # noqa: ARG002 (the walk's)
        """Keeps a text that says something."""
        if any(map(str.isalpha, text)):
            self.texts.append(text)

    def meet(self, location: str, kinds: dict[str, int], _matches: Sequence[Match] = ()) -> None:
        """Nothing: the text has been masked."""


def pieces_of(body: dict[str, Any]) -> list[str]:
    """The texts of a decoded request body that has been masked, in pieces.

    Raises ``InvalidRequest`` (nested too deep) and ``InternalError``, whose cause is not chained: it could quote the prompt.
    """
    walk = _Gathering(Policy.of({}), None)
    try:
        walk.fields(body, "", 0)
    except GatewayError:
        raise
    except Exception:  # noqa: BLE001 - what could not be read was not judged, so it does not leave
        raise InternalError from None
    return _packed(walk.texts)


def _packed(texts: Sequence[str]) -> list[str]:
    packed: list[str] = []
    held = ""
    for text in texts:
        if held and len(held) + len(text) >= PIECE:
            packed.append(held)
            held = ""
        held = f"{held}\n{text}" if held else text
        while len(held) > PIECE:
            packed.append(held[:PIECE])
            held = held[PIECE - OVERLAP :]
    return [*packed, held] if held else packed


def question(pieces: Sequence[str], model: str) -> bytes:
    """The body of a request about ``pieces``; ``model`` empty leaves the choice to the endpoint."""
    asked: dict[str, Any] = {"input": list(pieces)}
    if model:
        asked["model"] = model
    return _encode(asked)


def flagged(raw: bytes, pieces: int) -> set[str]:
    """The categories of what was found, over all pieces; empty: nothing. Raises ``Unjudged``."""
    try:
        results = _decode(raw).results
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unjudged("the answer is no verdict") from None
    if len(results) != pieces:
        raise Unjudged(f"{len(results)} verdicts on {pieces} inputs")
    found = [result for result in results if result.flagged]
    named = {name for result in found for name, applies in result.categories.items() if applies}
    return named or ({"unnamed"} if found else set())
