"""Kills processes and looks at the books.

`python -m tests.faults run --kills N --seed S --report FILE`: everything, under mixed traffic (docs/faults.md).
`python -m tests.faults settlement [KILLS] [SEED]`: a settling and closing billing process alone, 200 times.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path


def main() -> int:
    """Exit code 0 where nothing was lost, doubled or hung."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run")
    run.add_argument("--kills", type=int, default=100)
    run.add_argument("--seed", type=int, default=None)
    run.add_argument("--report", type=Path, default=None)
    run.add_argument("--seconds", type=float, default=420.0, help="ends earlier than with all kills")
    run.add_argument("--callers", type=int, default=24)
    run.add_argument("--pause", type=float, default=1.0, help="longest pause between two faults, seconds")
    run.add_argument("--keep-logs", type=Path, default=None, help="copy the processes' logs there")
    run.set_defaults(does=_run)
    settlement = commands.add_parser("settlement")
    settlement.add_argument("kills", type=int, nargs="?", default=200)
    settlement.add_argument("seed", type=int, nargs="?", default=None)
    settlement.set_defaults(does=_settlement)
    options = parser.parse_args()
    return options.does(options)


def _run(options: argparse.Namespace) -> int:
    import shutil

    from tests.faults.report import report
    from tests.faults.run import ready, run_on

    with ready(api=3, workers=3) as (installation, provider):
        result = run_on(
            installation, provider, kills=options.kills, seed=_seed(options), seconds=options.seconds,
            callers=options.callers, pause_s=(0.05, options.pause),
        )  # fmt: skip
        if options.keep_logs:
            shutil.copytree(installation.state / "logs", options.keep_logs, dirs_exist_ok=True)
    text = report(result)
    if options.report:
        options.report.write_text(text)
    sys.stdout.write(text + "\n")
    return 0 if result.right else 1


def _settlement(options: argparse.Namespace) -> int:
    from tests.faults.settlement_kills import main as kill_settlement
    from tests.faults.settlement_kills import right

    told = kill_settlement(options.kills, _seed(options))
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    return 0 if right(told) else 1


def _seed(options: argparse.Namespace) -> int:
    return int.from_bytes(os.urandom(4)) if options.seed is None else int(options.seed)


if __name__ == "__main__":
    sys.exit(main())
