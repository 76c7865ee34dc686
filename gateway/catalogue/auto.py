"""What a request needs of a model, and kr/auto: the choice by rules that are data. Pure.

The rules are in data/auto.toml; a mistake in it stops the process at start with a ValueError.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache

import msgspec

from gateway.catalogue.model import Model, Price
from gateway.catalogue.packaged import builtin, read_data
from gateway.catalogue.pricing import tier_of


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks of a model. `input_tokens` is an estimate that is rather too high than too low."""

    vision: bool = False
    tools: bool = False
    schema: bool = False
    several: bool = False
    korean: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    """As the client limited it; 0: it did not."""


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule's condition; what is not named does not matter."""

    vision: bool = False
    tools: bool = False
    schema: bool = False
    korean: bool = False
    input_above: int = 0

    def fits(self, needs: Needs) -> bool:
        """Whether the rule is about such a request."""
        named = (("vision", self.vision), ("tools", self.tools), ("schema", self.schema), ("korean", self.korean))
        return all(getattr(needs, name) for name, asked in named if asked) and needs.input_tokens >= self.input_above


class Grades(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Grades from 1 to 5; as a rule's `least`, 0 asks for nothing."""

    general: int = 0
    korean: int = 0

    def reaches(self, least: "Grades") -> bool:
        """Whether both are at least as high."""
        return self.general >= least.general and self.korean >= least.korean


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which grades a kind of request takes."""

    name: str
    least: Grades
    when: When = When()


class _Graded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    general: int
    korean: int


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    expected_output: int
    stand_by: int
    rule: tuple[Rule, ...]
    model: tuple[_Graded, ...]


class Condition(msgspec.Struct, frozen=True):
    """How a model is doing. `down`: nobody may call it now. `errors`: failed calls in 10,000, of late."""

    down: bool = False
    errors: int = 0


WELL = Condition()
MOST_ERRORS = 9_000
"""A model that fails more often counts as one that fails so often: ten times its price is far enough behind."""


class Choice(msgspec.Struct, frozen=True):
    """Models in order of preference, and why: for the header `x-wonrouter-auto`."""

    models: tuple[str, ...]
    why: str


@cache
def rules() -> Rules:
    """The packaged rules. Raises ValueError for a mistake in the file."""
    found = msgspec.convert(read_data("auto.toml"), Rules)
    known = builtin().models
    for graded in found.model:
        if graded.id not in known:
            raise ValueError(f"auto.toml: {graded.id} is no model of models.toml")
        if not (1 <= graded.general <= 5 and 1 <= graded.korean <= 5):
            raise ValueError(f"auto.toml: {graded.id} has a grade outside 1 to 5")
    if not found.rule or found.rule[-1].when != When():
        raise ValueError("auto.toml: the last rule must fit every request")
    return found


def able(model: Model, needs: Needs) -> bool:
    """Whether a model can do what a request needs at all."""
    return (
        (model.vision or not needs.vision)
        and (model.supports("tools") or not needs.tools)
        and ((model.supports("response_format") and model.quirks.json_schema) or not needs.schema)
        and (model.supports("n") or not needs.several)
        and needs.output_tokens <= model.max_output_tokens
        and needs.input_tokens + (needs.output_tokens or 1) <= model.context_length
    )


def choose(
    needs: Needs,
    offered: Mapping[str, tuple[Model, Price]],
    health: Mapping[str, Condition] | None = None,
    by: Rules | None = None,
) -> Choice | None:
    """The models for a request, the preferred one first; None where no offered one is able.

    A model that is down is chosen only where all are. One that fails now and then counts as dearer: at what an answer
    costs, divided by the share of calls that get one.

    Args:
        offered: what this caller may use and reach now, each with the price in force.
        health: how the models are doing; one that is not named is well.
    """
    health = health or {}
    by = by or rules()
    rule = next(rule for rule in by.rule if rule.when.fits(needs))
    fitting = [
        (graded, model, _weighed(cost_of(needs, price, by.expected_output), health.get(graded.id, WELL)))
        for graded in by.model
        if (there := offered.get(graded.id)) is not None
        for model, price in (there,)
        if able(model, needs)
    ]
    if not fitting:
        return None
    up = [each for each in fitting if not health.get(each[0].id, WELL).down]
    down = [each[0].id for each in fitting if health.get(each[0].id, WELL).down] if up else []
    fitting = up or fitting
    good = [each for each in fitting if Grades(each[0].general, each[0].korean).reaches(rule.least)]
    met = bool(good)
    if not good:  # nobody is good enough: the best there is
        fitting.sort(key=lambda each: (-(each[0].korean if needs.korean else 0) - each[0].general, each[2]))
        good = fitting
    else:
        good.sort(key=lambda each: each[2])
    models = tuple(model.id for _, model, _ in good[: by.stand_by])
    why = _why(rule, needs, models[0], len(good), met)
    return Choice(models, f"{why};down={'+'.join(down)}" if down else why)


def cost_of(needs: Needs, price: Price, expected_output: int) -> Decimal:
    """What an answer would cost, in micro-USD."""
    _, input_usd, output_usd = tier_of(needs.input_tokens, price)
    return input_usd * needs.input_tokens + output_usd * min(needs.output_tokens or expected_output, expected_output)


def _weighed(cost: Decimal, condition: Condition) -> Decimal:
    return cost * 10_000 / (10_000 - min(condition.errors, MOST_ERRORS))


def _why(rule: Rule, needs: Needs, chosen: str, count: int, met: bool) -> str:
    wanted: Sequence[str] = [
        name for name in ("vision", "tools", "schema", "several", "korean") if getattr(needs, name)
    ] or ["text"]
    reason = "cheapest" if met else "best-available"
    return f"{chosen};rule={rule.name};needs={'+'.join(wanted)};input={needs.input_tokens};{reason}-of={count}"
