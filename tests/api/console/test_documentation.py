"""The documentation: every page in both languages, no link that leads nowhere, and every example runs as it stands."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import httpx
import pytest

from api.console import documentation, wording
from api.console.documentation import LANGUAGES, PAGES, REFERENCES, examples
from tests.api.console.conftest import Browser
from tests.installation import RunningInstallation

ANYIO = pytest.mark.anyio
NODE = shutil.which("node")
PLAYED = ("openai/gpt-4o-mini", "openai/gpt-4o", "google/gemini-2.5-flash-image", "google/gemini-2.5-flash")
"""What the examples call, and kr/auto chooses from; here the sandbox answers for them."""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstallation]:
    """One of this module's own: its deployments are not those of other tests."""
    folder = tmp_path_factory.mktemp("documented")
    running = RunningInstallation(folder / "state")
    file = folder / "deployments.toml"
    tables = [f'[[deployment]]\nmodel = "{model}"\nprovider = "sandbox"\nupstream_model = "echo"\n' for model in PLAYED]
    file.write_text("\n".join(tables), encoding="utf-8")
    running.command("deployments", "apply", str(file))
    until_reachable(running)
    yield running
    running.stop()


def until_reachable(running: RunningInstallation) -> None:
    """Waits until the front end has heard of the deployments."""
    up = running.up
    for _ in range(1_200):
        listed = httpx.get(f"{up['base_url']}/models", headers={"X-API-Key": up["bizrouter_key"]}, timeout=30).json()
        if {model["id"] for model in listed["models"] if model["available"]} >= set(PLAYED):
            return
        time.sleep(0.05)
    raise AssertionError("the deployments never came into force")


def runnable(code: str, running: RunningInstallation) -> str:
    up = running.up
    root = str(up["base_url"]).removesuffix("/api/v1")
    return code.replace("BASE_URL", root).replace("YOUR_KEY", up["bizrouter_key"])


@ANYIO
async def test_every_page_exists_in_both_languages_and_its_links_lead_somewhere(browser: Browser) -> None:
    names = ("", *(f"/{name}" for name in (*PAGES, *REFERENCES)))
    seen: set[str] = set()
    for lang in wording.LANGS:
        for name in names:
            page = await browser.get(f"/console/docs{name}", lang=lang)
            assert page.status_code == 200, name
            assert len(page.content) < 100_000, (name, len(page.content))
            assert "unsafe" not in page.headers["content-security-policy"] and " style=" not in page.text
            assert "BASE_URL" not in page.text
            seen |= set(re.findall(r'href="(/[^"#]*)', page.text))
    for link in sorted(seen):
        answer = await browser.get(html.unescape(link))
        assert answer.status_code in (200, 303), link


def test_every_example_stands_on_a_page_in_every_language_and_the_languages_show_the_same_ones() -> None:
    shown: dict[str, list[str]] = {}
    for lang in wording.LANGS:
        folder = resources.files("api.console").joinpath(documentation.FOLDER, lang)
        pages = {entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir()}
        assert {f"{name}.html" for name in PAGES} == set(pages)
        shown[lang] = [name for page in PAGES for name in re.findall(r'example\("(\w+)"\)', pages[f"{page}.html"])]
    assert shown["ko"] == shown["en"]
    assert set(shown["ko"]) == set(examples())
    assert all(set(codes) == set(LANGUAGES) for codes in examples().values())


@ANYIO
async def test_the_reference_names_every_operation_of_the_management_api(browser: Browser) -> None:
    schema = (await browser.get("/api/v1/manage/openapi.json")).json()
    page = (await browser.get("/console/docs/reference_manage", lang="en")).text
    assert len(page.encode()) < 100_000, len(page.encode())
    for path, item in schema["paths"].items():
        for method in item:
            assert f">{method.upper()}</span> <code>{path}</code>" in page
    public = (await browser.get("/api/v1/openapi.json")).json()
    shown = (await browser.get("/console/docs/reference", lang="en")).text
    assert all(f"<code>{path}</code>" in shown for path in public["paths"])


RUN_ALL = """
import contextlib, io, pathlib, runpy, sys

for file in sys.argv[1:]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        runpy.run_path(file, run_name="__main__")
    print(pathlib.Path(file).stem, bool(said.getvalue().strip()))
"""
"""One interpreter for all: what takes long is to import the SDK."""


def test_every_python_example_runs(installation: RunningInstallation, tmp_path: Path) -> None:
    files: list[Path] = []
    for name, codes in sorted(examples().items()):
        files.append(tmp_path / f"{name}.py")
        files[-1].write_text(runnable(codes["python"], installation), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, *map(str, files)],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    # the sandbox draws nothing, so the example that saves pictures has nothing to say
    assert done.stdout.splitlines() == [f"{file.stem} {file.stem != 'image_out'}" for file in files]


def test_every_curl_example_runs(installation: RunningInstallation, tmp_path: Path) -> None:
    for name, codes in examples().items():
        script = runnable(codes["curl"], installation)
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "ID": "chatcmpl-01a200abcd067ef5b83ecef3ab92191c"},
        )  # fmt: skip
        assert done.returncode == 0, (name, done.stderr[-2000:])
        wrong = name in ("errors", "receipt")  # a model that is not sold; a call that never was
        assert ('"error"' in done.stdout) == wrong, (name, done.stdout[-2000:])


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
def test_every_javascript_example_is_a_module_that_node_reads(tmp_path: Path) -> None:
    assert NODE is not None
    for name, codes in examples().items():
        file = tmp_path / f"{name}.mjs"
        file.write_text(codes["javascript"], encoding="utf-8")
        done = subprocess.run([NODE, "--check", str(file)], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (name, done.stderr)
