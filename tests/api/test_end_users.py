"""Nobody behind the front end learns what a customer calls an end user."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.accounts.subjects import user_hash
from gateway.wire.event import decode_event
from tests.api.conftest import House

pytestmark = pytest.mark.anyio

NAME = "kim.hana@example.kr"


async def admitted(house: House, **fields: Any) -> tuple[dict[str, Any], str | None, str | None]:
    """The body that a worker receives, the job's user and the base event's."""
    asked = asyncio.create_task(house.ask(**fields))
    taken = await house.worker.take()
    base = await house.redis.hget(f"wr:j:{taken.claim.job}", "base")
    await taken.end()
    await asked
    job = taken.job
    assert NAME.encode() not in job.body
    return msgspec.json.decode(job.body), job.user, decode_event(base).user


def hashed(house: House, name: str, org: str = "org1") -> str:
    return user_hash(house.settings.hash_key, org, name)


async def test_the_end_user_leaves_as_a_hash(house: House) -> None:
    body, job_user, event_user = await admitted(house, user=NAME)
    assert body["user"] == job_user == event_user == hashed(house, NAME)
    assert body["messages"] == [{"role": "user", "content": "hello"}]


async def test_the_newer_field_leaves_as_a_hash_too(house: House) -> None:
    body, job_user, event_user = await admitted(house, safety_identifier=NAME)
    assert body["safety_identifier"] == job_user == event_user == hashed(house, NAME)


async def test_an_end_user_that_is_no_text_does_not_leave(house: House) -> None:
    body, job_user, _ = await admitted(house, safety_identifier={"name": NAME})
    assert "safety_identifier" not in body and job_user is None


async def test_two_organisations_cannot_compare_their_end_users(house: House) -> None:
    assert hashed(house, NAME) != hashed(house, NAME, "org2")
    assert hashed(house, NAME) != user_hash(b"another secret", "org1", NAME)
    assert hashed(house, "가" * 300) == hashed(house, "가" * 256) != hashed(house, "가" * 255)


async def test_a_body_that_names_nobody_stays_as_it_came(house: House) -> None:
    body, job_user, event_user = await admitted(house)
    assert "user" not in body and job_user is None and event_user is None
