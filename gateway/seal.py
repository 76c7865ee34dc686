"""AES-256-GCM sealing of what must not lie about in the clear: job bodies, kept answers, provider keys.

Shape of a sealed value: one version byte, 12 bytes of nonce, the ciphertext with its 16-byte tag. The associated
data binds a value to its place (a job's random part, a deployment's id), so that it cannot be swapped for another.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_BYTES = 32
_VERSION = b"\x01"
_NONCE = 12


def secret_of(text: str) -> bytes:
    """A secret as the environment gives it: 32 bytes in base64. Raises ``ValueError``, which does not show it."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("a secret must be base64") from None
    if len(raw) != SECRET_BYTES:
        raise ValueError(f"a secret must be {SECRET_BYTES} bytes in base64")
    return raw


def secrets_of(text: str) -> tuple[bytes, ...]:
    """Secrets separated by commas; none in an empty text. Raises ``ValueError``."""
    return tuple(secret_of(one.strip()) for one in text.split(",")) if text.strip() else ()


class Unsealable(Exception):
    """The value was sealed with another key, for another place, or was damaged."""


class Sealer:
    """Seals and opens bytes with a key derived from the master secret for one purpose.

    Args:
        secret: the 32-byte master secret.
        purpose: names the use, so that a value sealed for one can never be opened as another.
        accepted: other secrets, which open what they sealed and seal nothing.
    """

    def __init__(self, secret: bytes, purpose: str, accepted: Sequence[bytes] = ()) -> None:
        self._aead = _aead(secret, purpose)
        self._all = (self._aead, *(_aead(other, purpose) for other in accepted))

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """Returns the sealed value; ``place`` must be given again to open it."""
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._aead.encrypt(nonce, plain, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Returns the plain bytes. Raises ``Unsealable``."""
        return self._opened(sealed, place)[1]

    def renewed(self, sealed: bytes, place: bytes) -> bytes | None:
        """The value sealed anew where an accepted secret sealed it; None where ours did. Raises ``Unsealable``."""
        aead, plain = self._opened(sealed, place)
        return None if aead is self._aead else self.seal(plain, place)

    def _opened(self, sealed: bytes, place: bytes) -> tuple[AESGCM, bytes]:
        if sealed[:1] != _VERSION or len(sealed) <= 1 + _NONCE:
            raise Unsealable("unknown version of a sealed value, or too little of it")
        for aead in self._all:
            try:
                return aead, aead.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], place)
            except InvalidTag:
                continue
        raise Unsealable("a sealed value does not open here")


def _aead(secret: bytes, purpose: str) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(secret))
