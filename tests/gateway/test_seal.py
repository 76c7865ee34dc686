"""What is sealed opens with its key, for its purpose, at its place, unchanged: and not otherwise."""

from __future__ import annotations

import pytest

from gateway.seal import Sealer, Unsealable

SECRET, OTHER = bytes(range(32)), bytes(32)
KEY = b"sk-provider-key"
PLACE = b"deployment 1"


def test_what_is_sealed_opens_and_shows_nothing() -> None:
    sealed = Sealer(SECRET, "deployment").seal(KEY, PLACE)
    assert Sealer(SECRET, "deployment").open(sealed, PLACE) == KEY
    assert KEY not in sealed
    assert Sealer(SECRET, "deployment").seal(KEY, PLACE) != sealed, "the same value is never sealed the same way"


@pytest.mark.parametrize(
    ("secret", "purpose", "place"),
    [(OTHER, "deployment", PLACE), (SECRET, "webhook", PLACE), (SECRET, "deployment", b"deployment 2")],
    ids=["another secret", "another purpose", "another place"],
)
def test_it_opens_nowhere_else(secret: bytes, purpose: str, place: bytes) -> None:
    sealed = Sealer(SECRET, "deployment").seal(KEY, PLACE)
    with pytest.raises(Unsealable):
        Sealer(secret, purpose).open(sealed, place)


def test_no_changed_or_shortened_value_opens() -> None:
    sealer = Sealer(SECRET, "deployment")
    sealed = sealer.seal(KEY, PLACE)
    changed = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    for wrong in (*changed, *(sealed[:length] for length in range(len(sealed))), sealed + b"\0"):
        with pytest.raises(Unsealable):
            sealer.open(wrong, PLACE)
