"""Where mailed links lead: invitations, new passwords; and moving from one organisation to another."""

from __future__ import annotations

import re

import pytest

from api.console import wording
from gateway.accounts import links
from gateway.accounts.change import OPERATOR, changing
from tests.api.console.conftest import Browser, csrf
from tests.api.manage.conftest import PASSWORD, Office

pytestmark = pytest.mark.anyio

NEW = "a new password"


def invite(office: Office, org: str, email: str) -> str:
    with changing(office.engine, office.redis, OPERATOR) as change:
        return links.invite(change, org, email, "member", None)[1]


async def test_who_is_invited_opens_the_link_chooses_a_password_and_is_in(office: Office, browser: Browser) -> None:
    token = invite(office, office.organisation("한빛상사"), "new@example.kr")
    assert (await browser.get("/console/invitation")).status_code == 200
    # without JavaScript the whole link is pasted
    opened = await browser.post(
        "/console/invitation", {"token": f"https://x/console/invitation#{token}"}, page="/console/invitation"
    )
    assert opened.status_code == 200 and "한빛상사" in opened.text and "new@example.kr" in opened.text
    typed = {"token": token, "name": "박새롬", "password": "short", "csrf": csrf(opened.text)}
    refused = await browser.post("/console/invitation/acceptance", typed)
    assert refused.status_code == 400 and wording.say("ko", "error.invalid_request_password") in refused.text
    assert "박새롬" in refused.text and "short" not in refused.text
    done = await browser.post("/console/invitation/acceptance", typed | {"password": NEW, "csrf": csrf(refused.text)})
    assert (done.status_code, done.headers["location"]) == (303, "/console")
    shown = await browser.get("/console/keys")
    assert "한빛상사" in shown.text and "박새롬" in shown.text
    again = await browser.post("/console/invitation", {"token": token}, page="/console/keys")
    assert again.status_code == 404 and wording.say("ko", "error.not_found_link") in again.text


async def test_who_has_an_account_accepts_with_its_password(office: Office, browser: Browser) -> None:
    someone = office.someone(office.organisation())
    token = invite(office, office.organisation("다른 회사"), someone.email)
    opened = await browser.post("/console/invitation", {"token": token}, page="/console/invitation")
    assert wording.say("ko", "join.has_account") in opened.text
    typed = {"token": token, "password": "wrong password", "csrf": csrf(opened.text)}
    refused = await browser.post("/console/invitation/acceptance", typed)
    assert refused.status_code == 401 and wording.say("ko", "error.invalid_api_key_account") in refused.text
    done = await browser.post("/console/invitation/acceptance", typed | {"password": PASSWORD})
    assert done.status_code == 303
    assert "다른 회사" in (await browser.get("/console")).text


async def test_a_forgotten_password_is_replaced_once(office: Office, browser: Browser) -> None:
    someone = office.someone(office.organisation())
    assert "/console/password/forgotten" in (await browser.get("/console/sign-in")).text
    with changing(office.engine, office.redis, OPERATOR) as change:
        token = links.reset(change, someone.id)
    typed = {"token": token, "password": NEW}
    done = await browser.post("/console/password", typed, page="/console/password")
    assert done.status_code == 200 and wording.say("ko", "password.done") in done.text
    assert (await browser.sign_in(someone, NEW)).status_code == 303
    again = await browser.post("/console/password", typed, page="/console/password")
    assert again.status_code == 404


async def test_who_asks_for_a_new_password_is_not_told_whether_there_is_an_account(browser: Browser) -> None:
    # no mail server: the page says whom to ask instead of promising a mail
    assert wording.say("ko", "password.no_mail") in (await browser.get("/console/password/forgotten")).text
    asked = await browser.post(
        "/console/password/forgotten", {"email": "nobody@example.kr"}, page="/console/invitation"
    )
    assert asked.status_code == 200 and wording.say("ko", "password.sent") in asked.text


async def test_a_member_of_two_organisations_moves_between_them(office: Office, browser: Browser) -> None:
    here, there = office.organisation("첫째"), office.organisation("둘째")
    someone = office.someone(here)
    await browser.sign_in(someone)
    assert "/console/organization" not in (await browser.get("/console")).text
    office.join(someone, there, "finance")
    assert "/console/organization" in (await browser.get("/console")).text
    moved = await browser.post("/console/organization", {"organization": there}, page="/console/organization")
    assert moved.status_code == 303
    page = (await browser.get("/console")).text
    assert re.search(r"<b>둘째</b>", page)
    other = await browser.post(
        "/console/organization", {"organization": office.organisation("남의")}, page="/console/organization"
    )
    assert other.status_code == 403


async def test_an_operator_finds_an_organisation_by_its_name(office: Office, browser: Browser) -> None:
    org = office.organisation("찾을 회사")
    await browser.sign_in(office.someone(org, "operator", key=False))
    first = await browser.get("/console")
    assert (first.status_code, first.headers["location"]) == (303, "/console/organization")
    found = await browser.get("/console/organization", q="찾을")
    assert "찾을 회사" in found.text
    done = await browser.post("/console/organization", {"organization": org}, page="/console/organization")
    assert done.status_code == 303 and "찾을 회사" in (await browser.get("/console")).text
