"""Time limits for a deployment whose mock falls silent, and for no other.

Short limits make tests of silence short. On a sound host a machine that stalls for a second would meet them, too, and a call
would be asked twice that nothing is wrong with.
"""

from __future__ import annotations


def limits_met_by(does: str, *, first_s: float, idle_s: float, total_s: float, streamed: bool = True) -> dict[str, str]:
    """A deployment's options: the limit (seconds) that the silence in a behaviour meets; empty where it is never silent."""
    before, within = "stall=0" in does or "first=" in does, "stall=" in does
    if not (before or within):
        return {}
    if not streamed:
        return {"total_timeout_s": str(total_s)}
    return {"first_token_timeout_s": str(first_s)} if before else {"idle_timeout_s": str(idle_s)}
