"""`wonrouter up` whose api, worker and billing processes are forks of one that has imported everything.

Each is a whole process of its own, with the command's own start and end; only the two seconds of imports are spared, so
that hundreds can be killed and come back within minutes. The supervisor is the real one, without its growing patience
for processes that die again and again: here that is what they are for.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from gateway.engines import ports
from gateway.up import children, supervisor
from gateway.up.children import AppProcess

_IMPORTED_FIRST = ("gateway.cli", "api.cli", "api.app", "api.server", "workers.cli", "workers.process", "billing.cli",
                   "billing.app", "gateway.accounts.demo")  # fmt: skip
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Fork:
    """What the supervisor uses of `subprocess.Popen`, for a child that was only forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code once it has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """To a living child only: its number may be somebody else's after its end."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkedProcess(AppProcess):
    """An api, worker or billing process without an `exec`."""

    def spawn(self) -> None:
        """Forks; the child runs the command and ends with it."""
        self.metrics_port = ports.free_port()
        told = {**self.environment, "WONROUTER_METRICS_PORT": str(self.metrics_port)}
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become(self.arguments, told, log, parent)
        os.close(log)
        process: Any = Fork(pid)
        self.process = process


def _become(arguments: Sequence[str], environment: Mapping[str, str], log: int, parent: int) -> None:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(environment)
        import_module("gateway.settings").settings.cache_clear()
        sys.argv = ["wonrouter", *arguments]
        import_module("gateway.cli").main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 whatever it was, it is the child's end and not the supervisor's
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """`python -m tests.faults.warm_processes up …`, as `wonrouter up …`."""
    os.environ["CELERY_CUSTOM_WORKER_POOL"] = "workers.pool:AsyncPool"  # read when Celery is imported
    for module in _IMPORTED_FIRST:
        import_module(module)
    children.FORGIVEN_AFTER = 0.0
    supervisor.AppProcess = ForkedProcess
    import_module("gateway.cli").main()


if __name__ == "__main__":
    main()
