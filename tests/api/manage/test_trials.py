"""The dry run: everybody may try what they send; nothing of it stays."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from tests.api.manage.conftest import Office

pytestmark = pytest.mark.anyio

TEXT = "기 밀: 901010-1234567, 010-1234-5678"


async def test_owners_see_the_words_and_members_how_many(office: Office) -> None:
    owner = office.someone(office.organisation())
    member = office.someone(owner.org, "member")
    await office.call(owner, "POST", "/forbidden-words", {"words": ["기밀"]})
    tried: dict[str, Any] = (await office.call(owner, "POST", "/privacy/dry-run", {"text": TEXT})).json()
    assert (tried["outcome"], tried["words"]) == ("refused", ["기밀"])
    assert tried["text"] == "기 밀: 901010-*******, 010-1234-5678"
    assert [(hit["kind"], hit["action"], hit["places"]) for hit in tried["hits"]] == [
        ("resident_number", "mask", [[5, 19]]), ("mobile", "off", [[21, 34]]),
    ]  # fmt: skip
    theirs = (await office.call(member, "POST", "/privacy/dry-run", {"text": TEXT})).json()
    assert theirs == tried | {"words": None} and theirs["word_count"] == 1


async def test_a_body_is_tried_as_it_would_be_sent(office: Office) -> None:
    owner = office.someone(office.organisation())
    body = {"model": "m", "messages": [{"role": "user", "content": "M12345678"}]}
    tried = (await office.call(owner, "POST", "/privacy/dry-run", {"body": body})).json()
    assert tried["body"]["messages"][0]["content"] == "M********"
    assert (tried["text"], tried["hits"][0]["location"]) == (None, "messages[0].content")


@pytest.mark.parametrize(
    "body", [{}, {"text": "a", "body": {}}, {"text": "x" * 200_001}, {"body": {"a": "x" * 200_001}}]
)
async def test_one_thing_of_bounded_size_is_tried(office: Office, body: dict[str, Any]) -> None:
    owner = office.someone(office.organisation())
    refused = await office.call(owner, "POST", "/privacy/dry-run", body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "text")


async def test_nothing_of_a_trial_is_written_down(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    owner = office.someone(office.organisation())
    with office.engine.connect() as connection:
        query = text("SELECT (SELECT count(*) FROM audit_log) + (SELECT count(*) FROM access_log)")
        before = connection.execute(query).scalar_one()
        assert (await office.call(owner, "POST", "/privacy/dry-run", {"text": TEXT})).status_code == 200
        assert connection.execute(query).scalar_one() == before
    assert "1234567" not in caplog.text
