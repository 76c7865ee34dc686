"""Nothing grows until it cannot be read: functions of 70 lines, files of 500."""

from __future__ import annotations

import ast

from tests.tidy.source import name_of, product_code

FUNCTION_LINES = 70
FILE_LINES = 500


def test_no_function_is_longer_than_a_screen() -> None:
    found: list[str] = []
    for path in product_code():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f"{name_of(path)}:{node.lineno} {node.name} has {lines} lines")
    assert found == []


def test_no_file_is_longer_than_one_thought() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in product_code()}
    assert {name: length for name, length in lengths.items() if length > FILE_LINES} == {}


def test_files_are_named_by_what_they_do() -> None:
    empty_words = {"utils", "util", "helpers", "helper", "common", "manager", "core", "misc", "service", "services"}
    assert [
        name_of(path) for path in product_code() if path.stem in empty_words or path.parent.name in empty_words
    ] == []
