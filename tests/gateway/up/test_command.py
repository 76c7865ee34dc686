"""What `wonrouter up` prints."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import root
from gateway.engines import EngineError
from gateway.up import command
from gateway.up.listening import address, listen

INSTALLATION = {
    "base_url": "http://127.0.0.1:8000/api/v1",
    "krouter_base_url": "http://127.0.0.1:8000/v1",
    "bizrouter_key": "sk-br-v1-abc",
    "krouter_key": "kr-abc",
    "console_url": "http://127.0.0.1:8000/console",
    "console_email": "owner@example.com",
    "console_password": "pass",
    "logs": "/state/logs",
}


def test_the_curl_line_survives_the_shell() -> None:
    words = shlex.split(command.curl_line(INSTALLATION))
    assert words[:2] == ["curl", "http://127.0.0.1:8000/api/v1/chat/completions"]
    assert "X-API-Key: sk-br-v1-abc" in words
    assert json.loads(words[words.index("-d") + 1])["model"] == "sandbox/echo"


def test_everything_a_new_user_needs_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    command.announce(INSTALLATION)
    printed = capsys.readouterr().out
    assert all(value in printed for value in INSTALLATION.values())


def test_a_taken_port_is_said_before_anything_starts(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(root(), ["up", "--port", str(port), "--state", str(tmp_path / "state")])
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in result.output
    assert not (tmp_path / "state" / "postgres").exists()


def test_an_address_for_everyone_is_shown_as_one_that_can_be_called() -> None:
    with listen("0.0.0.0", 0) as listener:
        assert address(listener).startswith("127.0.0.1:")


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(EngineError, match=r"cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0)


def test_afterwards_signals_are_handled_as_before(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)]
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        CliRunner().invoke(root(), ["up", "--port", str(port), "--state", str(tmp_path / "state")])
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)]
    assert after == before
