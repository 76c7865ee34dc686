"""The mock's own book of calls: the independent oracle that bills are compared with.

Append-only. A call that is answered at once is one line; any other writes a line when it starts and one when it ends,
each a whole `Call`, so that the last line of an id is its truth. Every line is one `write` of its own to a file opened
for appending: what the log says has happened, whoever is killed afterwards.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec


class Call(msgspec.Struct, omit_defaults=True):
    """One call as the provider saw it. Times are Unix seconds; token counts are what has been written to the socket."""

    id: str
    """The provider's own response id, as in its answer."""
    client_request_id: str = ""
    """The caller's `x-client-request-id`: tells a call apart whose answer the caller never saw."""
    account: str = ""
    """The last four characters of the API key: which deployment called."""
    peer_port: int = 0
    """The caller's end of the connection: which process called."""
    model: str = ""
    tag: str = ""
    """The behaviour's own."""
    stream: bool = False
    status: int = 200
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finished: bool = False
    """The answer was written to its end."""
    closed_early: bool = False
    """The caller closed the connection before that."""
    cut: bool = False
    """The mock itself broke the answer off, as it had been told to."""
    started_at: float = 0.0
    first_token_at: float = 0.0
    ended_at: float = 0.0


class CallLog:
    """All calls of a server, in memory and, where a path is given, on disk. Safe to read from any thread."""

    def __init__(self, path: Path | None = None, keep: bool = True) -> None:
        """`keep=False` leaves the memory out, for servers that answer millions of calls."""
        self.path = path
        self._calls: dict[str, Call] = {}
        self._keep = keep
        self._changed = threading.Condition()
        self._version = 0
        self._encoder = msgspec.json.Encoder()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if path else -1

    def record(self, call: Call) -> None:
        """Writes down `call` as it stands now."""
        if self._file >= 0:
            os.write(self._file, self._encoder.encode(call) + b"\n")
        if self._keep:
            with self._changed:
                self._calls[call.id] = call
                self._version += 1
                self._changed.notify_all()

    def wake(self) -> None:
        """Lets `wait_for` look again after a change that is not worth a line, such as a first token."""
        if self._keep:
            with self._changed:
                self._version += 1
                self._changed.notify_all()

    @property
    def calls(self) -> list[Call]:
        """All calls in the order in which they started. Open ones still change."""
        with self._changed:
            return list(self._calls.values())

    def wait_for(self, condition: Callable[[list[Call]], object], seconds: float = 60.0) -> list[Call]:
        """Blocks until `condition(calls)` is true and returns the calls; raises TimeoutError after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            with self._changed:
                seen = self._version
                calls = list(self._calls.values())
            if condition(calls):  # outside the lock: the server goes on while a test counts thousands of calls
                return calls
            left = deadline - time.monotonic()
            with self._changed:
                if not self._changed.wait_for(lambda seen=seen: self._version != seen, max(0.0, left)):
                    raise TimeoutError(f"the provider's log never showed it: {summary(calls)}")

    def clear(self) -> None:
        """Forgets the calls in memory; the file stays as it is."""
        with self._changed:
            self._calls.clear()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_log(path: Path) -> list[Call]:
    """The calls of a log file, each as its last line tells it, in the order in which they started."""
    decoder = msgspec.json.Decoder(Call)
    calls: dict[str, Call] = {}
    for line in path.read_bytes().splitlines():
        call = decoder.decode(line)
        calls[call.id] = call
    return list(calls.values())


def summary(calls: Iterable[Call]) -> str:
    """One line for an assertion's message."""
    listed = list(calls)
    done = sum(call.finished for call in listed)
    left = sum(call.closed_early for call in listed)
    return f"{len(listed)} calls, {done} finished, {left} closed early"
