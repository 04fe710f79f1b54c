"""Virtual environments under .venvs/, each made once and again only when its contents changed.

python scripts/environment.py NAME [SCRIPT ARG...]   make the environment, run SCRIPT with it
python scripts/environment.py wheel                  build the sdist and the wheel into dist/
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this with an old Python gets a sentence
    sys.stderr.write(
        f"milvus-import needs Python 3.11 or newer; {sys.executable} is "
        f"{sys.version_info[0]}.{sys.version_info[1]}.\n"
        "Name a newer one: make PYTHON=python3.12 ...\n"
    )
    sys.exit(2)

import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / ".venvs"

# What each environment holds: files of requirements/, then the project as a wheel, as an editable
# install, or not at all.
CONTENTS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "audit": (("audit",), None),
    "build": (("build",), None),
    "bench": (("newest", "cli", "bench"), "wheel"),
    "beside-2.4": (("beside-2.4", "cli"), "wheel"),
    "beside-2.6": (("beside-2.6", "cli"), "wheel"),
    "beside-3.0": (("beside-3.0", "cli"), "wheel"),
    "check": (("newest", "cli", "test", "lint"), "wheel"),
    "demo": (("newest", "cli"), "wheel"),
    "dev": (("newest", "cli", "test", "lint", "build"), "editable"),
    "lowest": (("lowest", "cli", "test"), "wheel"),
    "newest": (("newest", "cli", "test"), "wheel"),
}

# These would point pip or Python away from the environment that is being filled.
_MISLEADING = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")

_PROBE = """
import json, sys
try:
    import venv
    from ensurepip import version
except ImportError:
    venv = None
print(json.dumps([sys.executable, sys.version_info[:3], sys.version, venv is not None]))
"""


class SetupError(Exception):
    """Something the person at the keyboard can mend; the text says how."""


@dataclass(frozen=True)
class Interpreter:
    """A Python that was run and answered."""

    path: str
    version: tuple[int, int, int]
    build: str
    makes_environments: bool

    def __str__(self) -> str:
        return "Python " + ".".join(map(str, self.version))


def probe(command: str | Path) -> Interpreter | None:
    """Run a candidate and ask what it is; None if it does not run (a shim without a Python)."""
    try:
        answer = subprocess.run(
            [command, "-I", "-c", _PROBE], capture_output=True, timeout=60, check=True
        )
        path, version, build, able = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(path, tuple(version), build, able)


def find(minor: str) -> Interpreter | None:
    """Find a Python of this minor version ("3.13"), or None.

    The variable PYTHON313 names one outright; then PATH, pyenv's and uv's folders are searched.
    """
    named = os.environ.get("PYTHON" + minor.replace(".", ""))
    if named:
        found = probe(named)
        if found is None or not _is(found, minor):
            raise SetupError(
                f"PYTHON{minor.replace('.', '')}={named} is not a working Python {minor}"
            )
        return found
    working = [
        found
        for candidate in dict.fromkeys(_candidates(minor))
        if os.access(candidate, os.X_OK) and (found := probe(candidate)) and _is(found, minor)
    ]
    return next((found for found in working if found.makes_environments), next(iter(working), None))


def _is(interpreter: Interpreter, minor: str) -> bool:
    return ".".join(map(str, interpreter.version[:2])) == minor


def _candidates(minor: str) -> Iterator[Path]:
    program = f"python{minor}"
    yield Path(sys.executable)
    for folder in os.get_exec_path():
        yield Path(folder) / program
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local/share/uv/python")
    yield from sorted(pyenv.glob(f"versions/{minor}.*/bin/{program}"), reverse=True)
    yield from sorted(uv.glob(f"cpython-{minor}.*/bin/{program}"), reverse=True)


def make(
    name: str,
    *,
    python: Interpreter | None = None,
    requirements: Sequence[Path] = (),
    project: Path | None = None,
) -> Path:
    """Make .venvs/<name> unless it is there as described, and return its Python.

    The requirement files decide the environment: a change in one makes it anew. ``project`` is a
    wheel, or this folder for an editable install; a change there only replaces the project.
    """
    python = python or _this()
    folder = VENVS / name
    executable = folder / "bin" / "python"
    pins = _digest(python.build, str(folder), *requirements)
    with _alone(name):
        before = _read_stamp(folder) if executable.exists() else {}
        stamp = {"pins": pins, "project": before.get("project", "")}
        if before.get("pins") != pins:
            stamp["project"] = ""
            _fill(folder, python, requirements)
            _write_stamp(folder, stamp)
        if project is not None and stamp["project"] != _project_digest(project):
            # Forgotten first: whatever stops the next line, the next run does it again.
            _write_stamp(folder, stamp | {"project": ""})
            _replace_project(executable, project)
            _write_stamp(folder, stamp | {"project": _project_digest(project)})
    return executable


def make_known(name: str, python: Interpreter | None = None) -> Path:
    """Make one of the environments in CONTENTS, with the project in it if it holds that."""
    files, form = CONTENTS[name]
    project = wheel() if form == "wheel" else ROOT if form == "editable" else None
    return make(name, python=python, requirements=pin_files(*files), project=project)


def pin_files(*names: str) -> list[Path]:
    """Name files of requirements/ without folder and suffix."""
    return [ROOT / "requirements" / f"{name}.txt" for name in names]


@cache
def wheel() -> Path:
    """Build the sdist, and from that the wheel, into dist/, once a run; return the wheel."""
    python = make("build", requirements=pin_files("build"))
    VENVS.mkdir(exist_ok=True)
    with _alone("wheel"), tempfile.TemporaryDirectory(dir=VENVS, prefix="wheel-") as scratch:
        _run(
            [python, "-m", "build", "--no-isolation", "--outdir", scratch, ROOT],
            "the wheel could not be built",
        )
        dist = ROOT / "dist"
        dist.mkdir(exist_ok=True)
        built = [file.replace(dist / file.name) for file in Path(scratch).iterdir()]
    return next(file for file in built if file.suffix == ".whl")


def clean_variables() -> dict[str, str]:
    """Give this process's variables without those that lead Python elsewhere."""
    return {key: value for key, value in os.environ.items() if key not in _MISLEADING}


def run(main: Callable[[], int]) -> NoReturn:
    """Run a script's main: trouble is told in a sentence and exits 2, Ctrl-C exits 130."""
    try:
        code = main()
    except SetupError as trouble:
        print(trouble, file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _this() -> Interpreter:
    found = probe(sys.executable)
    if found is None:
        raise SetupError(f"{sys.executable} does not run when started again")
    return found


def _fill(folder: Path, python: Interpreter, requirements: Sequence[Path]) -> None:
    if not python.makes_environments:
        minor = ".".join(map(str, python.version[:2]))
        raise SetupError(
            f"{python.path} (Python {minor}) cannot make virtual environments: "
            f"its venv or ensurepip module is missing.\n"
            f"Debian and Ubuntu keep it apart: apt install python{minor}-venv "
            f"(python3-venv for the system's own Python)"
        )
    start = time.monotonic()
    where = folder.relative_to(ROOT)
    print(f"making {where} ({python}) ...", flush=True)
    _run([python.path, "-I", "-m", "venv", "--clear", folder], f"{where} could not be made")
    files = [word for file in requirements for word in ("--requirement", file)]
    if files:
        _pip(
            folder / "bin" / "python",
            ["install", *files],
            "the requirements could not be installed",
        )
    print(f"made {where} in {time.monotonic() - start:.0f} s", flush=True)


def _replace_project(executable: Path, project: Path) -> None:
    # Everything it needs is pinned and there by now. No index: a dependency that the pins do not
    # satisfy is an error here, not a quiet download.
    form = ["--no-build-isolation", "--editable"] if project.is_dir() else []
    _pip(executable, ["uninstall", "--yes", "milvus-import"], "the old wheel could not be removed")
    _pip(
        executable,
        ["install", "--no-index", *form, f"{project}[cli]"],
        "the pins do not satisfy pyproject.toml",
    )


def _pip(executable: Path, arguments: Sequence[str | Path], trouble: str) -> None:
    options = ["--disable-pip-version-check", "--quiet", "--no-input"]
    _run([executable, "-m", "pip", *arguments, *options], trouble)


def _run(command: Sequence[str | Path], trouble: str) -> None:
    done = subprocess.run(
        command,
        env=clean_variables(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SetupError(f"{done.stdout.rstrip()}\n{trouble}: {' '.join(map(str, command))}")


def _digest(*parts: str | Path) -> str:
    """Digest words, and files by their bytes."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part.read_bytes()
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()


def _project_digest(project: Path) -> str:
    return _digest(project / "pyproject.toml" if project.is_dir() else project)


def _stamp_file(folder: Path) -> Path:
    return folder / "made-from.json"


def _read_stamp(folder: Path) -> dict[str, str]:
    try:
        stamp: dict[str, str] = json.loads(_stamp_file(folder).read_bytes())
    except (OSError, ValueError):
        return {}
    return stamp


def _write_stamp(folder: Path, stamp: dict[str, str]) -> None:
    _stamp_file(folder).write_text(json.dumps(stamp))


@contextmanager
def _alone(name: str) -> Generator[None]:
    """Hold off another run that would make the same thing."""
    VENVS.mkdir(exist_ok=True)
    with (VENVS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Make what the command line names; run a script with it."""
    name, *script = sys.argv[1:] or [""]
    if name == "wheel":
        print(wheel().relative_to(ROOT))
        return 0
    if name not in CONTENTS:
        raise SetupError(f"usage: environment.py wheel | {' | '.join(CONTENTS)} [SCRIPT ARG...]")
    if script and not (ROOT / script[0]).is_file():
        raise SetupError(f"{script[0]} is not there")
    python = make_known(name)
    if script:
        sys.stdout.flush()
        os.chdir(ROOT)
        os.execve(python, [str(python), *script], clean_variables())  # noqa: S606 - no shell wanted
    print(python.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    run(main)
