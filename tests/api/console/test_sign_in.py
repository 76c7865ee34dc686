"""Signing in and out in a browser without JavaScript; what every page says of itself; forms that are not ours."""

from __future__ import annotations

from typing import Any

import pytest

from api.console import wording
from api.throttle import PER_ACCOUNT
from tests.api.console.conftest import Browser, csrf
from tests.api.manage.conftest import Office

pytestmark = pytest.mark.anyio


async def test_who_is_not_signed_in_is_asked_to_and_led_back(office: Office, browser: Browser) -> None:
    owner = office.someone(office.organisation("한빛상사"))
    first = await browser.get("/console")
    assert (first.status_code, first.headers["location"]) == (303, "/console/sign-in")
    asked = await browser.get("/console/keys")
    assert asked.headers["location"] == "/console/sign-in?next=/console/keys"
    done = await browser.sign_in(owner, next="/console/keys")
    assert (done.status_code, done.headers["location"]) == (303, "/console/keys")
    shown = await browser.get("/console")
    assert shown.status_code == 200 and "한빛상사" in shown.text and "김하나" in shown.text
    assert (await browser.get("/console/sign-in")).headers["location"] == "/console"


async def test_a_link_cannot_lead_anywhere_else_after_signing_in(office: Office, browser: Browser) -> None:
    owner = office.someone(office.organisation())
    for elsewhere in ("https://evil.example", "//evil.example", "/console//evil.example", "/console/\\evil", "/api/v1"):
        done = await browser.sign_in(owner, next=elsewhere)
        assert done.headers["location"] == "/console"
        await browser.post("/console/sign-out", {}, page="/console")


async def test_who_signs_out_is_out(office: Office, browser: Browser) -> None:
    await browser.sign_in(office.someone(office.organisation()))
    token = browser.client.cookies["wonrouter_session"]
    out = await browser.post("/console/sign-out", {}, page="/console")
    assert out.headers["location"] == "/console/sign-in"
    browser.client.cookies.set("wonrouter_session", token)
    assert (await browser.get("/console")).status_code == 303


async def test_a_wrong_password_is_told_plainly_and_guessing_is_slowed_down(office: Office, browser: Browser) -> None:
    owner = office.someone(office.organisation())
    wrong = await browser.sign_in(owner, "wrong password")
    assert wrong.status_code == 401 and wording.say("ko", "error.invalid_api_key") in wrong.text
    assert owner.email in wrong.text and "wrong password" not in wrong.text
    for _ in range(PER_ACCOUNT - 1):
        await browser.sign_in(owner, "wrong password")
    refused = await browser.sign_in(owner)
    assert refused.status_code == 429 and "로그인 시도가 너무 많습니다" in refused.text
    assert int(refused.headers["retry-after"]) > 0
    assert (await browser.get("/console")).status_code == 303


async def test_a_form_without_its_token_does_nothing(office: Office, browser: Browser) -> None:
    owner = office.someone(office.organisation())
    typed = {"email": owner.email, "password": "correct horse battery"}
    for fields in (typed, typed | {"csrf": "0" * 64}):
        assert (await browser.post("/console/sign-in", fields)).status_code == 403
    assert "wonrouter_session" not in browser.client.cookies


async def test_every_form_of_a_session_is_refused_without_its_token(office: Office, browser: Browser) -> None:
    owner = office.someone(office.organisation())
    await browser.sign_in(owner)
    paths = ["/console/sign-out", "/console/keys"]
    paths += [f"/console/keys/{owner.key_id}/{what}" for what in ("state", "rotation", "deletion")]
    token = csrf((await browser.get("/console/keys")).text)
    fields = {"name": "x", "state": "deactivated", "grace": "0"}
    for path in paths:
        assert (await browser.post(path, fields)).status_code == 403, path
        assert (await browser.post(path, fields | {"csrf": "0" * 64})).status_code == 403, path
        other_site = {"Sec-Fetch-Site": "cross-site"}
        assert (await browser.post(path, fields | {"csrf": token}, **other_site)).status_code == 403, path
    assert (await office.call(owner, "GET", "/keys")).json()["data"][0]["state"] == "active"


PAGES = (
    "/console",
    "/console/keys",
    "/console/models",
    "/console/none",
    "/console/calls/x",
    "/console/organization",
    "/console/playground",
)


OPEN = ("/console/sign-in", "/console/invitation", "/console/password", "/console/password/forgotten")


@pytest.mark.parametrize("path", [*OPEN, *PAGES])
async def test_every_page_is_small_and_runs_only_our_own_files(office: Office, browser: Browser, path: str) -> None:
    if path in PAGES:
        await browser.sign_in(office.someone(office.organisation()))
    for lang in wording.LANGS:
        page = await browser.get(path, lang=lang)
        rules = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
        assert rules["default-src"] == "'none'" and rules["script-src"] == rules["style-src"] == "'self'"
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        assert len(page.content) < 100_000
        assert f'<html lang="{lang}">' in page.text
        assert " style=" not in page.text and "<style" not in page.text and "onclick" not in page.text
        assert page.text.count("<script") == page.text.count('<script src="/console/static/') >= 1
        assert "http://" not in page.text.replace(str(office.client.base_url), "").replace("http://www.w3.org", "")


async def test_the_language_that_was_chosen_stays(browser: Browser) -> None:
    assert "로그인" in (await browser.get("/console/sign-in")).text
    assert "Password" in (await browser.get("/console/sign-in", lang="en")).text
    assert "Password" in (await browser.get("/console/sign-in")).text
    assert "비밀번호" in (await browser.get("/console/sign-in", lang="ko")).text


async def test_our_files_are_kept_by_their_content(browser: Browser) -> None:
    page = (await browser.get("/console/sign-in")).text
    for name, kind in (("console.css", "text/css"), ("console.js", "text/javascript"), ("mark.svg", "image/svg+xml")):
        path = page[page.index(f"/console/static/{name}") :].split('"')[0]
        file = await browser.get(path)
        assert file.headers["content-type"].startswith(kind) and "immutable" in file.headers["cache-control"]
        again = await browser.client.get(path, headers={"If-None-Match": file.headers["etag"]})
        assert again.status_code == 304 and not again.content
        assert "immutable" not in (await browser.get(path.split("?")[0])).headers["cache-control"]
    assert (await browser.get("/console/static/page.toml")).status_code == 404


async def test_an_address_that_is_none_is_a_page(browser: Browser) -> None:
    for path in ("/console/none", "/console/keys/x/none"):
        page = await browser.get(path)
        assert page.status_code == 404 and wording.say("ko", "error.not_found") in page.text
    other: Any = (await browser.get("/none")).json()
    assert other["error"]["code"] == "not_found"
