"""``x-ratelimit-*``: what the SDKs show their users of the requests per minute."""

from __future__ import annotations

from collections.abc import Sequence

from api.errors import Headers
from gateway.credit.admission import RateLimit


def rate_headers(rates: Sequence[RateLimit], remaining: Sequence[int], reset_ms: Sequence[int]) -> Headers:
    """The headers of the limit with the fewest places left; none where nothing is limited. Times as ``59.874s``."""
    if not rates:
        return []
    tightest = min(range(len(rates)), key=lambda at: remaining[at])
    return [
        (b"x-ratelimit-limit-requests", str(rates[tightest].limit).encode()),
        (b"x-ratelimit-remaining-requests", str(max(0, remaining[tightest])).encode()),
        (b"x-ratelimit-reset-requests", b"%d.%03ds" % divmod(max(0, reset_ms[tightest]), 1000)),
    ]
