"""An installation and what its operator does with it: organisations, keys, credit, deployments, books.

Everything goes through the `wonrouter` command, as an operator would do it.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.installation import RunningInstallation
from tests.warm_commands import WarmCommands

T = TypeVar("T")

LOOK_S = 1.0
UPSTREAM_KEY = "sk-upstream-5c0ffee5c0ffee"
_VARIABLES = {
    "WONROUTER_TEST_UPSTREAM_KEY": UPSTREAM_KEY,
    "WONROUTER_ALLOW_PRIVATE_UPSTREAMS": "1",  # the mock provider listens on 127.0.0.1
}
UNHURRIED = {
    "WONROUTER_ARRIVING_WAIT_S": "60",
    "WONROUTER_MOST_LAG_S": "60",
    "WONROUTER_QUEUE_WAIT_S": "60",
}
"""For installations of tests that are not about overload: a machine that stands still for some seconds is none."""


class Installation(RunningInstallation):
    """A whole installation that may call a mock provider on this machine."""

    def __init__(self, state: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.environment = {**_VARIABLES, **(env or {})}
        super().__init__(state, *options, env=self.environment)
        self._commands = WarmCommands({**_VARIABLES, "WONROUTER_STATE": str(state)})

    @property
    def root(self) -> str:
        """Scheme, host and port."""
        return str(self.up["base_url"]).partition("/api/")[0]

    def pids(self, role: str) -> list[int]:
        """The processes of `role` (api, worker, billing, redis, postgres) now."""
        return list(self.up["pids_all"].get(role, []))

    def run(self, *arguments: str) -> str:
        """Output of `wonrouter ARGUMENTS`; AssertionError with its message when it fails."""
        done = self._commands.run(*arguments)
        assert done.code == 0, f"wonrouter {' '.join(arguments)}: {done.output[-2000:]}{done.errors[-4000:]}"
        return done.output

    def ask(self, *arguments: str) -> Any:
        """The one JSON value that `wonrouter ARGUMENTS --json` prints."""
        return json.loads(self.run(*arguments, "--json"))

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """The JSON lines that `wonrouter ARGUMENTS --json` prints."""
        return [json.loads(line) for line in self.run(*arguments, "--json").splitlines() if line.strip()]

    def usage(self, organisation: str, since: datetime) -> list[dict[str, Any]]:
        """The organisation's booked usage rows since then."""
        return self.rows("usage", "--org", organisation, "--since", since.astimezone(UTC).isoformat())

    def deploy(self, name: str, base_url: str, models: dict[str, str]) -> None:
        """Makes the OpenAI-compatible server at `base_url` the one deployment of `models` (public id: upstream id).

        Every process goes by it on return: they hear of it a moment after the command has ended.
        """
        tables = [
            f'[[deployment]]\nmodel = "{model}"\nprovider = "openai"\nbase_url = "{base_url}"\n'
            f'api_key = "env:WONROUTER_TEST_UPSTREAM_KEY"\nupstream_model = "{upstream}"\nweight = 1\n'
            for model, upstream in models.items()
        ]
        path = self.state / f"{name}.toml"
        path.write_text("\n".join(tables))
        applied = {each["id"] for each in self.ask("deployments", "apply", str(path))["applied"]}
        until(lambda: all(applied <= self._known_by(port) for port in self.up["metrics_ports"]["worker"]), "it known")
        until(lambda: models.keys() <= self._offered(), "the models offered")

    @staticmethod
    def _known_by(port: int) -> set[str]:
        """The deployments of the worker with this port, by the gauges that it has for each."""
        page = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
        return set(re.findall(r'^wonrouter_deployment_breaker_open\{deployment="([^"]+)"', page, re.MULTILINE))

    def _offered(self) -> set[str]:
        """The models that can be called, by every front end that answers: a connection each."""
        url, headers = f"{self.up['base_url']}/models", {"X-API-Key": str(self.up["bizrouter_key"])}
        lists = [httpx.get(url, headers=headers, timeout=60).json()["models"] for _ in range(4 * len(self.pids("api")))]
        return set[str].intersection(*({one["id"] for one in each if one["available"]} for each in lists))

    def organisation(self, name: str, *, won: int, policy: str = "optimistic") -> str:
        """A new prepaid organisation with `won` of credit, known to the credit window; its id."""
        made = self.ask("org", "create", "--name", name, "--billing", "prepaid", "--policy", policy)
        if won:
            self.run("topup", made["id"], str(won), "--reference", f"test-{name}", "--json")
        else:
            until(lambda: made["id"] in self.ask("window")["organisations"], f"{name} in the credit window")
        return str(made["id"])

    def key(self, organisation: str, name: str = "test", **limits: int | str) -> str:
        """A new API key of that organisation; `limits` are the command's options (`rpm`, `concurrency`, …)."""
        options = [part for k, v in limits.items() for part in (f"--{k.replace('_', '-')}", str(v))]
        return str(self.ask("key", "create", "--org", organisation, "--name", name, *options)["key"])

    def window(self, organisation: str) -> dict[str, int]:
        """The organisation's balance_micro, held_micro and slots; open_jobs and unsettled of the whole installation."""
        shown = self.ask("window")
        reading: dict[str, int] = shown["organisations"][organisation]
        return {**reading, "open_jobs": shown["open_jobs"], "unsettled": shown["unsettled"]}

    def stop(self) -> None:
        self._commands.close()
        super().stop()


Kind = TypeVar("Kind", bound=Installation)


@contextmanager
def installed(
    state: Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    cpus: set[int] | None = None,
    kind: type[Kind] = Installation,
) -> Iterator[Kind]:
    """An installation on `state`, kept to the CPUs given; stopped at the end."""
    before = os.sched_getaffinity(0) if cpus else set[int]()
    if cpus:
        os.sched_setaffinity(0, cpus)  # children inherit it
    try:
        installation = kind(state, *options, env=env)
    finally:
        if cpus:
            os.sched_setaffinity(0, before)
    try:
        yield installation
    finally:
        installation.stop()


def until(probe: Callable[[], T | None], what: str, seconds: float = 60.0, pause: float = 0.05) -> T:
    """The first true answer of `probe`, asked again every `pause` seconds; AssertionError after `seconds`.

    For things outside this process that send no event: a file, a row, another process. One look counts for `LOOK_S` at
    most: a machine that stood still meanwhile has kept nobody's promise, and broken none.
    """
    left = seconds
    while True:
        began = time.monotonic()
        answer = probe()
        if answer:
            return answer
        assert left > 0, f"not within {seconds:g} s: {what} (last seen: {answer!r})"
        time.sleep(pause)
        left -= min(time.monotonic() - began, LOOK_S)
