"""What a model must be shown again with its tool results, kept where every client gives it back: in the call's id.

Gemini signs its function calls and refuses a conversation that returns one without. The gateway keeps no
conversations, and many clients drop fields that they do not know, but all return a call's id. So the id is
`call_…`, a marker, four hex digits for the model that signed (another model refuses the signature), the signature.
Providers that limit ids get the part before the marker.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import NamedTuple

MARKER = "__sig"
_SIGNED = re.compile(rf"^(?P<id>.+?){MARKER}(?P<model>[0-9a-f]{{4}})_(?P<signature>[A-Za-z0-9_-]+)$", re.DOTALL)
_STRANGE = re.compile(r"[^A-Za-z0-9_-]")
MAX_PLAIN_ID = 40
"""OpenAI refuses a longer id of a tool call."""


class SignedId(NamedTuple):
    """An id taken apart; `signature` is the provider's base64, or None where there is none for this model."""

    id: str
    signature: str | None


def sign(plain: str, model: str, signature: str | None) -> str:
    """The id to give out. A signature that is no base64 could not be given back and is left out."""
    if not signature:
        return plain
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return plain
    return f"{plain}{MARKER}{_of(model)}_{base64.urlsafe_b64encode(raw).decode().rstrip('=')}"


def read(given: str, model: str) -> SignedId:
    """The id as it was made, with the signature if `model` made it."""
    found = _SIGNED.match(given)
    if found is None:
        return SignedId(given, None)
    text = found["signature"]
    if found["model"] != _of(model) or len(text) % 4 == 1:
        return SignedId(found["id"], None)
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return SignedId(found["id"], base64.b64encode(raw).decode())


def plain(given: str) -> str:
    """The id for a provider that has no use for signatures and limits length and letters."""
    found = _SIGNED.match(given)
    short = _STRANGE.sub("_", found["id"] if found else given)
    if len(short) > MAX_PLAIN_ID:
        return "call_" + hashlib.sha256(short.encode()).hexdigest()[:32]
    return short or "call_0"


def _of(model: str) -> str:
    return hashlib.sha256(model.encode()).hexdigest()[:4]
