"""Which tests share a pytest process: those of a file, and all that start whole installations.

Installations are shared by their rooms' tests and keep several cores busy by themselves. One process runs them, one
after the other, while the others run what lives inside a test; it begins with them, so that nobody waits for it at the end.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

INSTALLATIONS = (
    "tests/api/console/test_documentation.py",
    "tests/browser/",
    "tests/faults/",
    "tests/gateway/up/",
    "tests/journeys/",
    "tests/resilience/",
)


class ByRoom(LoadFileScheduling):
    """Files stay together; the rooms of installations are one."""

    def _split_scope(self, nodeid: str) -> str:
        return "installations" if nodeid.startswith(INSTALLATIONS) else super()._split_scope(nodeid)
