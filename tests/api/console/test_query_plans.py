"""No page reads usage from end to end: every query of every page is asked for its plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event, text

from api.manage import desk
from tests.api.console.conftest import Browser, used
from tests.api.manage.conftest import Office

pytestmark = pytest.mark.anyio

PAGES = [
    "/console", "/console?days=90", "/console/live", "/console/keys", "/console/finance", "/console/finance/exports",
    "/console/finance/payments", "/console/finance/statements", "/console/finance/checks", "/console/operator",
    "/console/operator/deployments", "/console/operator/prices", "/console/operator/organizations",
    "/console/operator/dead-letters",
]  # fmt: skip
Asked = list[tuple[str, Any]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Every statement that pages run, with its parameters."""
    found: Asked = []
    original = desk.Desk.read

    async def watched(self: desk.Desk, work: Any) -> Any:
        def noted(connection: Any) -> Any:
            event.listen(connection, "before_cursor_execute", lambda *a: found.append((a[2], a[3])))
            return work(connection)

        return await original(self, noted)

    monkeypatch.setattr(desk.Desk, "read", watched)
    return found


def scanned(plan: dict[str, Any]) -> Iterator[str]:
    """The tables that a plan reads from end to end."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for inner in plan.get("Plans", []):
        yield from scanned(inner)


@pytest.mark.parametrize("role", ["owner", "member", "operator"])
async def test_no_query_of_any_page_scans_usage(office: Office, browser: Browser, asked: Asked, role: Any) -> None:
    org = office.organisation()
    who = office.someone(org, "owner" if role == "operator" else role)
    for ago in (60, 40 * 86_400):
        used(office, who, ago_s=ago)
    operator = office.someone(org, "operator", key=False)
    await browser.sign_in(operator if role == "operator" else who)
    if role == "operator":
        await browser.post("/console/organization", {"organization": org}, page="/console/operator")
    seen = 0
    for path in [*PAGES, f"/console/finance/months/202601/{org}", "/console/finance/months/202601"]:
        seen += (await browser.client.get(path)).status_code == 200
    assert seen >= (4 if role == "member" else 7)
    assert any("FROM usage" in statement for statement, _ in asked)
    with office.engine.connect() as connection:
        # a plan that still reads a table from end to end has no other way
        connection.execute(text("SET enable_seqscan = off"))
        for statement, values in asked:
            if not statement.lstrip().upper().startswith(("SELECT", "WITH")):
                continue
            [[plan]] = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).all()
            tables = set(scanned(plan[0]["Plan"]))
            assert not {name for name in tables if name == "usage" or name.startswith("usage_2")}, statement
