"""What a process without HTTP of its own tells probes and Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gateway import probes


@pytest.fixture
def lacking() -> list[str]:
    return []


@pytest.fixture
def url(lacking: list[str]) -> Iterator[str]:
    server = probes.HealthServer("127.0.0.1", 0, lambda: lacking, None)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


def test_it_is_ready_until_something_is_missing_and_says_what(url: str, lacking: list[str]) -> None:
    assert httpx.get(f"{url}/readyz").json() == {"status": "ready", "missing": []}
    lacking.append("no turn has finished yet")
    answer = httpx.get(f"{url}/readyz?probe=1")
    assert answer.status_code == 503
    assert answer.json() == {"status": "waiting", "missing": ["no turn has finished yet"]}
    assert httpx.get(f"{url}/healthz").status_code == 200, "alive all the same: a restart would not help"


def test_metrics_are_in_prometheus_text_and_nothing_else_is_served(url: str) -> None:
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "# TYPE process_cpu_seconds_total counter" in answer.text
    assert httpx.get(f"{url}/etc/passwd").status_code == 404
