"""AES-256-GCM sealing of what must not lie about in the clear: job bodies, kept answers, provider keys.

Shape of a sealed value: one version byte, 12 bytes of nonce, the ciphertext with its 16-byte tag. The associated
data binds a value to its place (a job's random part, a deployment's id), so that it cannot be swapped for another.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = b"\x01"
_NONCE = 12


class Unsealable(Exception):
    """The value was sealed with another key, for another place, or was damaged."""


class Sealer:
    """Seals and opens bytes with a key derived from the master secret for one purpose.

    Args:
        secret: the 32-byte master secret.
        purpose: names the use, so that a value sealed for one can never be opened as another.
    """

    def __init__(self, secret: bytes, purpose: str) -> None:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(secret)
        self._aead = AESGCM(key)

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """Returns the sealed value; ``place`` must be given again to open it."""
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._aead.encrypt(nonce, plain, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Returns the plain bytes. Raises ``Unsealable``."""
        if sealed[:1] != _VERSION or len(sealed) <= 1 + _NONCE:
            raise Unsealable("unknown version of a sealed value, or too little of it")
        try:
            return self._aead.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], place)
        except InvalidTag as exc:
            raise Unsealable("a sealed value does not open here") from exc
