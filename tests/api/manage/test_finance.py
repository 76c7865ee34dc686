"""Finance and operators by the management API: the month close by two people, files, company data, looks at the books."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

import gateway.redis
from billing.lock import SettlerLock
from billing.settlement import settle
from billing.tasks.runner import Runner
from billing.window import rebuild
from gateway.wire import keys
from gateway.wire.event import encode_event
from tests.api.manage.conftest import Office, Visit
from tests.billing.events import job_id, usage_event
from tests.billing.invoices.closing import MONTH, PROFILE, at, charge

pytestmark = pytest.mark.anyio

ISSUER = {
    "code": "WR", "legal_name": "주식회사 원라우터", "registration": "123-45-67891", "representative": "홍길동",
}  # fmt: skip


@pytest.fixture
def billing(office: Office) -> Iterator[Runner]:
    """The billing process's tasks, beside the front end."""
    url = office.settings.redis_url
    runner = Runner(office.engine, gateway.redis.connect(url, reply_timeout_s=60), gateway.redis.connect(url))
    runner.start()
    yield runner
    runner.stop(10)


def used(office: Office, org: str, key: str, won: str) -> None:
    """A settled call of the month, and the window in order."""
    redis = gateway.redis.connect(office.settings.redis_url)
    event = usage_event(org=org, key=key, job=job_id(int(at(5).timestamp() * 1000)), parts=[charge(won)])
    fields = {"job": event.job, "org": org, "key": key, "out": "posted", "micro": event.micro, "ep": 1, "hold": 0,
              "ev": encode_event(event), "att": b""}  # fmt: skip
    redis.xadd(keys.USAGE, fields)
    lock = SettlerLock(office.engine)
    with lock.turn(wait=True) as connection:
        assert connection is not None
        settle(redis, connection, 1000)
        rebuild(redis, connection, 1000)
    lock.close()
    redis.close()


async def done(who: Visit, method: str, path: str, body: Any) -> dict[str, Any]:
    answer = await who.call(method, path, body, wait=20)
    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert task["state"] in ("done", "failed"), task
    return task


async def operators(office: Office, org: str) -> tuple[Visit, Visit]:
    found = [office.someone(org, "operator", key=False) for _ in range(2)]
    one, two = [await office.sign_in(person) for person in found]
    return one, two


async def test_a_month_from_company_data_to_the_paid_invoice(office: Office, billing: Runner) -> None:
    org = office.organisation("한빛", billing="postpaid")
    owner, clerk = office.someone(org), office.someone(org, "finance", key=False)
    used(office, org, owner.key_id, "100000.5")
    one, two = await operators(office, org)
    assert (await one.call("PATCH", "/issuer", ISSUER)).status_code == 200
    company = {name: PROFILE[name] for name in ("legal_name", "registration", "representative")}
    assert (await office.call(owner, "PATCH", "/billing-profile", company)).json()["profile"][
        "registration"
    ] == "999-88-12349"
    refused = await office.call(owner, "PATCH", "/billing-profile", {"terms": "days:90"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    wrong = await office.call(owner, "PATCH", "/billing-profile", {"registration": "123-45-67890"})
    assert wrong.status_code == 400

    step = {"month": MONTH, "organization": org}
    assert (await done(one, "POST", "/close/draft", step))["state"] == "done"
    [draft] = (await one.call("GET", "/invoices", organization=org)).json()["data"]
    assert draft["state"] == "draft"
    assert (await office.call(owner, "GET", "/invoices")).json()["data"] == []
    assert (await office.call(owner, "GET", f"/invoices/{draft['id']}")).status_code == 404
    same = await done(one, "POST", "/close/review", step)
    assert (same["state"], same["error_code"]) == ("failed", "refused")
    for name in ("review", "finalise", "issue"):
        taken = await done(two, "POST", f"/close/{name}", step)
        assert taken["state"] == "done", taken["error"]

    [invoice] = (await office.call(owner, "GET", "/invoices")).json()["data"]
    assert (invoice["supply_krw"], invoice["vat_krw"], invoice["state"]) == (100_000, 10_000, "issued")
    shown = (await office.call(owner, "GET", f"/invoices/{invoice['number']}")).json()
    assert shown["content"]["customer"]["name"] == PROFILE["legal_name"]
    visit = await office.sign_in(clerk)
    page = await visit.call("GET", f"/invoices/{invoice['id']}/document", format="html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert invoice["number"] in page.text
    pdf = await visit.call("GET", f"/invoices/{invoice['id']}/document")
    assert pdf.content.startswith(b"%PDF")
    paid = {"number": invoice["number"], "amount": 110_000, "paid_on": "2026-02-10", "reference": "R1"}
    assert (await done(one, "POST", "/payments", paid))["result"]["state"] == "paid"
    [booked] = (await visit.call("GET", "/payments")).json()["data"]
    assert booked["amount_krw"] == 110_000
    back = await done(one, "POST", "/payments", paid | {"amount": -10_000, "reference": "R1 was 100,000"})
    assert (back["result"]["left"], back["result"]["state"]) == (10_000, "issued")
    assert (await done(one, "POST", "/payments", paid | {"amount": 0, "reference": "R0"}))["state"] == "failed"
    await done(one, "POST", "/payments", paid | {"amount": 10_000, "reference": "R2"})
    months = {month["month"]: month for month in (await one.call("GET", "/months")).json()["data"]}
    assert months[MONTH]["received_krw"] >= 110_000
    rows = (await one.call("GET", f"/months/{MONTH}")).json()["data"]
    assert {row["org"]: row["state"] for row in rows}[org] == "paid"


async def test_a_file_is_fetched_by_whom_it_belongs_to_and_every_fetch_is_written_down(
    office: Office, billing: Runner
) -> None:
    org, other = office.organisation(), office.organisation()
    owner, stranger = office.someone(org), office.someone(other)
    member = office.someone(org, "member")
    used(office, org, owner.key_id, "10")
    visit = await office.sign_in(owner)
    task = await done(visit, "POST", "/exports", {"what": "usage", "month": MONTH, "format": "csv"})
    assert task["state"] == "done", task["error"]
    answer = await office.call(owner, "GET", f"/tasks/{task['id']}/file")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="usage-{MONTH}-')
    assert len(answer.content) == task["size"] == int(answer.headers["content-length"])
    for who, status in ((stranger, 404), (member, 403)):
        for path in (f"/tasks/{task['id']}/file", f"/tasks/{task['id']}"):
            assert (await office.call(who, "GET", path)).status_code == status
    [look] = (await office.call(owner, "GET", "/access-log")).json()["data"]
    assert (look["action"], look["records"]) == ("export.download", 1)
    assert [one["id"] for one in (await office.call(owner, "GET", "/tasks")).json()["data"]] == [task["id"]]
    assert (await office.call(stranger, "GET", "/tasks")).json()["data"] == []


async def test_the_whole_installation_is_the_operators(office: Office, billing: Runner) -> None:
    org = office.organisation()
    owner = office.someone(org)
    used(office, org, owner.key_id, "10")
    everything = {"what": "usage", "month": MONTH, "format": "csv", "all_organizations": True}
    assert (await office.call(owner, "POST", "/exports", everything)).status_code == 403
    assert (await office.call(owner, "POST", "/exports", {"what": "journal", "month": MONTH})).status_code == 403
    one, _ = await operators(office, org)
    task = await done(one, "POST", "/exports", everything)
    assert (await one.call("GET", f"/tasks/{task['id']}/file")).status_code == 200
    assert (await office.call(owner, "GET", f"/tasks/{task['id']}")).status_code == 404
    [look] = (await office.call(owner, "GET", "/access-log")).json()["data"]  # theirs was in it, too
    assert (look["action"], look["reason"], look["records"]) == ("export.download", "export.usage", 1)


async def test_rates_and_the_look_at_the_books(office: Office, billing: Runner) -> None:
    org = office.organisation()
    one, _ = await operators(office, org)
    day = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).date().isoformat()
    rate = await done(one, "POST", "/rates", {"date": day, "rate": "1,400.60", "insist": True})
    assert rate["result"]["rates"][0]["rate"] == "1400.6"
    listed = (await one.call("GET", "/rates")).json()
    assert {"date": day, "rate": "1400.6"}.items() <= next(row for row in listed["data"] if row["date"] == day).items()
    text = base64.b64encode(f"date,rate\n{day},1401\n".encode()).decode()
    assert (await done(one, "POST", "/rates/import", {"file": text, "insist": True}))["state"] == "done"
    looked = await done(one, "POST", "/reconciliations", {})
    [latest, *_] = (await one.call("GET", "/reconciliations")).json()["data"]
    assert latest["found"] == looked["result"]["found"]
    statement = "day,model,prompt_tokens,completion_tokens,usd\n2026-01-05,gpt-4o,10,5,0.01\n"
    asked = {"provider": "openai", "file": base64.b64encode(statement.encode()).decode()}
    assert (await done(one, "POST", "/statements", asked))["state"] == "done"
    [known] = (await one.call("GET", "/statements")).json()["data"]
    differences = (await one.call("GET", f"/statements/{known['id']}")).json()["result"]["differences"]
    assert "only on the statement" in [difference["reason"] for difference in differences]
    assert known["result"]["differences"] == len(differences)


async def test_what_cannot_be_booked_is_seen_and_decided_on(office: Office, billing: Runner) -> None:
    org = office.organisation()
    one, _ = await operators(office, org)
    office.redis.xadd(keys.DEAD, {"job": "x", "org": org, "key": "k", "micro": 5, "why": "no event"})
    [letter] = (await one.call("GET", "/dead-letters")).json()["data"]
    assert (letter["why"], letter["micro"]) == ("no event", 5)
    body = {"entry": letter["entry"], "reason": "확인했음"}
    assert (await done(one, "POST", "/dead-letters/discard", body))["state"] == "done"
    left = (await one.call("GET", "/dead-letters")).json()
    assert (left["waiting"], left["discarded"][0]["reason"]) == (0, "확인했음")
