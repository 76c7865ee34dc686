"""The files that the repository tracks, as the tidy checks read them."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "api", "workers", "billing")
_NOT_OURS = {".git", ".venv", ".state", "node_modules", "__pycache__"}


@cache
def tracked() -> tuple[Path, ...]:
    """What git tracks; in an unpacked archive, everything but what is made by running things."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        return tuple(path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file())
    found: list[Path] = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in _NOT_OURS and not name.startswith(".")]
        found += [Path(folder) / name for name in names]
    return tuple(found)


def product_code() -> list[Path]:
    """Python outside tests."""
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] != "tests"]


def text_of(path: Path) -> str | None:
    """The text of a file, None if it holds none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
