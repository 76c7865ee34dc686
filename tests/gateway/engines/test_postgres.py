"""Our PostgreSQL: made once, survives any death, as root and as a plain user."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from gateway.engines import EngineError, PostgresServer
from gateway.engines.unprivileged import fallback_identity

MakeServer = Callable[..., PostgresServer]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else; run as root to see it")


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    made: list[PostgresServer] = []

    def make(**changes: object) -> PostgresServer:
        settings = {"superuser_password": "super", "owner_password": "owner", "throwaway": True} | changes
        made.append(PostgresServer(tmp_path / "data", log=tmp_path / "log", **settings))
        return made[-1]

    yield make
    for server in made:
        server.stop()


def rows(server: PostgresServer) -> list[tuple[int]]:
    with psycopg.connect(server.owner_url) as connection:
        return connection.execute("SELECT n FROM kept").fetchall()


def keep_a_row(server: PostgresServer) -> None:
    with psycopg.connect(server.owner_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")


def test_the_owner_may_make_roles_and_databases_and_is_no_superuser(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    with psycopg.connect(server.owner_url) as connection:
        rights = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        ordered = connection.execute(
            "SELECT string_agg(v, '' ORDER BY v) FROM (VALUES ('b'), ('B'), ('가')) t(v)"
        ).fetchone()
    assert rights == (False, True, True)
    assert ordered == ("Bb가",)  # the same on every system


def test_a_wrong_password_is_refused(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url("wonrouter", "guess"))


def test_data_survive_sigkill_and_the_port_stays(make_server: MakeServer) -> None:
    server = make_server(throwaway=False)
    server.start()
    keep_a_row(server)
    port = server.port
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    server.start()
    assert (server.port, rows(server)) == (port, [(1,)])


@pytest.mark.parametrize("stale", ["a stranger's number", "a zombie's number", "half a line"])
def test_a_stale_pid_file_does_not_stop_the_next_start(make_server: MakeServer, stale: str) -> None:
    server = make_server()
    server.start()
    keep_a_row(server)
    server.stop()
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # ended, and not reaped before the block ends
        first_line = {"a stranger's number": str(os.getpid()), "a zombie's number": str(zombie.pid), "half a line": ""}
        (server.data / "postmaster.pid").write_text(first_line[stale])
        server.start()
    assert rows(server) == [(1,)]


def test_two_servers_never_open_the_same_data(make_server: MakeServer) -> None:
    first, second = make_server(), make_server()
    first.start()
    with pytest.raises(EngineError, match="another PostgreSQL still uses"):
        second.spawn()


def test_an_interrupted_first_start_is_made_again(make_server: MakeServer) -> None:
    server = make_server()
    half = server.folder / f".{server.data.name}.partial"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18")
    server.start()
    assert server.is_ready()


def test_changed_passwords_are_told_and_not_waited_for(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    server.stop()
    with pytest.raises(EngineError, match="passwords"):
        make_server(superuser_password="other").start()


def test_another_port_is_taken_where_the_wanted_one_is_in_use(make_server: MakeServer, redis_server: str) -> None:
    taken = int(redis_server.rpartition(":")[2].partition("/")[0])
    server = make_server(port=taken)
    server.start()
    assert server.port != taken


@as_root
def test_without_namespaces_root_becomes_an_ordinary_user_that_can_read_its_folders(
    make_server: MakeServer, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)  # as /root is
    server = make_server(identity=fallback_identity())
    server.start()
    keep_a_row(server)
    assert server.process is not None
    assert Path(f"/proc/{server.process.pid}").stat().st_uid != 0
    server.stop()
    # The way may change between two starts: another kernel, another container.
    again = make_server()
    again.start()
    assert rows(again) == [(1,)]


def test_the_server_is_stopped_by_the_death_of_its_starter(tmp_path: Path) -> None:
    program = f"""
import os, sys, signal
from pathlib import Path
from gateway.engines import PostgresServer, ValkeyServer
folder = Path({str(tmp_path)!r})
postgres = PostgresServer(folder / "pg", log=folder / "pg.log", superuser_password="s", owner_password="o")
valkey = ValkeyServer(folder / "redis", log=folder / "redis.log", password="p")
postgres.start(); valkey.start()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    # A start waits until the last process of the server before has ended, and fails if one stays.
    server = PostgresServer(tmp_path / "pg", log=tmp_path / "pg.log", superuser_password="s", owner_password="o")
    server.start()
    assert server.is_ready()
    server.stop()
