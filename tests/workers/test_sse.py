"""The event-stream parser: any split of the bytes gives the same events."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers import sse
from workers.providers.sse import EventTooLarge, SseEvent, SseParser


def parse(pieces: list[bytes]) -> list[SseEvent]:
    parser = SseParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return [*events, *parser.end()]


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [("", b"a"), ("", b"b")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [("", b"a"), ("", b"b")]),
        (b"data: a\r\rdata: b\r\r", [("", b"a"), ("", b"b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
        (b": keep-alive\n\ndata:a\n\n:\n\n", [("", b"a")]),
        (b"data: a\ndata: b\n\n", [("", b"a\nb")]),
        (b"data\n\n", [("", b"")]),
        (b"event: ping\ndata: {}\n\nevent: lost\n\ndata: x\n\n", [("ping", b"{}"), ("", b"x")]),
        (b"id: 7\nretry: 10\ndata: a\n\n", [("", b"a")]),
        (b"data: without an end", [("", b"without an end")]),
        ("data: 한글\n\n".encode(), [("", "한글".encode())]),
        (b"", []),
    ],
)
def test_what_the_format_allows_is_read_whole_and_byte_by_byte(raw: bytes, events: list[tuple[str, bytes]]) -> None:
    assert parse([raw]) == events
    assert parse([bytes([byte]) for byte in raw]) == events


@given(
    text=st.lists(st.sampled_from([b"data: x", b"data:y", b"\n", b"\r\n", b"\r", b": c", b"event: e", b"\n\n"])),
    cuts=st.lists(st.integers(0, 60)),
)
def test_any_split_gives_the_same_events(text: list[bytes], cuts: list[int]) -> None:
    raw = b"".join(text)
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[a:b] for a, b in itertools.pairwise(places)]
    assert parse(pieces) == parse([raw])


def test_an_event_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    parser = SseParser()
    parser.feed(b"data: ")
    parser.feed(b"x" * 900)
    with pytest.raises(EventTooLarge):
        parser.feed(b"x" * 200)
