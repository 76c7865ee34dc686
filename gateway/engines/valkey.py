"""One Valkey (or Redis) server on the loopback address, under our control."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from gateway.engines import ports
from gateway.engines.leash import EngineError, Leash, last_lines, stop
from gateway.engines.resolve import ValkeyProgram, find_valkey
from gateway.private_files import FileLock

# It answers only after it has read its append-only file, at some 100 MB a second.
START_SECONDS = 120.0
# On SIGTERM it syncs the append-only file.
STOP_SECONDS = 15.0


class ValkeyServer:
    """A server whose data are in `folder`. It answers nobody without `password`.

    port: tried first; another is chosen at the start if it is taken, and kept while the server is only restarted.
    throwaway: nothing is written to disk; for tests only.
    """

    name = "redis"

    def __init__(
        self,
        folder: Path,
        *,
        log: Path,
        password: str,
        port: int | None = None,
        throwaway: bool = False,
        program: ValkeyProgram | None = None,
    ) -> None:
        self._program = program or find_valkey()
        self._leash = Leash(log=log, on_parent_death=signal.SIGTERM)
        self._password = password
        self._throwaway = throwaway
        self.folder = folder
        self.port = port or 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{quote(self._password, '')}@{ports.LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it has read its data and answers."""
        self.spawn(patience=STOP_SECONDS)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if time.monotonic() > deadline:
                self.stop()
                raise EngineError(f"Valkey did not answer within {START_SECONDS:.0f} s{last_lines(self._leash.log)}")
            time.sleep(0.01)

    def spawn(self, patience: float = 0.0) -> None:
        """Start the server without waiting for it. `patience`: how many seconds an earlier one may take to end.

        Raises EngineError if an earlier server still writes the same files.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        if not lock.acquire(patience):
            raise EngineError(f"another Valkey still uses {self.folder}")
        try:
            if self.process is None:  # after the lock: the server before may only now have let go of its port
                self.port = ports.keep_or_choose(self.port)
            # Two servers on one append-only file would ruin it: the child inherits the lock and holds it for life.
            self.process = self._leash.spawn(
                [str(self._program.path), "-"], stdin=self._configuration().encode(), pass_fds=(lock.descriptor,)
            )
        finally:
            lock.release()

    def is_ready(self) -> bool:
        """Whether it takes commands. Raises EngineError if it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise EngineError(f"Valkey ended during its start{last_lines(self._leash.log)}")
        try:
            with socket.create_connection((ports.LOOPBACK, self.port), timeout=2) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\nQUIT\r\n".encode())
                answer = b""
                while piece := connection.recv(4096):
                    answer += piece
        except OSError:
            return False
        return b"+PONG" in answer

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process, signal.SIGTERM, STOP_SECONDS)
            self.process = None

    def _configuration(self) -> str:
        """Read by the server from its standard input: a password in argv is seen by every user of the machine."""
        lines = [
            f"bind {ports.LOOPBACK}",
            f"port {self.port}",
            f'requirepass "{self._password}"',
            f'dir "{self.folder.absolute()}"',
            'save ""',  # the append-only file holds everything; a snapshot beside it would be a second truth
            "maxmemory-policy noeviction",  # holds and usage events must never be evicted
            # Every process has one reply channel. The default (8 MB over 60 s) would cut a busy one off.
            "client-output-buffer-limit pubsub 256mb 64mb 60",
        ]
        if self._throwaway:
            lines.append("appendonly no")
        else:
            lines += ["appendonly yes", "appendfsync everysec"]
        return "\n".join(lines) + "\n"
