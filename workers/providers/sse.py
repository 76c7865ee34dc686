"""Server-sent events out of a byte stream that may be cut anywhere (the WHATWG event-stream format)."""

from __future__ import annotations

from typing import NamedTuple

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""One event may carry an image in base64; beyond this a provider is not sending events but filling our memory."""

_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """A provider sent more than `MAX_EVENT_BYTES` without ending its event."""


class SseEvent(NamedTuple):
    """One event: its type (empty where the stream names none) and its data, lines joined by a newline."""

    type: str
    data: bytes


def _is_one_event(data: bytes) -> bool:
    whole = data.startswith(b"data: ") and data.endswith(b"\n\n") and data.count(b"\n") == 2
    return whole and b"\r" not in data and len(data) <= MAX_EVENT_BYTES


class SseParser:
    """Feed it bytes as they come; it returns the events that are complete. Comments are dropped."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0
        self._data: list[bytes] = []
        self._size = 0
        self._type = ""
        self._started = False

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that `data` completes. Raises `EventTooLarge`."""
        if self._between and _is_one_event(data):
            return [SseEvent("", data[6:-2])]  # how tokens come, most of the time
        if b"\n" not in data and b"\r" not in data and self._started and (not self._parts or self._parts[-1] != b"\r"):
            self._hold(data)  # joined once its line ends: a large event in small pieces is not copied over and over
            return []
        if self._parts:
            data = b"".join((*self._parts, data))
            self._parts, self._held = [], 0
        if not self._started:
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._hold(data)
                return []
            data = data.removeprefix(_BOM)
            self._started = True
        return self._lines(data)

    @property
    def _between(self) -> bool:
        """Nothing of an event has come yet."""
        return self._started and not self._parts and not self._data and not self._type

    def _hold(self, data: bytes) -> None:
        if data:
            self._parts.append(data)
            self._held += len(data)
        if self._size + self._held > MAX_EVENT_BYTES:
            raise EventTooLarge(f"more than {MAX_EVENT_BYTES} bytes in one event")

    def _lines(self, data: bytes) -> list[SseEvent]:
        waits = b""
        if b"\r" in data:
            if data.endswith(b"\r"):  # its LF may still be on the way
                data, waits = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        events: list[SseEvent] = []
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                events.append(self._take())
            else:
                self._type = ""
        self._hold(rest)
        self._hold(waits)
        return events

    def _field(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            self._data.append(value)
            self._size += len(value)
        elif line == b"data":
            self._data.append(b"")
        elif line.startswith(b"event:"):
            self._type = line[6:].strip().decode("utf-8", "replace")

    def _take(self) -> SseEvent:
        event = SseEvent(self._type, self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
        self._data, self._size, self._type = [], 0, ""
        return event

    def end(self) -> list[SseEvent]:
        """What the end of the stream completes: providers forget the last blank line, so an open event counts."""
        rest = b"".join(self._parts).removesuffix(b"\r")
        self._parts, self._held = [], 0
        if rest:
            self._field(rest)
        return [self._take()] if self._data else []
