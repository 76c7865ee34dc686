"""The deployments file: what it may say, and what is told about mistakes."""

from __future__ import annotations

import pytest

from gateway.catalogue.packaged import builtin
from gateway.deployments.file import MistakesInFile, parse
from gateway.deployments.providers import dialect_of, known

MODELS = builtin().models
ENVIRON = {"KEY": "sk-secret", "OTHER": "sk-other"}


def entry(**fields: object) -> str:
    lines = {"model": '"openai/gpt-4o"', "api_key": '"env:KEY"', **{k: str(v) for k, v in fields.items()}}
    return "[[deployment]]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items() if value != "None")


def mistakes(text: str) -> list[str]:
    with pytest.raises(MistakesInFile) as caught:
        parse(text, MODELS, ENVIRON)
    return caught.value.mistakes


def test_what_is_left_out_follows_from_the_model() -> None:
    (made,) = parse(entry(), MODELS, ENVIRON)
    assert (made.provider, made.base_url, made.upstream_model) == ("openai", "https://api.openai.com/v1", "gpt-4o")
    assert (made.api_key, made.weight, made.domestic) == ("sk-secret", 1, False)


def test_ids_stay_while_the_way_to_the_model_stays() -> None:
    first, second = parse(entry() + entry(weight=5), MODELS, ENVIRON)
    again = parse(entry(weight=9, region='"kr"'), MODELS, ENVIRON)
    other = parse(entry(api_key='"env:OTHER"'), MODELS, ENVIRON)
    assert first.id == again[0].id
    assert len({first.id, second.id, other[0].id}) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nonsense", "not TOML"),
        ("[deployment]\nmodel = 'x'", "[[deployment]]"),
        ("[[deployments]]\nmodel = 'x'", "unknown table or key 'deployments'"),
        (entry(model='"openai/gpt4o"'), "did you mean openai/gpt-4o"),
        (entry(api_key='"sk-plain"'), "holds a key itself"),
        (entry(api_key='"env:MISSING"'), "environment variable MISSING is not set"),
        (entry(api_key="None"), "api_key is missing"),
        (entry(provider='"acme"'), "base_url has to say"),
        (entry(base_url='"ftp://x"'), "not an http or https"),
        (entry(options='{ idle_timeout_s = "soon" }'), "options.idle_timeout_s is not between 0 and 7200 seconds"),
        (entry(options='{ total_timeout_s = "0" }'), "options.total_timeout_s is not"),
        (entry(options='{ first_token_timeout_s = "inf" }'), "options.first_token_timeout_s is not"),
        (entry(base_url='"https://user:pw@host/v1"'), "password"),
        (entry(base_url='"https://host/v1?key=1"'), "must end with its path"),
        (entry(weight=-1), "not between 0 and 1000"),
        (entry(weight='"heavy"'), "weight"),
        (entry(colour='"red"'), "colour"),
    ],
)
def test_every_mistake_is_told(text: str, told: str) -> None:
    assert any(told in mistake for mistake in mistakes(text)), mistakes(text)


def test_all_mistakes_are_told_at_once_with_their_place() -> None:
    told = mistakes(entry(weight=-1) + entry() + entry(api_key='"env:MISSING"'))
    assert [mistake.split(":")[0] for mistake in told] == ["deployment 1", "deployment 3"]


def test_no_mistake_repeats_a_key() -> None:
    assert "sk-plain" not in "\n".join(mistakes(entry(api_key='"sk-plain"')))


def test_a_server_of_ones_own_may_go_without_a_key() -> None:
    (made,) = parse(entry(api_key="None", provider='"vllm"', base_url='"http://10.0.0.5/v1"'), MODELS, ENVIRON)
    assert made.api_key == ""
    assert dialect_of(made, MODELS["openai/gpt-4o"]) == "openai"


def test_a_host_speaks_its_own_dialect_whatever_the_maker_speaks() -> None:
    claude = next(model for model in MODELS.values() if model.provider == "anthropic")
    text = entry(model=f'"{claude.id}"', provider='"openai"', base_url='"https://host/v1"')
    (elsewhere,) = parse(text, MODELS, ENVIRON)
    (at_home,) = parse(entry(model=f'"{claude.id}"'), MODELS, ENVIRON)
    assert dialect_of(elsewhere, claude) == "openai"
    assert dialect_of(at_home, claude) == "anthropic"


def test_every_provider_of_the_catalogue_has_an_address() -> None:
    assert {model.provider for model in MODELS.values()} <= known().keys()
