"""What leaves for a provider: masked, refused, or byte for byte what came."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.wire import keys
from tests.api.conftest import KEY, MODEL, House, bearer

pytestmark = pytest.mark.anyio


async def sent(house: House, content: str, **fields: Any) -> bytes:
    """The body that a worker gets for a prompt."""
    client = asyncio.create_task(house.ask(messages=[{"role": "user", "content": content}], **fields))
    taken = await house.worker.take()
    await taken.end()
    assert (await client).status_code == 200
    return taken.job.body


async def test_a_registration_number_is_masked_before_anything_leaves(house: House) -> None:
    body = msgspec.json.decode(await sent(house, "제 번호는 901010-1234567입니다"))
    assert body["messages"][0]["content"] == "제 번호는 901010-*******입니다"


async def test_a_large_body_is_masked_too(house: House) -> None:
    body = msgspec.json.decode(await sent(house, "가" * 40_000 + " 901010-1234567"))
    assert body["messages"][0]["content"].endswith(" 901010-*******")


async def test_a_body_without_personal_data_goes_on_byte_for_byte(house: House) -> None:
    raw = b'{"model":"openai/gpt-4o", "messages":[{"role":"user","content":"\\uc548\\ub155"}],"x":1.0}'
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    client = asyncio.create_task(house.client.post("/api/v1/chat/completions", content=raw, headers=headers))
    taken = await house.worker.take()
    await taken.end()
    await client
    assert taken.job.body == raw


async def test_a_kind_that_the_organisation_blocks_is_refused(house: House) -> None:
    house.book.change(KEY, mask_kinds={"email": "block"})
    answer = await house.ask(messages=[{"role": "user", "content": "kim@example.com"}])
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "forbidden_content"
    assert "kim@" not in answer.text


async def test_a_forbidden_word_is_refused_with_the_documented_message(house: House) -> None:
    house.book.forbidden = ["기밀"]
    house.book.change(KEY, words_version=1)
    answer = await house.ask(messages=[{"role": "user", "content": "이것은 기 밀 자료"}])
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("forbidden_content", "forbidden_content")
    assert error["message"] == "사내 금지어가 포함되어 있습니다"
    assert b"hello" in await sent(house, "hello 이야기 밀가루")


async def test_a_changed_word_list_is_loaded_again(house: House) -> None:
    house.book.forbidden = ["기밀"]
    house.book.change(KEY, words_version=1)
    assert (await house.ask(messages=[{"role": "user", "content": "기밀"}])).status_code == 400
    house.book.forbidden = ["기밀", "극비"]
    house.book.change(KEY, words_version=2)
    house.parts.identities.expire_all()
    assert (await house.ask(messages=[{"role": "user", "content": "극비"}])).status_code == 400


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
async def test_a_rule_that_the_window_knows_binds_a_front_end_that_has_not_heard_of_it(busy: House, path: str) -> None:
    async def asked(words: str) -> int:
        prompt: dict[str, Any] = {"messages": [{"role": "user", "content": words}]}
        body = {"model": MODEL, **(prompt if path.startswith("chat") else {"prompt": ["hello", words]})}
        return (await busy.client.post(f"/api/v1/{path}", json=body, headers=bearer(KEY))).status_code

    assert (await busy.ask()).status_code == 200  # the identity is remembered from here on
    busy.book.forbidden = ["기밀"]
    changes: list[dict[str, Any]] = [{"words_version": 1}, {"mask_kinds": {"email": "block"}}]
    for version, (change, refused) in enumerate(zip(changes, ("기밀", "kim@example.com"), strict=True), 2):
        identity = busy.book.change(KEY, org_version=version, **change)
        await busy.redis.hset(keys.org(identity.org_id), "v", version)
        assert await asked(refused) == 400
        assert (await busy.ask()).status_code == 200


async def test_words_that_cannot_be_had_refuse_the_call(house: House) -> None:
    house.book.forbidden = ["기밀"]
    house.book.change(KEY, words_version=1)
    assert (await house.ask(messages=[{"role": "user", "content": "기밀"}])).status_code == 400
    house.book.change(KEY, words_version=2)
    house.parts.identities.expire_all()
    real = house.book.words

    async def away(org_id: str) -> tuple[int, list[str]]:
        house.book.away = True
        try:
            return await real(org_id)
        finally:
            house.book.away = False

    house.book.words = away  # pyright: ignore[reportAttributeAccessIssue]
    assert (await house.ask()).status_code == 503


async def test_calls_that_want_a_new_list_at_once_fetch_it_once(house: House) -> None:
    house.book.forbidden = ["기밀"]
    house.book.change(KEY, words_version=1)
    fetched = 0
    real = house.book.words

    async def counted(org_id: str) -> tuple[int, list[str]]:
        nonlocal fetched
        fetched += 1
        await asyncio.sleep(0)
        return await real(org_id)

    house.book.words = counted  # pyright: ignore[reportAttributeAccessIssue]
    answers = await asyncio.gather(*(house.ask(messages=[{"role": "user", "content": "기밀"}]) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {400}
    assert fetched == 1
