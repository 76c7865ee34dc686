"""The settings pages in a browser without JavaScript: what they change is changed, and what is wrong is said plainly."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import text

from api.console import wording
from api.console.settings.layout import SECTIONS
from gateway.accounts import words as word_lists
from tests.api.console.conftest import Browser
from tests.api.manage.conftest import PASSWORD, Office

pytestmark = pytest.mark.anyio

PLACE = "/console/settings"


async def test_every_page_is_there_for_who_may_see_it_and_for_nobody_else(office: Office, browser: Browser) -> None:
    org = office.organisation()
    office.someone(org)
    seen: dict[str, set[str]] = {}
    for role in ("owner", "member", "finance"):
        await browser.sign_in(office.someone(org, role, key=False))
        first = await browser.get(PLACE)
        assert first.status_code == 303
        for entry in SECTIONS:
            for lang in wording.LANGS:
                page = await browser.get(f"{PLACE}/{entry.section}", lang=lang)
                assert page.status_code in (200, 403), (entry.section, page.text[-500:])
                assert len(page.content) < 100_000
                assert " style=" not in page.text and "{{" not in page.text
            if page.status_code == 200:
                seen.setdefault(role, set()).add(entry.section)
        assert f'href="{PLACE}/members"' in (await browser.get(f"{PLACE}/account")).text or role != "owner"
        await browser.post("/console/sign-out", {}, page=f"{PLACE}/account")
    assert seen["owner"] == {entry.section for entry in SECTIONS}
    assert seen["member"].isdisjoint({"members", "words", "audit", "billing"})
    assert "billing" in seen["finance"] and seen["finance"].isdisjoint({"members", "words", "audit"})


async def test_an_owner_invites_changes_a_role_and_removes(office: Office, browser: Browser) -> None:
    org = office.organisation()
    owner, other = office.someone(org), office.someone(org, "member")
    await browser.sign_in(owner)
    page = f"{PLACE}/members"
    invited = await browser.post(f"{PLACE}/invitations", {"email": "neu@example.kr", "role": "member"}, page=page)
    link = re.search(r'value="(http[^"]*/console/invitation#[^"]+)"', invited.text)
    assert invited.status_code == 200 and link is not None  # there is no mail server: the link is shown once
    shown = (await browser.get(page)).text
    assert "neu@example.kr" in shown and link[1] not in shown
    again = await browser.post(f"{PLACE}/invitations", {"email": other.email, "role": "member"}, page=page)
    assert again.status_code == 409 and wording.say("ko", "error.conflict_invitation") in again.text
    withdrawal = re.search(rf'action="({PLACE}/invitations/[^"]+/withdrawal)"', shown)
    assert withdrawal is not None
    assert (await browser.post(withdrawal[1], {}, page=page)).status_code == 303
    assert "neu@example.kr" not in (await browser.get(page)).text
    last = await browser.post(f"{page}/{owner.id}/role", {"role": "member"}, page=page)
    assert last.status_code == 409 and wording.say("ko", "error.conflict_last_owner") in last.text
    assert (await browser.post(f"{page}/{other.id}/role", {"role": "owner"}, page=page)).status_code == 303
    asked = await browser.get(f"{page}/{other.id}/removal")
    assert asked.status_code == 200 and other.email in asked.text
    removal = f"{page}/{other.id}/removal"
    gone = await browser.post(removal, {"keys": "hand_over", "to": owner.id}, page=removal)
    assert gone.status_code == 303
    assert other.email not in (await browser.get(page)).text
    assert (await office.call(other, "GET", "/keys")).status_code == 200  # its key is the owner's now


async def test_limits_are_set_and_a_mistake_is_shown_where_it_was_made(office: Office, browser: Browser) -> None:
    await browser.sign_in(office.someone(office.organisation()))
    page = f"{PLACE}/limits"
    done = await browser.post(page, {"month_limit_krw": "1,500,000", "rpm": "60", "concurrency": ""}, page=page)
    assert done.headers["location"] == f"{page}?done=saved"
    shown = await browser.get(done.headers["location"])
    assert 'value="1500000"' in shown.text and wording.say("ko", "settings.done_saved") in shown.text
    wrong = await browser.post(page, {"month_limit_krw": "viel", "rpm": "60", "concurrency": ""}, page=page)
    assert wrong.status_code == 400 and 'value="viel"' in wrong.text and 'aria-invalid="true"' in wrong.text


async def test_who_may_not_change_a_page_cannot_by_its_form_either(office: Office, browser: Browser) -> None:
    org = office.organisation()
    await browser.sign_in(office.someone(org, "member"))
    page = f"{PLACE}/account"
    for path, fields in (
        ("limits", {"rpm": "1"}),
        ("personal_data", {"kind_email": "mask"}),
        ("words", {"words": "x"}),
        ("transfers", {"form": "switches"}),
        ("billing", {"legal_name": "x"}),
        ("alerts", {"at50": "on"}),
    ):
        assert (await browser.post(f"{PLACE}/{path}", fields, page=page)).status_code == 403, path


async def test_the_personal_data_policy_is_changed_and_tried(office: Office, browser: Browser) -> None:
    await browser.sign_in(office.someone(office.organisation()))
    page = f"{PLACE}/personal_data"
    tried = await browser.post(f"{page}/trial", {"text": "010-1234-5678 그리고 901010-1234567"}, page=page)
    assert (
        "901010-*******" in tried.text
        and "***-****-****" not in tried.text.split('<section class="panel" id="trial">')[1]
    )
    done = await browser.post(page, {"kind_mobile": "block"}, page=page)
    assert done.status_code == 303
    tried = await browser.post(f"{page}/trial", {"text": "010-1234-5678"}, page=page)
    assert wording.say("ko", "settings.outcome_refused") in tried.text
    never = await browser.post(page, {"kind_passport": "off"}, page=page)
    assert never.status_code == 400


async def test_forbidden_words_are_pasted_searched_tried_replaced_and_removed(office: Office, browser: Browser) -> None:
    who = office.someone(office.organisation())
    await browser.sign_in(who)
    page = f"{PLACE}/words"
    assert wording.say("ko", "settings.words_empty_title") in (await browser.get(page)).text
    many = "\n".join(f"비밀{number}" for number in range(250))
    assert (await browser.post(page, {"words": many, "how": "add"}, page=page)).status_code == 303
    first = (await browser.get(page)).text
    assert first.count('name="word"') == 100 and "1 / 3" in first
    assert (await browser.get(page, q="비밀24")).text.count('name="word"') == 11
    tried = await browser.post(f"{page}/trial", {"text": "이것은 비밀77 입니다"}, page=page)
    assert wording.say("ko", "settings.outcome_refused") in tried.text
    unsure = await browser.post(page, {"words": "새것", "how": "replace"}, page=page)
    assert unsure.status_code == 400 and wording.say("ko", "error.invalid_request_sure") in unsure.text
    replaced = await browser.post(page, {"words": "새것\n둘째", "how": "replace", "sure": "on"}, page=page)
    assert replaced.status_code == 303
    assert (await browser.post(f"{page}/removal", {"word": "둘째"}, page=page)).status_code == 303
    with office.engine.connect() as connection:
        assert word_lists.load(connection, who.org).words == ["새것"]


async def test_alerts_keep_what_was_chosen_and_show_the_webhooks_secret_once(office: Office, browser: Browser) -> None:
    await browser.sign_in(office.someone(office.organisation()))
    page = f"{PLACE}/alerts"
    fields = {"at80": "on", "emails": "team@example.kr", "webhook_url": "https://hooks.example.com/x"}
    saved = await browser.post(page, fields, page=page)
    assert saved.status_code == 200 and "whsec_" in saved.text
    shown = (await browser.get(page)).text
    assert "whsec_" not in shown and "team@example.kr" in shown
    assert re.search(r'name="at80" checked', shown) and not re.search(r'name="at50" checked', shown)
    tested = await browser.post(f"{page}/test", {}, page=page)
    assert tested.status_code == 303
    wrong = await browser.post(page, fields | {"webhook_url": "http://127.0.0.1/x"}, page=page)
    assert wrong.status_code == 400 and wording.say("ko", "error.invalid_request_webhook_url") in wrong.text


async def test_billing_data_are_checked_and_the_switches_hold(office: Office, browser: Browser) -> None:
    who = office.someone(office.organisation())
    await browser.sign_in(who)
    page = f"{PLACE}/billing"
    wrong = await browser.post(page, {"legal_name": "한빛상사", "registration": "123-45-67890"}, page=page)
    assert wrong.status_code == 400 and wording.say("ko", "error.invalid_request_registration") in wrong.text
    done = await browser.post(page, {"legal_name": "한빛상사", "registration": "123-45-67891"}, page=page)
    assert done.status_code == 303 and "한빛상사" in (await browser.get(page)).text
    switches = f"{PLACE}/transfers"
    assert (await browser.post(switches, {"form": "switches", "domestic_only": "on"}, page=switches)).status_code == 303
    with office.engine.connect() as connection:
        query = text("SELECT domestic_only, no_training FROM organisation WHERE id = :id")
        assert tuple(connection.execute(query, {"id": who.org}).one()) == (True, False)


async def test_the_audit_log_names_people_and_can_be_filtered(office: Office, browser: Browser) -> None:
    who = office.someone(office.organisation())
    await browser.sign_in(who)
    await browser.post("/console/keys", {"name": "봇", "surface": "bizrouter"}, page="/console/keys")
    page = await browser.get(f"{PLACE}/audit")
    assert wording.say("ko", "change.key_create") in page.text and "김하나" in page.text
    rows = (await browser.get(f"{PLACE}/audit", action="key.create")).text.split("<tbody>")[1].split("</tbody>")[0]
    assert wording.say("ko", "change.key_create") in rows and wording.say("ko", "change.session_begin") not in rows


async def test_the_audit_log_tells_what_was_before_and_after_in_words(office: Office, browser: Browser) -> None:
    who = office.someone(office.organisation())
    await browser.sign_in(who)
    for limit in ("1000", "250000"):
        fields = {"month_limit_krw": limit, "tpm": "90,000", "model_limits": "openai/gpt-4o: rpm=5, tpm=1000"}
        done = await browser.post(f"{PLACE}/limits", fields, page=f"{PLACE}/limits")
        assert done.status_code == 303, done.text
    said = re.sub(r"<[^>]+>|\s+", " ", (await browser.get(f"{PLACE}/audit", action="org.set")).text)
    for words in ("1,000원 → 250,000원", "없음 → 90,000", "모델별 한도"):
        assert words in re.sub(r" +", " ", said)


async def test_limits_by_model_and_tokens_are_set_shown_and_taken_away(office: Office, browser: Browser) -> None:
    who = office.someone(office.organisation())
    await browser.sign_in(who)
    page = f"{PLACE}/limits"

    def stored() -> tuple[Any, Any]:
        query = text("SELECT tpm, model_limits FROM organisation WHERE id = :id")
        with office.engine.connect() as connection:
            return tuple(connection.execute(query, {"id": who.org}).one())  # type: ignore[return-value]

    typed = "openai/gpt-4o: rpm=5, tpm=1000\nkr/gpt4o-mini: concurrency=2"
    assert (await browser.post(page, {"tpm": "90,000", "model_limits": typed}, page=page)).status_code == 303
    by_model = {"openai/gpt-4o": {"rpm": 5, "tpm": 1000}, "openai/gpt-4o-mini": {"concurrency": 2}}
    assert stored() == (90_000, by_model)
    assert "openai/gpt-4o: rpm=5, tpm=1000\nopenai/gpt-4o-mini: concurrency=2" in (await browser.get(page)).text
    for wrong in ("openai/gpt-4o", "nobody/nothing: rpm=5", "openai/gpt-4o: rpm=-1", "openai/gpt-4o: speed=1"):
        answer = await browser.post(page, {"tpm": "90000", "model_limits": wrong}, page=page)
        assert answer.status_code == 400 and wording.say("ko", "error.invalid_request_model_limits") in answer.text
        assert wrong in answer.text and stored() == (90_000, by_model)
    assert (await browser.post(page, {"tpm": "", "model_limits": ""}, page=page)).status_code == 303
    assert stored() == (None, {})


async def test_a_person_changes_their_password(office: Office, browser: Browser) -> None:
    who = office.someone(office.organisation())
    await browser.sign_in(who)
    page = f"{PLACE}/account"
    wrong = await browser.post(f"{page}/password", {"current": "wrong one", "password": "a new password"}, page=page)
    assert wrong.status_code == 401 and wording.say("ko", "error.invalid_api_key_account") in wrong.text
    done = await browser.post(f"{page}/password", {"current": PASSWORD, "password": "a new password"}, page=page)
    assert done.status_code == 303
    await browser.post("/console/sign-out", {}, page=page)
    assert (await browser.sign_in(who, "a new password")).status_code == 303
