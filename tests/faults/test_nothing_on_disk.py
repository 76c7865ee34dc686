"""Prompts, answers and keys pass through every process and are found in no file afterwards."""

import base64
import secrets
from pathlib import Path

from tests.faults.conftest import Scene, every_table_text
from tests.faults.load import Ask, load
from tests.operating import UPSTREAM_KEY, until
from tests.provider.behaviour import saying

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
    number = f"901010-1{secrets.randbelow(10**6):06d}"
    name = f"planted_{secrets.token_hex(12)}"
    word = f"금지{secrets.token_hex(8)}"
    organisation = scene.organisation
    scene.installation.run("pii", "set", organisation, "email", "block", "--output")
    scene.installation.run("words", "add", organisation, word)
    named = {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    who = {"user": name, "safety_identifier": name, "metadata": {name: name, "n": number}}
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
        Ask(True, 30, "delay=1ms", text=f"{marker} {number}", options=who),
        Ask(False, 10, "", text=f"{marker} {number}", options=who),
        Ask(True, 10, f"tool={name}", text=f"{marker} {number}", options={"tools": [named]}),
        Ask(False, 10, f"error=400 {saying(marker, number)}", text=f"{marker} {number}"),
        Ask(False, 10, f"unknown_{name}=1", text=marker),  # the mock's refusal repeats it
        Ask(True, 10, f"cut=5 {saying(*(marker + number))}", text=marker),
        Ask(False, 10, "", text=f"{marker} {name}@example.com"),
        Ask(False, 10, "", text=f"{marker} {word}"),
        Ask(False, 10, "", text=marker, options={"messages": [{"role": marker, "content": number}]}),
        Ask(False, 10, "", text=marker, options={"tools": name}),
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
    secret_part = scene.key.partition("_")[2]
    planted = [("prompt", marker), ("customer key", secret_part), ("provider key", UPSTREAM_KEY)]
    planted += [("registration number", number), ("end user, metadata, name of a tool, address", name)]
    assert every_table_text(database_url, word), "the list of words is kept; what holds one is not"
    until(
        lambda: "public.guardrail_event" in every_table_text(database_url, "resident_number"),
        "what was masked in the audit, by kind",
    )
    for what, secret in planted:
        assert _files_with(folders, secret) == [], what
        assert every_table_text(database_url, secret) == [], what
