"""``python -m tests.fuzz [TIMES]``: the generated calls, that many times as many (20) as in the suite."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.fuzz.scale import VARIABLE

os.environ[VARIABLE] = sys.argv[1] if len(sys.argv) > 1 else "20"
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--timeout=0", str(Path(__file__).parent)]))
