"""The process behind `wonrouter up`: starts everything in order, keeps it alive, stops it in order."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.engines import EngineError
from gateway.engines.postgres import STOP_SECONDS as POSTGRES_STOP
from gateway.engines.valkey import STOP_SECONDS as REDIS_STOP
from gateway.up import preparations
from gateway.up.children import AppProcess, Runnable, Watch, say
from gateway.up.listening import address, listen
from gateway.up.rolling import LOOK_SECONDS, Interrupted, Rolling
from gateway.up.servers import Servers, start_servers
from gateway.up.signals import Signals, StopRequested
from gateway.up.state import ROLES, Restart, Secrets, State

DATABASE_ROLES = {role: f"wonrouter_{role}" for role in ROLES}
# A stream may go on for half a minute after SIGTERM, and a little is needed to end.
DRAIN_SECONDS = 35.0
# A process that ends during its start is told at once; this is for one that hangs. On a machine under load each needs
# minutes for what takes two seconds of a core.
START_SECONDS = 240.0
# A thousand streams need three descriptors each in the api and worker; distributions still default to 1024.
OPEN_FILES = 65536


@dataclass(frozen=True)
class Preparations:
    """The steps that other parts of the system bring; tests put stand-ins here."""

    migrate: Callable[[Sequence[str], Mapping[str, str], Path], None] = preparations.migrate
    ensure_demo: Callable[[str, str, str, dict[str, Any] | None], dict[str, Any]] = preparations.ensure_demo
    apply_provider_keys: Callable[[str, str, str], None] = preparations.apply_provider_keys
    await_demo: Callable[[str, str], None] = preparations.await_demo


@dataclass(frozen=True, kw_only=True)
class Options:
    """port 0 takes a free one. program: how `wonrouter` is started for a child."""

    state: Path
    host: str = "127.0.0.1"
    port: int = 8000
    api: int = 1
    workers: int = 1
    program: Sequence[str] = (sys.executable, "-m", "gateway.cli")
    preparations: Preparations = field(default_factory=Preparations)


class Supervisor:
    """Run with `run()`, from the main thread: signals and the children's leashes belong to it."""

    def __init__(self, options: Options, announce: Callable[[dict[str, Any]], None]) -> None:
        self._options = options
        self._announce = announce
        self._state = State(options.state)
        self._watches: list[Watch] = []
        self._servers: Servers | None = None
        self._listener: socket.socket | None = None
        self._description: dict[str, Any] = {}
        self._rolling = Rolling(lambda: None)

    def run(self) -> None:
        """Until a signal asks to stop. Raises EngineError if the start fails; everything is stopped then too."""
        self._state.lock()
        try:
            self._state.withdraw()
            with Signals() as signals:
                try:
                    self._start()
                    signals.interrupt = False
                    self._keep_alive(signals)
                except StopRequested:
                    say("stopping")
                finally:
                    signals.interrupt = False
                    self._stop(signals)
        finally:
            self._state.unlock()

    # -- start

    def _start(self) -> None:
        _raise_file_limit()
        # First, because it is what most often fails, and nothing has to be undone yet.
        self._listener = listen(self._options.host, self._options.port)
        secrets = self._state.secrets()
        self._servers = servers = start_servers(self._state, secrets, os.environ)
        demo = self._prepare(servers, secrets)
        self._describe(servers, demo)
        for server, stop_signal, patience in (
            (servers.redis, signal.SIGTERM, REDIS_STOP),
            (servers.postgres, signal.SIGINT, POSTGRES_STOP),
        ):
            if server is not None:
                self._watch(server, stop_signal, patience).started(ready=True)
        for process in self._processes(servers, secrets):
            watch = self._watch(process, signal.SIGTERM, DRAIN_SECONDS)
            process.spawn()
            watch.started(ready=False)
        self._wait_until_ready()
        self._options.preparations.await_demo(servers.database_url, demo["org"])
        self._publish()
        self._announce(self._description)

    def _prepare(self, servers: Servers, secrets: Secrets) -> dict[str, Any]:
        steps = self._options.preparations
        roles = {
            f"WONROUTER_{role.upper()}_DB_PASSWORD": secrets.passwords[role] for role in ROLES
        }  # migrate makes the login roles
        environment = self._environment(servers, secrets, servers.database_url) | roles
        steps.migrate(self._options.program, environment, self._state.log("migrate"))
        where = (servers.database_url, servers.redis_url, secrets.secret)
        demo = steps.ensure_demo(*where, self._state.demo())
        self._state.remember_demo(demo)
        steps.apply_provider_keys(*where)
        return demo

    def _environment(self, servers: Servers, secrets: Secrets, database_url: str) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": database_url,
            "REDIS_URL": servers.redis_url,
            "WONROUTER_SECRET": secrets.secret,
            "WONROUTER_SANDBOX": "1",
            "WONROUTER_STATE": str(self._state.folder),
            "PYTHONUNBUFFERED": "1",  # the last words of a process that dies are in its log
        }

    def _processes(self, servers: Servers, secrets: Secrets) -> list[AppProcess]:
        assert self._listener is not None
        found: list[AppProcess] = []
        for role, count in zip(ROLES, (self._options.api, self._options.workers, 1), strict=True):
            url = servers.database_url_as(DATABASE_ROLES[role], secrets.passwords[role])
            environment = self._environment(servers, secrets, url)
            for number in range(1, count + 1):
                process = AppProcess(
                    role, number, self._options.program, [role], environment, self._state.log(f"{role}-{number}")
                )
                if role == "api":
                    process.arguments = ["api", "--fd", str(self._listener.fileno())]
                    process.pass_fds = [self._listener.fileno()]
                found.append(process)
        return found

    def _watch(self, child: Runnable, stop_signal: signal.Signals, patience: float) -> Watch:
        watch = Watch(child, stop_signal, patience)
        self._watches.append(watch)
        return watch

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        waiting = [watch for watch in self._watches if not watch.ready]
        while waiting:
            for watch in waiting:
                watch.ready = watch.child.is_ready()
            waiting = [watch for watch in waiting if not watch.ready]
            if waiting and time.monotonic() > deadline:
                names = ", ".join(watch.child.name for watch in waiting)
                raise EngineError(f"not ready within {START_SECONDS:.0f} s: {names}; see {self._state.logs}")
            if waiting:
                time.sleep(0.05)

    # -- what others are told

    def _describe(self, servers: Servers, demo: dict[str, Any]) -> None:
        assert self._listener is not None
        origin = f"http://{address(self._listener)}"
        self._description = {
            "base_url": f"{origin}/api/v1",
            "krouter_base_url": f"{origin}/v1",
            "bizrouter_key": demo["bizrouter_key"],
            "krouter_key": demo["krouter_key"],
            "console_url": f"{origin}/console",
            "console_email": demo["console_email"],
            "console_password": demo["console_password"],
            "database_url": servers.database_url,
            "redis_url": servers.redis_url,
        }

    def _publish(self) -> None:
        everyone: dict[str, list[int]] = {role: [] for role in (*ROLES, "redis", "postgres")}
        metrics: dict[str, list[int]] = {}
        for watch in self._watches:
            role = watch.child.role if isinstance(watch.child, AppProcess) else watch.child.name
            if watch.pid is not None:
                everyone[role].append(watch.pid)
            if isinstance(watch.child, AppProcess) and watch.child.metrics_port:
                metrics.setdefault(role, []).append(watch.child.metrics_port)
        self._description |= {
            "pid": os.getpid(),
            "pids": {role: pids[0] if pids else None for role, pids in everyone.items()},
            "pids_all": everyone,
            "metrics_ports": metrics,
            "logs": str(self._state.logs),
        }
        self._state.publish(self._description)

    # -- keeping alive and stopping

    def _keep_alive(self, signals: Signals) -> None:
        while not signals.stops:
            self._tend()
            if signals.restart:
                signals.restart = False
                self._restart(signals)
                continue
            looks = [look for watch in self._watches if (look := watch.next_look()) is not None]
            signals.wait(min(looks, default=None))
        say("stopping (once more to stop at once)")

    def _tend(self) -> None:
        changes = [watch.tend() for watch in self._watches]
        if any(changes):
            self._publish()

    def _restart(self, signals: Signals) -> None:
        """Replaces what was asked for. Whatever goes wrong, what runs goes on."""
        wish = self._state.restart_asked()
        if wish is None:
            return
        self._tell(wish, "running")

        def wait() -> None:
            if signals.stops:
                raise Interrupted
            signals.wait(LOOK_SECONDS)
            self._tend()

        self._rolling = Rolling(wait)
        try:
            for role in wish.roles:
                self._rolling.replace([watch for watch in self._watches if _role(watch) == role], self._publish)
        except EngineError as error:
            say(str(error))
            self._tell(wish, "failed", str(error))
        except Interrupted:
            self._tell(wish, "failed", "the installation is stopping")
        else:
            self._tell(wish, "done")

    def _tell(self, wish: Restart, state: str, reason: str = "") -> None:
        self._description["restart"] = {"id": wish.id, "state": state, "reason": reason}
        self._publish()

    def _stop(self, signals: Signals) -> None:
        """Front door first: api, worker, billing, then the servers they need. A second signal ends the patience."""
        self._state.withdraw()
        if self._listener is not None:
            self._listener.close()
        for role in ROLES:
            self._stop_together(role, signals)
        if self._servers is not None:
            self._servers.stop()

    def _stop_together(self, role: str, signals: Signals) -> None:
        watches = [watch for watch in self._watches if _role(watch) == role]
        running = [watch.child.process for watch in watches if watch.child.process]
        running += [child.process for child in self._rolling.leaving if child.role == role and child.process]
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + max((watch.patience for watch in watches), default=0.0)
        while any(process.poll() is None for process in running):
            left = deadline - time.monotonic()
            if left <= 0 or signals.stops > 1:
                for process in running:
                    process.kill()
                    process.wait()
                return
            signals.wait(left)


def _role(watch: Watch) -> str | None:
    return watch.child.role if isinstance(watch.child, AppProcess) else None


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
