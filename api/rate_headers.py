"""``x-ratelimit-*``: what the SDKs show their users of the requests and tokens per minute."""

from __future__ import annotations

from collections.abc import Sequence

from api.admission import Admitted
from api.errors import Headers


def rate_headers(admitted: Admitted) -> Headers:
    """The headers of the limit with the fewest places, and of the one with the fewest tokens left.

    None where nothing is limited, or where the admission's reply was lost. Times as ``59.874s``.
    """
    placed, limits = admitted.placed, admitted.limits
    if not placed.remaining:
        return []
    requests, split = [rate.limit for rate in limits.rates], len(limits.rates)
    tokens = [each.limit for each in limits.tokens]
    return [
        *_tightest(b"requests", requests, placed.remaining[:split], placed.reset_ms[:split]),
        *_tightest(b"tokens", tokens, placed.remaining[split:], placed.reset_ms[split:]),
    ]


def _tightest(what: bytes, limits: Sequence[int], remaining: Sequence[int], reset_ms: Sequence[int]) -> Headers:
    if not limits:
        return []
    at = min(range(len(limits)), key=lambda each: remaining[each])
    return [
        (b"x-ratelimit-limit-" + what, str(limits[at]).encode()),
        (b"x-ratelimit-remaining-" + what, str(max(0, remaining[at])).encode()),
        (b"x-ratelimit-reset-" + what, b"%d.%03ds" % divmod(max(0, reset_ms[at]), 1000)),
    ]
