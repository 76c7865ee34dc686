"""Every text of the pages, in both languages: a file of ``texts/`` for each section."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any, Literal, get_args

Lang = Literal["ko", "en"]
LANGS: tuple[Lang, ...] = get_args(Lang)
DEFAULT: Lang = "ko"


@functools.cache
def texts() -> dict[str, dict[str, str]]:
    """Language -> text by name (``section.name``). Raises ``ValueError`` where a text lacks a language."""
    found: dict[str, dict[str, str]] = {lang: {} for lang in LANGS}
    for file in resources.files("api.console").joinpath("texts").iterdir():
        section = file.name.removesuffix(".toml")
        entries: dict[str, dict[str, str]] = tomllib.loads(file.read_text(encoding="utf-8"))
        for name, said in entries.items():
            if set(said) != set(LANGS) or not all(said.values()):
                raise ValueError(f"texts/{file.name}: {name} needs exactly {', '.join(LANGS)}")
            for lang in LANGS:
                found[lang][f"{section}.{name}"] = said[lang]
    return found


def say(lang: Lang, name: str, /, **values: Any) -> str:
    """One text with its placeholders filled. Raises ``KeyError`` for a name that is not in the file."""
    said = texts()[lang][name]
    return said.format(**values) if values else said


def has(name: str) -> bool:
    """Whether there is such a text."""
    return name in texts()[DEFAULT]
