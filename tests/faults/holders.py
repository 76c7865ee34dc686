"""Which of our processes holds the other end of a provider's call."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tests.faults.conftest import Scene
from tests.operating import until
from tests.provider.log import Call


def worker_of(scene: Scene, call: Call) -> int:
    """The worker process that holds the other end of this call's connection."""

    def find() -> int | None:
        sockets = {f"socket:[{inode}]" for inode in _socket_inodes(call.peer_port, scene.provider.port)}
        for pid in scene.installation.pids("worker"):
            with suppress(FileNotFoundError):  # one that has just been killed
                if any(_points_to(link, sockets) for link in Path(f"/proc/{pid}/fd").iterdir()):
                    return pid
        return None

    return until(find, f"the worker that holds port {call.peer_port}")


def _socket_inodes(port: int, remote: int) -> list[str]:
    """Of every socket from that local port to the remote one: others may have it too, towards other ports."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    fields = [line.split() for line in lines]
    ends = f":{port:04X}", f":{remote:04X}"
    return [field[9] for field in fields if (field[1][-5:], field[2][-5:]) == ends and field[9] != "0"]


def _points_to(link: Path, targets: set[str]) -> bool:
    try:
        return str(link.readlink()) in targets
    except OSError:
        return False
