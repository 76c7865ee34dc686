"""A browser without JavaScript, over the front ends of the management API's tests."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from gateway.db.tables.close import usage_hour
from gateway.db.tables.ledger import usage
from gateway.money import micro_ceil
from gateway.wire import ids
from tests.api.manage.conftest import (  # noqa: F401 - fixtures
    PASSWORD,
    Office,
    Someone,
    _quick_passwords,
    engine,
    front_url,
    office,
    redis,
)


@dataclasses.dataclass
class Browser:
    """Keeps its cookies, follows nothing by itself, and sends the forms that it finds."""

    client: httpx.AsyncClient

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self.client.get(path, params=query or None)

    async def post(self, path: str, fields: dict[str, str], *, page: str = "", **headers: str) -> httpx.Response:
        """Sends a form with the token that stands on ``page``, if one is named."""
        sent = dict(fields)
        if page:
            sent["csrf"] = csrf((await self.get(page)).text)
        return await self.client.post(path, data=sent, headers=headers)

    async def sign_in(self, who: Someone, password: str = PASSWORD, **fields: str) -> httpx.Response:
        typed = {"email": who.email, "password": password, **fields}
        return await self.post("/console/sign-in", typed, page="/console/sign-in")


def said(page: str) -> str:
    """What a page says: its text without the tags, which may stand within an amount."""
    return re.sub(r"<[^>]+>", "", page)


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert found is not None, page
    return found[1]


def used(office: Office, who: Someone, *, ago_s: float = 60, **fields: Any) -> str:  # noqa: F811
    """One settled call of somebody's key, in the books and in the hours' sums as settlement leaves them; its id."""
    at = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=ago_s)
    at_ms = int(at.timestamp() * 1000)
    a, b = ids.random_parts()
    job = f"{at_ms:012x}7{a}{b}"
    part = {
        "model": "openai/gpt-4o", "prompt": 1000, "completion": 500, "input_usd": "2.50", "output_usd": "10.00",
        "tier": "base", "rate": "1350.1234", "price_id": "p1", "rate_id": "r1", "won": "10.1259255",
    }  # fmt: skip
    attempt = {
        "n": 1, "model": "openai/gpt-4o", "provider": "openai", "client_request_id": "c1", "started_ms": at_ms,
        "ended_ms": at_ms + 900, "upstream_id": "up-1", "status": 200, "billed": True,
    }  # fmt: skip
    values: dict[str, Any] = {
        "month": ids.month_of(at_ms), "job": uuid.UUID(job), "org": uuid.UUID(who.org), "key": uuid.UUID(who.key_id),
        "prepaid": True, "asked": "gpt-4o", "model": "openai/gpt-4o", "provider": "openai", "deployment": "d",
        "surface": "bizrouter", "endpoint": "chat", "stream": False, "outcome": "complete", "estimated": False,
        "prompt_tokens": 1_000, "completion_tokens": 500, "won": Decimal("10.1259255"), "loss_won": 0,
        "parts": [part], "attempts": [attempt], "duration_ms": 900, "title": None,
        "admitted_at": dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC), **fields,
    }  # fmt: skip
    values["micro"] = micro_ceil(values["won"])
    hour = {
        name: values[name] for name in ("org", "key", "model", "provider", "prompt_tokens", "completion_tokens", "won")
    }
    hour |= {"hour": values["admitted_at"].replace(minute=0, second=0, microsecond=0), "calls": 1, "failed": 0}
    with office.engine.begin() as connection:
        connection.execute(text("SELECT ensure_usage_month(:month)"), {"month": values["month"]})
        connection.execute(usage.insert().values(values))
        # a title of its own keeps the row apart from those of other calls in the same hour
        connection.execute(usage_hour.insert().values(hour | {"title": job, "estimated": int(values["estimated"])}))
    return ids.public(job)


@pytest.fixture
async def browser(office: Office) -> AsyncIterator[Browser]:  # noqa: F811
    async with httpx.AsyncClient(base_url=office.client.base_url, timeout=20, verify=False) as client:
        yield Browser(client)
