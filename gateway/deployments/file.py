"""Reads a deployments file. Every mistake in it is told at once, each with its place.

::

    [[deployment]]
    model = "openai/gpt-4o"          # a model of the catalogue
    api_key = "env:OPENAI_API_KEY"   # read when the file is applied; a literal key is refused
    provider = "openai"              # default: the model's maker
    base_url = "https://…"           # default: the provider's
    upstream_model = "gpt-4o"        # default: the maker's own name
    weight = 1                       # share of the calls; 0 drains
    region = "kr"
    domestic = false                 # answers from within Korea
    no_training = false              # contractually does not train on requests
    options = { path = "/chat/completions", first_token_timeout_s = "60" }
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from gateway.catalogue.model import Model
from gateway.deployments.deployment import LONGEST_LIMIT_S, TIME_LIMITS, Deployment
from gateway.deployments.providers import known

MOST_WEIGHT = 1_000
"""Shares finer than a thousandth would not show within the calls of a minute."""
ENVIRONMENT = "env:"


class MistakesInFile(ValueError):
    """The file cannot be applied; `mistakes` lists why, one line each."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    provider: str | None = None
    base_url: str | None = None
    api_key: str = ""
    upstream_model: str | None = None
    weight: int = 1
    region: str | None = None
    domestic: bool | None = None
    no_training: bool | None = None
    options: dict[str, str] = {}


def parse(text: str, models: Mapping[str, Model], environ: Mapping[str, str]) -> list[Deployment]:
    """The file's deployments, keys read from `environ`. Raises `MistakesInFile`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MistakesInFile([f"not TOML: {error}"]) from error
    mistakes = [
        f"unknown table or key {name!r}: deployments stand under [[deployment]]"
        for name in document
        if name != "deployment"
    ]
    entries = document.get("deployment", [])
    if not isinstance(entries, list):
        raise MistakesInFile([*mistakes, "write [[deployment]] with two brackets on each side: it is a list"])
    found: list[Deployment] = []
    for number, entry in enumerate(cast("list[Any]", entries), 1):
        try:
            found.append(_deployment(msgspec.convert(entry, _Entry), models, environ))
        except msgspec.ValidationError as error:
            mistakes.append(f"deployment {number}: {error}")
        except MistakesInFile as wrong:
            mistakes += [f"deployment {number}: {mistake}" for mistake in wrong.mistakes]
    if mistakes:
        raise MistakesInFile(mistakes)
    return named(found)


def _deployment(entry: _Entry, models: Mapping[str, Model], environ: Mapping[str, str]) -> Deployment:
    model = models.get(entry.model)
    if model is None:
        near = difflib.get_close_matches(entry.model, models, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise MistakesInFile([f"model {entry.model!r} is not in the catalogue{hint}"])
    provider = entry.provider or model.provider
    host = known().get(provider)
    mistakes: list[str] = []
    base_url = entry.base_url or (host.base_url if host else "")
    if not base_url:
        mistakes.append(f"provider {provider!r} is not known here, so base_url has to say where it is")
    elif provider != "sandbox":
        mistakes += _wrong_url(base_url)
    key = _key(entry, provider, environ, mistakes)
    if not 0 <= entry.weight <= MOST_WEIGHT:
        mistakes.append(f"weight {entry.weight} is not between 0 and {MOST_WEIGHT}")
    mistakes += _wrong_limits(entry.options)
    if mistakes:
        raise MistakesInFile(mistakes)
    return Deployment(
        id="",
        model=model.id,
        provider=provider,
        base_url=base_url,
        upstream_model=entry.upstream_model or model.upstream_id,
        api_key=key,
        weight=entry.weight,
        region=entry.region,
        domestic=(host.domestic if host else False) if entry.domestic is None else entry.domestic,
        no_training=(host.no_training if host else False) if entry.no_training is None else entry.no_training,
        options=entry.options,
    )


def _wrong_url(base_url: str) -> list[str]:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [f"base_url {base_url!r} is not an http or https address"]
    if parts.username or parts.password:
        return ["base_url carries a password; the key belongs into api_key"]
    if parts.query or parts.fragment:
        return [f"base_url {base_url!r} must end with its path"]
    return []


def _wrong_limits(options: Mapping[str, str]) -> list[str]:
    mistakes: list[str] = []
    for name in TIME_LIMITS:
        if name in options:
            try:
                seconds = float(options[name])
            except ValueError:
                seconds = 0.0
            if not 0 < seconds <= LONGEST_LIMIT_S:
                mistakes.append(f"options.{name} is not between 0 and {LONGEST_LIMIT_S:g} seconds")
    return mistakes


def _key(entry: _Entry, provider: str, environ: Mapping[str, str], mistakes: list[str]) -> str:
    if entry.api_key.startswith(ENVIRONMENT):
        name = entry.api_key.removeprefix(ENVIRONMENT)
        if not environ.get(name):
            mistakes.append(f"environment variable {name} is not set, and api_key asks for it")
        return environ.get(name, "")
    if entry.api_key and provider != "sandbox":
        mistakes.append("api_key holds a key itself; write env:NAME and keep the key out of the file")
    if not entry.api_key and provider != "sandbox" and entry.base_url is None:
        mistakes.append("api_key is missing (env:NAME); only a server of your own, named by base_url, may go without")
    return entry.api_key


def named(found: list[Deployment]) -> list[Deployment]:
    """The deployments with ids that stay the same when the same file is applied again.

    The id follows from everything that makes it another way to the model, the key's hash included; a weight or a
    region may change without making it another. Two equal entries are told apart by their order.
    """
    seen: Counter[str] = Counter()
    result: list[Deployment] = []
    for deployment in found:
        key_hash = hashlib.sha256(deployment.api_key.encode()).hexdigest()
        parts = (deployment.model, deployment.provider, deployment.base_url, deployment.upstream_model, key_hash)
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
        seen[digest] += 1
        suffix = f"-{seen[digest]}" if seen[digest] > 1 else ""
        result.append(msgspec.structs.replace(deployment, id=f"{deployment.provider}-{digest}{suffix}"))
    return result
