"""The `wonrouter` command. Every part of the system brings its own subcommands by entry point.

Parts are imported only when one of their commands is wanted, so that `wonrouter --help` and short commands start fast
and a part that is not installed, or broken, takes no other part's commands with it.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

import click

from gateway.installation import DEFAULT_STATE, STATE_VARIABLE, NoInstallationError

COMMAND_GROUP = "wonrouter.commands"
OWN = {
    "up": "gateway.up.command:up",
    "restart": "gateway.up.restart:restart",
    "backup": "gateway.backup.command:backup",
    "restore": "gateway.backup.command:restore",
}
"""Commands that run the engines themselves, and so stand above what the parts bring."""


class Parts:
    """The commands that entry points offer: each names a list of click commands. Nothing is loaded before its time."""

    def __init__(self, targets: dict[str, str]) -> None:
        self._targets = targets
        self._loaded: dict[str, dict[str, click.Command]] = {}
        self.failures: dict[str, str] = {}

    def find(self, name: str) -> click.Command | None:
        """The command called `name`, loading parts from the likeliest on until one has it."""
        for part in sorted(self._targets, key=lambda part: (not part.startswith(name), part != "gateway", part)):
            if command := self._load(part).get(name):
                return command
        return None

    def names(self) -> list[str]:
        return sorted(name for part in self._targets for name in self._load(part))

    def _load(self, part: str) -> dict[str, click.Command]:
        if part not in self._loaded:
            module, _, attribute = self._targets[part].partition(":")
            try:
                commands = cast(Sequence[click.Command], getattr(import_module(module), attribute))
            except Exception as error:  # noqa: BLE001 whatever a part's import does, the others must go on
                self.failures[part] = f"{module}: {type(error).__name__}: {error}"
                commands = ()
            self._loaded[part] = {str(command.name): _with_state(command) for command in commands}
        return self._loaded[part]


class Root(click.Group):
    """Our own first, then whatever the parts offer."""

    def __init__(self, parts: Parts, **settings: object) -> None:
        super().__init__(**settings)  # pyright: ignore[reportArgumentType]
        self._parts = parts

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in OWN:
            module, _, attribute = OWN[cmd_name].partition(":")
            return _with_state(getattr(import_module(module), attribute))
        return self._parts.find(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*OWN, *self._parts.names()})

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(error.message + self._failures(), ctx) from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if failures := self._failures():
            formatter.write(failures + "\n")

    def _failures(self) -> str:
        lines = [f"\n  {part} ({reason})" for part, reason in self._parts.failures.items()]
        return "\nThese parts could not be loaded:" + "".join(lines) if lines else ""


def _with_state(command: click.Command) -> click.Command:
    """Let `--state` stand after the subcommand too, where people write it."""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _with_state(child)
    elif not any(parameter.name == "state" for parameter in command.params):
        command.params.append(_state_option())
    return command


def _state_option() -> click.Option:
    return click.Option(
        ["--state"],
        type=click.Path(path_type=Path, file_okay=False),
        callback=_remember_state,
        expose_value=False,
        help=f"Folder of the running installation [default: ${STATE_VARIABLE}, else {DEFAULT_STATE}].",
    )


def _remember_state(_ctx: click.Context, _option: click.Parameter, value: Path | None) -> None:
    # The environment is how every command, and every process it starts, learns of it.
    if value is not None:
        os.environ[STATE_VARIABLE] = str(value)


def _registered_parts() -> dict[str, str]:
    """Name to "module:attribute". A checkout that runs without being installed reads its own pyproject."""
    if found := {point.name: point.value for point in entry_points(group=COMMAND_GROUP)}:
        return found
    project = Path(__file__).resolve().parents[1] / "pyproject.toml"
    if not project.exists():
        return {}
    return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["entry-points"][COMMAND_GROUP]


def root() -> click.Group:
    return Root(
        Parts(_registered_parts()),
        name="wonrouter",
        params=[_state_option()],
        help="One gateway, one key, one bill in won.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )


def main() -> None:
    try:
        root()()
    except Exception as error:
        if (words := _in_words(error)) is None:
            raise
        click.echo(f"Error: {words}", err=True)
        sys.exit(1)


def _in_words(error: Exception) -> str | None:
    """What an operator can mend, in a line; None for what is ours."""
    from pydantic import ValidationError
    from sqlalchemy.exc import OperationalError

    from gateway.settings import Settings, in_words

    match error:
        case NoInstallationError():
            return str(error)
        case ValidationError() if error.title == Settings.__name__:
            return in_words(error)
        case OperationalError(statement=None):  # no statement was sent: there was no connection
            return f"PostgreSQL does not answer: {str(error.orig).partition(chr(10))[0]}"
        case _:
            return None


if __name__ == "__main__":
    main()
