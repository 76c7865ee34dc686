"""`wonrouter up` with stand-ins for api, worker and billing, and the real servers."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway import installation

ROOT = Path(__file__).resolve().parents[3]
STANDIN = Path(__file__).with_name("standin.py")


class Up:
    def __init__(self, state: Path, api: int = 1, workers: int = 1, env: dict[str, str] | None = None) -> None:
        self.state = state
        self.process = subprocess.Popen(
            [sys.executable, str(STANDIN), "up", str(state), str(api), str(workers)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ready(self) -> dict[str, Any]:
        """Waits for the line of `--json`."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        return json.loads(line)

    def described(self) -> dict[str, Any]:
        return json.loads((self.state / "up.json").read_text())

    def says(self, text: str) -> str:
        """The next line on standard error that holds `text`."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if text in line:
                return line
        raise AssertionError(f"never said {text!r}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def notes(self) -> list[str]:
        return (self.state / "notes").read_text().splitlines()


Start = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Up] = []

    def begin(**options: Any) -> Up:
        started.append(Up(tmp_path / "state", **options))
        return started[-1]

    yield begin
    for up in started:
        if up.process.poll() is None:
            up.process.kill()
        up.process.communicate()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One for the tests that leave it as whole as they found it."""
    up = Up(tmp_path_factory.mktemp("up") / "state", api=2, workers=2)
    up.ready()
    yield up
    up.end()


def get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def alive(pid: int) -> bool:
    """A zombie is not: where process 1 reaps nobody, an orphan stays one."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (ProcessLookupError, FileNotFoundError):
        return False


@contextmanager
def within(seconds: float, what: str) -> Iterator[Callable[[], None]]:
    """`again()` waits a little, and fails the test when the time is up."""
    deadline = time.monotonic() + seconds

    def again() -> None:
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)

    yield again


def test_up_json_tells_everything_and_only_to_the_owner(running: Up) -> None:
    up = running
    said = up.described()
    assert stat.S_IMODE((up.state / "up.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((up.state / "secrets.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(up.state.stat().st_mode) == 0o700
    promised = {"base_url", "bizrouter_key", "krouter_key", "console_url", "console_email", "console_password"}
    assert promised | {"database_url", "redis_url", "pids"} <= said.keys()
    assert set(said["pids"]) == {"api", "worker", "billing", "redis", "postgres"}
    assert [len(said["pids_all"][role]) for role in ("api", "worker", "billing")] == [2, 2, 1]
    assert all(alive(pid) for pids in said["pids_all"].values() for pid in pids)


def test_each_process_is_told_its_own_database_role_and_the_shared_secret(running: Up) -> None:
    up = running
    said = up.described()
    secret = json.loads((up.state / "secrets.json").read_text())["secret"]
    ports = {"api": said["base_url"].split(":")[2].split("/")[0]}
    ports |= {role: said["metrics_ports"][role][0] for role in ("worker", "billing")}
    for role, port in ports.items():
        told = get(f"http://127.0.0.1:{port}/")["env"]
        assert told["DATABASE_URL"].startswith(f"postgresql://wonrouter_{role}:")
        assert (told["REDIS_URL"], told["WONROUTER_SECRET"]) == (said["redis_url"], secret)
        assert (told["WONROUTER_SANDBOX"], told["WONROUTER_STATE"]) == ("1", str(up.state))
        assert not [name for name in told if name.endswith("_DB_PASSWORD")]


@pytest.mark.parametrize("role", ["api", "worker", "billing", "redis", "postgres"])
def test_a_killed_child_comes_back_and_up_json_says_so(running: Up, role: str) -> None:
    up = running
    before = up.described()
    os.kill(before["pids"][role], signal.SIGKILL)
    up.says(f"{role}{'' if role in ('redis', 'postgres') else ' 1'} is ready")
    after = up.described()
    assert after["pids"][role] != before["pids"][role]
    assert alive(after["pids"][role])
    others = set(before["pids"]) - {role}
    assert {other: after["pids"][other] for other in others} == {other: before["pids"][other] for other in others}
    assert (after["database_url"], after["redis_url"]) == (before["database_url"], before["redis_url"])


def test_while_one_api_process_is_away_the_others_answer(running: Up) -> None:
    up = running
    said = up.described()
    url = said["base_url"]
    os.kill(said["pids"]["api"], signal.SIGKILL)
    answers = {get(url)["pid"] for _ in range(20)}
    up.says("api 1 is ready")
    assert answers <= {said["pids_all"]["api"][1], *up.described()["pids_all"]["api"]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_everything_from_the_front_door_inwards(start: Start, number: signal.Signals) -> None:
    up = start()
    said = up.ready()
    assert up.end(number) == 0
    assert up.notes()[-3:] == ["stopped api", "stopped worker", "stopped billing"]
    assert not (up.state / "up.json").exists()
    assert not any(alive(pid) for pids in said["pids_all"].values() for pid in pids)


def test_a_second_ctrl_c_does_not_wait_for_the_stubborn(start: Start) -> None:
    up = start(env={"STANDIN_STUBBORN": "worker"})
    said = up.ready()
    up.process.send_signal(signal.SIGINT)
    with within(60, "the api stops") as again:
        while "stopped api" not in up.notes():
            again()
    assert up.end(signal.SIGINT) == 0
    assert not any(alive(pid) for pids in said["pids_all"].values() for pid in pids)


def test_after_sigkill_nothing_is_left_and_the_next_start_has_the_same_data(start: Start) -> None:
    up = start()
    first = up.ready()
    with psycopg.connect(first["database_url"]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    up.end(signal.SIGKILL)
    second = start().ready()
    assert not any(alive(pid) for pids in first["pids_all"].values() for pid in pids)
    with psycopg.connect(second["database_url"]) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]
    same = ("bizrouter_key", "krouter_key", "console_password", "database_url", "redis_url")
    assert {name: second[name] for name in same} == {name: first[name] for name in same}


def test_two_installations_never_share_a_folder(start: Start) -> None:
    start().ready()
    second = start()
    _, complaint = second.process.communicate(timeout=60)
    assert second.process.returncode != 0
    assert "another `wonrouter up` runs on" in complaint


def test_a_process_that_cannot_start_fails_the_start_with_its_last_words(start: Start, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "break-billing").touch()
    up = start()
    _, complaint = up.process.communicate(timeout=60)
    assert up.process.returncode != 0
    assert "billing is broken" in complaint
    assert not (up.state / "up.json").exists()


def test_commands_find_the_running_installation_by_its_folder(running: Up) -> None:
    up = running
    said = up.described()
    found = installation.find(up.state, environ={})
    assert (found.database_url, found.redis_url, found.base_url) == (
        said["database_url"],
        said["redis_url"],
        said["base_url"],
    )
