"""Owners read what the guardrails did to their calls."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import until
from tests.api.manage.conftest import Office

pytestmark = pytest.mark.anyio


async def test_a_refusal_appears_in_the_organisations_audit(office: Office) -> None:
    owner, stranger = office.someone(office.organisation()), office.someone(office.organisation())
    await office.call(owner, "POST", "/forbidden-words", {"words": ["기밀"]})
    await office.call(owner, "PATCH", "/personal-data", {"kinds": [{"kind": "email", "action": "block"}]})
    for content in ("기밀", "kim@example.com"):
        body = {"model": "sandbox/echo", "messages": [{"role": "user", "content": content}]}
        answer = await office.client.post("/api/v1/chat/completions", json=body, headers={"X-API-Key": owner.key})
        assert answer.json()["error"]["code"] == "forbidden_content"

    async def page(**query: Any) -> dict[str, Any]:
        return (await office.call(owner, "GET", "/audit-log/guardrails", **query)).json()

    async def both() -> bool:
        return len((await page())["data"]) == 2

    await until(both, "written")
    first = await page(limit=1)
    rest = await page(limit=1, after=first["next"])
    shown = [(e["outcome"], e["place"], e["kinds"], e["key"], e["call"]) for e in first["data"] + rest["data"]]
    assert shown == [
        ("blocked", "request", {"email": 1}, owner.key_id, None), ("word", "request", {}, owner.key_id, None),
    ]  # fmt: skip
    assert "kim@" not in str(first) and rest["next"] is None
    assert (await page(key=stranger.key_id))["data"] == []
    assert (await office.call(stranger, "GET", "/audit-log/guardrails")).json()["data"] == []
    member = office.someone(owner.org, "member")
    assert (await office.call(member, "GET", "/audit-log/guardrails")).status_code == 403
    assert (await office.call(owner, "GET", "/audit-log/guardrails", key="x")).status_code == 400
