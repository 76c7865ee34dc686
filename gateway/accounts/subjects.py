"""End users as the gateway knows them: by a keyed hash, never by what the customer calls them.

``user`` of a request may be a name, a number or an address. It is replaced at the door: Redis, the ledger and the
providers see the hash alone. The key of the hash belongs to one organisation, so that two of them cannot compare
their users, and is derived from the installation's secret, so that a stolen database cannot be searched for a name.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LONGEST_USER = 256
"""Characters of ``user`` that count."""


def user_hash(secret: bytes, org: str, user: str) -> str:
    """HMAC-SHA256 of an end user's name within an organisation: 64 hexadecimal digits, the length that providers allow.

    Args:
        secret: the installation's 32 bytes.
        org: the organisation's id.
        user: what the customer calls the end user; only the first ``LONGEST_USER`` characters count.
    """
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"end user {org}".encode()).derive(secret)
    return hmac.new(key, user[:LONGEST_USER].encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
