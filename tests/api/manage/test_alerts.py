"""Alerts through the management API: settings, the secret shown once, tests, lists, rights."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.api.manage.conftest import Office

pytestmark = pytest.mark.anyio

HOOK = "https://example.com/hook"


async def test_settings_are_read_put_and_the_secret_is_shown_once(office: Office) -> None:
    owner = office.someone(office.organisation())
    shown = await office.call(owner, "GET", "/alerts")
    assert shown.json() == {
        "thresholds": [50, 80, 100], "mail_people": True, "emails": [], "webhook_url": None, "has_secret": False,
    }  # fmt: skip
    put = await office.call(owner, "PUT", "/alerts", {"webhook_url": HOOK, "thresholds": [80], "emails": ["A@b.kr"]})
    assert put.status_code == 200
    assert put.json()["webhook_secret"].startswith("whsec_")
    assert put.json()["settings"]["emails"] == ["a@b.kr"]
    again = await office.call(owner, "PUT", "/alerts", {"webhook_url": HOOK})
    assert again.json()["webhook_secret"] is None
    assert again.json()["settings"]["thresholds"] == [50, 80, 100]
    rotated = await office.call(owner, "POST", "/alerts/secret")
    assert rotated.json()["webhook_secret"] not in (None, put.json()["webhook_secret"])
    assert "whsec" not in (await office.call(owner, "GET", "/alerts")).text


async def test_a_test_stands_in_the_list_of_deliveries(office: Office) -> None:
    owner = office.someone(office.organisation())
    assert (await office.call(owner, "POST", "/alerts/test")).status_code == 201  # the owner's own address
    await office.call(owner, "PUT", "/alerts", {"webhook_url": HOOK})
    sent = (await office.call(owner, "POST", "/alerts/test")).json()["deliveries"]
    assert sorted((d["channel"], d["target"]) for d in sent) == [("mail", owner.email), ("webhook", HOOK)]
    page = (await office.call(owner, "GET", "/alerts/deliveries", limit=2)).json()
    assert [d["state"] for d in page["data"]] == ["waiting", "waiting"]
    rest = (await office.call(owner, "GET", "/alerts/deliveries", limit=2, after=page["next"])).json()
    assert len(rest["data"]) == 1
    assert rest["next"] is None


async def test_what_was_raised_is_listed_in_won(office: Office) -> None:
    org = office.organisation()
    owner = office.someone(org)
    with office.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO alert (id, org, scope, subject, period, limit_micro, percent, spent_micro) "
                "VALUES (uuidv7(), :org, 'key', :key, '', 10000000, 80, 8000001)"
            ),
            {"org": org, "key": owner.key_id},
        )
    [alert] = (await office.call(owner, "GET", "/alerts/raised")).json()["data"]
    assert (alert["scope"], alert["key"], alert["percent"]) == ("key", owner.key_id, 80)
    assert (alert["limit_krw"], alert["spent_krw"]) == ("10", "8.000001")


async def test_a_private_webhook_is_refused(office: Office) -> None:
    owner = office.someone(office.organisation())
    answer = await office.call(owner, "PUT", "/alerts", {"webhook_url": "http://10.0.0.1/hook"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "webhook_url")


async def test_members_neither_see_nor_set_alerts_and_finance_people_only_see_them(office: Office) -> None:
    org = office.organisation()
    member, finance = office.someone(org, "member"), office.someone(org, "finance", key=False)
    assert (await office.call(member, "GET", "/alerts")).status_code == 403
    visit = await office.sign_in(finance)
    assert (await visit.call("GET", "/alerts/deliveries")).status_code == 200
    assert (await visit.call("PUT", "/alerts", {})).status_code == 403
