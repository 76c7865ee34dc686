"""How fast the machine is just now: a fixed piece of work, done again and again beside whatever is measured.

Virtual CPUs share their cores with strangers, so the same work costs up to twice as much CPU time from one second to the
next. A process of its own on the gateway's CPUs does a fixed piece of work twenty times a second, some three percent of
one CPU, and says what CPU time it took meanwhile. The work is what the gateway's own is made of: Python functions,
small dictionaries, JSON, and bytes through a socket.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import threading
import time

PIECE_MS = 0.80
"""What a piece takes on the undisturbed machine: the tenth percentile of some minutes in which nothing else ran."""
EVERY_S = 0.05


class Yardstick:
    """The process that does the work. ``cpus``: as for taskset; empty: any."""

    def __init__(self, cpus: str = "") -> None:
        command = [sys.executable, "-m", "tests.bench.yardstick"]
        pinned = ["taskset", "-c", cpus, *command] if cpus else command
        self._process = subprocess.Popen(pinned, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self) -> list[float]:
        """CPU milliseconds of each piece since the last reading."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def slowness(pieces: list[float]) -> float:
    """How many times as much as on an undisturbed machine the same work costs; 1 where nothing was read."""
    return statistics.fmean(pieces) / PIECE_MS if pieces else 1.0


class _Work:
    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()

    def piece(self) -> None:
        for number in range(24):
            message = {"id": number, "model": "openai/gpt-4o", "messages": [self._message(i) for i in range(4)]}
            self._here.send(json.dumps(message).encode())
            answer = json.loads(self._there.recv(4096))
            assert sum(self._length(each) for each in answer["messages"]) == 4 * 64

    @staticmethod
    def _message(number: int) -> dict[str, object]:
        return {"role": "user", "content": f"{number}" + "x" * 63, "cost": number * 3}

    @staticmethod
    def _length(message: dict[str, str]) -> int:
        return len(message["content"])


def main() -> None:
    """Works until stdin ends; for each line of it tells what the pieces since the last one took."""
    work, pieces, over = _Work(), list[float](), threading.Event()

    def answer() -> None:
        for _ in sys.stdin:
            taken, pieces[:] = list(pieces), []
            sys.stdout.write(json.dumps([round(ms, 4) for ms in taken]) + "\n")
            sys.stdout.flush()
        over.set()

    threading.Thread(target=answer, daemon=True).start()
    while not over.wait(EVERY_S):
        began = time.thread_time()
        work.piece()
        pieces.append((time.thread_time() - began) * 1000)


if __name__ == "__main__":
    main()
