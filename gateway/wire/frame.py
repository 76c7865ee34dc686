"""Frames: what a worker publishes on an api process's reply channel, and what that process may ask of a worker.

One PUBLISH carries a list of frames, all that one loop tick produced for the channel. A frame is
``[job, epoch, seq, kind, data]``: the attempt's epoch fences out a worker that lost its lease, and ``seq`` counts
from 0 without gaps within an epoch, so that a missing frame is seen.

* ``CHUNK``: ``data`` is text ready for the client (whole SSE events).
* ``FINAL``: ``data`` is a ``Final``; nothing follows it.
* ``KEPT``: the final frame is too large for pub/sub; read it under ``wr:a:{job}``.
* ``ALIVE``: heartbeat; ``seq`` is the last number sent (-1 before the first), ``data`` is the worker's id, which names
  the control channel for a resend.
"""

from __future__ import annotations

from typing import Literal

import msgspec

CHUNK, FINAL, KEPT, ALIVE = 0, 1, 2, 3

MAX_PUBLISHED_BYTES = 256 * 1024
"""A larger final frame goes through its key: one image must not fill every subscriber's output buffer."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One frame; see the module's text."""

    job: str
    epoch: int
    seq: int
    kind: int
    data: bytes = b""


class Final(msgspec.Struct, frozen=True, array_like=True):
    """How a job ended.

    ``status`` and ``body`` are the HTTP answer where no byte has gone out yet. For a streamed success ``body`` is the
    tail of the stream (last chunks and ``[DONE]``). For a failure ``body`` is the error's JSON, which the relay sends
    as an HTTP error or, when the stream has begun, as an SSE error event. ``source`` is ``provider`` where a provider's
    own answer is passed through; ``headers`` go out with the answer if it has not begun. ``charged`` tells the
    relay that a retry would be paid twice. ``masked``: how many of each kind of personal data were masked in it.
    ``before``: where 0 or more, ``body`` is the whole stream, and so many bytes of it come before its tail: it is kept
    like that where nobody heard its frames.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    source: Literal["gateway", "provider"] = "gateway"
    headers: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    charged: bool = False
    masked: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    before: int = -1


class Control(msgspec.Struct, frozen=True, array_like=True):
    """What a worker is asked on ``wr:ctl:{worker}``.

    ``cancel``: stop the job, settle what was used; ``free``: charge nothing, its client was told that it does not exist.
    ``resend``: publish again, on ``reply``, the frames of ``job`` from
    number ``seq`` on.
    ``take``: jobs wait for a worker; no job is named.
    """

    verb: Literal["cancel", "resend", "take"]
    job: str
    seq: int = 0
    reply: str = ""
    free: bool = False


_encoder = msgspec.msgpack.Encoder()
_frames = msgspec.msgpack.Decoder(list[Frame])
_final = msgspec.msgpack.Decoder(Final)
_control = msgspec.msgpack.Decoder(Control)


def encode_frames(frames: list[Frame]) -> bytes:
    """One PUBLISH payload."""
    return _encoder.encode(frames)


def decode_frames(raw: bytes) -> list[Frame]:
    """The frames of one PUBLISH. Raises ``msgspec.DecodeError``."""
    return _frames.decode(raw)


def encode_final(final: Final) -> bytes:
    """The data of a FINAL frame; also what is kept (sealed) under ``wr:a:{job}``."""
    return _encoder.encode(final)


def decode_final(raw: bytes) -> Final:
    """Raises ``msgspec.DecodeError``."""
    return _final.decode(raw)


def encode_control(control: Control) -> bytes:
    """One control message."""
    return _encoder.encode(control)


def decode_control(raw: bytes) -> Control:
    """Raises ``msgspec.DecodeError``."""
    return _control.decode(raw)
