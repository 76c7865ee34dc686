"""Every page as a picture: `python -m tests.browser.scene DIR &`, then `python -m tests.browser.pictures DIR OUT [VIEW [PAGE]]`.

OUT gets WHO-PAGE.VIEW.png of every page, in every view that has VIEW in its name (`ko.1440.light` is one of eight), and
whose path has PAGE in it.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.browser.pages import NOBODYS, PAGES
from tests.browser.site import PASSWORD
from tests.browser.visitor import Visitor

VIEWS = list(itertools.product(("ko", "en"), (1440, 390), ("light", "dark")))


def shoot(browser: Any, scene: dict[str, Any], folder: Path, view: str, page: str) -> list[str]:
    """Takes them all; returns what the pages had to complain about."""
    complaints: list[str] = []
    for lang, width, scheme in VIEWS:
        name = f"{lang}.{width}.{scheme}"
        for who, patterns in {"nobody": NOBODYS, **PAGES}.items():
            paths = {
                pattern: pattern.format(month=scene["closed"], org=scene["org"], key=scene["key"])
                for pattern in patterns
            }
            wanted = {pattern: path for pattern, path in paths.items() if page in path}
            if view not in name or not wanted:
                continue
            visitor = Visitor(browser, scene["root"], lang=lang, width=width, dark=scheme == "dark")
            if who != "nobody":
                visitor.sign_in(scene[who]["email"], PASSWORD)
            for pattern, path in wanted.items():
                visitor.go(path)
                stem = pattern.strip("/").translate({ord("/"): "-", ord("{"): None, ord("}"): None}) or "dashboard"
                visitor.page.screenshot(path=str(folder / f"{who}-{stem}.{name}.png"), full_page=True)
            complaints += visitor.complaints
            visitor.close()
    return complaints


def main() -> None:
    """Reads where the scene is, and takes the pictures."""
    scene = json.loads((Path(sys.argv[1]) / "scene.json").read_text())
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=[*options, "--disable-gpu"])
        view, page = (*sys.argv[3:], "", "")[:2]
        for complaint in shoot(browser, scene, folder, view, page):
            sys.stdout.write(f"{complaint}\n")


if __name__ == "__main__":
    main()
