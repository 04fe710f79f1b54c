"""The checks behind the Makefile, run in order, stopping at the first that fails.

python scripts/check.py test [PYTEST ARG...]       everything, or with arguments only pytest
python scripts/check.py versions [PYTEST ARG...]   the tests on the oldest and newest versions
python scripts/check.py beside                     the wheel and pymilvus in one process
python scripts/check.py repeat [TIMES]             the tests again and again, in four ways
python scripts/check.py audit                      known weaknesses of what is pinned
python scripts/check.py lint|types|check-proto     those alone
python scripts/check.py proto                      write generated/ anew
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import environment
from environment import ROOT, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CHECKED = ("src", "generated", "tests", "examples", "scripts", "benchmarks")

# The pins of requirements/<name>.txt, and the Pythons to run them on: the first that is found.
VERSIONS = {"lowest": ("3.11", "3.12", "3.13"), "newest": ("3.13", "3.14")}

# Environments with a pymilvus, and the Pythons that all of them have wheels for.
BESIDE = ("beside-3.0", "beside-2.6", "beside-2.4")
BESIDE_PYTHONS = ("3.13", "3.12", "3.11")

_PROOF = """
import sys, milvus_import, milvus_import_pb
for module in milvus_import, milvus_import_pb:
    if not module.__file__.startswith(sys.prefix) or "site-packages" not in module.__file__:
        sys.exit(f"{module.__name__} came from {module.__file__}, not from the installed wheel")
"""


class StepError(Exception):
    """A step that did not pass."""


@dataclass
class Steps:
    """Runs commands of one environment and keeps count."""

    python: Path
    passed: int = 0
    start: float = field(default_factory=time.monotonic)

    def run(self, title: str, *arguments: str | Path, live: bool = False) -> str:
        """Run one step with the environment's Python; its output is shown live or if it fails."""
        start = time.monotonic()
        print(f"== {title}", end="\n" if live else " ... ", flush=True)
        done = subprocess.run(
            # -P: nothing is imported from the folder it runs in.
            [self.python, "-P", *arguments],
            cwd=ROOT,
            env=environment.clean_variables() | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
            stdout=None if live else subprocess.PIPE,
            stderr=None if live else subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - start
        if done.returncode != 0:
            print(f"\n{done.stdout or ''}== {title}: FAILED after {seconds:.1f} s", flush=True)
            raise StepError(title)
        print(f"== {title}: {seconds:.1f} s" if live else f"{seconds:.1f} s", flush=True)
        self.passed += 1
        return done.stdout or ""


def lint(steps: Steps) -> None:
    """Run the linter and look at the format."""
    steps.run("ruff check", "-m", "ruff", "check", "--quiet")
    steps.run("ruff format --check", "-m", "ruff", "format", "--check", "--quiet")


def types(steps: Steps) -> None:
    """Run both type checkers over everything there is."""
    steps.run("mypy", "-m", "mypy", *_folders())
    steps.run("pyright", "-m", "pyright", "--pythonpath", steps.python, *_folders())


def check_proto(steps: Steps) -> None:
    """See that generated/ is what proto/ gives."""
    steps.run("check-proto", "scripts/generate.py", "--check")


def tests(steps: Steps, pytest_arguments: list[str]) -> None:
    """Run pytest on the installed wheel."""
    steps.run("the wheel is what is imported", "-c", _PROOF)
    steps.run("pytest", "-m", "pytest", "-q", *pytest_arguments, live=True)


def tests_with_coverage(steps: Steps) -> str:
    """Run all of pytest on the installed wheel, show what it missed, return the share covered."""
    steps.run("the wheel is what is imported", "-c", _PROOF)
    (ROOT / ".coverage-data").mkdir(exist_ok=True)
    steps.run("coverage erase", "-m", "coverage", "erase")
    steps.run("pytest", "-m", "coverage", "run", "-m", "pytest", "-q", live=True)
    steps.run("coverage combine", "-m", "coverage", "combine", "--quiet")
    report = steps.run("coverage report", "-m", "coverage", "report")
    print(report, end="")
    return next(line for line in report.splitlines() if line.startswith("TOTAL")).split()[-1]


def everything(pytest_arguments: list[str]) -> None:
    """``make test``."""
    steps = Steps(environment.make_known("check"))
    if pytest_arguments:
        tests(steps, pytest_arguments)
        return
    lint(steps)
    types(steps)
    check_proto(steps)
    covered = tests_with_coverage(steps)
    seconds = time.monotonic() - steps.start
    print(f"make test: all {steps.passed} steps passed in {seconds:.0f} s, coverage {covered}")


def versions(pytest_arguments: list[str]) -> None:
    """``make test-versions``."""
    ran: list[str] = []
    for name, minors in VERSIONS.items():
        found = _first_found(minors, f"for the {name} versions")
        if found is None:
            continue
        print(f"\n{name} versions on {found} ({found.path})", flush=True)
        tests(Steps(environment.make_known(name, found)), pytest_arguments)
        ran.append(f"{name} on {found}")
    if not ran:
        raise SetupError("none of these Pythons was found: name one, PYTHON313=/path/to/python3.13")
    print(f"make test-versions: passed with {', '.join(ran)}")


def beside() -> None:
    """``make test-beside``: either imported first, on each of protobuf's backends."""
    this = f"{sys.version_info[0]}.{sys.version_info[1]}"
    python = _first_found(sorted(BESIDE_PYTHONS, key=this.__ne__), "for any pymilvus")
    if python is None:
        raise SetupError("none of these Pythons was found: name one, PYTHON313=/path/to/python3.13")
    passed = failed = 0
    for name in BESIDE:
        pins = environment.pin_files(name)[0].read_text().splitlines()
        pymilvus = next(line for line in pins if line.startswith("pymilvus==")).partition("==")[2]
        steps = Steps(environment.make_known(name, python))
        for first, backend in product(("milvus_import", "pymilvus"), ("upb", "python")):
            title = f"beside pymilvus {pymilvus}: {first} imported first, protobuf on {backend}"
            try:
                steps.run(title, "tests/beside/both.py", first, backend)
            except StepError:
                failed += 1
        passed += steps.passed
    print(f"make test-beside: {passed} passed, {failed} failed")
    if failed:
        raise StepError(f"{failed} of {passed + failed} combinations")


def audit() -> None:
    """``make audit``: each file of pins by itself; a package nothing is known of fails it too."""
    steps = Steps(environment.make_known("audit"))
    options = ("--strict", "--no-deps", "--disable-pip", "--progress-spinner=off")
    weak: list[str] = []
    for pins in sorted((ROOT / "requirements").glob("*.txt")):
        try:
            steps.run(f"pip-audit {pins.name}", "-m", "pip_audit", *options, "-r", pins)
        except StepError:
            weak.append(pins.name)
    print(f"make audit: {steps.passed} files of pins are clean, {len(weak)} are not")
    if weak:
        raise StepError(", ".join(weak))


def repeat(times: int) -> None:
    """``make test-repeat``: every run must pass, and pass as many tests as the first."""
    steps = Steps(environment.make_known("check"))
    steps.run("the wheel is what is imported", "-c", _PROOF)
    rows = [_pytest(steps, f"{number} of {times} in a row") for number in range(1, times + 1)]
    rows.append(_pytest(steps, "two at once", "-n", "2"))
    with subprocess.Popen([steps.python, "-c", "while True: pass"]) as busy:
        try:
            rows.append(_pytest(steps, "beside a process that keeps a core busy"))
        finally:
            busy.kill()
    os.environ["MILVUS_IMPORT_TEST_SCALE"] = "3"
    rows.append(_pytest(steps, "all times x3"))
    print(
        "\n".join(f"{title}: {count} passed in {seconds:.0f} s" for title, count, seconds in rows)
    )
    if len({count for _, count, _ in rows}) > 1:
        raise StepError("not every run passed the same number of tests")
    print(f"make test-repeat: {len(rows)} runs, all with the same result")


def _pytest(steps: Steps, title: str, *arguments: str) -> tuple[str, str, float]:
    start = time.monotonic()
    told = steps.run(f"pytest, {title}", "-m", "pytest", "-q", *arguments)
    return (
        title,
        re.findall(r"(\d+) passed", told)[-1],
        time.monotonic() - start,
    )


def _first_found(minors: Iterable[str], purpose: str) -> environment.Interpreter | None:
    for minor in minors:
        found = environment.find(minor)
        if found is not None:
            return found
        print(f"Python {minor} was not found, {purpose}", flush=True)
    return None


def main() -> int:
    """Do what the command line says."""
    command, *rest = sys.argv[1:] or [""]
    try:
        if command == "test":
            everything(rest)
        elif command == "versions":
            versions(rest)
        elif command == "beside":
            beside()
        elif command == "audit":
            audit()
        elif command == "repeat":
            if rest and not rest[0].isdecimal():
                raise SetupError(f"how many times? {rest[0]!r} is no number")
            repeat(int(rest[0]) if rest else 10)
        elif command in _ALONE:
            # None of these needs the wheel, and it may not even build yet.
            pins = environment.pin_files(*environment.CONTENTS["check"][0])
            _ALONE[command](Steps(environment.make("check", requirements=pins)))
        else:
            raise SetupError(__doc__ or "")
    except StepError as step:
        print(f"make {_TARGETS.get(command, command)}: FAILED at {step}")
        return 1
    return 0


def _proto(steps: Steps) -> None:
    steps.run("generate", "scripts/generate.py")


def _folders() -> list[str]:
    return [name for name in CHECKED if any((ROOT / name).rglob("*.py"))]


_ALONE = {"lint": lint, "types": types, "check-proto": check_proto, "proto": _proto}
_TARGETS = {"versions": "test-versions", "beside": "test-beside", "repeat": "test-repeat"}

if __name__ == "__main__":
    environment.run(main)
