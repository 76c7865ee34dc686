"""The command's root: parts are found, and a broken one breaks nobody else."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import Parts, Root


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    (tmp_path / "good_part.py").write_text(
        "import click, os\n"
        "@click.command()\n"
        "def usage(): click.echo('state ' + os.environ['WONROUTER_STATE'])\n"
        "@click.group()\n"
        "def deployments(): ...\n"
        "@deployments.command('list')\n"
        "def list_(): click.echo('state ' + os.environ['WONROUTER_STATE'])\n"
        "commands = [usage, deployments]\n"
    )
    (tmp_path / "broken_part.py").write_text("raise RuntimeError('half written')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("WONROUTER_STATE", "unset")
    return Parts({"gateway": "good_part:commands", "api": "broken_part:commands", "billing": "missing_part:commands"})


def run(parts: Parts, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(Root(parts, name="wonrouter"), list(arguments))
    return result.exit_code, result.output


@pytest.mark.parametrize(
    "line", ["usage --state here", "deployments list --state here", "deployments list --state=here"]
)
def test_the_state_folder_may_follow_the_subcommand(parts: Parts, line: str) -> None:
    assert run(parts, *line.split()) == (0, "state here\n")


def test_a_broken_part_does_not_disturb_the_others(parts: Parts) -> None:
    assert run(parts, "usage") == (0, "state unset\n")


def test_a_command_that_is_not_found_tells_which_parts_failed_and_why(parts: Parts) -> None:
    code, output = run(parts, "api")
    assert code == 2
    assert "half written" in output
    assert "missing_part" in output


def test_the_help_lists_commands_and_failures(parts: Parts) -> None:
    code, output = run(parts, "--help")
    assert code == 0
    assert "usage" in output and "up" in output and "half written" in output


def test_one_of_our_commands_imports_no_other_part() -> None:
    program = (
        "import sys; from gateway.cli import root; root()(['up', '--help'], standalone_mode=False); "
        "print({'api', 'workers', 'billing', 'sqlalchemy', 'celery', 'litestar'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("command", "wrong", "said"),
    [
        ("api", {"WONROUTER_SECRET": "c2hvcnQ="}, "Error: WONROUTER_SECRET: a secret must be 32 bytes in base64"),
        ("worker", {"WONROUTER_SECRETS_ACCEPTED": "c2hvcnQ="}, "Error: WONROUTER_SECRETS_ACCEPTED: a secret must be"),
        ("billing", {"DATABASE_URL": ""}, "Error: DATABASE_URL: "),
        ("secret reseal", {"WONROUTER_PORT": "eighty"}, "Error: PostgreSQL does not answer: "),
        ("alerts set nobody --webhook none", {"WONROUTER_PORT": "eighty"}, "Error: WONROUTER_PORT: Input should be"),
    ],
)  # fmt: skip
def test_what_an_operator_can_mend_is_told_in_a_line_without_a_secret(
    command: str, wrong: dict[str, str], said: str, deaf_port: int
) -> None:
    right = {
        "DATABASE_URL": f"postgresql://u:hidden-word@127.0.0.1:{deaf_port}/d", "REDIS_URL": "redis://127.0.0.1:1",
        "WONROUTER_SECRET": base64.b64encode(bytes(32)).decode(),
    }  # fmt: skip
    environ = {name: value for name, value in {**os.environ, **right, **wrong}.items() if value}
    program = [sys.executable, "-m", "gateway.cli", *command.split()]
    done = subprocess.run(program, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1, done.stderr
    assert "hidden-word" not in done.stderr and "c2hvcnQ" not in done.stderr
