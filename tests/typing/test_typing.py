from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

_MARKS = re.compile(r"  # type: ignore\[[^]]+\]  # pyright: ignore\[[^]]+\]$", re.MULTILINE)


def _run(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


def mypy(folder: Path) -> set[tuple[str, int]]:
    output = _run("mypy", folder)
    return {
        (Path(found[1]).name, int(found[2]))
        for found in re.finditer(r"^([^:\n]+):(\d+): error: ", output, re.MULTILINE)
    }


def pyright(folder: Path) -> set[tuple[str, int]]:
    config = {"typeCheckingMode": "strict", "enableTypeIgnoreComments": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    output = _run("pyright", "--outputjson", "--pythonpath", sys.executable, "-p", folder)
    return {
        (Path(found["file"]).name, found["range"]["start"]["line"] + 1)
        for found in json.loads(output)["generalDiagnostics"]
    }


@pytest.mark.timeout(240)  # a first run of mypy reads all of grpc and protobuf
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_type_checker_reports_the_marked_lines_and_no_others(
    tmp_path: Path, checker: Callable[[Path], set[tuple[str, int]]]
) -> None:
    marked: set[tuple[str, int]] = set()
    for name in ("api_good.py", "api_bad.py"):
        source = (HERE / name).read_text("utf-8")
        marked |= {
            (name, number)
            for number, line in enumerate(source.splitlines(), 1)
            if _MARKS.search(line)
        }
        (tmp_path / name).write_text(_MARKS.sub("", source), "utf-8")
    assert len(marked) > 30
    assert checker(tmp_path) == marked
