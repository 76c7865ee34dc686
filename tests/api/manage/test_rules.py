"""Forbidden words and personal data, set by owners and seen by admission at once."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from gateway.accounts.identity import key_hash
from gateway.accounts.store import IdentityStore
from gateway.db import connect
from tests.api.manage.conftest import Office

pytestmark = pytest.mark.anyio


async def test_words_are_added_listed_replaced_and_removed_by_version(office: Office) -> None:
    owner = office.someone(office.organisation())
    added = await office.call(owner, "POST", "/forbidden-words", {"words": ["기밀", "대외비", " 기밀 ", ""]})
    assert added.json() == {"version": 1, "count": 2, "added": 2, "removed": 0}
    more = await office.call(owner, "POST", "/forbidden-words", {"words": ["기밀", "project x"]})
    assert more.json() == {"version": 2, "count": 3, "added": 1, "removed": 0}
    page = (await office.call(owner, "GET", "/forbidden-words", limit=2)).json()
    rest = (await office.call(owner, "GET", "/forbidden-words", limit=2, after=page["next"])).json()
    assert page["data"] + rest["data"] == sorted(["기밀", "대외비", "project x"]) and rest["next"] is None
    removed = await office.call(owner, "POST", "/forbidden-words/removal", {"words": ["기밀", "없음"]})
    assert removed.json() == {"version": 3, "count": 2, "added": 0, "removed": 1}
    replaced = await office.call(owner, "PUT", "/forbidden-words", {"words": ["하나"]})
    assert replaced.json() == {"version": 4, "count": 1, "added": 1, "removed": 2}
    with office.engine.connect() as connection:
        assert "대외비" not in repr(connection.execute(text("SELECT details FROM audit_log")).all())


@pytest.mark.parametrize("words", [["!?"], ["가" * 101], [f"낱말{n}" for n in range(10_001)]])
async def test_a_word_that_cannot_be_looked_for_is_refused_whole(office: Office, words: list[str]) -> None:
    owner = office.someone(office.organisation())
    refused = await office.call(owner, "POST", "/forbidden-words", {"words": ["기밀", *words]})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "words"
    assert (await office.call(owner, "GET", "/forbidden-words")).json()["data"] == []


async def test_kinds_are_set_one_by_one_and_the_law_stays(office: Office) -> None:
    owner = office.someone(office.organisation())
    body = {"kinds": [{"kind": "mobile", "action": "block"}], "mask_output": False}
    changed = (await office.call(owner, "PATCH", "/personal-data", body)).json()
    actions = {kind["kind"]: kind["action"] for kind in changed["kinds"]}
    assert (actions["mobile"], actions["resident_number"], actions["email"]) == ("block", "mask", "off")
    answers = (await office.call(owner, "PATCH", "/personal-data", {"mask_output": True})).json()
    assert answers == changed | {"mask_output": True}
    assert (await office.call(owner, "PATCH", "/personal-data", {"mask_output": False})).json() == changed
    assert (await office.call(owner, "PATCH", "/personal-data", {})).status_code == 400
    for kind, action in (("resident_number", "off"), ("passport", "off"), ("shoe_size", "mask"), ("email", "maybe")):
        refused = await office.call(owner, "PATCH", "/personal-data", {"kinds": [{"kind": kind, "action": action}]})
        assert refused.status_code == 400
    member = office.someone(owner.org, "member")
    assert (await office.call(member, "GET", "/personal-data")).json() == changed
    assert (await office.call(member, "PATCH", "/personal-data", body)).status_code == 403


async def test_moderation_is_seen_by_all_and_set_by_owners_where_there_is_an_endpoint(office: Office) -> None:
    owner = office.someone(office.organisation())
    member = office.someone(owner.org, "member")
    off = {"enabled": False, "available": False, "provider": None}
    assert (await office.call(member, "GET", "/moderation")).json() == off
    assert (await office.call(member, "PUT", "/moderation", {"enabled": False})).status_code == 403
    refused = await office.call(owner, "PUT", "/moderation", {"enabled": True})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "enabled")
    assert (await office.call(owner, "PUT", "/moderation", {"enabled": False})).json() == off


async def test_admission_learns_both_with_a_new_version_of_the_organisation(office: Office, front_url: str) -> None:
    owner = office.someone(office.organisation())
    engine = connect.async_engine(front_url)
    store = IdentityStore(engine)
    before = await store.by_hash(key_hash(owner.key))
    await office.call(owner, "POST", "/forbidden-words", {"words": ["기밀"]})
    await office.call(owner, "PATCH", "/personal-data", {"kinds": [{"kind": "mobile", "action": "mask"}]})
    after = await store.by_hash(key_hash(owner.key))
    assert before is not None and after is not None
    assert (before.words_version, after.words_version) == (0, 1)
    assert (before.mask_kinds.get("mobile"), after.mask_kinds["mobile"]) == (None, "mask")
    assert after.org_version == before.org_version + 2
    await engine.dispose()
