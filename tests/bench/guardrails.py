"""CPU per MB of UTF-8 text: forbidden words (10 and 10,000), masking, and streams. `python -m tests.bench.guardrails`.

Not a test: the host's speed varies, so read the ratios of one run.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from functools import partial

from gateway.guardrails.body import check_body
from gateway.guardrails.kinds import KINDS
from gateway.guardrails.personal import Policy, mask
from gateway.guardrails.stream import StreamMasker
from gateway.guardrails.words import WordList

ROUNDS = 5
_SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4, 11)]


def _word(source: random.Random) -> str:
    return "".join(source.choice(_SYLLABLES) for _ in range(source.randint(2, 5)))


def korean(size: int) -> str:
    """Korean-looking prose of about ``size`` bytes, with a number now and then."""
    source = random.Random(1)
    parts: list[str] = []
    length = 0
    while length < size:
        part = str(source.randrange(5000)) if source.random() < 0.03 else _word(source)
        parts.append(part)
        length += len(part.encode()) + 1
    return " ".join(parts)


def english(size: int) -> str:
    """ASCII prose of about ``size`` bytes."""
    source = random.Random(2)
    words = [
        "the",
        "Gateway",
        "request",
        "Model",
        "stream",
        "2026",
        "token",
        "(price)",
        "of",
        "is",
        "and",
        "route.",
    ]
    return " ".join(source.choice(words) for _ in range(size // 6))


def logs(size: int) -> str:
    """Lines full of digits, of about ``size`` bytes: the worst that people paste."""
    source = random.Random(3)
    line = "2026-11-13 10:{:02d}:{:02d}.{:03d} id={} ms={} 10.0.{}.{} GET /v1/items/{} 200\n"
    rows = [
        line.format(
            *(source.randrange(60) for _ in range(2)),
            *(source.randrange(10**n) for n in (3, 12, 4, 2, 2, 8)),
        )
        for _ in range(size // 75)
    ]
    return "".join(rows)


def cost(call: Callable[[], object]) -> float:
    """Milliseconds of CPU of one call: the best of some."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        call()
        best = min(best, time.process_time() - begun)
    return best * 1000


def main() -> None:
    """Prints milliseconds of CPU per MB."""
    source = random.Random(4)
    everything = Policy.of(dict.fromkeys(KINDS, "mask"))
    lists = {count: WordList.compile({_word(source) + "금지" for _ in range(count)}) for count in (10, 1000, 10_000)}
    texts = {
        "korean": korean(1_000_000),
        "english": english(1_000_000),
        "logs": logs(1_000_000),
    }
    for name, text in texts.items():
        _texts(name, text, lists, everything)
    arguments = json.dumps([{"memo": korean(900), "line\n": n} for n in range(1000)], ensure_ascii=False)
    body = {"messages": [{"role": "tool", "content": arguments}]}
    print(f"JSON     {cost(lambda: check_body(body, everything)) / (len(arguments.encode()) / 1e6):.1f} ms/MB")
    _streams(texts["korean"], everything)


def _texts(name: str, text: str, lists: dict[int, WordList], everything: Policy) -> None:
    megabytes = len(text.encode()) / 1e6
    figures = {f"words {count}": cost(partial(words.find, text)) for count, words in lists.items()}
    figures["mask, default"] = cost(partial(mask, text, Policy.of()))
    figures["mask, all kinds"] = cost(partial(mask, text, everything))
    print(f"{name:8}", ", ".join(f"{what} {spent / megabytes:.1f} ms/MB" for what, spent in figures.items()))


def _streams(text: str, everything: Policy) -> None:
    tokens = [text[place : place + 3] for place in range(0, 60_000, 3)]
    for name, policy, as_json in (
        ("default", Policy.of(), False),
        ("all kinds", everything, False),
        ("JSON", everything, True),
    ):

        def run(policy: Policy = policy, as_json: bool = as_json) -> None:
            masker = StreamMasker(policy, json_text=as_json)
            for token in tokens:
                masker.feed(token)
            masker.end()

        print(f"stream   {name}: {cost(run) * 1000 / len(tokens):.2f} µs per delta of 3 characters")
    small = {"model": "m", "messages": [{"role": "user", "content": text[:300]}]}
    words = WordList.compile(["기밀"])
    hundred = cost(lambda: [check_body(small, everything, words) for _ in range(100)])
    print(f"small    one request of 300 characters: {hundred * 10:.1f} µs")


if __name__ == "__main__":
    main()
