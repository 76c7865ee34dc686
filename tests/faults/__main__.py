"""`python -m tests.faults [KILLS] [SEED]`: kills a settling and closing billing process, 200 times if nothing is said."""

from __future__ import annotations

import json
import os
import sys

from tests.faults.settlement_kills import main, right

if __name__ == "__main__":
    given = [int(number) for number in sys.argv[1:]]
    told = main(given[0] if given else 200, given[1] if len(given) > 1 else int.from_bytes(os.urandom(4)))
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    sys.exit(0 if right(told) else 1)
