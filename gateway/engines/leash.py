"""Child processes that cannot outlive the process that started them.

On Linux the kernel does it (PR_SET_PDEATHSIG). That signal is tied to the *thread* that forked, so from any thread
but the main one, and on systems without it, a small watchdog process holds a pipe to us and does the same when it
reads end-of-file.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
# A start appends to the log of the one before; past this size the old text moves to NAME.1, so at most twice this much
# is kept for each process.
_LOG_BYTES = 16 * 1024 * 1024


class EngineError(Exception):
    """A server or process could not be found, started or stopped. The text is for the person at the terminal."""


def _no_change_of_user() -> None:
    """The child runs as we do."""


@dataclass(frozen=True, kw_only=True)
class Leash:
    """How to start one kind of child.

    log: the file that takes its output.
    on_parent_death: the signal it gets when we are gone.
    become: runs in the child before exec, to drop rights.
    """

    log: Path
    on_parent_death: signal.Signals = signal.SIGKILL
    become: Callable[[], None] = _no_change_of_user

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdin: bytes | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `argv` in a session of its own (a Ctrl-C at the terminal is ours to pass on). Raises EngineError."""
        kernel_kills = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
        with _open_log(self.log) as log:
            try:
                child = subprocess.Popen(
                    argv,
                    bufsize=0,  # what a dead child did not read must not wait in a buffer of ours
                    env=env,
                    stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=pass_fds,
                    # We start children from one thread, and what runs there takes no lock.
                    preexec_fn=_Prologue(self.become, self.on_parent_death if kernel_kills else None, os.getpid()),  # noqa: PLW1509
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise EngineError(f"cannot start {argv[0]}: {error}") from error
        if not kernel_kills:
            _watchdog.watch(child.pid, self.on_parent_death)
        if stdin is not None and child.stdin is not None:
            # A child that died at once is found by whoever waits for it; its unread input is no second error.
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(stdin)
                child.stdin.close()
        return child


class _Prologue:
    """What the child does between fork and exec."""

    def __init__(self, become: Callable[[], None], death_signal: signal.Signals | None, parent: int) -> None:
        self._become = become
        self._death_signal = death_signal
        self._parent = parent
        self._libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork: no allocation surprises after it

    def __call__(self) -> None:
        self._become()
        if self._death_signal is None:
            return
        # After `become`: a change of credentials clears the setting.
        self._libc.prctl(_PR_SET_PDEATHSIG, int(self._death_signal), 0, 0, 0)
        if os.getppid() != self._parent:  # the parent died before the call: the signal would never come
            os._exit(1)


class _Watchdog:
    """One process for all children: it reads lines "pid signal" and acts on them when the pipe closes."""

    def __init__(self) -> None:
        self._pipe: IO[bytes] | None = None

    def watch(self, pid: int, death_signal: signal.Signals) -> None:
        if self._pipe is None:
            process = subprocess.Popen(
                [sys.executable, "-S", "-c", _WATCHDOG_PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._pipe = process.stdin
        assert self._pipe is not None
        self._pipe.write(f"{pid} {int(death_signal)}\n".encode())
        self._pipe.flush()


_WATCHDOG_PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
for line in sys.stdin.read().splitlines():
    pid, number = map(int, line.split())
    try:
        # Every child of ours leads a session: a recycled number that leads none is a stranger.
        if os.getsid(pid) == pid:
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        continue
"""
_watchdog = _Watchdog()


def _open_log(path: Path) -> IO[bytes]:
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(path.suffix + ".1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, indented, for an error message."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "".join(f"\n  {line}" for line in lines[-count:])


def stop(process: subprocess.Popen[bytes], first: signal.Signals, patience: float) -> None:
    """Send `first` and wait; after `patience` seconds SIGKILL. Returns when the process has ended."""
    if process.poll() is not None:
        return
    process.send_signal(first)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
