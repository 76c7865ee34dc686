"""Reads the bodies of native dialects: event streams and whole answers, both into the same events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from workers.providers.base import Done, Event, Failed, ProviderFailure, Warned
from workers.providers.sse import EventTooLarge, SseParser


class Unreadable(ValueError):
    """An event or a body is not what the dialect allows."""


class Translation(ABC):
    """From one provider's objects to events, whatever body they came in."""

    over: bool = False
    """`Done` or `Failed` has been told: nothing more comes."""
    finished: bool = False
    """Every choice has told why it ended: the answer is complete, however its connection ends."""

    @abstractmethod
    def event(self, data: bytes, events: list[Event]) -> None:
        """One object of a stream. Raises `Unreadable`."""

    @abstractmethod
    def whole(self, data: bytes, events: list[Event]) -> None:
        """The body of an answer that was not streamed. Raises `Unreadable`."""

    def fail(self, failure: ProviderFailure, events: list[Event]) -> None:
        """Ends the answer as broken."""
        self.over = True
        events.append(Failed(failure))

    def close(self, events: list[Event]) -> None:
        """Ends the answer: complete where its choices have ended, cut off otherwise."""
        if self.over:
            return
        if self.finished:
            self.over = True
            events.append(Done())
        else:
            self.fail(ProviderFailure(kind="cut", message="the answer ended without an end", status=200), events)


class StreamReader:
    """Server-sent events, each an object of the dialect."""

    def __init__(self, translation: Translation, warnings: Sequence[Warned] = ()) -> None:
        self._sse = SseParser()
        self._translation = translation
        self._first: list[Event] = [*warnings]

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes; what the request lost comes first."""
        events, self._first = self._first, []
        if self._translation.over:
            return events
        try:
            arrived = self._sse.feed(data)
        except EventTooLarge as too_large:
            self._translation.fail(ProviderFailure(kind="unreadable", message=str(too_large), status=200), events)
            return events
        for event in arrived:
            self._one(event.data, events)
        return events

    def end(self) -> list[Event]:
        """The events that the end of the body completes."""
        events, self._first = self._first, []
        for event in self._sse.end():
            self._one(event.data, events)
        self._translation.close(events)
        return events

    def _one(self, data: bytes, events: list[Event]) -> None:
        if self._translation.over or not data:
            return
        try:
            self._translation.event(data, events)
        except Unreadable:
            events.append(Warned("unreadable_event", "The provider sent an event that could not be read."))


class WholeReader:
    """One JSON object."""

    def __init__(self, translation: Translation, warnings: Sequence[Warned] = ()) -> None:
        self._parts: list[bytes] = []
        self._translation = translation
        self._warnings = warnings

    def feed(self, data: bytes) -> list[Event]:
        """Nothing yet: the body is read at its end."""
        self._parts.append(data)
        return []

    def end(self) -> list[Event]:
        """All events of the answer."""
        events: list[Event] = [*self._warnings]
        try:
            self._translation.whole(b"".join(self._parts), events)
        except Unreadable as unreadable:
            self._translation.fail(ProviderFailure(kind="unreadable", message=str(unreadable), status=200), events)
        self._translation.close(events)
        return events
