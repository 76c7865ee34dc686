"""What a client may write for `model`, and what it is told otherwise."""

import dataclasses

import msgspec
import pytest

from gateway.catalogue.model import State, Surface, UnknownModel
from gateway.catalogue.snapshot import Snapshot


def suggestions(snapshot: Snapshot, asked: str, surface: Surface = "bizrouter") -> list[str]:
    with pytest.raises(UnknownModel) as raised:
        snapshot.resolve(asked, surface)
    return raised.value.suggestions


@pytest.mark.parametrize("surface", ["bizrouter", "krouter"])
@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("kr/gpt4o", "openai/gpt-4o"),
        ("kr/claude-sonnet", "anthropic/claude-sonnet-4.5"),
        ("anthropic/claude-3-5-sonnet", "anthropic/claude-3.5-sonnet"),
        ("anthropic/claude-3-7-sonnet", "anthropic/claude-3.7-sonnet"),
        ("sandbox/echo", "sandbox/echo"),
    ],
)
def test_ids_and_aliases_lead_to_their_model_on_both_surfaces(
    listed: Snapshot, asked: str, model: str, surface: Surface
) -> None:
    assert listed.resolve(asked, surface).id == model


def test_every_alias_leads_to_an_active_model(listed: Snapshot) -> None:
    assert {listed.resolve(alias, "krouter").id for alias in listed.aliases} <= set(listed.models)
    assert len(listed.aliases) > 60


@pytest.mark.parametrize(
    ("asked", "model"), [("gpt-4o", "openai/gpt-4o"), ("o3", "openai/o3"), ("gpt-5-chat-latest", "openai/gpt-5-chat")]
)
def test_bare_openai_ids_are_known_to_krouter_alone(listed: Snapshot, asked: str, model: str) -> None:
    assert listed.resolve(asked, "krouter").id == model
    assert model in suggestions(listed, asked, "bizrouter")


def test_the_documented_answer_to_a_bare_id(listed: Snapshot) -> None:
    with pytest.raises(UnknownModel, match=r"^Model not found: gpt-5$") as raised:
        listed.resolve("gpt-5", "bizrouter")
    assert raised.value.suggestions[0] == "openai/gpt-5"
    assert raised.value.status == 404
    assert raised.value.body()["error"]["details"] == {"suggestions": raised.value.suggestions}


@pytest.mark.parametrize(
    ("asked", "successor"),
    [("openai/gpt-3.5-turbo", "openai/gpt-4o-mini"), ("google/gemini-1.5-pro", "google/gemini-2.5-pro")],
)
def test_models_that_are_no_longer_sold_name_their_successor(listed: Snapshot, asked: str, successor: str) -> None:
    assert suggestions(listed, asked)[0] == successor


def test_a_retired_bare_id_names_its_successor_too(listed: Snapshot) -> None:
    assert suggestions(listed, "gpt-3.5-turbo", "krouter")[0] == "openai/gpt-4o-mini"


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("openai/gpt4o", "openai/gpt-4o"),
        ("OpenAI/GPT-4o", "openai/gpt-4o"),
        ("claude-sonnet-4.5", "anthropic/claude-sonnet-4.5"),
        ("openai/claude-haiku-4.5", "anthropic/claude-haiku-4.5"),
        ("kr/claude-sonet", "kr/claude-sonnet"),
    ],
)
def test_a_slip_is_answered_with_what_was_probably_meant(listed: Snapshot, asked: str, meant: str) -> None:
    assert meant in suggestions(listed, asked)


@pytest.mark.parametrize("asked", ["", "/", "zzzzzzzz", "x" * 100_000, "모델", "openai/", "\x00"])
def test_nonsense_is_unknown_and_cheap(listed: Snapshot, asked: str) -> None:
    assert len(suggestions(listed, asked, "krouter")) <= 5


@pytest.mark.parametrize("state", ["withdrawn", "disabled"])
def test_a_model_that_is_not_active_is_unknown_and_never_suggested(listed: Snapshot, state: State) -> None:
    old = listed.models["anthropic/claude-3-opus"]
    snapshot = dataclasses.replace(listed, models={**listed.models, old.id: msgspec.structs.replace(old, state=state)})
    assert suggestions(snapshot, old.id) == ["anthropic/claude-opus-4.5"]
    assert old.id not in suggestions(snapshot, "claude-3-opus")
    assert old.id.encode() not in snapshot.listing(1765200000000, sandbox=False)


def test_sandbox_models_are_suggested_only_where_they_run(listed: Snapshot) -> None:
    assert suggestions(listed, "sandbox/ecco") == ["sandbox/echo"]
    assert suggestions(dataclasses.replace(listed, available=frozenset[str]()), "sandbox/ecco") == []
