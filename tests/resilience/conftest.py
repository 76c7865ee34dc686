"""One installation with two workers; one mock that stands for every provider.

Only a host that falls silent has short time limits, as options of its deployment: a machine that stalls for a second or
two makes no sound host look silent, and no call is asked twice for it.

A test names its deployments after itself (`cut-first`, `cut-second`), so that breakers, weights and pauses of one test
are nobody else's, and asks for them with `provider.order`. What each does is told to the mock by upstream model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.operating import Installation, installed, until
from tests.provider.behaviour import parse_behaviour
from tests.provider.dialects.openai import answer_text
from tests.provider.log import Call
from tests.provider.server import Provider, running_provider
from tests.provider.silence import limits_met_by

MODEL = "openai/gpt-4o"
TOKENS = 24
WORKERS = 2
ANSWER = answer_text(TOKENS)
FIRST_TOKEN_S, IDLE_S, TOTAL_S = 0.6, 0.6, 2.0
PATIENCE_S = 15.0
"""A call that takes longer has met a limit that did not work: the mock's silences last for ever."""
LIMITS = {
    "WONROUTER_BACKOFF_S": "0.1",
    "WONROUTER_BREAKER_PROBE_S": "0.5",
    "WONROUTER_BREAKER_PATIENCE_S": "10",
    "WONROUTER_ALONE_PATIENCE": "20",
    "WONROUTER_RATE_LIMIT_S": "30",
    "WONROUTER_CHOICE_PATIENCE_S": "10",
}
"""A silent host is not given up before the other one has had time to speak; and whose turn it is, and how often it is asked
again, does not depend on the machine's pace."""


@dataclass(frozen=True)
class Host:
    """A deployment: its provider's name, what the mock does there, and what it serves."""

    name: str
    does: str = ""
    model: str = MODEL
    weight: int = 1
    dialect: str = "openai"
    way: str = "sse"
    """How it is asked, where that decides which limit its silence meets."""

    @property
    def upstream(self) -> str:
        """The name by which the mock knows it."""
        return f"{self.name}-{self.model.rpartition('/')[2]}"

    @property
    def options(self) -> dict[str, str]:
        """The deployment's: its dialect, and the limit that its silence meets."""
        streamed = self.way == "sse"
        limits = limits_met_by(self.does, first_s=FIRST_TOKEN_S, idle_s=IDLE_S, total_s=TOTAL_S, streamed=streamed)
        return {"dialect": self.dialect, **limits}


@dataclass
class Said:
    """An answer as its caller sees it."""

    status: int
    headers: httpx.Headers
    text: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """A stream's events without `[DONE]`."""
        found = [part.removeprefix("data: ") for part in self.text.split("\n\n") if part.startswith("data: ")]
        return [json.loads(event) for event in found if event != "[DONE]"]

    @property
    def streamed(self) -> bool:
        """Whether it came as events."""
        return self.headers["content-type"].startswith("text/event-stream")

    @property
    def whole(self) -> dict[str, Any]:
        """The JSON of an answer, or of an error, that is not streamed."""
        return json.loads(self.text)

    @property
    def content(self) -> str:
        """The first choice's text."""
        if not self.streamed:
            return self.whole["choices"][0]["message"]["content"]
        deltas = [c["delta"] for event in self.events for c in event.get("choices", ()) if c["index"] == 0]
        return "".join(delta.get("content") or "" for delta in deltas)

    @property
    def complete(self) -> bool:
        """Whether it presents itself as a complete answer."""
        if self.streamed:
            return self.text.endswith("data: [DONE]\n\n") and not any("error" in event for event in self.events)
        return self.status == 200

    @property
    def usage(self) -> dict[str, Any]:
        """Usage with cost."""
        return self.events[-1]["usage"] if self.streamed else self.whole["usage"]

    @property
    def id(self) -> str:
        """The answer's id; that of the request where there is no answer."""
        if self.streamed:
            return next((event["id"] for event in self.events if "id" in event), self.headers["x-request-id"])
        return self.whole.get("id") or self.headers["x-request-id"]


@dataclass
class Scene:
    """A customer of the installation, and the mock behind it."""

    installation: Installation
    mock: Provider
    key: str = ""
    hosts: dict[str, Host] = field(default_factory=dict[str, Host])
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=PATIENCE_S))

    @property
    def url(self) -> str:
        """Chat completions."""
        return f"{self.installation.root}/api/v1/chat/completions"

    def serve(self, hosts: Sequence[Host]) -> None:
        """Adds deployments, and waits until both workers know them."""
        self.hosts |= {host.upstream: host for host in hosts}
        for host in hosts:
            self.mock.models[host.upstream] = parse_behaviour(f"tokens={TOKENS} repeat=6 {host.does}")
        path = self.installation.state / "resilience.toml"
        path.write_text("\n".join(map(self._table, self.hosts.values())))
        self.installation.run("deployments", "apply", str(path))
        until(self._known, "api and workers to know the deployments")

    def _known(self) -> bool:
        """Whether the front end offers every model, and both workers have loaded as many deployments as there are,
        beside those of the sandbox, with which they started."""
        listed = self.client.get(f"{self.installation.root}/api/v1/models", headers={"X-API-Key": self.key}).json()
        offered = {model["id"] for model in listed["models"] if model["available"]}
        logs = [log.read_text() for log in (self.installation.state / "logs").glob("worker*.log")]
        lines = [[line for line in log.splitlines() if '"deployments_loaded"' in line] for log in logs]
        loaded = [[int(json.loads(line)["count"]) for line in found] for found in lines]
        everybody = all(counts and counts[-1] - counts[0] == len(self.hosts) for counts in loaded)
        return len(logs) == WORKERS and everybody and {host.model for host in self.hosts.values()} <= offered

    def _table(self, host: Host) -> str:
        native = host.dialect != "openai"
        url = self.mock.native_url if native else self.mock.base_url
        options = ", ".join(f'{name} = "{value}"' for name, value in host.options.items())
        return (
            f'[[deployment]]\nmodel = "{host.model}"\nprovider = "{host.name}"\nbase_url = "{url}"\n'
            f'api_key = "env:WONROUTER_TEST_UPSTREAM_KEY"\nupstream_model = "{host.upstream}"\n'
            f"weight = {host.weight}\noptions = {{ {options} }}\n"
        )

    def ask(self, order: Sequence[str], *, stream: bool, text: str = "hello", **more: Any) -> Said:
        """One call that may go to the hosts named, in that order."""
        body: dict[str, Any] = {
            "model": MODEL,
            "messages": [{"role": "user", "content": text}],
            "stream": stream,
            "provider": {"order": list(order), "allow_fallbacks": False},
            **more,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        answer = self.client.post(self.url, json=body, headers={"X-API-Key": self.key})
        return Said(answer.status_code, answer.headers, answer.text)

    def calls(self, name: str) -> list[Call]:
        """What the mock saw of a host, in order."""
        models = {host.upstream for host in self.hosts.values() if host.name == name}
        return [call for call in self.mock.log.calls if call.model in models]

    def receipt(self, said: Said) -> dict[str, Any]:
        """The receipt of a call, once it is booked."""

        def find() -> dict[str, Any] | None:
            answer = self.client.get(
                f"{self.installation.root}/api/v1/generation", params={"id": said.id}, headers={"X-API-Key": self.key}
            )
            return answer.json()["data"] if answer.status_code == 200 else None

        return until(find, f"the receipt of {said.id}")


def attempts(said: Said) -> list[tuple[str, str]]:
    """Host and outcome of every attempt, from the header or from the stream's last chunk; one that went well is silent
    in a stream."""
    if header := said.headers.get("x-wonrouter-attempts"):
        fields = [dict(pair.partition("=")[::2] for pair in one.split(";")[1:]) for one in header.split(", ")]
        return [(each["provider"], each["reason"]) for each in fields]
    notes = said.events[-1].get("wonrouter", {}).get("attempts", [])
    return [(note["provider"], note["reason"]) for note in notes]


@pytest.fixture(scope="package")
def resilient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The installation, the mock, and a customer with plenty of credit."""
    with ExitStack() as stack:
        state = tmp_path_factory.mktemp("resilience") / "state"
        installation = stack.enter_context(installed(state, "--workers", str(WORKERS), env=LIMITS))
        mock = stack.enter_context(running_provider())
        scene = Scene(installation, mock)
        stack.callback(scene.client.close)
        organisation = installation.organisation("resilience", won=1_000_000)
        scene.key = installation.key(organisation, rpm=1_000_000, concurrency=5_000)
        yield scene
