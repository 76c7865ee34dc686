"""What a process imports may be used in a product that is not open to the world."""

from __future__ import annotations

import re

import dev

ALLOWED = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Mozilla|MPL|LGPL|Lesser General Public|PostgreSQL|Unlicense|0BSD|HPND",
    re.IGNORECASE,
)


def test_every_dependency_states_a_licence_that_we_can_live_with() -> None:
    found = dev.licences()
    assert sum(map(len, found.values())) > 30
    assert {licence: names for licence, names in found.items() if not ALLOWED.search(licence)} == {}
