#!/usr/bin/env python3
"""Everything a checkout needs, from Python 3.11 alone.

    python3 dev.py up [--port 8000] …    run the whole installation
    python3 dev.py test [-k name] …      run the test suite; further arguments go to pytest
    python3 dev.py lint                  run every check but the tests
    python3 dev.py audit                 known vulnerabilities and licences of what a process imports
    python3 dev.py lock                  resolve the dependencies anew (needs uv)
    python3 dev.py COMMAND …             any other `wonrouter` command

    --ci before or after the command installs the heavy tools (browser, type checker, load) too.

It makes .venv from the hash-locked files in lock/, with uv where that is on PATH, else with pip, and hands over.
Only the standard library is used here, in the syntax of old Pythons, so that they get a sentence and not a traceback.
"""

from __future__ import annotations

import contextlib
import email.parser
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "wonrouter.json"
OLDEST = (3, 11)
# Each lock holds the one before it, so a fuller environment serves every lesser wish.
LEVELS = ("run", "test", "ci")
MOST_TEST_PROCESSES = 4  # each brings its own servers: more of them wait for the disk rather than for a core


def main(arguments: list[str]) -> None:
    require_python(arguments)
    ci = "--ci" in arguments
    arguments = [argument for argument in arguments if argument != "--ci"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print((__doc__ or "").strip())
        return
    command, rest = arguments[0], arguments[1:]
    if command == "lock":
        lock()
    elif command == "lint":
        ensure_environment("ci")
        lint()
    elif command == "audit":
        ensure_environment("ci")
        audit()
    elif command == "test":
        # where everything is checked, no test may be left out for want of a package
        ensure_environment("ci" if ci or os.environ.get("CI") else "test")
        hand_over([str(PYTHON), "-m", "pytest", *test_processes(rest), *rest])
    else:
        ensure_environment("ci" if ci else "run")
        hand_over([str(VENV / "bin" / "wonrouter"), command, *rest])


def require_python(arguments: list[str]) -> None:
    """Go on with a newer interpreter if this one is too old and the machine has one."""
    if sys.version_info >= OLDEST:
        return
    for minor in range(14, OLDEST[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer:
            os.execv(newer, [newer, str(Path(__file__).resolve()), *arguments])
    sys.exit("WonRouter needs Python {}.{} or newer; this is {}.".format(*OLDEST, sys.version.split()[0]))


def hand_over(command: list[str]) -> None:
    sys.stdout.flush()
    os.execv(command[0], command)


def test_processes(rest: list[str]) -> list[str]:
    """One pytest process a core, unless the caller decides or wants a debugger. A file's tests share one process."""
    if any(argument.startswith(("-n", "--numprocesses", "--pdb", "--trace", "-pno:xdist")) for argument in rest):
        return []
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    return ["-n", str(min(cores, MOST_TEST_PROCESSES)), "--dist", "loadfile"]


# -- the environment


def ensure_environment(level: str) -> None:
    """Bring .venv to `level` or above; anything half made, outdated or moved is made again."""
    holder = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)  # two terminals, one environment
    try:
        stamp = read_stamp()
        have = stamp.get("level")
        if have in LEVELS and stamp.get("lock") == fingerprint(ROOT / "lock" / f"{have}.txt") and stamp_fits(stamp):
            if LEVELS.index(have) < LEVELS.index(level):
                STAMP.unlink()
                install(level)
            else:
                level = have
        else:
            make_environment()
            install(level)
        if stamp.get("project") != fingerprint(ROOT / "pyproject.toml") or not STAMP.exists():
            register_project()
            write_stamp(level)
    except subprocess.CalledProcessError as error:
        sys.exit(f"dev.py: `{' '.join(map(str, error.cmd))}` failed with code {error.returncode}")
    finally:
        os.close(holder)


def read_stamp() -> dict[str, str]:
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def stamp_fits(stamp: dict[str, str]) -> bool:
    """Scripts in an environment hold its path, and its interpreter may have been upgraded away."""
    return stamp.get("folder") == str(VENV) and os.access(PYTHON, os.X_OK)


def write_stamp(level: str) -> None:
    """Last of all: an environment without its stamp was interrupted and is thrown away."""
    stamp = {
        "level": level,
        "lock": fingerprint(ROOT / "lock" / f"{level}.txt"),
        "project": fingerprint(ROOT / "pyproject.toml"),
        "folder": str(VENV),
    }
    partial = STAMP.with_suffix(".partial")
    partial.write_text(json.dumps(stamp), encoding="utf-8")
    partial.replace(STAMP)


def fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_environment() -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    uv = shutil.which("uv")
    if uv and attempt([uv, "venv", "--quiet", "--python", sys.executable, str(VENV)]):
        return
    shutil.rmtree(VENV, ignore_errors=True)
    # Debian and Ubuntu without python3-venv have no ensurepip; then the system's pip installs into our environment.
    bare = [] if importlib.util.find_spec("ensurepip") else ["--without-pip"]
    subprocess.run([sys.executable, "-m", "venv", *bare, str(VENV)], check=True)


def install(level: str) -> None:
    requirements = ROOT / "lock" / f"{level}.txt"
    uv = shutil.which("uv")
    say(f"installing what lock/{level}.txt lists into .venv with {'uv' if uv else 'pip'}; this is done once")
    by_uv = ["pip", "install", "--quiet", "--python", str(PYTHON), "--require-hashes", "-r", str(requirements)]
    if uv and attempt([uv, *by_uv]):
        return
    # The list is complete, so nothing is resolved; what a process imports is compiled when it does. Twice quiet, as
    # pip warns once a package of every extra index that lacks it; errors are still shown.
    options = ["-qq", "--no-input", "--disable-pip-version-check", "--no-deps", "--no-compile", "--require-hashes"]
    environment = {**os.environ, "PIP_USER": "0"}  # a `user = true` in pip's configuration would refuse
    subprocess.run([*pip(), "install", *options, "-r", str(requirements)], check=True, env=environment)


def pip() -> list[str]:
    if attempt([str(PYTHON), "-c", "import pip"], quiet=True):
        return [str(PYTHON), "-m", "pip"]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    sys.exit("dev.py: neither pip nor uv found: install one (Debian, Ubuntu: apt install python3-pip)")


def attempt(command: list[str], *, quiet: bool = False) -> bool:
    return subprocess.run(command, stderr=subprocess.DEVNULL if quiet else None, check=False).returncode == 0


def register_project() -> None:
    """Put the checkout itself into the environment, as an editable install would, without a build and its downloads."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = next((VENV / "lib").glob("python3.*/site-packages"))
    (packages / "wonrouter.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    information = packages / f"{project['name']}-{project['version']}.dist-info"
    for old in packages.glob("wonrouter-*.dist-info"):
        shutil.rmtree(old)
    information.mkdir()
    groups = {"console_scripts": project["scripts"], **project.get("entry-points", {})}
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items()) + "\n"
        for group, points in groups.items()
    )
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    for name, text in {"entry_points.txt": points, "METADATA": metadata, "INSTALLER": "dev.py\n", "RECORD": ""}.items():
        (information / name).write_text(text, encoding="utf-8")
    module, _, function = project["scripts"]["wonrouter"].partition(":")
    script = VENV / "bin" / "wonrouter"
    # Through sh, because a `#!` line with a long path is cut off by the kernel.
    script.write_text(
        f"#!/bin/sh\n'''exec' \"{PYTHON}\" \"$0\" \"$@\"\n' '''\n"
        f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n",
        encoding="utf-8",
    )
    script.chmod(0o755)


# -- checks and locks


def lint() -> None:
    """Every check is run, so that one round shows all there is to mend."""
    checks = (
        ["ruff", "check", "--quiet", "."],
        ["ruff", "format", "--check", "--quiet", "."],
        ["lint-imports", "--no-logo"],
        ["pyright"],
    )
    environment = {**os.environ, "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    failed: list[str] = []
    for check in checks:
        say(" ".join(check))
        if subprocess.run(
            [str(VENV / "bin" / check[0]), *check[1:]], cwd=ROOT, env=environment, check=False
        ).returncode:
            failed.append(check[0])
    if failed:
        sys.exit(f"dev.py: failed: {', '.join(failed)}")


def audit() -> None:
    """Fails where a pinned version has a known vulnerability. Where the advisory service is out of reach, as on a build
    machine without the internet, it says that nothing was looked up and is content."""
    for licence, names in sorted(licences().items()):
        say(f"{licence}: {', '.join(sorted(names))}")
    command = [str(VENV / "bin" / "pip-audit"), "--requirement", "lock/run.txt", "--require-hashes", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        looked_at = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        why = (done.stderr.strip() or "it said nothing").splitlines()[-1][:200]
        say(f"audit SKIPPED: no advisory service could be asked ({why})")
        return
    found = [(one["name"], one["version"], flaw["id"]) for one in looked_at for flaw in one.get("vulns", [])]
    for name, version, flaw in found:
        say(f"{name} {version}: {flaw}")
    if found:
        sys.exit(f"dev.py: audit: {len(found)} known vulnerabilities")
    say(f"audit: no known vulnerability in {len(looked_at)} packages")


def licences() -> dict[str, set[str]]:
    """Licence, as the package states it -> the packages of lock/run.txt that are installed here."""
    lock_file = (ROOT / "lock" / "run.txt").read_text(encoding="utf-8")
    wanted = {line.partition("==")[0] for line in lock_file.splitlines() if "==" in line}
    found: dict[str, set[str]] = {}
    for place in (VENV / "lib").glob("python3.*/site-packages/*.dist-info/METADATA"):
        told = email.parser.HeaderParser().parsestr(place.read_text(encoding="utf-8", errors="replace"))
        name = str(told["Name"]).lower().replace("_", "-").replace(".", "-")
        if name in wanted:
            classified = [one.rpartition("::")[2].strip() for one in told.get_all("Classifier", []) if "License" in one]
            stated = str(told["License-Expression"] or ", ".join(classified) or told["License"] or "not stated").strip()
            if "Redistribution and use in source and binary forms" in stated:
                stated = "BSD License"  # its whole text stands where its name should
            found.setdefault(stated.splitlines()[0][:60], set()).add(name)
    return found


def lock() -> None:
    """Write lock/*.txt: versions and hashes for every platform, without a word on where they came from."""
    uv = shutil.which("uv")
    if not uv:
        sys.exit("dev.py: resolving needs uv on PATH")
    base = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "{}.{}".format(*OLDEST)]
    base += [
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
        "pyproject.toml",
        "--extra",
        "embedded",
        "--extra",
        "tracing",
    ]
    groups: list[str] = []
    before: list[str] = []
    for level in LEVELS:
        if level != "run":
            groups += ["--group", level]
        # Held to the lock before it, so that all three agree on every version they share.
        subprocess.run([*base, *groups, *before, "-o", f"lock/{level}.txt"], cwd=ROOT, check=True)
        before = ["-c", f"lock/{level}.txt"]


def say(text: str) -> None:
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1:])
