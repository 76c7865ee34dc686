"""How a call ended."""

from __future__ import annotations

import dataclasses

from gateway.wire.event import Outcome
from gateway.wire.frame import Final
from workers.metering import Bill


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended. `final` None: nobody is told. `free`: nothing is charged, whatever was counted."""

    outcome: Outcome
    final: Final | None
    error: str | None = None
    finish_reason: str | None = None
    charge: Bill | None = None
    free: bool = False
