"""The load client counts right: what it reports about the mock is what the mock's own log says."""

from collections.abc import Iterator

import pytest

from tests.bench.client import Result, Slice
from tests.bench.measure import LoadClient
from tests.provider.server import Provider, running_provider


@pytest.fixture
def mock() -> Iterator[Provider]:
    with running_provider() as running:
        yield running


@pytest.fixture
def client() -> Iterator[LoadClient]:
    started = LoadClient()
    yield started
    started.close()


def _run(client: LoadClient, mock: Provider, **changes: object) -> Result:
    fields = {"base_url": mock.base_url, "key": "k", "concurrency": 4, "count": 50, "seconds": 60.0, **changes}
    return client.run(Slice(**fields))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("stream", [False, True])
def test_every_answer_is_counted_once(client: LoadClient, mock: Provider, stream: bool) -> None:
    result = _run(client, mock, stream=stream)
    assert (result.requests, result.errors) == (50, {})
    assert len(mock.log.calls) == 50
    assert len(result.latency_ms) == 50
    assert (len(result.first_ms), result.chunks) == ((50, 50 * 18) if stream else (0, 0))


@pytest.mark.parametrize("stream", [False, True])
def test_short_answers_and_refusals_are_errors(client: LoadClient, mock: Provider, stream: bool) -> None:
    assert _run(client, mock, stream=stream, behaviour="tokens=15").errors == {"incomplete answer": 50}
    assert _run(client, mock, stream=stream, behaviour="error=503").errors == {"status 503": 50}


def test_an_open_loop_starts_by_the_clock_and_counts_what_it_could_not_start(
    client: LoadClient, mock: Provider
) -> None:
    result = _run(client, mock, rate=500.0, count=20, concurrency=20)  # a caller for each: none is ever busy
    assert (result.requests, result.errors) == (20, {})
    crowded = _run(client, mock, rate=500.0, count=20, concurrency=1, behaviour="tokens=16 first=200ms")
    assert crowded.requests + crowded.errors["all callers busy"] == 20


def test_a_cut_connection_is_an_error_and_ends_the_slice(client: LoadClient, mock: Provider) -> None:
    result = _run(client, mock, stream=True, behaviour="tokens=16 cut=3")
    assert result.requests == 0
    assert sum(result.errors.values()) == 4
