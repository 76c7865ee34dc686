"""How root starts a program that refuses to run as root (PostgreSQL does).

First choice: a user namespace in which our uid 0 appears as 65534. Files stay owned by root outside, so the data folder
and the program need not be readable for anyone else. Where namespaces are forbidden (a container's seccomp profile):
a change to `postgres` or `nobody`, which keeps the one capability to pass folders such as /root (0700), so that
neither the program nor the data has to be copied to where that user could read them.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_INSIDE_ID = 65534  # what most systems call nobody
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True)
class Identity:
    """Who the child will be. `owner` is who its files must belong to, seen from outside; None leaves them alone."""

    name: str
    become: Callable[[], None]
    owner: tuple[int, int] | None = None

    def own(self, path: Path) -> None:
        """Give `path` and everything in it to the child's user, where it is not already."""
        if self.owner is None or not path.exists() or (path.stat().st_uid, path.stat().st_gid) == self.owner:
            return
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.chown(os.path.join(folder, name), *self.owner, follow_symlinks=False)
        os.chown(path, *self.owner)  # last: an interrupted walk starts over


def _unchanged() -> None:
    """A plain user needs no change."""


@cache
def choose_identity() -> Identity:
    """The way that works here, found by trying it once on a harmless program."""
    if os.geteuid() != 0:
        return Identity("ourselves", _unchanged)
    if sys.platform == "linux" and _works(_enter_namespace):
        return Identity("namespace", _enter_namespace, owner=(0, 0))
    return fallback_identity()


def fallback_identity() -> Identity:
    """The ordinary user that root becomes where user namespaces are forbidden."""
    account = _account("postgres") or _account("nobody")
    uid, gid = (account.pw_uid, account.pw_gid) if account else (_INSIDE_ID, _INSIDE_ID)
    return Identity(account.pw_name if account else str(uid), lambda: _become_user(uid, gid), owner=(uid, gid))


def _account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _works(become: Callable[[], None]) -> bool:
    try:
        program = [sys.executable, "-S", "-c", "import os; raise SystemExit(os.geteuid() == 0)"]
        return subprocess.run(program, preexec_fn=become, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _enter_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    # The kernel lets a process map its own group only after it has given up setgroups.
    for name, text in (("setgroups", "deny"), ("gid_map", f"{_INSIDE_ID} 0 1"), ("uid_map", f"{_INSIDE_ID} 0 1")):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(descriptor, text.encode())
        os.close(descriptor)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _become_user(uid: int, gid: int) -> None:
    linux = sys.platform == "linux"
    libc = ctypes.CDLL(None, use_errno=True)
    if linux:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if not linux:
        return
    # Best effort: without the capability the server still runs where its folders are readable for its user.
    one = _CapabilitySets(1 << _CAP_DAC_OVERRIDE, 1 << _CAP_DAC_OVERRIDE, 1 << _CAP_DAC_OVERRIDE)
    sets = (_CapabilitySets * 2)(one, _CapabilitySets(0, 0, 0))
    if libc.capset(ctypes.byref(_CapabilityHeader(_CAPABILITY_VERSION_3, 0)), sets) == 0:
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)
