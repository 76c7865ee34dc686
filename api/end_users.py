"""What a request calls its end user, replaced by a keyed hash before the request leaves this process."""

from __future__ import annotations

import msgspec

from gateway.accounts.subjects import user_hash

FIELDS = ("user", "safety_identifier")
"""OpenAI's two names for the end user, the old one and the new one."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


def hide(secret: bytes, org: str, body: bytes, user: str | None) -> tuple[bytes, str | None]:
    """The body with its end user hashed, and the hash. A body that names nobody stays as it is, byte for byte.

    Args:
        secret: the installation's 32 bytes.
        org: whose end user it is.
        body: the client's JSON object, checked before.
        user: the ``user`` in it.
    """
    if user is None and b"safety_identifier" not in body:
        return body, None
    fields = _fields.decode(body)
    hashes: list[str] = []
    for name in FIELDS:
        raw = bytes(fields.get(name, b""))
        if raw.startswith(b'"') and raw != b'""':
            hashes.append(user_hash(secret, org, _text.decode(raw)))
            fields[name] = msgspec.Raw(msgspec.json.encode(hashes[-1]))
        elif raw and raw != b"null":
            fields.pop(name)  # neither text nor nothing: no provider takes it, and it may say who it is
    return msgspec.json.encode(fields), hashes[0] if hashes else None
