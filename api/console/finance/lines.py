"""The lines of a document, summed up by what people ask for: by model, by key, by app."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from gateway.money import EXACT, exact

SUMMED = ("model", "key_name", "app")
MOST = 100
"""Rows of one table on the page: the file has every line."""


class Grouped(msgspec.Struct):
    """All lines with one label. ``exact`` to the last digit; supply and VAT whole won."""

    label: str
    calls: int = 0
    prompt: int = 0
    completion: int = 0
    exact: Decimal = Decimal(0)
    supply: int = 0
    vat: int = 0


def by_each(content: dict[str, Any]) -> dict[str, list[Grouped]]:
    """The document's lines by each of ``SUMMED``, the dearest first."""
    return {name: _by(content["lines"], name)[:MOST] for name in SUMMED}


def _by(lines: list[dict[str, Any]], name: str) -> list[Grouped]:
    found: dict[str, Grouped] = {}
    for line in lines:
        group = found.setdefault(line[name] or "", Grouped(line[name] or ""))
        group.calls += line["calls"]
        group.prompt += line["prompt"]
        group.completion += line["completion"]
        group.exact = EXACT.add(group.exact, exact(line["exact"]))
        group.supply += line["supply"]
        group.vat += line["vat"]
    return sorted(found.values(), key=lambda group: (-group.exact, group.label))
