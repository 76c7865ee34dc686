"""What is sealed opens with its key, for its purpose, at its place, unchanged: and not otherwise."""

from __future__ import annotations

import base64

import pytest

from gateway.seal import Sealer, Unsealable, secret_of, secrets_of

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


def test_an_accepted_secret_opens_what_it_sealed_and_seals_nothing() -> None:
    before, after = Sealer(OTHER, "deployment"), Sealer(SECRET, "deployment", [bytes(range(1, 33)), OTHER])
    old = before.seal(KEY, PLACE)
    assert after.open(old, PLACE) == KEY
    with pytest.raises(Unsealable):
        before.open(after.seal(KEY, PLACE), PLACE)
    with pytest.raises(Unsealable):
        after.open(Sealer(OTHER, "webhook").seal(KEY, PLACE), PLACE)


def test_what_an_accepted_secret_sealed_is_renewed_once() -> None:
    after = Sealer(SECRET, "deployment", [OTHER])
    renewed = after.renewed(Sealer(OTHER, "deployment").seal(KEY, PLACE), PLACE)
    assert renewed is not None and Sealer(SECRET, "deployment").open(renewed, PLACE) == KEY
    assert after.renewed(renewed, PLACE) is None
    with pytest.raises(Unsealable):
        after.renewed(Sealer(bytes(range(1, 33)), "deployment").seal(KEY, PLACE), PLACE)


def test_secrets_are_read_from_text() -> None:
    one, two = (base64.b64encode(secret).decode() for secret in (SECRET, OTHER))
    assert (secret_of(one), secrets_of(f"{one}, {two}"), secrets_of(" ")) == (SECRET, (SECRET, OTHER), ())


@pytest.mark.parametrize("text", ["", "c2hvcnQ=", "no base64 at all!"])
def test_what_is_no_secret_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="a secret must be") as refused:
        secret_of(text)
    assert not text or text not in str(refused.value)
    with pytest.raises(ValueError, match="a secret must be"):
        secrets_of(f"{text},{text}")
