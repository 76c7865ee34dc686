"""Every command that the documentation names can be typed."""

from __future__ import annotations

import re

import click

from gateway.cli import root
from tests.tidy.source import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = re.compile(r"wonrouter ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?")


def test_documented_commands_exist() -> None:
    group = root()
    known = {name: group.get_command(click.Context(group), name) for name in group.list_commands(click.Context(group))}
    wrong: set[str] = set()
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for quoted in re.findall(r"`([^`\n]+)`", text):
            if match := NAMED.fullmatch(quoted) or NAMED.match(quoted):
                command = known.get(match[1])
                named = f"{path.name}: wonrouter {match[1]} {match[2] or ''}"
                if command is None or (
                    isinstance(command, click.Group) and match[2] and match[2] not in command.commands
                ):
                    wrong.add(named)
    assert wrong == set()
