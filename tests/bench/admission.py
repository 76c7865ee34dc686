"""CPU of Redis per admission, by the server's own command statistics: `python -m tests.bench.admission [CALLS]`.

Each case places and ends jobs of one key; what is shown is the time inside the script, in microseconds. Not a test:
the host's speed varies, so compare the cases of one run.
"""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

from gateway.credit import scripts
from gateway.credit.admission import RateLimit
from gateway.engines import ValkeyServer
from tests.gateway.credit.scene import Stage

CALLS = 3_000
ROUNDS = 3
RPM = 1_000_000

CASES: dict[str, dict[str, Any]] = {
    "no limits": {},
    "requests per minute of key and organisation": {"rates": (RateLimit("k:key-1", RPM), RateLimit("o:org-1", RPM))},
}


def measured(stage: Stage, calls: int, **terms: Any) -> dict[str, float]:
    """Microseconds inside the scripts, for one placement and for one end."""
    client = stage.client
    spent = {"place": 0.0, "finish": 0.0}
    batch = 100
    for _ in range(calls // batch):
        client.config_resetstat()
        jobs = [stage.placed(queue_max=10**9, **terms).job for _ in range(batch)]
        spent["place"] += _microseconds(client)
        for job in jobs:
            stage.claim(job)
        client.config_resetstat()
        for job in jobs:
            stage.finish(job, 1, 100)
        spent["finish"] += _microseconds(client)
        client.delete("wr:calls", "wr:usage")
    return {name: round(total / calls, 2) for name, total in spent.items()}


def _microseconds(client: Any) -> float:
    return float(client.info("commandstats")["cmdstat_evalsha"]["usec"])


def main(calls: int) -> dict[str, dict[str, float]]:
    """The best of some rounds for each case: noise only ever adds."""
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(Path(folder), log=Path(folder) / "log", password=secrets.token_hex(8), throwaway=True)
        server.start()
        stage = Stage(server.url, balance=8 * 10**15)
        for script in (scripts.PLACE, scripts.FINISH, scripts.CLAIM):
            stage.client.script_load(script.source)
        best: dict[str, dict[str, float]] = {}
        for _ in range(ROUNDS):
            for name, terms in CASES.items():
                for what, figure in measured(stage, calls, **terms).items():
                    known = best.setdefault(name, {})
                    known[what] = min(known.get(what, figure), figure)
        server.stop()
    return best


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else CALLS), indent=2))
