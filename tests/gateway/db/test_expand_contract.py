"""While an upgrade goes on, code of two releases works on one schema: it may only grow, until nobody uses what goes."""

from __future__ import annotations

import copy
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.db.schema import broken, shape

RELEASED: dict[str, Any] = json.loads(Path(__file__).with_name("released.json").read_text())

_TAKES_AWAY = re.compile(
    r"\bop\.(drop_|rename_|alter_column)|\bDROP\s+(TABLE|COLUMN|VIEW|FUNCTION|TYPE|SCHEMA)\b|\bRENAME\s+(TO|COLUMN)\b"
    r"|\bSET\s+NOT\s+NULL\b|\bALTER\s+COLUMN\s+\w+\s+(SET\s+DATA\s+)?TYPE\b|\bREVOKE\b",
    re.IGNORECASE,
)
_KNOWN_BY_THE_RELEASE = "0016_retention"
"""Migrations up to here are those that the first release brings: nobody ran code of an earlier one."""


_VERSIONS = Path(str(resources.files("gateway.db"))) / "migrations" / "versions"
_CONTRACT = re.compile(r'^contract = "(.+)"$', re.MULTILINE)


def migrations() -> list[Path]:
    return [path for path in sorted(_VERSIONS.glob("[0-9]*.py")) if path.stem > _KNOWN_BY_THE_RELEASE]


def taken_away(source: str) -> list[str]:
    """The words of a migration that take something away; what only its downgrade says does not count."""
    upward = re.split(r"^def downgrade\(", source, flags=re.MULTILINE)[0]
    return [match[0] for match in _TAKES_AWAY.finditer(upward)]


def test_code_of_the_last_release_works_on_the_newest_schema(database_url: str) -> None:
    assert broken(RELEASED, shape(database_url)) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tables: tables.pop("price"), "table price is gone"),
        (lambda tables: tables["price"].pop("model"), "column price.model is gone"),
        (
            lambda tables: tables["price"].update(model=["int8", False, False]),
            "column price.model was text and is int8",
        ),
        (
            lambda tables: tables["price"].update(new=["text", False, False]),
            "column price.new is new, and rows without",
        ),
        (
            lambda tables: tables["person"].update(password_hash=["text", False, True]),
            "column person.password_hash may not",
        ),
    ],
)
def test_whatever_the_last_release_would_trip_over_is_found(database_url: str, change: Any, says: str) -> None:
    now = shape(database_url)
    change(now["tables"])
    assert [found for found in broken(RELEASED, now) if found.startswith(says)]


def test_what_the_release_does_not_use_may_go(database_url: str) -> None:
    released, now = copy.deepcopy(RELEASED), shape(database_url)
    now["tables"]["price"].pop("source")
    now["rights"] = RELEASED["rights"]
    assert broken(released, now) == ["column price.source is gone"]
    released["unused"] = ["price.source"]
    assert broken(released, now) == []


@pytest.mark.parametrize("path", migrations(), ids=lambda path: path.stem)
def test_a_migration_that_takes_something_away_names_the_release_that_stopped_using_it(path: Path) -> None:
    source = path.read_text()
    words, contract = taken_away(source), _CONTRACT.findall(source)
    assert not words or contract, f"it says {words}: expand first, and contract a release later (docs/upgrades.md)"
    assert contract in ([], [RELEASED["release"]]), "only what the last release does not use may go"


def test_words_that_take_away_are_seen_and_a_downgrades_are_not() -> None:
    assert taken_away("def upgrade():\n    op.drop_column('a', 'b')\n") == ["op.drop_"]
    assert taken_away("SQL = 'ALTER TABLE a ALTER COLUMN b SET NOT NULL'") == ["SET NOT NULL"]
    assert taken_away("def upgrade():\n    op.add_column()\n\n\ndef downgrade() -> None:\n    op.drop_column()\n") == []
