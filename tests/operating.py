"""An installation and what its operator does with it: organisations, keys, credit, deployments, books.

Everything goes through the `wonrouter` command, as an operator would do it.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from tests.installation import RunningInstallation
from tests.warm_commands import WarmCommands

T = TypeVar("T")

UPSTREAM_KEY = "sk-upstream-5c0ffee5c0ffee"
_VARIABLES = {
    "WONROUTER_TEST_UPSTREAM_KEY": UPSTREAM_KEY,
    "WONROUTER_ALLOW_PRIVATE_UPSTREAMS": "1",  # the mock provider listens on 127.0.0.1
}


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
        """A new prepaid organisation with `won` of credit; its id."""
        made = self.ask("org", "create", "--name", name, "--billing", "prepaid", "--policy", policy)
        if won:
            self.run("topup", made["id"], str(won), "--reference", f"test-{name}", "--json")
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
