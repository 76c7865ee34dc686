"""Invalidations on ``wr:news``: what every process that caches something listens for.

News are hints. Who misses one is still right: the admission script compares versions, and every cache is loaded again
after a few seconds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["key", "org", "catalogue", "deployments", "words", "task", "shut"]


class News(msgspec.Struct, frozen=True, array_like=True):
    """Something changed: the key or organisation with this id, or the catalogue or the deployments as a whole; or a task
    waits for billing.

    ``shut``: the deployment with this id is not to be called now, for whoever thought that it was well.
    """

    kind: Kind
    id: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(News)


def encode_news(news: News) -> bytes:
    """One message."""
    return _encoder.encode(news)


def decode_news(raw: bytes) -> News:
    """Raises ``msgspec.DecodeError``."""
    return _decoder.decode(raw)
