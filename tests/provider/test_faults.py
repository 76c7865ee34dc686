"""Every fault happens when, where and as often as a test says, and the log tells what happened."""

import json
import time
from typing import Any

import httpx
import pytest

from tests.provider.behaviour import parse_behaviour
from tests.provider.server import Provider

BODIES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"authorization": "Bearer key1"}, {"model": "m", "stream": True}),
    "anthropic": ("/v1/messages", {"x-api-key": "key1"}, {"model": "m", "stream": True, "max_tokens": 99}),
    "google": ("/v1beta/models/m:streamGenerateContent?alt=sse", {"x-goog-api-key": "key1"}, {}),
}
LAST = {"openai": b"data: [DONE]\n\n", "anthropic": b'"message_stop"}\n\n', "google": b'"finishReason"'}
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError)
ANY = pytest.mark.parametrize("dialect", BODIES)


def ask(provider: Provider, dialect: str, key: str = "key1", silence_s: float = 60) -> httpx.Response:
    """One call; raises httpx's errors."""
    path, headers, body = BODIES[dialect]
    told = {name: value.replace("key1", key) for name, value in headers.items()}
    messages = {
        "messages": [{"role": "user", "content": "a"}],
        "contents": [{"role": "user", "parts": [{"text": "a"}]}],
    }
    patience = httpx.Timeout(60, read=silence_s)
    return httpx.post(provider.native_url + path, headers=told, json={**body, **messages}, timeout=patience)


def behave(provider: Provider, text: str) -> None:
    provider.behaviour = parse_behaviour(text)


@ANY
def test_an_error_happens_the_given_number_of_times(provider: Provider, dialect: str) -> None:
    behave(provider, "error=500 times=2")
    assert [ask(provider, dialect).status_code for _ in range(4)] == [500, 500, 200, 200]
    assert [call.status for call in provider.log.calls] == [500, 500, 200, 200]


@ANY
def test_statuses_and_waits(provider: Provider, dialect: str) -> None:
    for status in (429, 502, 503, 529):
        behave(provider, f"error={status} retry_after=2")
        answer = ask(provider, dialect)
        assert answer.status_code == status
        assert answer.headers.get("retry-after") == "2" or '"retryDelay":"2s"' in answer.text


@ANY
def test_a_fault_of_one_deployment_leaves_the_others_alone(provider: Provider, dialect: str) -> None:
    provider.accounts["key1"] = parse_behaviour("error=503")
    assert ask(provider, dialect, "key1").status_code == 503
    assert ask(provider, dialect, "key2").status_code == 200
    assert [(call.account, call.status) for call in provider.log.calls] == [("key1", 503), ("key2", 200)]


@ANY
def test_a_fault_of_one_model(provider: Provider, dialect: str) -> None:
    provider.models["m"] = parse_behaviour("error=503")
    assert ask(provider, dialect).status_code == 503


@ANY
def test_down_for_a_while_and_back(provider: Provider, dialect: str) -> None:
    behave(provider, "down=300ms")
    began = time.monotonic()
    with pytest.raises(BROKEN):
        ask(provider, dialect)
    while True:
        try:
            assert ask(provider, dialect).status_code == 200
            break
        except BROKEN:
            assert time.monotonic() - began < 5
    assert time.monotonic() - began >= 0.3


@ANY
@pytest.mark.parametrize("fault", ["cut=0", "cut=3"])
def test_a_reset_before_the_headers_or_in_the_middle(provider: Provider, dialect: str, fault: str) -> None:
    behave(provider, fault)
    with pytest.raises(BROKEN):
        ask(provider, dialect)
    (call,) = provider.log.calls
    assert (call.cut, call.finished, call.completion_tokens) == (True, False, int(fault[-1]))


@ANY
@pytest.mark.parametrize("fault", ["stall=0", "stall=2"])
def test_silence_from_the_start_or_in_the_middle(provider: Provider, dialect: str, fault: str) -> None:
    behave(provider, fault)
    with pytest.raises(httpx.ReadTimeout):
        ask(provider, dialect, silence_s=0.2)
    (call,) = provider.log.wait_for(lambda calls: calls and calls[0].closed_early)
    assert not call.finished


@ANY
def test_a_stream_that_ends_without_its_end(provider: Provider, dialect: str) -> None:
    whole = ask(provider, dialect).content
    behave(provider, "ending=none")
    nothing = ask(provider, dialect).content
    behave(provider, "ending=bare")
    bare = ask(provider, dialect).content
    assert LAST[dialect] in whole and LAST[dialect] not in nothing
    assert len(nothing) < len(bare) and (len(bare) < len(whole) or dialect == "google")
    assert [call.finished for call in provider.log.calls] == [True, False, False]


@ANY
def test_an_error_event_an_unreadable_event_and_pings(provider: Provider, dialect: str) -> None:
    behave(provider, "fail_at=2")
    failed = ask(provider, dialect).content
    assert b'"error"' in failed and LAST[dialect] not in failed
    behave(provider, "unreadable=1 ping=1")
    odd = ask(provider, dialect).content
    assert odd.count(b"keep-alive") + odd.count(b"event: ping") >= 16
    broken = [line for line in odd.split(b"\n") if line.startswith(b"data: {") and not _is_json(line[6:])]
    assert len(broken) == 1


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@ANY
@pytest.mark.parametrize("refuse", ["context", "policy", "key", "balance", "overloaded"])
def test_refusals_in_the_dialect_s_own_words(provider: Provider, dialect: str, refuse: str) -> None:
    behave(provider, f"refuse={refuse}")
    answer = ask(provider, dialect)
    assert answer.status_code >= 400 and answer.json()["error"]["message"]


def test_an_answer_that_is_not_streamed_breaks_in_its_middle(provider: Provider) -> None:
    behave(provider, "cut=2")
    messages = [{"role": "user", "content": "a"}]
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(
            f"{provider.base_url}/chat/completions",
            headers={"authorization": "Bearer k"},
            json={"model": "m", "messages": messages},
        )
    assert provider.log.calls[0].cut


def test_control_over_http(provider: Provider) -> None:
    url = f"{provider.native_url}/_mock"
    order = {"behaviour": "error=429 times=1", "account": "key1"}
    assert httpx.put(f"{url}/behaviour", json=order).status_code == 200
    assert [ask(provider, "openai").status_code for _ in range(2)] == [429, 200]
    assert [call.get("status", 200) for call in httpx.get(f"{url}/calls").json()] == [429, 200]
    assert httpx.put(f"{url}/behaviour", json={"behaviour": "no_such=1"}).status_code == 400
    assert httpx.put(f"{url}/gate", json={"open": False}).status_code == 200 and not provider.gate.is_open
    assert httpx.delete(url).status_code == 200
    assert not provider.accounts and provider.gate.is_open and not provider.log.calls
