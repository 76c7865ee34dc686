"""A whole WonRouter of a test's own: started as a user starts it, spoken to through its command line."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

T = TypeVar("T")

UPSTREAM_KEY = "sk-upstream-0000"
_LOOPBACK = {"WONROUTER_ALLOW_PRIVATE_UPSTREAMS": "1"}  # the mock provider listens on 127.0.0.1
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class Installation:
    """A running installation. `up` is its up.json as last read."""

    def __init__(self, state: Path, environment: dict[str, str]) -> None:
        self.state = state
        self.environment = environment
        self.up: dict[str, Any] = {}
        self.reload()

    def reload(self) -> dict[str, Any]:
        """Reads up.json again; the supervisor rewrites it when it has replaced a child."""
        self.up = json.loads((self.state / "up.json").read_text())
        return self.up

    @property
    def root(self) -> str:
        """Scheme, host and port."""
        return str(self.up["base_url"]).split("/api/")[0].rstrip("/")

    def pids(self, role: str) -> list[int]:
        """The processes of `role` (api, worker, billing, redis, postgres) as up.json lists them now."""
        self.reload()
        every = self.up.get("pids_all", {}).get(role) or self.up["pids"][role]
        return [every] if isinstance(every, int) else list(every)

    def run(self, *arguments: str) -> str:
        """Output of `wonrouter ARGUMENTS`; raises AssertionError with its message when it fails."""
        command = [sys.executable, "-m", "gateway.cli", "--state", str(self.state), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=self.environment, check=False)
        assert done.returncode == 0, f"wonrouter {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def ask(self, *arguments: str) -> Any:
        """The one JSON value that `wonrouter ARGUMENTS --json` prints."""
        return json.loads(self.run(*arguments, "--json"))

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """The JSON lines that `wonrouter ARGUMENTS --json` prints."""
        return [json.loads(line) for line in self.run(*arguments, "--json").splitlines() if line.strip()]

    def usage(self, since: datetime) -> list[dict[str, Any]]:
        """The booked usage rows since then."""
        return self.rows("usage", "--since", since.astimezone(UTC).isoformat())

    def deploy(self, name: str, base_url: str, models: dict[str, str]) -> None:
        """Makes the OpenAI-compatible server at `base_url` the one deployment of `models` (public id: upstream id)."""
        tables = [
            f'[[deployment]]\nmodel = "{model}"\nprovider = "openai"\nbase_url = "{base_url}"\n'
            f'api_key = "env:WONROUTER_TEST_UPSTREAM_KEY"\nupstream_model = "{upstream}"\nweight = 1\n'
            for model, upstream in models.items()
        ]
        path = self.state / f"{name}.toml"
        path.write_text("\n".join(tables))
        self.run("deployments", "apply", str(path))

    def organisation(self, name: str, *, won: int, policy: str = "optimistic") -> str:
        """A new prepaid organisation with `won` of credit; returns its id."""
        made = self.ask("org", "create", "--name", name, "--billing", "prepaid", "--policy", policy)
        if won:
            self.run("topup", made["id"], str(won), "--reference", f"test-{name}", "--json")
        return str(made["id"])

    def key(self, organisation: str, name: str = "test", **limits: int | str) -> str:
        """A new API key of that organisation; `limits` are the command's options (`rpm`, `concurrency`, …)."""
        options = [part for k, v in limits.items() for part in (f"--{k.replace('_', '-')}", str(v))]
        made = self.ask("key", "create", "--org", organisation, "--name", name, *options)
        return str(made["key"])

    def window(self, organisation: str) -> dict[str, int]:
        """The organisation's line of the credit window: balance_micro, held_micro, slots, open_jobs."""
        for row in self.rows("window"):
            if organisation in (row.get("id"), row.get("org_id"), row.get("organisation_id"), row.get("org")):
                return cast("dict[str, int]", row)
        return {"balance_micro": 0, "held_micro": 0, "slots": 0, "open_jobs": 0}


def until(probe: Callable[[], T | None], what: str, seconds: float = 20.0, pause: float = 0.05) -> T:
    """The first true answer of `probe`, asked again every `pause` seconds; AssertionError after `seconds`.

    For things outside this process that send no event: a file, a row, another process.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what} (last seen: {answer!r})"
        time.sleep(pause)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextmanager
def running_installation(
    state: Path, *arguments: str, environment: dict[str, str] | None = None, cpus: set[int] | None = None
) -> Iterator[Installation]:
    """`wonrouter up ARGUMENTS` on `state` and a free port; on the CPUs given. Stopped as Ctrl-C stops it."""
    state.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, "WONROUTER_TEST_UPSTREAM_KEY": UPSTREAM_KEY, **_LOOPBACK, **(environment or {})}
    command = [sys.executable, "-m", "gateway.cli", "up", "--port", str(free_port()), "--state", str(state)]
    if cpus:
        command = ["taskset", "-c", ",".join(map(str, sorted(cpus))), *command]
    output = state.parent / f"{state.name}.up.log"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [*command, *arguments, "--json"], stdout=sink, stderr=sink, env=variables, start_new_session=True
        )
    try:
        yield _ready(process, state, variables, output)
    finally:
        _stop(process)


def _ready(process: subprocess.Popen[bytes], state: Path, variables: dict[str, str], output: Path) -> Installation:
    up = state / "up.json"

    def probe() -> bool:
        assert process.poll() is None, f"`wonrouter up` ended: {output.read_text(errors='replace')[-4000:]}"
        return up.exists() and up.stat().st_size > 0

    until(probe, f"up.json; see {output}", seconds=_START_SECONDS)
    return Installation(state, variables)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
