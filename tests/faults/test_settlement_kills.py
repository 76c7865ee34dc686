"""A few of the kills that `python -m tests.faults settlement` does by the hundred."""

from tests.faults import settlement_kills


def test_a_settling_and_closing_process_can_be_killed_at_any_moment() -> None:
    found = settlement_kills.main(kills=6, seed=20260131)
    assert found["broken"] == {}
    assert settlement_kills.right(found), found
