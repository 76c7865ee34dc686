"""What the mock does with a call, and the three ways to say so.

A behaviour is written as `name=value` pairs, separated by blanks or commas:

    tokens=100 delay=10ms first=50ms

and is taken, later ones winning, from
1. the server's default (`provider.behaviour`), its entry for the model (`provider.models["gpt-4o"]`) or for the
   account (`provider.accounts["key1"]`, the last four characters of the API key: a deployment); the account wins;
2. the model name after an `@`: `gpt-4o@tokens=100,delay=10ms` (a deployment's `upstream_model` can carry it);
3. the last message's text, between `[[mock` and `]]` (that of an earlier one, where the last has none): reaches the
   mock through any gateway;
4. the header `x-mock`, for direct callers.
"""

import base64
import json
from functools import lru_cache

import msgspec


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one call is answered. Durations in seconds; written as `0.25` or `250ms`."""

    tokens: int = 16
    """Content chunks of each choice, before `max_tokens` cuts them."""
    first: float = 0.0
    """Wait before the status line of an answer (a real provider sends its headers with the first token)."""
    delay: float = 0.0
    """Wait between two tokens; a JSON answer waits for all of them. 0: as fast as the socket takes them."""
    burst: int = 1
    """Tokens that leave in one write. With `delay=0` a larger burst is what a provider's own buffering looks like."""
    say: str = ""
    """The answer's text instead of the numbered tokens: base64 (URL-safe) of a JSON array of strings, one for each
    token. `saying` writes it. The arguments of a tool call, too, if a tool is called."""
    pad: int = 0
    """Extra bytes in every token, for big bodies."""
    error: int = 0
    """Answer with this HTTP status and an error body instead."""
    retry_after: float = 0.0
    """`Retry-After` of that error."""
    refuse: str = ""
    """Refuse in the dialect's own words: `context` (too long), `policy` (its content), `key` (our key is wrong),
    `balance` (our account is empty), `overloaded`."""
    times: int = 0
    """The faults happen to the first so many calls of a model and account only. 0: to all."""
    down: float = 0.0
    """Connections are reset for this long, counted from the first call of the model and account."""
    cut: int = -1
    """Drop the connection after this many tokens of the call (0: before the status line)."""
    stall: int = -1
    """Send nothing more after this many tokens, and keep the connection open."""
    gate: int = -1
    """Wait, after this many tokens, until `provider.gate` is open (0: before the status line)."""
    fail_at: int = -1
    """Send an error event after this many tokens, and end."""
    unreadable: int = -1
    """Send an event that is not JSON before this token."""
    ending: str = ""
    """`none`: the stream ends after the last token without a word. `bare`: it tells why it ended, but the dialect's
    last event (`[DONE]`, `message_stop`) is missing."""
    repeat: int = -1
    """Asked by the user to go on after the assistant's own words, it repeats so many tokens of them and goes on. -1: it
    begins from the start. A conversation that ends with the assistant's words is always gone on with."""
    ping: int = 0
    """A keep-alive in the dialect's way before every so many tokens."""
    split: int = 0
    """Write so many bytes a chunk, whatever they cut in two."""
    gzip: bool = False
    """Compress the body."""
    garbage: bool = False
    """Answer 200 with a body that is not JSON."""
    usage: bool = True
    """False: leave the usage out, even where it was asked for."""
    cached: int = 0
    """`prompt_tokens_details.cached_tokens`, at most the prompt."""
    reasoning: int = 0
    """`completion_tokens_details.reasoning_tokens`, at most the completion."""
    think: int = 0
    """Reasoning tokens that are sent before the content, and counted as completion and as reasoning."""
    tool: str = ""
    """Call this tool. Without it a tool is called where `tool_choice` demands one."""
    echo: bool = False
    """The content is JSON that echoes the last message's text, as a model would that was given a schema."""
    calls: int = 1
    """How many parallel calls of the tool (Anthropic, Gemini)."""
    noargs: bool = False
    """The tool is called without arguments (Anthropic, Gemini)."""
    images: int = 0
    """Pictures after the text (Gemini), of 1290 tokens each."""
    finish: str = ""
    """The provider's own finish reason instead of the natural one."""
    block: bool = False
    """The prompt is blocked (Gemini)."""
    cache_write: int = 0
    """Tokens written to the 5-minute cache (Anthropic), beside `cached` of the prompt."""
    cache_write_1h: int = 0
    """The same for the 1-hour cache."""
    searches: int = 0
    """Web searches in the usage (Perplexity, Anthropic)."""
    tag: str = ""
    """Noted in the log: which client's request this call is for, whatever the gateway calls it."""
    flavour: str = ""
    """How an OpenAI-compatible provider differs: xai, deepseek, perplexity, zai, moonshot, minimax, upstage, tags."""


DEFAULT = Behaviour()
_TYPES = Behaviour.__annotations__


def parse_behaviour(text: str, base: Behaviour = DEFAULT) -> Behaviour:
    """`base` with the pairs of `text` laid over it. Raises ValueError for a name or a value that it does not know."""
    changes: dict[str, int | float | bool | str] = {}
    for pair in text.replace(",", " ").split():
        name, _, value = pair.partition("=")
        kind = _TYPES.get(name)
        if kind is None:
            raise ValueError(f"unknown behaviour {name!r}")
        changes[name] = _value(kind, value)
    return msgspec.structs.replace(base, **changes) if changes else base


def saying(*pieces: str) -> str:
    """The pair that makes the mock answer with these tokens."""
    return "say=" + base64.urlsafe_b64encode(json.dumps(pieces).encode()).decode()


@lru_cache(maxsize=1024)
def said(say: str) -> list[str]:
    """The tokens that `saying` wrote."""
    return json.loads(base64.urlsafe_b64decode(say))


def _value(kind: type, text: str) -> int | float | bool | str:
    if kind is bool:
        return text in ("", "1", "true")
    if kind is float:
        return float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))
    return int(text) if kind is int else text


def directive_in(text: str) -> str:
    """The pairs between `[[mock` and `]]` in `text`, or an empty string."""
    start = text.find("[[mock ")
    if start < 0:
        return ""
    end = text.find("]]", start)
    return text[start + 7 : end] if end > 0 else ""
