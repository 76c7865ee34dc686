"""A rolling restart: one process after another is replaced by a new one that is ready, then the old one drains."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Sequence

from gateway.engines import EngineError
from gateway.up.children import AppProcess, Watch, say

READY_SECONDS = 60.0
LOOK_SECONDS = 0.1


class Interrupted(Exception):
    """Somebody wants everything to stop: the restart is given up where it stands."""


class Rolling:
    """Replaces processes.

    Args:
        wait: waits about a tenth of a second and looks after everybody else; raises ``Interrupted`` to give up.
    """

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait
        self.leaving: list[AppProcess] = []
        """Old processes that have been asked to go and drain."""

    def replace(self, watches: Sequence[Watch], changed: Callable[[], None]) -> None:
        """One after the other. ``changed`` is called when a new process has taken an old one's place.

        Raises ``EngineError`` where a new process does not become ready; the old one then stays, and so do all that
        come after it.
        """
        for watch in watches:
            if isinstance(watch.child, AppProcess):
                self._replace(watch, watch.child, changed)

    def _replace(self, watch: Watch, old: AppProcess, changed: Callable[[], None]) -> None:
        new = dataclasses.replace(old, process=None, metrics_port=None)
        new.spawn()
        try:
            self._await_ready(new)
        except BaseException:
            _kill(new)
            raise
        watch.child = new
        watch.started(ready=True)
        self.leaving.append(old)
        changed()
        say(f"{new.name} is ready (pid {watch.pid}); the one before it drains")
        try:
            self._await_end(old, watch.patience)
        finally:
            if old.process is None or old.process.poll() is not None:
                self.leaving.remove(old)

    def _await_ready(self, new: AppProcess) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not new.is_ready():
            if time.monotonic() > deadline:
                raise EngineError(f"{new.name} was not ready within {READY_SECONDS:.0f} s; see {new.log}")
            self._wait()

    def _await_end(self, old: AppProcess, patience: float) -> None:
        if old.process is None:
            return
        if old.process.poll() is None:
            old.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + patience
        while old.process.poll() is None:
            if time.monotonic() > deadline:
                say(f"{old.name} did not end within {patience:.0f} s: killed")
                _kill(old)
                return
            self._wait()


def _kill(child: AppProcess) -> None:
    if child.process is not None and child.process.poll() is None:
        child.process.kill()
        child.process.wait()
