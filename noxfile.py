"""The sessions behind the Makefile.

nox creates an environment per session in `.venvs/`; uv installs the pins of requirements/ in it.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import nox
import uv
from nox.command import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).parent
UV = uv.find_uv_bin()

LOWEST = "3.11"
PYTHONS = ("3.12", "3.13", "3.14", "3.15")  # with the newest dependencies
ONLY = os.environ.get("ONLY", "")  # make test-versions ONLY=3.13
GRPCIO = ("1.76.0", "1.80.1", "1.83.0", "")  # of `make matrix`; "" is the newest, as pinned
ALONGSIDE = ("3.0", "2.6", "2.5")  # pymilvus, see requirements/alongside-*.txt

TESTS = ("newest", "cli", "rest", "test", "lint", "tools")
RECIPES = ("fastapi", "celery", "airflow", "prefect")  # see requirements/recipes.txt
GATEWAYS = ("nginx", "haproxy")  # Debian packages
WORKERS = str(max(4, os.cpu_count() or 1))
CHECKED = ("src", "generated", "tests", "examples", "scripts", "benchmarks", "noxfile.py")

nox.options.envdir = ".venvs"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = bool(ONLY)

# uv downloads no Python. PYTHON313=/path/to/python3.13 names one; else PATH and pyenv are searched.
os.environ["UV_PYTHON_DOWNLOADS"] = "never"
_named = [os.environ.get("PYTHON" + minor.replace(".", "")) for minor in (LOWEST, *PYTHONS)]
_pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv").glob("versions/3.*/bin")
_search = [str(Path(name).parent) for name in _named if name]
os.environ["PATH"] = os.pathsep.join([*_search, os.environ["PATH"], *sorted(map(str, _pyenv))])

INSTALLED_CHECK = """
import sys, milvus_import, milvus_import_pb
for module in milvus_import, milvus_import_pb:
    if not module.__file__.startswith(sys.prefix) or "site-packages" not in module.__file__:
        sys.exit(f"{module.__name__} is imported from {module.__file__}, not from the wheel")
"""


@cache
def uv_settings() -> dict[str, str]:
    """Return pip's settings as uv's environment variables, where those are not set."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pip: dict[str, str] = {}
    for section in ("global", "install", ":env:"):  # later sections take precedence
        for name, value in re.findall(rf"^{section}\.([\w-]+)=(.*)$", listed, re.MULTILINE):
            pip[name] = str(ast.literal_eval(value))
    values = {
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": " ".join(pip.get("extra-index-url", "").split()),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
        "UV_HTTP_TIMEOUT": pip.get("timeout") or pip.get("default-timeout", ""),
        "SSL_CERT_FILE": pip.get("cert", ""),
    }
    return {name: value for name, value in values.items() if value and name not in os.environ}


def run_uv(session: nox.Session, *arguments: str | Path) -> None:
    """Run uv, with its output shown only if it fails."""
    session.run(UV, *map(str, arguments), "--quiet", env=uv_settings(), external=True, silent=True)


def install(session: nox.Session, *names: str, editable: bool | None = False) -> None:
    """Install exactly these pins and the project into the session's environment.

    The project is the built wheel, an editable install, or, for None, absent.
    """
    run_uv(session, "pip", "sync", *(f"requirements/{name}.txt" for name in names))
    if editable is None:
        return
    # No index: a dependency that the pins do not satisfy is an error instead of a download.
    extras = "cli,rest" if {"rest", "lowest-rest"} & {*names} else "cli"
    what = ["--no-build-isolation", "--editable", f".[{extras}]"]
    if not editable:
        what = [f"milvus-import[{extras}] @ {build().as_uri()}"]
    run_uv(session, "pip", "install", "--no-index", *what)


@cache
def build() -> Path:
    """Build the sdist, and from it the wheel, into dist/; return the wheel."""
    dist = ROOT / "dist"
    dist.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dist, prefix=".building-") as folder:
        options = ["--quiet", "--python", sys.executable, "--out-dir", folder]
        pins = ["--build-constraints", "requirements/build.txt"]
        command = [UV, "build", *pins, *options]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **uv_settings()})
        files = [file.rename(dist / file.name) for file in Path(folder).glob("milvus_import-*")]
    return next(file for file in files if file.suffix == ".whl")


@contextmanager
def real_tests_in_parallel(session: nox.Session, *command: str) -> Generator[None]:
    """Run pytest on tests/real during the block; its output follows at the end of the block."""
    with tempfile.TemporaryFile("w+") as output:
        start = time.monotonic()
        process = subprocess.Popen(
            [Path(session.bin, "python"), "-P", "-m", *command, "tests/real"],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
        try:
            yield
            code = process.wait()
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # pytest then stops its server
                process.wait()
        output.seek(0)
        print(output.read())
        session.log(f"tests/real took {time.monotonic() - start:.0f} s")
    if code not in {0, 5}:  # 5: a real Milvus cannot run on this machine
        session.error(f"tests/real: pytest ended with {code}")


def pytest(session: nox.Session, *arguments: str, command: tuple[str, ...] = ("pytest",)) -> None:
    """Run pytest in parallel; the current folder is not importable."""
    workers = ("-n", WORKERS, "--dist", "worksteal")
    session.run("python", "-P", "-m", *command, "-q", *workers, *arguments)


def all_tests(session: nox.Session, *, coverage: bool = False) -> None:
    """Run all tests: tests/real in a separate process, at the same time as the others."""
    command = ("coverage", "run", "-m", "pytest") if coverage else ("pytest",)
    with real_tests_in_parallel(session, *command, "-q"):
        if coverage:
            lint_steps(session)
            types_steps(session)
            session.run("python", "-P", "scripts/generate.py", "--check")
        pytest(session, "--ignore=tests/real", command=command)


def check_installed(session: nox.Session) -> None:
    """Fail unless the imported package is the installed wheel."""
    session.run("python", "-P", "-c", INSTALLED_CHECK, log=False)


@nox.session
def tests(session: nox.Session) -> None:
    """Lint, types, generated code and all tests with coverage; with arguments only pytest."""
    start = time.monotonic()
    install(session, *TESTS)
    check_installed(session)
    if session.posargs:
        pytest(session, *session.posargs)
        return
    (ROOT / ".coverage-data").mkdir(exist_ok=True)
    session.run("coverage", "erase")
    all_tests(session, coverage=True)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")
    check_wheel(session)
    session.log(f"make test: all steps passed in {time.monotonic() - start:.0f} s")


@cache
def newest_python() -> str:
    """Return the newest of the supported Pythons that is found."""
    for minor in reversed(PYTHONS):
        command = [UV, "python", "find", "--quiet", "--no-project", minor]
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return minor
    return LOWEST


def oldest_patch(minor: str) -> str:
    """Return the full version of the oldest patch release found of a Python, such as 3.11.2."""
    request = os.environ.get("PYTHON" + minor.replace(".", "")) or minor
    command = [UV, "python", "list", "--only-installed", "--output-format", "json", request]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = [python["version"] for python in json.loads(listed or "[]")]
    return min(found, key=lambda full: [int(n) for n in re.findall(r"\d+", full)], default=minor)


def tested_pythons() -> list[str]:
    """Return the oldest patch release of the lowest Python, and the others; of these only ONLY."""
    every = [oldest_patch(LOWEST), *PYTHONS]
    return [python for python in every if f"{python}.".startswith(f"{ONLY}.")] if ONLY else every


@nox.session(python=tested_pythons() or [ONLY])
def versions(session: nox.Session) -> None:
    """Run the tests on the lowest dependencies (oldest 3.11) and on the newest (other Pythons).

    The Pythons between the lowest and the newest that are found run the unit and server tests.
    """
    session.run("python", "-VV")
    lowest = str(session.python).startswith(LOWEST)
    pins = ("lowest", "cli", "test") if lowest else ("newest", "rest", "cli", "test")
    if session.posargs:
        install(session, *pins, *(["lowest-rest"] if lowest else []))
        check_installed(session)
        pytest(session, *session.posargs)
        return
    install(session, *pins)
    check_installed(session)
    if lowest:
        all_tests(session)
        install(session, *pins, "lowest-rest")
        pytest(session, "-m", "rest", "tests/server", "tests/testing")
    elif session.python == newest_python():
        all_tests(session)
    else:
        pytest(session, "tests/unit", "tests/server")


@nox.session
def gateways(session: nox.Session) -> None:
    """Run nginx and HAProxy in front of FakeMilvus and of a real Milvus."""
    search = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
    missing = [name for name in GATEWAYS if shutil.which(name, path=search) is None]
    if missing:
        session.error(f"not installed. Install with: apt-get install -y {' '.join(missing)}")
    install(session, "newest", "cli", "rest", "test")
    check_installed(session)
    pytest(session, "tests/gateways", *session.posargs)


@nox.session
@nox.parametrize("pymilvus", ALONGSIDE)
def alongside(session: nox.Session, pymilvus: str) -> None:
    """Use the wheel and pymilvus in one process; call FakeMilvus with pymilvus."""
    with_rest = pymilvus != "2.5"
    extra = ("rest", "alongside-rest") if with_rest else ()
    install(session, f"alongside-{pymilvus}", "cli", *extra)
    for first, backend in product(("milvus_import", "pymilvus"), ("upb", "python")):
        session.run("python", "-P", "tests/alongside/both.py", first, backend, silent=True)
    for script in ("rest_peers.py", "migration.py") if with_rest else ():
        session.run("python", "-P", f"tests/alongside/{script}", silent=True)


@nox.session
def recipes(session: nox.Session) -> None:
    """Run the recipes of docs/recipes.md that need frameworks, with the real packages."""
    install(session, "recipes")
    check_installed(session)
    for framework in session.posargs or RECIPES:
        session.run("python", "-P", "tests/recipes/run.py", framework, silent=True)


@nox.session
def repeat(session: nox.Session) -> None:
    """Run all tests a number of times, and once with all times multiplied by 3."""
    install(session, *TESTS)
    check_installed(session)
    times = int(session.posargs[0]) if session.posargs else 10
    for number in range(1, times + 2):
        last = number > times
        session.log("all times x3" if last else f"run {number} of {times}")
        os.environ["MILVUS_IMPORT_TEST_SCALE"] = "3" if last else "1"
        all_tests(session)


@nox.session
def mutate(session: nox.Session) -> None:
    """Run unit and server tests on each mutant of one module; list those that survive."""
    if not session.posargs:
        session.error("no module given. Use: make mutate MODULE=src/milvus_import/_client.py")
    module, *selected = session.posargs
    # Mutants are written into a clone, which is installed.
    clone = Path(session.create_tmp(), "clone")
    shutil.rmtree(clone, ignore_errors=True)
    session.run("git", "clone", "--quiet", ".", str(clone), external=True)
    session.chdir(clone)
    install(session, "newest", "cli", "rest", "test", "build", "mutate", editable=True)
    tests = " ".join(selected or ["-n", WORKERS, "tests/unit", "tests/server"])
    config = f"""[cosmic-ray]
module-path = "{module}"
timeout = 600.0
excluded-modules = []
test-command = "python -P -m pytest -x -q {tests}"
[cosmic-ray.distributor]
name = "local"
"""
    Path("mutate.toml").write_text(config)
    session.run("cosmic-ray", "init", "mutate.toml", "mutate.sqlite")
    session.run("cosmic-ray", "baseline", "mutate.toml")
    session.run("cosmic-ray", "exec", "mutate.toml", "mutate.sqlite")
    session.run("cr-report", "--surviving-only", "--show-diff", "mutate.sqlite")


@nox.session
def audit(session: nox.Session) -> None:
    """Look up known vulnerabilities of everything pinned, file by file."""
    install(session, "audit", editable=None)
    options = ("--strict", "--no-deps", "--disable-pip", "--progress-spinner=off")
    failed = list[str]()
    for pins in sorted(Path("requirements").glob("*.txt")):
        session.log(pins.name)
        try:
            session.run("pip-audit", *options, "-r", str(pins))
        except CommandFailed:
            failed.append(pins.name)
    if failed:
        session.error(", ".join(failed))


def lint_steps(session: nox.Session) -> None:
    """Run ruff."""
    session.run("ruff", "check", "--quiet")
    session.run("ruff", "format", "--check", "--quiet")


def types_steps(session: nox.Session) -> None:
    """Run both type checkers over everything, over the code in the pages and the public API."""
    env = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    python = str(Path(session.bin, "python"))
    session.run("mypy", *CHECKED, silent=True)
    session.run("python", "-P", "scripts/page_types.py")
    session.run("pyright", "--pythonpath", python, *CHECKED, env=env, silent=True)
    public = ("--verifytypes", "milvus_import", "--ignoreexternal")  # exit 1 below 100 %
    session.run("pyright", *public, env=env, silent=True)


def check_wheel(session: nox.Session) -> None:
    """Check the metadata and the contents of the sdist and the wheel."""
    wheel = build()
    version = wheel.name.split("-")[1]
    session.run("twine", "check", "--strict", str(wheel), f"dist/milvus_import-{version}.tar.gz")
    session.run("check-wheel-contents", str(wheel))


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff: rules and format."""
    install(session, *TESTS, editable=None)
    lint_steps(session)


@nox.session
def types(session: nox.Session) -> None:
    """Run mypy and pyright, both strict."""
    install(session, *TESTS)
    types_steps(session)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the sdist and the wheel into dist/ and check them."""
    install(session, *TESTS, editable=None)
    check_wheel(session)


@nox.session
def demo(session: nox.Session) -> None:
    """Follow a real import on a real Milvus."""
    install(session, "newest", "cli")
    session.run("python", "scripts/demo.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into build/docs; warnings are errors."""
    install(session, "newest", "cli", "docs")
    session.run("sphinx-build", "-q", "-E", "-n", "-W", "--keep-going", "docs", "build/docs")


@nox.session
def program(session: nox.Session) -> None:
    """Run a program of scripts/ or benchmarks/ with the wheel installed."""
    generates = session.posargs[0] == "scripts/generate.py"  # before there is a wheel
    install(session, *TESTS, editable=None if generates else False)
    session.run("python", *session.posargs, env={"PYTHONPATH": "tests/support"})


@nox.session(python=newest_python())  # eager tasks need 3.12
@nox.parametrize("grpcio", GRPCIO)
def matrix(session: nox.Session, grpcio: str) -> None:
    """Check how calls end, instrumented or not, on several versions of grpcio."""
    install(session, "newest", "cli", "rest", "test")
    if grpcio:
        run_uv(session, "pip", "install", "--no-deps", f"grpcio=={grpcio}")
    session.run("python", "benchmarks/matrix.py", *session.posargs)


@nox.session
def dev(session: nox.Session) -> None:
    """Create .venvs/dev: an editable install with every tool."""
    install(session, *TESTS, "build", editable=True)
    session.log("use .venvs/dev/bin/python")
