"""The repository says nothing about the machines it was written and built on, and its README shows what is there."""

from __future__ import annotations

import re

import pytest

from tests.tidy.source import ROOT, name_of, text_of, tracked

# Package registries and mirrors: each machine's own configuration says where packages come from.
HOSTS = re.compile(r"pypi\.org|pythonhosted\.org|registry\.npmjs|npmmirror|(?:extra-)?index-url|find-links\b")
MACHINE_PATHS = re.compile(r"(?<![\w./*~-])/(?:root|work|home/\w+|Users/\w+|tmp)/")
THIS_FILE = "tests/tidy/test_repository.py"
LINE = re.compile(r"^(?P<indent>[ │├└─]*)(?P<names>\S+/?(?:, \S+/?)*)")


@pytest.mark.parametrize("unwanted", [HOSTS, MACHINE_PATHS], ids=["registry hosts", "machine paths"])
def test_no_tracked_file_names(unwanted: re.Pattern[str]) -> None:
    found: list[str] = []
    for path in tracked():
        if name_of(path) == THIS_FILE or (text := text_of(path)) is None:
            continue
        found += [
            f"{name_of(path)}:{number} {match[0]}"
            for number, line in enumerate(text.splitlines(), 1)
            if (match := unwanted.search(line))
        ]
    assert found == []


def test_locks_hold_versions_and_hashes_and_no_address() -> None:
    locks = sorted((ROOT / "lock").glob("*.txt"))
    assert [path.name for path in locks] == ["ci.txt", "run.txt", "test.txt"]
    for path in locks:
        text = path.read_text(encoding="utf-8")
        assert "://" not in text
        requirements = [line for line in text.splitlines() if re.match(r"[a-z0-9]", line)]
        assert requirements
        assert all("==" in line and line.endswith("\\") for line in requirements)


def test_each_lock_agrees_with_the_one_before_it() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "lock" / name).read_text(encoding="utf-8")
        return {line.split()[0] for line in text.splitlines() if re.match(r"[a-z0-9]", line)}

    assert pins("run.txt") <= pins("test.txt") <= pins("ci.txt")


def readme_tree() -> list[str]:
    """The paths in the README's tree: the fenced block that has a line for gateway/."""
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("there is no README yet")
    blocks = re.findall(r"^```\w*\n(.*?)^```", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    block = next((block for block in blocks if re.search(r"^[ │├└─]*gateway/", block, re.MULTILINE)), None)
    if block is None:
        pytest.skip("the README shows no tree")
    paths: list[str] = []
    parents: list[tuple[int, str]] = []
    for line in block.splitlines():
        if not (match := LINE.match(line)):
            continue
        depth = len(match["indent"])
        while parents and parents[-1][0] >= depth:
            parents.pop()
        above = parents[-1][1] if parents else ""
        names = [above + name for name in match["names"].split(", ")]
        paths += names
        if names[-1].endswith("/"):
            parents.append((depth, names[-1]))
    return paths


def test_everything_in_the_readme_tree_exists() -> None:
    assert [path for path in readme_tree() if not (ROOT / path).exists()] == []


def test_every_folder_at_the_top_is_in_the_readme_tree() -> None:
    shown = {path.split("/")[0] for path in readme_tree()}
    folders = {name_of(path).split("/")[0] for path in tracked() if "/" in name_of(path)}
    assert {folder for folder in folders if not folder.startswith(".")} - shown == set()
