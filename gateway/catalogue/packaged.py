"""Reads the packaged data files (`data/*.toml`) into models, aliases and the seed prices, and checks them.

A mistake in a file stops the process at start with a ValueError that names the model; nothing is guessed.
"""

import datetime
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple, cast

import msgspec

from gateway.catalogue.model import InputBounds, Model, Price, Provider, Quirks, State
from gateway.money import exact

SEOUL = datetime.timezone(datetime.timedelta(hours=9))

ORDINARY_CAP = 4_096
"""Output tokens reserved for a request without `max_tokens`: several times a long chat answer, and at the dearest
ordinary model still under 500 won, so a small prepaid balance is not locked by one call."""

THINKING_CAP = 16_384
"""The same for a model that thinks by itself: thinking is output too, and commonly takes thousands of tokens
before the first word of the answer."""

IMAGE_CAP = 8_192
"""The same for a model that draws: one image is some 1,300 to 2,000 output tokens, and several may come."""


class Builtin(NamedTuple):
    """The packaged catalogue. `retired` maps ids that are no longer sold to their successors."""

    models: Mapping[str, Model]
    aliases: Mapping[str, str]
    prices: tuple[Price, ...]
    retired: Mapping[str, tuple[str, ...]]
    version: str


class _Long(msgspec.Struct, forbid_unknown_fields=True):
    above: int
    input_usd: str
    output_usd: str


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    """One `[[model]]` of models.toml."""

    id: str
    name: str
    profile: str
    upstream: str
    created: str
    context_length: int
    max_output_tokens: int
    input_usd: str
    output_usd: str
    long: _Long | None = None
    image_tokens: int | None = None
    native: bool = True
    state: State = "active"
    successors: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()


class _Profile(msgspec.Struct, forbid_unknown_fields=True):
    """One `[profile.…]` of profiles.toml with all that it extends merged in."""

    provider: Provider
    parameters: frozenset[str]
    vision: bool = False
    image_output: bool = False
    unbounded: bool = False
    bounds: dict[str, int] = {}
    quirks: Quirks = Quirks()
    first_token_timeout_s: float = 10
    idle_timeout_s: float = 10
    total_timeout_s: float = 600


class _ModelsFile(msgspec.Struct, forbid_unknown_fields=True):
    published: str
    model: list[_Row]


class _AliasesFile(msgspec.Struct, forbid_unknown_fields=True):
    krouter: dict[str, str]
    spellings: dict[str, str]


class _RetiredFile(msgspec.Struct, forbid_unknown_fields=True):
    successors: dict[str, tuple[str, ...]]


@cache
def builtin() -> Builtin:
    """The packaged catalogue, read and checked once per process. Raises ValueError for a mistake in the files."""
    listed = msgspec.convert(read_data("models.toml"), _ModelsFile)
    aliases = msgspec.convert(read_data("aliases.toml"), _AliasesFile)
    retired = msgspec.convert(read_data("retired.toml"), _RetiredFile).successors
    profiles = cast("dict[str, dict[str, Any]]", read_data("profiles.toml")["profile"])
    models = {row.id: _model(order, row, profiles) for order, row in enumerate(listed.model)}
    if len(models) != len(listed.model):
        raise ValueError("models.toml: a model is listed twice")
    published = datetime.datetime.fromisoformat(listed.published).replace(tzinfo=SEOUL)
    prices = tuple(_price(row, int(published.timestamp()) * 1000, listed.published) for row in listed.model)
    names = {**aliases.krouter, **aliases.spellings}
    _check_references(models, names, retired)
    return Builtin(models, names, prices, retired, listed.published)


def output_cap(
    thinks: Literal["never", "asked", "always"],
    image_output: bool,
    max_output_tokens: int,
) -> int:
    """What to reserve, in output tokens, for a request that names no `max_tokens`."""
    if thinks == "always":
        cap = THINKING_CAP
    else:
        cap = IMAGE_CAP if image_output else ORDINARY_CAP
    return min(cap, max_output_tokens)


def read_data(name: str) -> dict[str, Any]:
    """A packaged data file."""
    return tomllib.loads(files("gateway.catalogue").joinpath("data", name).read_text("utf-8"))


def _model(order: int, row: _Row, profiles: Mapping[str, dict[str, Any]]) -> Model:
    try:
        profile = msgspec.convert(_resolved(row.profile, profiles), _Profile)
    except (KeyError, msgspec.ValidationError) as mistake:
        raise ValueError(f"{row.id}: profile {row.profile}: {mistake}") from mistake
    created = datetime.datetime.fromisoformat(row.created).replace(tzinfo=datetime.UTC)
    bounds = dict(profile.bounds)
    if row.image_tokens is not None:
        bounds["image"] = row.image_tokens
    return Model(
        id=row.id,
        name=row.name,
        order=order,
        owned_by=row.id.partition("/")[0],
        created=int(created.timestamp()),
        context_length=row.context_length,
        max_output_tokens=row.max_output_tokens,
        default_output_cap=output_cap(profile.quirks.thinks, profile.image_output, row.max_output_tokens),
        provider=profile.provider,
        upstream_id=row.upstream,
        native=row.native,
        state=row.state,
        parameters=profile.parameters,
        vision=profile.vision,
        image_output=profile.image_output,
        input_bounds=None if profile.unbounded else msgspec.convert(bounds, InputBounds),
        quirks=profile.quirks,
        successors=row.successors,
        fallbacks=row.fallbacks,
        first_token_timeout_s=profile.first_token_timeout_s,
        idle_timeout_s=profile.idle_timeout_s,
        total_timeout_s=profile.total_timeout_s,
    )


def _resolved(name: str, profiles: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A profile with its ancestors merged in: tables one level deep, `add` and `drop` on the parameters."""
    own = dict(profiles[name])
    parent: str | None = own.pop("extends", None)
    add, drop = set(own.pop("add", ())), set(own.pop("drop", ()))
    merged: dict[str, Any] = _resolved(parent, profiles) if parent else {"parameters": []}
    inherited: set[str] = set(merged["parameters"])
    if absent := drop - inherited:
        raise ValueError(f"profile {name} drops what it does not have: {sorted(absent)}")
    for key, value in own.items():
        if key in {"quirks", "bounds"}:
            merged[key] = {**merged.get(key, {}), **value}
        else:
            merged[key] = value
    if parent:
        merged["parameters"] = sorted((inherited | add) - drop)
    return merged


def _price(row: _Row, from_ms: int, published: str) -> Price:
    return Price(
        id=f"{row.id}@{published}",
        model=row.id,
        effective_from_ms=from_ms,
        input_usd=exact(row.input_usd),
        output_usd=exact(row.output_usd),
        threshold=row.long.above if row.long else None,
        over_input_usd=exact(row.long.input_usd) if row.long else None,
        over_output_usd=exact(row.long.output_usd) if row.long else None,
    )


def _check_references(
    models: Mapping[str, Model],
    aliases: Mapping[str, str],
    retired: Mapping[str, tuple[str, ...]],
) -> None:
    """Every name that stands for a model leads to one, and none hides one."""
    if hidden := (set(aliases) | set(retired)) & set(models) or set(aliases) & set(retired):
        raise ValueError(f"names with two meanings: {sorted(hidden)}")
    targets = {**{name: (target,) for name, target in aliases.items()}, **retired}
    for model in models.values():
        targets[model.id] = model.successors + model.fallbacks
        if model.id in targets[model.id]:
            raise ValueError(f"{model.id} stands in for itself")
    for name, ids in targets.items():
        if lost := set(ids) - set(models):
            raise ValueError(f"{name} leads to unknown models: {sorted(lost)}")
