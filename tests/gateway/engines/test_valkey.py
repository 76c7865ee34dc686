"""Our Valkey: keeps what it was told, under a password, alone on its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.engines import EngineError, ValkeyServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "data", log=tmp_path / "log", password="secret-of-test")
    server.start()
    yield server
    server.stop()


def test_writes_survive_sigkill_and_the_port_stays(server: ValkeyServer) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.set("hold", "1")
    port = server.port
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert (server.port, client.get("hold")) == (port, b"1")


def test_it_answers_nobody_without_the_password(server: ValkeyServer) -> None:
    with redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_the_password_is_in_no_argument_and_no_file(server: ValkeyServer, tmp_path: Path) -> None:
    assert server.process is not None
    arguments = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert b"secret-of-test" not in arguments
    assert files
    assert not any(b"secret-of-test" in path.read_bytes() for path in files)


def test_it_is_set_up_for_holds_and_reply_channels(server: ValkeyServer) -> None:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        said = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "client-output-buffer-limit", "bind")
    assert said["client-output-buffer-limit"].endswith("pubsub 268435456 67108864 60")
    assert (said["appendonly"], said["appendfsync"]) == ("yes", "everysec")
    assert (said["maxmemory-policy"], said["bind"]) == ("noeviction", "127.0.0.1")


def test_two_servers_never_write_the_same_files(server: ValkeyServer, tmp_path: Path) -> None:
    second = ValkeyServer(server.folder, log=tmp_path / "second.log", password="other")
    with pytest.raises(EngineError, match="another Valkey still uses"):
        second.spawn()
