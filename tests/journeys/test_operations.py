"""What operators do with a living installation: follow a call, ask the doctor, back it up and bring it up again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.journeys.conftest import MODELS, Account
from tests.operating import Installation, until
from tests.otlp import Collector, Span
from tests.provider.server import Provider

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAID = "비밀 문장 zebra-7431"


@pytest.fixture
def shown(served: Installation, upstream: Provider, collector: Collector) -> Iterator[Collector]:
    """The collector plays the provider for as long as the test runs."""
    served.deploy("shown", f"{collector.url}/v1", MODELS)
    yield collector
    served.deploy("journeys", upstream.base_url, MODELS)


def _call(account: Account, **headers: str) -> str:
    answer = httpx.post(
        account.installation.root + "/api/v1/chat/completions",
        headers={"X-API-Key": account.key, **headers},
        json={"model": "openai/gpt-4o", "messages": [{"role": "user", "content": SAID}], "user": "person-5150"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def test_one_trace_holds_a_call_from_its_client_to_the_books(account: Account, shown: Collector) -> None:
    job = _call(account, traceparent=f"00-{TRACE}-{SPAN}-01").removeprefix("chatcmpl-")
    wanted = {"POST chat", "admission", "queue", "job", "attempt openai", "settlement"}

    def whole() -> dict[str, Span] | None:
        found = {span.name: span for span in shown.of(TRACE)}
        return found if wanted <= found.keys() else None

    spans = until(whole, "the whole trace")
    assert set(spans) == wanted
    above = {name: span.parent for name, span in spans.items()}
    root, admission, work = (spans[name].id for name in ("POST chat", "admission", "job"))
    assert above == {
        "POST chat": SPAN, "admission": root, "queue": admission, "job": admission, "attempt openai": work,
        "settlement": admission,
    }  # fmt: skip
    assert {span.service for span in spans.values()} == {"wonrouter-api", "wonrouter-worker", "wonrouter-billing"}
    assert spans["POST chat"].attributes["wonrouter.job"] == spans["job"].attributes["wonrouter.job"] == job
    assert spans["job"].attributes["gen_ai.usage.output_tokens"] == 1

    [(batch_trace, batch)] = spans["settlement"].links
    until(lambda: [span for span in shown.of(batch_trace) if span.id == batch], "the batch's own span")

    assert all("traceparent" not in headers for headers in shown.called)  # no third party learns of it
    everything = b"".join(shown.raw)
    for private in (SAID, account.key, "person-5150", "sk-upstream"):
        assert private.encode() not in everything


def test_a_client_that_does_not_sample_is_not_traced(account: Account, shown: Collector) -> None:
    other = TRACE[::-1]
    account.booked(_call(account, traceparent=f"00-{other}-{SPAN}-00"))
    later = TRACE[8:] + TRACE[:8]
    _call(account, traceparent=f"00-{later}-{SPAN}-01")
    until(lambda: {"settlement"} & {span.name for span in shown.of(later)}, "a later trace")
    assert shown.of(other) == []


def test_the_doctor_finds_a_running_installation_sound(served: Installation, account: Account) -> None:
    account.booked(_call(account))
    said = served.ask("doctor", "--probe")
    assert [each for each in said["findings"] if each["level"] == "fail"] == []
    found = {each["check"]: each["level"] for each in said["findings"]}
    assert {"window", "worker", "api", "billing", "migrations", "rights", "settlement"} <= found.keys()
    assert found["roles"] == found["secret"] == found["prices"] == found["redis persistence"] == "ok"


def test_every_process_shows_its_metrics_on_a_port_of_its_own(served: Installation, account: Account) -> None:
    account.booked(_call(account))

    def shown() -> dict[str, str]:
        return {
            role: httpx.get(f"http://127.0.0.1:{numbers[0]}/metrics", timeout=60).text
            for role, numbers in served.up["metrics_ports"].items()
        }

    worker = 'wonrouter_processes_listening{process="worker"} 1.0'
    until(lambda: worker in shown()["billing"], "the worker seen by billing, which looks now and then")
    texts = shown()
    assert 'wonrouter_api_first_frame_seconds_count{endpoint="chat",surface="bizrouter"}' in texts["api"]
    assert "wonrouter_worker_queue_seconds_count" in texts["worker"]
    assert "wonrouter_window_open 1.0" in texts["billing"] and "wonrouter_database_bytes" in texts["billing"]
    assert not any(account.organisation in text for text in texts.values())


def test_a_backup_brings_up_another_installation_with_the_same_books(
    served: Installation, account: Account, tmp_path: Path
) -> None:
    account.booked(_call(account))
    file, state = tmp_path / "backup", tmp_path / "state"
    assert served.ask("backup", str(file))["bytes"] == file.stat().st_size
    assert file.stat().st_mode & 0o077 == 0
    balance = served.window(account.organisation)["balance_micro"]

    state.mkdir(mode=0o700)
    for name in ("secrets.json", "demo.json"):  # what the operator keeps elsewhere
        shutil.copy(served.state / name, state / name)
    restored = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "restore", str(file), "--state", str(state), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["restored"] is True

    again = Installation(state)
    try:
        assert again.window(account.organisation)["balance_micro"] == balance
        assert set(again.ask("reconcile").values()) == {0}
        answer = httpx.post(
            again.root + "/api/v1/chat/completions",
            headers={"X-API-Key": account.key},
            json={"model": "sandbox/echo", "messages": [{"role": "user", "content": "안녕하세요"}]},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
    finally:
        again.stop()


def test_a_database_that_holds_something_is_never_restored_over(served: Installation, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    served.run("backup", str(file))
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "restore", str(file)],
        env={"DATABASE_URL": served.up["database_url"], "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "not empty" in done.stderr
