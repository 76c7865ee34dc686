"""Keys made, stopped, rotated and deleted by forms; the price table for everybody."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal

import pytest

from api.console import wording
from tests.api.console.conftest import Browser
from tests.api.manage.conftest import Office, Someone

pytestmark = pytest.mark.anyio


def secret_on(page: str) -> str:
    found = re.search(r'id="secret" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]


async def works(office: Office, secret: str) -> bool:
    return (await office.call(secret, "GET", "/keys")).status_code == 200


async def test_a_key_is_made_and_shown_once(office: Office, browser: Browser) -> None:
    owner = office.someone(office.organisation())
    await browser.sign_in(owner)
    typed = {
        "name": "고객센터",
        "surface": "bizrouter",
        "limit_krw": "5,000.5",
        "rpm": "60",
        "expires_at": "2099-01-31",
    }
    made = await browser.post("/console/keys", typed, page="/console/keys")
    assert made.status_code == 200
    secret = secret_on(made.text)
    assert await works(office, secret)
    page = (await browser.get("/console/keys")).text
    assert secret not in page and secret[-4:] in page and "고객센터" in page and "5,000.5원" in page
    [key] = [key for key in (await office.call(owner, "GET", "/keys")).json()["data"] if key["name"] == "고객센터"]
    assert (key["limit_krw"], key["rpm"], key["created_by"]) == ("5000.5", 60, owner.id)
    assert key["expires_at"].startswith("2099-01-31T15:00")  # the end of that day in Seoul


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", " ", "이름은"), ("limit_krw", "many", "한도는"), ("limit_krw", "-1", "한도는"), ("rpm", "1.5", "분당"),
        ("expires_at", "soon", "만료일"), ("surface", "other", "API를"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_told_and_what_was_typed_stays(
    office: Office, browser: Browser, field: str, value: str, said: str
) -> None:
    owner = office.someone(office.organisation())
    await browser.sign_in(owner)
    answer = await browser.post("/console/keys", {"name": "n-typed", "rpm": "77", field: value}, page="/console/keys")
    assert answer.status_code == 400 and said in answer.text.split('id="problem"')[1]
    assert 'value="77"' in answer.text or field == "rpm"
    assert len((await office.call(owner, "GET", "/keys")).json()["data"]) == 1


async def test_a_key_is_stopped_started_rotated_and_deleted(office: Office, browser: Browser) -> None:
    owner = office.someone(office.organisation())
    boss = office.someone(owner.org)
    await browser.sign_in(boss)
    path, page = f"/console/keys/{owner.key_id}", "/console/keys"
    stopped = await browser.post(f"{path}/state", {"state": "deactivated"}, page=page)
    assert stopped.headers["location"] == "/console/keys" and not await works(office, owner.key)
    assert "중지됨" in (await browser.get(page)).text
    await browser.post(f"{path}/state", {"state": "active"}, page=page)
    assert await works(office, owner.key)
    assert "되돌릴 수 없습니다" in (await browser.get(f"{path}/rotation")).text
    rotated = await browser.post(f"{path}/rotation", {"grace": "0"}, page=f"{path}/rotation")
    fresh = secret_on(rotated.text)
    assert await works(office, fresh) and not await works(office, owner.key)
    assert "되돌릴 수 없습니다" in (await browser.get(f"{path}/deletion")).text
    assert await works(office, fresh)
    await browser.post(f"{path}/deletion", {}, page=f"{path}/deletion")
    assert not await works(office, fresh)
    assert owner.key_id not in (await browser.get(page)).text
    again = await browser.post(f"{path}/deletion", {}, page=page)
    assert again.status_code == 409


async def test_nobody_reaches_a_key_that_is_not_theirs(office: Office, browser: Browser) -> None:
    org = office.organisation()
    member = office.someone(org, "member")
    others: list[Someone] = [office.someone(org), office.someone(office.organisation())]
    await browser.sign_in(member)
    page = (await browser.get("/console/keys")).text
    for other in others:
        assert other.key_id not in page
        for action in ("rotation", "deletion"):
            assert (await browser.get(f"/console/keys/{other.key_id}/{action}")).status_code == 404
        for action in ("state", "rotation", "deletion"):
            sent = await browser.post(
                f"/console/keys/{other.key_id}/{action}", {"state": "deactivated", "grace": "0"}, page="/console/keys"
            )
            assert sent.status_code == 404
        assert await works(office, other.key)


async def test_prices_are_for_everybody_exact_and_to_take_away(browser: Browser) -> None:
    page = (await browser.get("/console/models")).text
    table = (await browser.get("/console/models.json")).json()
    rate = Decimal(table["krw_per_usd"])
    for model in table["models"]:
        assert model["id"] in page
        assert Decimal(model["input_krw"]) == Decimal(model["input_usd"]) * rate
    assert f"{rate:,}" in page and table["rate_date"] in page
    file = await browser.get("/console/models.csv")
    rows = list(csv.DictReader(io.StringIO(file.content.decode("utf-8-sig"))))
    assert [(row["id"], row["output_krw"]) for row in rows] == [(m["id"], m["output_krw"]) for m in table["models"]]
    assert "attachment" in file.headers["content-disposition"]


async def test_prices_are_filtered_and_sorted_without_javascript(browser: Browser) -> None:
    table = (await browser.get("/console/models.json")).json()["models"]

    async def shown(**query: str) -> list[str]:
        page = (await browser.get("/console/models", **query)).text
        return re.findall(r"</b><code>([^<]+)</code>", page)

    assert await shown() == [model["id"] for model in table]
    assert await shown(q="GPT-4O mini") == [m["id"] for m in table if "gpt-4o" in m["id"] and "mini" in m["id"]]
    google = await shown(provider="google", sort="input")
    by_id = {model["id"]: model for model in table}
    prices = [Decimal(by_id[name]["input_usd"]) for name in google]
    assert google and prices == sorted(prices) and {by_id[name]["provider"] for name in google} == {"google"}
    seeing = await shown(ability="vision")
    assert seeing == [model["id"] for model in table if "vision" in model["abilities"]] and seeing
    assert await shown(q="no such model") == []


async def test_a_key_is_renamed_and_given_other_terms(office: Office, browser: Browser) -> None:
    who = office.someone(office.organisation())
    await browser.sign_in(who)
    page = f"/console/keys/{who.key_id}/change"
    typed = {
        "name": "상담 봇", "limit_krw": "5,000", "rpm": "30", "concurrency": "4",
        "models": "openai/gpt-4o\nkr/claude-sonnet", "expires_at": "2099-12-31",
    }  # fmt: skip
    assert (await browser.post(page, typed, page=page)).headers["location"] == "/console/keys"
    (key,) = (await office.call(who, "GET", "/keys")).json()["data"]
    assert (key["name"], key["limit_krw"], key["rpm"], key["concurrency"]) == ("상담 봇", "5000", 30, 4)
    assert key["models"] == ["anthropic/claude-sonnet-4.5", "openai/gpt-4o"]
    shown = (await browser.get(page)).text
    assert 'value="2099-12-31"' in shown and "상담 봇" in shown
    assert (await browser.post(page, typed | {"name": "다른 이름"}, page=page)).status_code == 303
    (again,) = (await office.call(who, "GET", "/keys")).json()["data"]
    assert again["expires_at"] == key["expires_at"]
    wrong = await browser.post(page, typed | {"models": "openai/none"}, page=page)
    assert wrong.status_code == 400 and wording.say("ko", "error.invalid_request_models") in wrong.text
