"""Nobody reaches another organisation: every operation that OpenAPI describes is tried with another one's ids."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.api.manage.conftest import BASE, Office, Someone
from tests.api.manage.test_money import used

pytestmark = pytest.mark.anyio

BY = {"organisation": "id = :org", "person": "id = :person", "session": "person = :person"}
"""How rows are found in tables that name their organisation otherwise."""


async def operations(office: Office) -> list[tuple[str, str, dict[str, Any]]]:
    schema = (await office.client.get(f"{BASE}/openapi.json")).json()
    return [
        (method.upper(), path.removeprefix(BASE), operation | {"components": schema["components"]})
        for path, item in schema["paths"].items()
        for method, operation in item.items()
    ]


def example(schema: dict[str, Any], components: dict[str, Any], victim: dict[str, str], name: str = "") -> Any:
    """A value of that schema which names the victim's things wherever something can be named."""
    if name in victim:
        return victim[name]
    if "$ref" in schema:
        return example(components["schemas"][schema["$ref"].rpartition("/")[2]], components, victim, name)
    for kind in ("oneOf", "anyOf"):
        if kind in schema:
            return example(schema[kind][0], components, victim, name)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {
                field: example(inner, components, victim, field)
                for field, inner in schema.get("properties", {}).items()
            }
        case "array":
            return []
        case "integer":
            return 1
        case "boolean":
            return True
        case _:
            return "2099-01-01T00:00:00+09:00" if schema.get("format") == "date-time" else "x"


async def attempt(
    office: Office, who: Someone, operation: tuple[str, str, dict[str, Any]], victim: dict[str, str]
) -> Any:
    method, path, described = operation
    for name, value in victim.items():
        path = path.replace("{" + name + "}", value)
    content = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    body = None if content is None else example(content, described["components"], victim)
    return await office.call(who, method, path, body)


def rows(engine: Engine, org: str, person: str) -> dict[str, Any]:
    """Everything stored of an organisation and a person, in every table there is: a new one is looked at by itself."""
    named = text(
        "SELECT c.table_name FROM information_schema.columns c JOIN pg_class t ON t.oid = c.table_name::regclass "
        "WHERE c.table_schema = 'public' AND c.column_name = 'org' AND t.relkind IN ('r', 'p') AND NOT t.relispartition"
    )
    found: dict[str, Any] = {}
    with engine.connect() as connection:
        tables = {*connection.execute(named).scalars(), *BY}
        assert {"api_key", "usage", "access_log", "deletion_proof", "guardrail_event"} <= tables
        for table in sorted(tables):
            where = BY.get(table, "CAST(org AS text) = CAST(:org AS text)")
            query = text(f"SELECT to_jsonb(t) - 'last_used_at' AS row FROM {table} t WHERE {where} ORDER BY 1")
            found[table] = connection.execute(query, {"org": org, "person": person}).scalars().all()
    return found


async def test_no_operation_reaches_another_organisation(office: Office) -> None:
    mine, theirs = office.organisation("공격자"), office.organisation("피해자")
    attacker, victim = office.someone(mine), office.someone(theirs)
    heir = office.someone(theirs)
    invitation = (await office.call(victim, "POST", "/invitations", {"email": "new@victim.kr"})).json()["invitation"]
    await office.sign_in(victim)
    ids = {
        "key_id": victim.key_id, "person": victim.id, "invitation": invitation["id"], "organization": theirs,
        "to": heir.id,
    }  # fmt: skip
    before = rows(office.engine, theirs, victim.id)
    tried = 0
    for operation in await operations(office):
        method, path, _ = operation
        answer = await attempt(office, attacker, operation, ids)
        assert answer.status_code < 500, (method, path, answer.text)
        if "{" in path:
            assert answer.status_code in (403, 404), (method, path, answer.status_code, answer.text)
            tried += 1
        for secret in (theirs, victim.id, victim.email, victim.key_id, "피해자", "new@victim.kr"):
            named = answer.status_code == 404 and secret in (victim.key_id, theirs)  # "no key {what you asked for}"
            assert named or secret not in answer.text, (method, path)
    assert tried >= 7
    assert rows(office.engine, theirs, victim.id) == before


async def test_every_operation_needs_a_credential_and_says_so(office: Office) -> None:
    for method, path, described in await operations(office):
        if not described.get("security"):
            assert path in {
                "/session", "/password/reset", "/password/reset/confirmation", "/invitations/preview",
                "/invitations/acceptance",
            }  # fmt: skip
            continue
        for headers in ({}, {"X-API-Key": "sk-br-v1-nobody"}, {"Cookie": "wonrouter_session=nobody"}):
            answer = await office.client.request(method, BASE + path.replace("{", "").replace("}", ""), headers=headers)
            assert answer.status_code == 401, (method, path, headers, answer.text)
            assert answer.json()["error"]["code"] == "invalid_api_key"


async def test_every_operation_describes_its_refusals(office: Office) -> None:
    for _, path, described in await operations(office):
        assert {"400", "401", "403", "404", "429", "503"} <= set(described["responses"]), path


async def test_receipts_credit_and_key_are_ones_own(office: Office) -> None:
    mine, theirs = office.organisation("공격자"), office.organisation("피해자")
    attacker, victim = office.someone(mine), office.someone(theirs)
    call = used(office, victim, 0)

    async def ask(who: Someone, path: str) -> Any:
        return await office.client.get(f"/api/v1{path}", headers={"X-API-Key": who.key})

    assert (await ask(victim, f"/generation?id={call}")).status_code == 200
    assert (await ask(attacker, f"/generation?id={call}")).status_code == 404
    for path in ("/credits", "/key"):
        answer = await ask(attacker, path)
        assert answer.status_code == 200
        assert not any(secret in answer.text for secret in (theirs, victim.id, victim.key_id, "피해자")), path
