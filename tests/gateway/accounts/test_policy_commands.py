"""`wonrouter member`, `words` and `pii` as people and scripts call them."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from gateway.accounts import keys, people
from gateway.accounts.change import OPERATOR, changing
from gateway.accounts.organisations import Organisation
from tests.gateway.accounts.test_commands import Run, answer, run

__all__ = ["run"]


@pytest.fixture
def owner(engine: Engine, redis: Redis, org: Organisation) -> people.Person:
    with changing(engine, redis, OPERATOR) as change:
        made = people.create(change, f"{uuid.uuid4().hex}@example.kr", "김하나", "correct horse")
        people.join(change, org.id, made.id, "owner")
    return made


def test_a_member_is_invited_given_a_role_and_let_go(
    run: Run, org: Organisation, owner: people.Person, engine: Engine, redis: Redis
) -> None:
    invited = answer(run("member", "invite", org.id, "new@example.kr", "--role", "finance", "--json"))
    assert invited["role"] == "finance" and invited["path"].endswith(invited["token"])
    with changing(engine, redis, OPERATOR) as change:
        second = people.create(change, f"{uuid.uuid4().hex}@example.kr", "이둘")
        people.join(change, org.id, second.id, "member")
        key, _ = keys.create(change, org.id, "krouter", {"name": "k"}, created_by=second.id)
    listed = answer(run("member", "list", org.id, "--json"))
    assert {(m["email"], m["role"], m["keys"]) for m in listed} == {
        (owner.email, "owner", 0), (second.email, "member", 1),
    }  # fmt: skip
    assert owner.email in run("member", "list", org.id).output
    assert answer(run("member", "set", org.id, second.email, "--role", "owner", "--json"))["role"] == "owner"
    left = answer(
        run("member", "remove", org.id, second.email, "--keys", "hand_over", "--to", owner.email, "--json")
    )  # fmt: skip
    assert (left["keys"], left["handed_to"]) == ([key.id], owner.id)
    assert [m["person"] for m in answer(run("member", "list", org.id, "--json"))] == [owner.id]
    refused = run("member", "remove", org.id, owner.id)
    assert refused.exit_code == 1 and "owner" in refused.output


def test_a_reset_shows_a_link(run: Run, owner: people.Person) -> None:
    shown = answer(run("member", "reset", owner.email, "--json"))
    assert shown["path"] == f"/console/password#{shown['token']}"
    assert run("member", "reset", "nobody@example.kr").exit_code == 1


def test_words_are_added_imported_listed_and_removed(run: Run, org: Organisation, tmp_path: Path) -> None:
    def said(*arguments: str) -> Any:
        return answer(run("words", *arguments, "--json"))

    assert said("add", org.id, "기밀", "대외비")["count"] == 2
    file = tmp_path / "words.txt"
    file.write_text("\ufeff사내한\n\n기밀\n", encoding="utf-8")
    assert said("import", org.id, str(file)) == {"version": 2, "count": 3, "added": 1, "removed": 0}
    assert said("remove", org.id, "기밀")["removed"] == 1
    assert said("list", org.id) == {"version": 3, "words": ["대외비", "사내한"]}
    assert run("words", "list", org.id).output == "대외비\n사내한\n"
    assert said("import", org.id, str(file), "--replace")["count"] == 2
    file.write_bytes(b"\xb1\xe2\xb9\xd0")
    assert "not UTF-8" in run("words", "import", org.id, str(file)).output


def test_personal_data_is_listed_and_set(run: Run, org: Organisation) -> None:
    assert answer(run("pii", "set", org.id, "mobile", "block", "--json"))["action"] == "block"
    listed = {k["kind"]: k["action"] for k in answer(run("pii", "list", org.id, "--json"))["kinds"]}
    assert (listed["mobile"], listed["passport"], listed["email"]) == ("block", "mask", "off")
    assert "휴대전화번호" in run("pii", "list", org.id).output
    refused = run("pii", "set", org.id, "passport", "off")
    assert refused.exit_code == 1 and "mask or block" in refused.output


def test_a_text_is_tried_without_a_trace(run: Run, org: Organisation, engine: Engine) -> None:
    run("words", "add", org.id, "기밀")
    tried = answer(run("pii", "try", org.id, "기 밀 901010-1234567", "--json"))
    assert (tried["outcome"], tried["text"], tried["words"]) == ("refused", "기 밀 901010-*******", ["기밀"])
    shown = run("pii", "try", org.id, "901010-1234567").output
    assert "901010-*******" in shown and "주민등록번호" in shown and "leaves masked" in shown
    assert "at most" in run("pii", "try", org.id, "x" * 200_001).output
    with engine.connect() as connection:
        assert "1234567" not in repr(connection.execute(text("SELECT * FROM audit_log")).all())
