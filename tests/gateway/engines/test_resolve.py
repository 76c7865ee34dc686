"""Programs are found in the order that the architecture promises: wheel, PATH, usual folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.engines import EngineError, find_postgres, find_valkey, resolve


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No wheel, no install folder, and a PATH with one empty folder, which is returned."""
    monkeypatch.setattr(resolve, "_wheel", lambda _module: None)
    monkeypatch.setattr(resolve, "_POSTGRES_FOLDERS", ())
    monkeypatch.setattr(resolve, "_VALKEY_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_the_wheel_comes_first() -> None:
    assert "site-packages" in str(find_postgres().folder)
    assert "site-packages" in str(find_valkey().path)


def test_without_a_wheel_the_path_is_searched(bare_machine: Path) -> None:
    program(bare_machine, "postgres", "postgres (PostgreSQL) 18.1 (Debian 18.1-1)")
    program(bare_machine, "initdb", "")
    program(bare_machine, "redis-server", "Redis server v=7.2.4 sha=00000000:0 malloc=jemalloc")
    assert find_postgres().folder == bare_machine
    assert find_valkey().path == bare_machine / "redis-server"


def test_the_usual_folders_come_last(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = bare_machine / "usual" / "18"
    program(usual, "postgres", "postgres (PostgreSQL) 18beta1")
    program(usual, "initdb", "")
    monkeypatch.setattr(resolve, "_POSTGRES_FOLDERS", (f"{bare_machine}/usual/{{major}}",))
    assert find_postgres().folder == usual


def test_a_server_that_is_too_old_is_named_in_the_refusal(bare_machine: Path) -> None:
    program(bare_machine, "postgres", "postgres (PostgreSQL) 15.6")
    program(bare_machine, "initdb", "")
    program(bare_machine, "redis-server", "Redis server v=6.0.16 sha=00000000:0")
    with pytest.raises(EngineError, match=r"DATABASE_URL[\s\S]*is version 15"):
        find_postgres()
    with pytest.raises(EngineError, match=r"REDIS_URL[\s\S]*is version 6\.0"):
        find_valkey()
