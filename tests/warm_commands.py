"""`wonrouter` commands without the two seconds that each spends on imports.

A process that has imported everything forks a child for each command: the child is a whole process of its own, as the
command is for an operator. Tests that look at the books dozens of times stay quick.
"""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, NamedTuple

_ROOT = Path(__file__).resolve().parents[1]
_IMPORTED_FIRST = (
    "gateway.cli",
    "gateway.commands",
    "billing.cli",
    "billing.topups",
    "billing.usage",
    "billing.window",
)


class Done(NamedTuple):
    """What a command left."""

    code: int
    output: str
    errors: str


class WarmCommands:
    """Runs commands one at a time; `close` ends the process behind it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm_commands"],
            cwd=_ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Done:
        """`wonrouter ARGUMENTS`. Raises RuntimeError when the process behind has gone."""
        stdin, stdout = self._pipes()
        with tempfile.TemporaryDirectory() as folder:
            stdin.write(json.dumps({"arguments": arguments, "folder": folder}) + "\n")
            stdin.flush()
            line = stdout.readline()
            if not line:
                raise RuntimeError("the process that runs commands has ended")
            texts = [(Path(folder) / name).read_text() for name in ("output", "errors")]
        return Done(int(line), *texts)

    def close(self) -> None:
        for pipe in self._pipes():
            pipe.close()
        self._process.wait(60)

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin and self._process.stdout
        return self._process.stdin, self._process.stdout


def _child(arguments: list[str], folder: Path) -> int:
    """Becomes the command; returns its exit code."""
    from gateway.cli import main

    for name, number in (("output", 1), ("errors", 2)):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, number)
    sys.argv = ["wonrouter", *arguments]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 whatever it was, it is this command's end and not the caller's
        traceback.print_exc()
        return 1
    return 0


def _serve() -> None:
    for module in _IMPORTED_FIRST:
        import_module(module)
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = _child(wanted["arguments"], Path(wanted["folder"]))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
