"""What the mock does with a call, and the three ways to say so.

A behaviour is written as `name=value` pairs, separated by blanks or commas:

    tokens=100 delay=10ms first=50ms

and is taken, later ones winning, from
1. the server's default (`provider.behaviour`) and its entry for the model (`provider.models["gpt-4o"]`);
2. the model name after an `@`: `gpt-4o@tokens=100,delay=10ms` (a deployment's `upstream_model` can carry it);
3. the last message's text, between `[[mock` and `]]`: reaches the mock through any gateway;
4. the header `x-mock`, for direct callers.
"""

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
    pad: int = 0
    """Extra bytes in every token, for big bodies."""
    error: int = 0
    """Answer with this HTTP status and an error body instead."""
    retry_after: float = 0.0
    """`Retry-After` of that error."""
    cut: int = -1
    """Drop the connection after this many tokens of the call (0: before the status line)."""
    stall: int = -1
    """Send nothing more after this many tokens, and keep the connection open."""
    gate: int = -1
    """Wait, after this many tokens, until `provider.gate` is open (0: before the status line)."""
    garbage: bool = False
    """Answer 200 with a body that is not JSON."""
    usage: bool = True
    """False: leave the usage out, even where it was asked for."""
    cached: int = 0
    """`prompt_tokens_details.cached_tokens`, at most the prompt."""
    reasoning: int = 0
    """`completion_tokens_details.reasoning_tokens`, at most the completion."""
    tool: str = ""
    """Call this tool. Without it a tool is called where `tool_choice` demands one."""


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
