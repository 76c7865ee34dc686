"""Members: invited by a link that works once, given roles, let go with everything that was theirs."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import text

from tests.api.manage.conftest import BASE, PASSWORD, Office

pytestmark = pytest.mark.anyio


async def post(office: Office, path: str, **body: Any) -> Any:
    return await office.client.post(BASE + path, json=body)


async def test_an_invitation_makes_an_account_once(office: Office) -> None:
    org = office.organisation("한국상사")
    owner, email = office.someone(org), f"{uuid.uuid4().hex}@example.kr"
    made = (await office.call(owner, "POST", "/invitations", {"email": email.upper(), "role": "finance"})).json()
    assert made["mailed"] is False and made["link"].endswith(f"#{made['token']}")
    listed = (await office.call(owner, "GET", "/invitations")).json()["data"]
    assert listed == [made["invitation"]] and made["token"] not in str(listed)
    seen = await post(office, "/invitations/preview", token=made["token"])
    assert seen.json() == {
        "org": org, "org_name": "한국상사", "email": email, "role": "finance", "has_account": False,
    }  # fmt: skip
    assert (await post(office, "/invitations/acceptance", token=made["token"], password=PASSWORD)).status_code == 400
    taken = await post(office, "/invitations/acceptance", token=made["token"], password=PASSWORD, name="이둘")
    assert taken.status_code == 200 and taken.json()["roles"] == ["finance"]
    visit = office.visit(taken)
    assert (await visit.call("GET", "/topups")).status_code == 200
    assert (await visit.call("GET", "/keys")).status_code == 403
    again = await post(office, "/invitations/acceptance", token=made["token"], password=PASSWORD, name="삼")
    assert again.status_code == 404
    assert (await office.call(owner, "GET", "/invitations")).json()["data"] == []
    with office.engine.connect() as connection:
        log = repr(connection.execute(text("SELECT * FROM audit_log")).all())
    assert made["token"] not in log and email not in log and PASSWORD not in log


async def test_who_has_an_account_proves_it_by_their_password(office: Office) -> None:
    inviting, other = office.organisation(), office.organisation()
    owner, known = office.someone(inviting), office.someone(other)
    made = (await office.call(owner, "POST", "/invitations", {"email": known.email, "role": "owner"})).json()
    wrong = await post(office, "/invitations/acceptance", token=made["token"], password="my own new one", name="도둑")
    assert wrong.status_code == 401
    taken = await post(office, "/invitations/acceptance", token=made["token"], password=PASSWORD)
    assert taken.json()["person"] == known.id and taken.json()["organization"]["id"] == inviting
    assert (await office.call(owner, "POST", "/invitations", {"email": known.email})).status_code == 409


async def test_an_invitation_ends_by_time_by_hand_and_by_a_newer_one(office: Office) -> None:
    org = office.organisation()
    owner, stranger = office.someone(org), office.someone(office.organisation())
    made = [
        (await office.call(owner, "POST", "/invitations", {"email": email})).json()
        for email in ("a@example.kr", "b@example.kr", "c@example.kr", "c@example.kr")
    ]
    with office.engine.begin() as connection:
        late = "UPDATE one_time_link SET expires_at = now() - interval '1 second' WHERE id = :id"
        connection.execute(text(late), {"id": made[0]["invitation"]["id"]})
    path = f"/invitations/{made[1]['invitation']['id']}"
    assert (await office.call(stranger, "DELETE", path)).status_code == 404
    assert (await office.call(owner, "DELETE", path)).status_code == 200
    assert (await office.call(owner, "DELETE", path)).status_code == 404
    for ended in made[:3]:
        taken = await post(office, "/invitations/acceptance", token=ended["token"], password=PASSWORD, name="김")
        assert taken.status_code == 404
    taken = await post(office, "/invitations/acceptance", token=made[3]["token"], password=PASSWORD, name="김")
    assert taken.status_code == 200


async def test_a_new_role_counts_at_once_for_sessions_and_keys(office: Office) -> None:
    org = office.organisation()
    owner, member = office.someone(org), office.someone(org, "member")
    visit = await office.sign_in(member)
    assert (await office.call(member, "GET", "/members")).status_code == 403
    changed = await office.call(owner, "PATCH", f"/members/{member.id}", {"role": "owner"})
    assert changed.json()["role"] == "owner"
    assert (await office.call(member, "GET", "/members")).status_code == 200
    assert (await visit.call("GET", "/members")).status_code == 200
    assert (await office.call(owner, "PATCH", f"/members/{member.id}", {"role": "finance"})).status_code == 200
    assert (await office.call(member, "GET", "/session")).status_code == 401  # finance calls no model
    assert (await visit.call("GET", "/usage")).status_code == 200
    assert (await visit.call("GET", "/members")).status_code == 403


async def test_the_last_owner_can_neither_leave_nor_step_down(office: Office) -> None:
    org = office.organisation()
    owner = office.someone(org)
    assert (await office.call(owner, "PATCH", f"/members/{owner.id}", {"role": "member"})).status_code == 409
    removal = await office.call(owner, "POST", f"/members/{owner.id}/removal", {"keys": "deactivate"})
    assert removal.status_code == 409
    office.someone(org)
    assert (await office.call(owner, "PATCH", f"/members/{owner.id}", {"role": "member"})).status_code == 200


async def test_nothing_of_a_leaver_keeps_working(office: Office) -> None:
    org, elsewhere = office.organisation(), office.organisation()
    owner, leaver = office.someone(org), office.someone(org)
    office.join(leaver, elsewhere, "member")
    visit = await office.sign_in(leaver, organization=org)
    other = await office.sign_in(leaver, organization=elsewhere)
    theirs = (await visit.call("POST", "/invitations", {"email": "friend@example.kr"})).json()["token"]
    assert (await office.client.get("/api/v1/key", headers={"X-API-Key": leaver.key})).status_code == 200
    left = (await office.call(owner, "POST", f"/members/{leaver.id}/removal", {"keys": "deactivate"})).json()
    assert left == {
        "person": leaver.id, "keys": [leaver.key_id], "keys_were": "deactivate", "handed_to": None,
        "sessions_ended": 1, "invitations_ended": 1,
    }  # fmt: skip
    assert (await visit.call("GET", "/session")).status_code == 401
    assert (await other.call("GET", "/session")).status_code == 200
    assert (await office.call(leaver, "GET", "/keys")).status_code == 401
    assert (await office.client.get("/api/v1/key", headers={"X-API-Key": leaver.key})).status_code == 401
    taken = await post(office, "/invitations/acceptance", token=theirs, password=PASSWORD, name="친구")
    assert taken.status_code == 404
    assert (await other.call("POST", "/session/organization", {"organization": org})).status_code == 403
    assert (await office.call(owner, "PATCH", f"/members/{leaver.id}", {"role": "owner"})).status_code == 404
    # coming back does not wake what was stopped
    office.join(leaver, org, "member")
    assert (await office.call(leaver, "GET", "/keys")).status_code == 401


async def test_keys_can_be_handed_over_and_have_the_heirs_rights(office: Office) -> None:
    org = office.organisation()
    owner, leaver, heir = office.someone(org), office.someone(org), office.someone(org, "member")
    finance = office.someone(org, "finance", key=False)
    path = f"/members/{leaver.id}/removal"
    for to in (None, leaver.id, finance.id):
        assert (await office.call(owner, "POST", path, {"keys": "hand_over", "to": to})).status_code == 400
    stranger = office.someone(office.organisation())
    assert (await office.call(owner, "POST", path, {"keys": "hand_over", "to": stranger.id})).status_code == 404
    left = await office.call(owner, "POST", path, {"keys": "hand_over", "to": heir.id})
    assert left.json()["handed_to"] == heir.id
    assert (await office.call(leaver, "GET", "/members")).status_code == 403  # the key is a member's now
    mine = (await office.call(heir, "GET", "/keys")).json()["data"]
    assert {key["id"] for key in mine} == {leaver.key_id, heir.key_id}


async def test_members_are_listed_by_pages(office: Office) -> None:
    org = office.organisation()
    people = [office.someone(org) for _ in range(3)]
    first = (await office.call(people[0], "GET", "/members", limit=2)).json()
    rest = (await office.call(people[0], "GET", "/members", limit=2, after=first["next"])).json()
    assert rest["next"] is None
    assert {m["person"]: m["keys"] for m in first["data"] + rest["data"]} == {person.id: 1 for person in people}
