"""What starts whole installations is run by one pytest process."""

from __future__ import annotations

from pathlib import Path

from tests.scheduling import INSTALLATIONS

ROOT = Path(__file__).resolve().parents[2]
STARTS = ("installed(", "RunningInstallation(", "wonrouter_installation", "running_installation")
DEFINE = {"tests/conftest.py", "tests/installation.py", "tests/operating.py", "tests/tidy/test_scheduling.py"}


def test_whatever_starts_an_installation_lies_in_a_room_of_installations() -> None:
    elsewhere = [
        name
        for path in (ROOT / "tests").rglob("*.py")
        if (name := path.relative_to(ROOT).as_posix()) not in DEFINE
        and not name.startswith((*INSTALLATIONS, "tests/bench/"))
        and any(word in path.read_text(encoding="utf-8") for word in STARTS)
    ]
    assert elsewhere == []
