"""Run nox from `.venvs/tools`, which is created first if it is missing or its pins have changed.

    python scripts/tools.py -s SESSION [-- ARGUMENT...]

Without f-strings and newer syntax, so that old Pythons print the message below.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venvs" / "tools"
PINS = ROOT / "requirements" / "tools.txt"
VERSION = "%d.%d" % sys.version_info[:2]

if sys.version_info < (3, 11):
    sys.exit(
        "milvus-import needs Python 3.11 or newer, but %s is Python %s. "
        "Use a newer one: make PYTHON=python3.13 ..." % (sys.executable, VERSION)
    )


def main() -> None:
    """Create the environment if necessary, then replace this process with nox."""
    python, stamp = FOLDER / "bin" / "python", FOLDER / "stamp"
    wanted = sys.version + PINS.read_text()
    if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
        create(python)
        stamp.write_text(wanted)
    os.chdir(ROOT)
    os.execv(python, [str(python), "-m", "nox", *sys.argv[1:]])  # noqa: S606


def create(python: Path) -> None:
    """Create the environment with venv and pip."""
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        sys.exit(
            "%s has no venv or ensurepip module. Install them, on Debian and Ubuntu with: "
            "apt install python3-venv (or python%s-venv)" % (sys.executable, VERSION)
        )
    print("creating %s ..." % FOLDER.relative_to(ROOT), flush=True)
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "-r", str(PINS)]
    venv = ["-m", "venv", "--clear", str(FOLDER)]
    for command in [sys.executable, *venv], [str(python), *pip]:
        if subprocess.call(command) != 0:
            sys.exit("%s could not be created, see above" % FOLDER.relative_to(ROOT))


if __name__ == "__main__":
    main()
