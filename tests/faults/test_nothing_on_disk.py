"""Prompts, answers and keys pass through every process and are found in no file afterwards."""

import base64
import secrets
from pathlib import Path

import pytest

from tests.faults.conftest import Scene, every_table_text
from tests.faults.load import Ask, load
from tests.operating import UPSTREAM_KEY

pytestmark = pytest.mark.xdist_group("faults")


TITLE = f"title{secrets.token_hex(8)}"
"""Sent as `X-Title`, which is kept with the usage."""


def _disguises(secret: str) -> list[bytes]:
    """The secret as it stands, and the inside of its base64 at each of the three alignments."""
    raw = secret.encode()
    return [raw, *(base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3))]


def _files_with(folders: list[Path], secret: str) -> list[str]:
    """The files below `folders` that hold the secret. Files that vanish meanwhile are Redis's and PostgreSQL's own."""
    needles = _disguises(secret)
    found: list[str] = []
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                content = path.read_bytes() if path.is_file() else b""
            except FileNotFoundError:
                continue
            if any(needle in content for needle in needles):
                found.append(str(path))
    return found


def test_no_prompt_answer_or_key_is_on_disk_after_a_run_with_faults(scene: Scene) -> None:
    marker = f"planted{secrets.token_hex(16)}"
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    asks = [
        Ask(True, 30, "delay=10ms", text=marker),
        Ask(False, 10, "", text=marker, title=TITLE),
        Ask(False, 10, "error=500", text=marker),
        Ask(False, 10, "error=400", text=marker),
        Ask(False, 10, "garbage=1", text=marker),
        Ask(True, 30, "cut=5 delay=1ms", text=marker),
        Ask(True, 10, "tool=look", text=marker, options={"tools": [tool]}),
        Ask(False, 10, "", text=marker, options={"temperature": marker}),
        Ask(False, 10, "", text=marker, model=f"openai/{marker[:8]}"),
    ]
    with load(scene.url, scene.key, asks, 18) as running:
        running.wait_for_outcomes(60)
        scene.replaced("worker", scene.kill("worker"))
        scene.replaced("api", scene.kill("api"))
        running.wait_for_outcomes(len(running.outcomes) + 60)
    scene.at_rest()
    scene.redis.execute_command("BGREWRITEAOF")
    folders = [scene.installation.state.parent]
    database_url = str(scene.installation.up["database_url"])
    assert any(path.name.startswith("appendonly") for path in scene.installation.state.rglob("*")), (
        "Redis runs with AOF"
    )
    titles = _files_with(folders, TITLE)
    assert titles and every_table_text(database_url, TITLE), "what may be stored is found: the search works"
    secret_part = scene.key.rpartition("_")[2]
    for what, secret in (("prompt", marker), ("customer key", secret_part), ("provider key", UPSTREAM_KEY)):
        assert _files_with(folders, secret) == [], what
        assert every_table_text(database_url, secret) == [], what
