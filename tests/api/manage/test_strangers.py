"""What can be sent without a credential, and what it costs and tells."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy import Engine, text

from api.manage.mount import MOST_OF_STRANGERS
from gateway.accounts import people
from tests.api.manage.conftest import BASE, Office

pytestmark = pytest.mark.anyio

OPEN = (
    "/session",
    "/password/reset",
    "/password/reset/confirmation",
    "/invitations/preview",
    "/invitations/acceptance",
)
JSON = {"Content-Type": "application/json"}


class Counting(PasswordHasher):
    """Counts what is paid for."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=64, parallelism=1)
        self.verified = 0

    def verify(self, *given: Any) -> Any:
        self.verified += 1
        return super().verify(*given)


async def test_nobody_can_tell_by_its_cost_whether_an_account_exists(
    office: Office, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = office.organisation()
    known, out, without = (office.someone(org) for _ in range(3))
    with engine.begin() as connection:
        connection.execute(text("UPDATE person SET state = 'deactivated' WHERE id = :id"), {"id": out.id})
        connection.execute(text("UPDATE person SET password_hash = NULL WHERE id = :id"), {"id": without.id})
    people._nobody.cache_clear()
    people._nobody()
    hasher = Counting()
    monkeypatch.setattr(people, "_hasher", hasher)
    seen: list[tuple[int, str, int]] = []
    for email in (known.email, out.email, without.email, "nobody@example.kr", "no address", "", "\u0000", "x" * 5_000):
        hasher.verified = 0
        answer = await office.client.post(f"{BASE}/session", json={"email": email, "password": "wrong password"})
        seen.append((answer.status_code, answer.text, hasher.verified))
    assert set(seen) == {(401, seen[0][1], 1)}
    people._nobody.cache_clear()


async def test_what_is_read_from_anybody_is_small(office: Office) -> None:
    async def pieces() -> Any:
        for _ in range(MOST_OF_STRANGERS // 1024 + 1):
            yield b" " * 1024

    for path in OPEN:
        for content in (b" " * (MOST_OF_STRANGERS + 1), pieces()):
            answer = await office.client.post(BASE + path, content=content, headers=JSON)
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large"), path


ODD = (
    b"",
    b"null",
    b"[]",
    b"{",
    b"\xff",
    b"[" * 60_000,
    b'{"email":' * 7_000,
    b'{"token":"\\ud800","password":"\\ud800","email":"\\ud800"}',
    b'{"email":"\\u0000@x.y","password":"\\u0000","token":"\\u0000","name":"\\u0000"}',
    b'{"email":1e999}',
)


async def test_whatever_anybody_sends_is_an_error_of_theirs(office: Office) -> None:
    for path, raw in itertools.product(OPEN, ODD):
        answer = await office.client.post(BASE + path, content=raw, headers=JSON)
        assert 400 <= answer.status_code < 500, (path, raw[:60], answer.text)
        assert answer.json()["error"].keys() >= {"code", "message", "type"}


HOSTS = (
    "evil.example", "evil.example:80", 'a"><script>alert(1)</script>', "[::1", "x:99999999", "x:y", "\xff", "a b", "",
    "@@", "/../",
)  # fmt: skip


async def test_a_strange_host_breaks_no_page_and_is_never_a_part_of_one(office: Office) -> None:
    paths = ("/console/sign-in", "/console", "/console/docs", "/healthz", f"{BASE}/openapi.json")
    for host, path in itertools.product(HOSTS, paths):
        answer = await office.client.get(path, headers=httpx.Headers([(b"Host", host.encode("latin-1"))]))
        assert answer.status_code < 500, (host, path, answer.text[:300])
        assert "<script>alert" not in answer.text
        assert "evil.example" not in answer.headers.get("location", "")


async def test_links_that_are_given_away_are_made_of_our_own_address_alone(office: Office) -> None:
    owner = office.someone(office.organisation())
    headers = {
        "X-API-Key": owner.key,
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "Origin": "http://evil.example",
    }
    answer = await office.client.post(f"{BASE}/invitations", json={"email": "a@b.kr"}, headers=headers)
    assert answer.status_code == 201 and "evil.example" not in answer.text
    assert answer.json()["link"].startswith(("/console/", office.settings.public_url or "/console/"))


async def test_no_answer_lets_another_site_read_it(office: Office) -> None:
    for path in ("/api/v1/models", f"{BASE}/session", "/console/sign-in"):
        for method in ("GET", "OPTIONS"):
            headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
            answer = await office.client.request(method, path, headers=headers)
            assert not [name for name in answer.headers if name.startswith("access-control-")], (method, path)


async def test_the_description_is_open_and_names_nobody(office: Office) -> None:
    owner = office.someone(office.organisation("비밀회사"))
    for path in ("/api/v1/openapi.json", f"{BASE}/openapi.json"):
        described = json.dumps((await office.client.get(path)).json(), ensure_ascii=False)
        assert owner.org not in described and "비밀회사" not in described
