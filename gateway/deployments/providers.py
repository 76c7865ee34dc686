"""The providers we know an address of, from `providers.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import msgspec

from gateway.catalogue.model import Model
from gateway.deployments.deployment import Deployment


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One provider: its dialect, its API's address, and the environment variables that may hold its key."""

    dialect: str
    base_url: str
    keys: tuple[str, ...] = ()
    domestic: bool = False
    no_training: bool = False


@cache
def known() -> Mapping[str, Known]:
    """All known providers by name. Raises ValueError for a mistake in the packaged file."""
    text = files("gateway.deployments").joinpath("providers.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Known])


def dialect_of(deployment: Deployment, model: Model) -> str:
    """What a deployment speaks: as its options say, as its maker does, or as the other host does (OpenAI's as a rule)."""
    if named := deployment.options.get("dialect"):
        return named
    if deployment.provider == model.provider:
        return model.quirks.dialect
    host = known().get(deployment.provider)
    return host.dialect if host is not None else "openai"
