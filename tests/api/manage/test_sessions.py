"""Sessions: signed in by password, carried by a cookie, ended by time, by hand and by leaving."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from api.throttle import PER_ACCOUNT, PER_ADDRESS
from gateway.accounts import sessions
from gateway.accounts.change import OPERATOR, changing
from gateway.accounts.sessions import IDLE_S
from tests.api.manage.conftest import BASE, PASSWORD, Office, Someone, opened

pytestmark = pytest.mark.anyio


async def sign_in(office: Office, email: str, password: str = PASSWORD, **fields: Any) -> Any:
    answer = await office.client.post(f"{BASE}/session", json={"email": email, "password": password, **fields})
    office.client.cookies.clear()
    return answer


def outdate(office: Office, column: str, seconds: float) -> None:
    with office.engine.begin() as connection:
        connection.execute(text(f"UPDATE session SET {column} = {column} - make_interval(secs => :s)"), {"s": seconds})


async def test_a_session_tells_who_is_signed_in_and_where(office: Office) -> None:
    org = office.organisation("한국상사")
    member = office.someone(org, "member")
    answer = await sign_in(office, member.email.upper())
    assert answer.status_code == 200
    me = answer.json()
    assert (me["organization"], me["roles"], me["email"]) == ({"id": org, "name": "한국상사"}, ["member"], member.email)
    flags = answer.headers["set-cookie"].lower()
    assert "httponly" in flags and "samesite=lax" in flags and "path=/" in flags and "secure" not in flags
    visit = await office.sign_in(member)
    assert (await visit.call("GET", "/session")).json()["person"] == member.id
    with office.engine.connect() as connection:
        stored = repr(connection.execute(text("SELECT * FROM session")).all())
    assert visit.token not in stored and visit.csrf not in stored


async def test_behind_tls_the_cookie_is_for_tls_only(
    front_url: str, redis_url: str, engine: Engine, redis: Redis
) -> None:
    async with opened(front_url, redis_url, engine, redis, public_url="https://llm.example.kr") as office:
        answer = await sign_in(office, office.someone(office.organisation()).email)
        assert "; secure" in answer.headers["set-cookie"].lower()


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(office: Office) -> None:
    owner = office.someone(office.organisation())
    wrong, unknown = await sign_in(office, owner.email, "wrong password"), await sign_in(office, "no@example.kr")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


async def test_signing_out_ends_the_session_and_takes_the_cookie_away(office: Office) -> None:
    visit = await office.sign_in(office.someone(office.organisation()))
    out = await visit.call("DELETE", "/session")
    assert out.status_code == 200 and "max-age=0" in out.headers["set-cookie"].lower()
    assert (await visit.call("GET", "/session")).status_code == 401


async def test_each_sign_in_has_a_token_of_its_own(office: Office) -> None:
    owner = office.someone(office.organisation())
    first, second = await office.sign_in(owner), await office.sign_in(owner)
    assert first.token != second.token and first.csrf != second.csrf


@pytest.mark.parametrize(("column", "seconds"), [("seen_at", IDLE_S + 1), ("expires_at", sessions.LONGEST_S + 1)])
async def test_a_session_ends_by_idleness_and_after_a_day(office: Office, column: str, seconds: float) -> None:
    visit = await office.sign_in(office.someone(office.organisation()))
    outdate(office, column, seconds)
    assert (await visit.call("GET", "/session")).status_code == 401


async def test_use_keeps_a_session_alive(office: Office) -> None:
    visit = await office.sign_in(office.someone(office.organisation()))
    for _ in range(2):
        outdate(office, "seen_at", IDLE_S - 60)
        assert (await visit.call("GET", "/session")).status_code == 200


@pytest.mark.parametrize("csrf", ["", "0" * 64])
async def test_a_change_without_the_csrf_token_is_refused(office: Office, csrf: str) -> None:
    owner = office.someone(office.organisation())
    visit = await office.sign_in(owner)
    assert (await visit.call("POST", "/keys", {"name": "k"}, csrf=csrf)).status_code == 403
    assert (await visit.call("DELETE", f"/keys/{owner.key_id}", csrf=csrf)).status_code == 403
    assert (await visit.call("GET", "/keys", csrf=csrf)).status_code == 200
    assert (await visit.call("POST", "/keys", {"name": "k"})).status_code == 201


async def test_the_csrf_token_of_another_session_is_none(office: Office) -> None:
    org = office.organisation()
    mine, other = await office.sign_in(office.someone(org)), await office.sign_in(office.someone(org))
    assert (await mine.call("POST", "/keys", {"name": "k"}, csrf=other.csrf)).status_code == 403


async def test_a_body_that_is_not_sent_as_json_is_refused(office: Office) -> None:
    owner = office.someone(office.organisation())
    visit = await office.sign_in(owner)
    head = {"Cookie": f"wonrouter_session={visit.token}", "X-CSRF-Token": visit.csrf, "Content-Type": "text/plain"}
    assert (await office.client.post(f"{BASE}/keys", content=b'{"name": "k"}', headers=head)).status_code == 400
    form = {"email": owner.email, "password": PASSWORD}
    assert (await office.client.post(f"{BASE}/session", data=form)).status_code == 400


async def test_who_guesses_passwords_has_to_wait_even_with_the_right_one(office: Office) -> None:
    owner = office.someone(office.organisation(), key=False)
    for _ in range(PER_ACCOUNT):
        assert (await sign_in(office, owner.email, "wrong password")).status_code == 401
    refused = await sign_in(office, owner.email)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 60
    other = office.someone(owner.org, key=False)
    assert (await sign_in(office, other.email)).status_code == 200


async def test_the_right_password_forgets_the_wrong_ones(office: Office) -> None:
    owner = office.someone(office.organisation(), key=False)
    for _ in range(2):
        for _ in range(PER_ACCOUNT - 1):
            await sign_in(office, owner.email, "wrong password")
        assert (await sign_in(office, owner.email)).status_code == 200


async def test_an_address_that_tries_many_accounts_has_to_wait(office: Office) -> None:
    owner = office.someone(office.organisation(), key=False)
    assert (await sign_in(office, owner.email)).status_code == 200
    for name in office.redis.keys("wr:l:*"):
        office.redis.set(name, PER_ADDRESS)
    assert (await sign_in(office, f"{uuid.uuid4().hex}@example.kr")).status_code == 429
    assert all(owner.email.encode() not in name for name in office.redis.keys("*"))


async def test_without_redis_nobody_signs_in(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = office.someone(office.organisation(), key=False)
    office.redis.execute_command("CONFIG", "SET", "maxmemory", "1")
    try:
        assert (await sign_in(office, owner.email)).status_code == 503
    finally:
        office.redis.execute_command("CONFIG", "SET", "maxmemory", "0")


async def test_another_organisation_is_entered_under_a_new_token(office: Office) -> None:
    first, second, foreign = (office.organisation(name) for name in ("하나", "둘", "셋"))
    owner = office.someone(first)
    office.join(owner, second, "finance")
    visit = await office.sign_in(owner)
    places = (await visit.call("GET", "/session/organizations")).json()["data"]
    assert [place["name"] for place in places] == ["하나", "둘"]
    moved = await visit.call("POST", "/session/organization", {"organization": second})
    assert moved.json()["roles"] == ["finance"] and moved.json()["organization"]["id"] == second
    assert (await visit.call("GET", "/session")).status_code == 401
    there = office.visit(moved)
    assert (await there.call("POST", "/session/organization", {"organization": foreign})).status_code == 403
    assert (await there.call("GET", "/keys")).status_code == 403
    assert (await sign_in(office, owner.email, organization=foreign)).status_code == 403


async def test_an_operator_chooses_where_to_act(office: Office) -> None:
    org = office.organisation()
    operator = office.someone(org, "operator", key=False)
    visit = await office.sign_in(operator)
    assert (await visit.call("GET", "/keys")).status_code == 400
    assert (await visit.call("GET", "/organizations")).status_code == 200
    there = office.visit(await visit.call("POST", "/session/organization", {"organization": org}))
    assert (await there.call("GET", "/keys")).status_code == 200


async def test_a_new_password_ends_every_other_session(office: Office) -> None:
    owner = office.someone(office.organisation(), key=False)
    mine, other = await office.sign_in(owner), await office.sign_in(owner)
    wrong = await mine.call("POST", "/password", {"current": "wrong password", "new": "another long one"})
    assert wrong.status_code == 401
    assert (await mine.call("POST", "/password", {"current": PASSWORD, "new": "short"})).status_code == 400
    done = await mine.call("POST", "/password", {"current": PASSWORD, "new": "another long one"})
    assert done.status_code == 200
    assert (await mine.call("GET", "/session")).status_code == 200
    assert (await other.call("GET", "/session")).status_code == 401
    assert (await sign_in(office, owner.email)).status_code == 401
    assert (await sign_in(office, owner.email, "another long one")).status_code == 200


async def test_a_deactivated_person_is_out_at_once(office: Office) -> None:
    owner = office.someone(office.organisation())
    visit = await office.sign_in(owner)
    with office.engine.begin() as connection:
        connection.execute(text("UPDATE person SET state = 'deactivated' WHERE id = :id"), {"id": owner.id})
    assert (await visit.call("GET", "/session")).status_code == 401
    assert (await sign_in(office, owner.email)).status_code == 401
    assert (await office.call(owner, "GET", "/keys")).status_code == 401


def reset_token(office: Office, who: Someone) -> str:
    from gateway.accounts import links

    with changing(office.engine, office.redis, OPERATOR) as change:
        return links.reset(change, who.id)


async def test_a_reset_link_works_once_and_signs_everybody_out(office: Office) -> None:
    owner = office.someone(office.organisation(), key=False)
    visit = await office.sign_in(owner)
    old, token = reset_token(office, owner), reset_token(office, owner)
    use = f"{BASE}/password/reset/confirmation"
    for body, status in (
        ({"token": old, "password": "another long one"}, 404),
        ({"token": token, "password": "short"}, 400),
        ({"token": token, "password": "another long one"}, 200),
        ({"token": token, "password": "yet another one"}, 404),
    ):
        assert (await office.client.post(use, json=body)).status_code == status
    assert (await visit.call("GET", "/session")).status_code == 401
    assert (await sign_in(office, owner.email, "another long one")).status_code == 200


async def test_a_reset_link_that_is_too_old_does_not_work(office: Office) -> None:
    token = reset_token(office, office.someone(office.organisation(), key=False))
    with office.engine.begin() as connection:
        connection.execute(text("UPDATE one_time_link SET expires_at = now() - interval '1 second'"))
    body = {"token": token, "password": "another long one"}
    assert (await office.client.post(f"{BASE}/password/reset/confirmation", json=body)).status_code == 404


async def test_asking_for_a_reset_tells_nobody_who_has_an_account(office: Office) -> None:
    owner = office.someone(office.organisation(), key=False)
    answers = [
        await office.client.post(f"{BASE}/password/reset", json={"email": email})
        for email in (owner.email, "nobody@example.kr")
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].content == answers[1].content
