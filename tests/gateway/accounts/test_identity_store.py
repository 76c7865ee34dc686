"""Which keys open the door, and what the front end learns of them."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.accounts.identity import NONE
from gateway.accounts.store import IdentityStore
from gateway.db import connect
from gateway.db.tables.accounts import api_key, membership, organisation, person

pytestmark = pytest.mark.anyio

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect.async_engine(database_url)
    yield engine
    await engine.dispose()


class Rows:
    """Inserts one organisation, one person and one key; ``hash`` opens it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.org, self.person, self.key = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
        self.hash = os.urandom(32)

    async def insert(self, org: dict[str, Any] | None = None, key: dict[str, Any] | None = None, **member: Any) -> Rows:
        async with self.engine.begin() as c:
            await c.execute(
                organisation.insert().values({"id": self.org, "name": "회사", "billing": "prepaid"} | (org or {}))
            )
            if member:
                await c.execute(
                    person.insert().values(
                        id=self.person, email=f"{self.person}@x.kr", name="김", **member.pop("person", {})
                    )
                )
                if member:
                    await c.execute(membership.insert().values(org=self.org, person=self.person, **member))
            values = {
                "id": self.key,
                "org": self.org,
                "name": "k",
                "surface": "bizrouter",
                "hash": self.hash,
                "hint": "…",
            }
            await c.execute(api_key.insert().values(values | (key or {})))
        return self


async def test_an_active_key_gives_its_whole_identity(engine: AsyncEngine) -> None:
    rows = Rows(engine)
    await rows.insert(
        org={
            "policy": "strict",
            "month_limit_won": 1000,
            "rpm": 60,
            "concurrency": 5,
            "version": 7,
            "domestic_only": True,
            "settings": {"fallbacks": {"a": ["b"]}, "mask_kinds": {"passport": "block"}, "mask_output": True},
        },
        key={"limit_won": "0.5", "rpm": 10, "concurrency": 2, "models": ["openai/gpt-4o"], "version": 3},
    )
    identity = await IdentityStore(engine).by_hash(rows.hash)
    assert identity is not None
    assert (identity.key_id, identity.org_id) == (str(rows.key), str(rows.org))
    assert (identity.key_version, identity.org_version) == (3, 7)
    assert (identity.month_limit_micro, identity.key_limit_micro) == (1_000_000_000, 500_000)
    assert (identity.org_rpm, identity.key_rpm, identity.org_slots, identity.key_slots) == (60, 10, 5, 2)
    assert (identity.prepaid, identity.policy, identity.role) == (True, "strict", "owner")
    assert identity.models == frozenset({"openai/gpt-4o"})
    assert (identity.domestic_only, identity.no_training) == (True, False)
    assert identity.fallbacks == {"a": ["b"]}
    assert (identity.mask_kinds, identity.mask_output) == ({"passport": "block"}, True)


async def test_limits_that_are_not_set_are_none(engine: AsyncEngine) -> None:
    rows = await Rows(engine).insert()
    identity = await IdentityStore(engine).by_hash(rows.hash)
    assert identity is not None
    limits = (identity.month_limit_micro, identity.key_limit_micro, identity.org_rpm, identity.key_rpm)
    assert limits == (NONE,) * 4
    assert identity.expires_ms is None
    assert identity.models is None


async def test_a_key_has_the_role_of_the_person_who_made_it(engine: AsyncEngine) -> None:
    rows = Rows(engine)
    await rows.insert(role="member", key={"created_by": rows.person})
    identity = await IdentityStore(engine).by_hash(rows.hash)
    assert identity is not None
    assert (identity.person_id, identity.role) == (str(rows.person), "member")


async def test_a_key_made_by_an_operator_needs_no_membership(engine: AsyncEngine) -> None:
    rows = Rows(engine)
    await rows.insert(person={"operator": True}, key={"created_by": rows.person})
    identity = await IdentityStore(engine).by_hash(rows.hash)
    assert identity is not None
    assert identity.role == "operator"


@pytest.mark.parametrize(
    ("org", "key", "member"),
    [
        ({}, {"state": "deactivated"}, {}),
        ({}, {"state": "deleted"}, {}),
        ({}, {"expires_at": NOW - DAY}, {}),
        ({"state": "suspended"}, {}, {}),
        ({"state": "closed"}, {}, {}),
        ({}, {}, {"role": "member", "state": "left"}),
        ({}, {}, {"role": "owner", "person": {"state": "deactivated"}}),
        ({}, {}, {"person": {}}),
    ],
)
async def test_what_is_not_active_is_not_found(
    engine: AsyncEngine, org: dict[str, Any], key: dict[str, Any], member: dict[str, Any]
) -> None:
    rows = Rows(engine)
    await rows.insert(org, key | ({"created_by": rows.person} if member else {}), **member)
    assert await IdentityStore(engine).by_hash(rows.hash) is None


async def test_an_unknown_hash_is_not_found(engine: AsyncEngine) -> None:
    assert await IdentityStore(engine).by_hash(os.urandom(32)) is None


async def test_a_rotated_secret_works_until_its_grace_period_ends(engine: AsyncEngine) -> None:
    old, ended = os.urandom(32), os.urandom(32)
    rows = await Rows(engine).insert(key={"previous_hash": old, "previous_until": NOW + DAY})
    await Rows(engine).insert(key={"previous_hash": ended, "previous_until": NOW - DAY})
    store = IdentityStore(engine)
    by_old, by_new = await store.by_hash(old), await store.by_hash(rows.hash)
    assert by_old is not None
    assert by_new is not None
    assert by_old.expires_ms == int((NOW + DAY).timestamp() * 1000)
    assert by_new.expires_ms is None
    assert await store.by_hash(ended) is None


async def test_an_identity_says_what_its_key_has_spent(engine: AsyncEngine) -> None:
    rows, other = await Rows(engine).insert(), await Rows(engine).insert()
    async with engine.begin() as connection:
        await connection.exec_driver_sql(
            "CREATE TABLE IF NOT EXISTS window_key (key uuid PRIMARY KEY, org uuid NOT NULL, spent_micro bigint NOT NULL)"
        )
        await connection.exec_driver_sql(
            "INSERT INTO window_key (key, org, spent_micro) VALUES (%(key)s, %(org)s, 77)",
            {"key": rows.key, "org": rows.org},
        )
    spent = [await IdentityStore(engine).by_hash(found.hash) for found in (rows, other)]
    assert [identity and identity.spent_micro for identity in spent] == [77, 0]


async def test_the_window_starts_in_epoch_one(engine: AsyncEngine) -> None:
    assert await IdentityStore(engine).window_epoch() == "1"


async def test_last_use_is_noted_for_many_keys_at_once_and_never_goes_back(engine: AsyncEngine) -> None:
    first, second = await Rows(engine).insert(), await Rows(engine).insert()
    store = IdentityStore(engine)
    await store.touch_last_used({str(first.key): 5_001, str(second.key): 7_000})
    await store.touch_last_used({str(first.key): 4_000})
    await store.touch_last_used({})
    async with engine.connect() as connection:
        rows = await connection.execute(api_key.select().where(api_key.c.id.in_([first.key, second.key])))
        used = {row.id: row.last_used_at for row in rows}
    assert used[first.key] == dt.datetime.fromtimestamp(5.001, dt.UTC)
    assert used[second.key] == dt.datetime.fromtimestamp(7, dt.UTC)
