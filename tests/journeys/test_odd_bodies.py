"""Whatever a body holds, the caller gets an answer or an error in the documented shape: never a failure of ours."""

from __future__ import annotations

from collections.abc import Iterable

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import bodies
from tests.fuzz.scale import examples
from tests.journeys.conftest import Account

PATHS = ("/api/v1/chat/completions", "/v1/chat/completions", "/api/v1/completions", "/v1/completions")
STATUSES = {200, 400, 403, 404, 413}
STEP = 7
"""Has no divisor in common with the number of odd values: every parameter and every value has its turn."""
BROKEN = (
    b"", b" ", b"null", b"[]", b'"text"', b"1", b"{", b"}", b"\xff\xfe{}", b'{"model":', b'{"model":NaN}', b"{}{}",
    b'{"model":"sandbox/echo","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    b'{"model":"sandbox/echo","model":"openai/gpt-4o","messages":[]}',
    b"{" * 100_000, b"[" * 5_000 + b"]" * 5_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"model":"sandbox/echo","max_tokens":' + b"9" * 5_000 + b',"messages":[]}',
    b'{"model":"sandbox/echo","messages":[{"role":"user","content":"' + b"a" * 10_000_000 + b'"}]}',
)  # fmt: skip


def wrong(answer: httpx.Response) -> str:
    """What is wrong with an answer; nothing where nothing is."""
    if answer.status_code not in STATUSES:
        return f"{answer.status_code} {answer.text[:200]}"
    if answer.status_code == 200:
        return ""
    body = answer.json()
    error = body["error"]
    fits = body.keys() == {"error"} and {"code", "message", "type"} <= error.keys() and error["message"]
    return "" if fits else answer.text[:200]


def check(account: Account, path: str, sent: Iterable[bytes]) -> None:
    """Sends each and collects what is wrong."""
    headers = {"X-API-Key": account.key, "Content-Type": "application/json"}
    with httpx.Client(base_url=account.installation.root, headers=headers, timeout=60) as client:
        said = [(raw[:160], wrong(client.post(path, content=raw))) for raw in sent]
    assert [each for each in said if each[1]] == []


@pytest.mark.parametrize("path", PATHS[:2])
def test_every_parameter_with_every_odd_value(account: Account, path: str) -> None:
    first = PATHS.index(path)
    check(account, path, list(bodies.odd_chats())[first::STEP])


@pytest.mark.parametrize("path", PATHS)
def test_what_is_hardly_json(account: Account, path: str) -> None:
    check(account, path, BROKEN)


def test_bytes_changed_at_random(account: Account) -> None:
    whole = bodies.chat(temperature="0.5", tools='[{"type":"function","function":{"name":"f","parameters":{}}}]')
    headers = {"X-API-Key": account.key, "Content-Type": "application/json"}
    with httpx.Client(base_url=account.installation.root, headers=headers, timeout=60) as client:

        @settings(
            max_examples=examples(100), derandomize=True, database=None, deadline=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(at=st.integers(0, len(whole) - 1), gone=st.integers(0, 12), put=st.binary(max_size=12))
        def run(at: int, gone: int, put: bytes) -> None:
            raw = whole[:at] + put + whole[at + gone :]
            assert (wrong(client.post(PATHS[0], content=raw)), raw) == ("", raw)

        run()
