"""CPU time and memory of the gateway's processes, read from /proc: what a request costs, whatever the clock says."""

import os
from pathlib import Path

_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 10.0
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


def cpu_ms(pids: list[int]) -> float:
    """User and system milliseconds of `pids`, their descendants, and the children that they have waited for."""
    return sum(_ticks(pid) for pid in _family(pids)) * _TICK_MS


def rss_kb(pids: list[int]) -> int:
    """Resident kilobytes of `pids` and their descendants; pages that they share count once for each."""
    return sum(_resident(pid) for pid in _family(pids)) * _PAGE_KB


def _family(pids: list[int]) -> set[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    family, waiting = set[int](), list(pids)
    while waiting:
        pid = waiting.pop()
        family.add(pid)
        waiting.extend(child for child in parents.get(pid, []) if child not in family)
    return family


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name (state is 0, parent 1); empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def _ticks(pid: int) -> int:
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) if fields else 0  # utime, stime, cutime, cstime


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
