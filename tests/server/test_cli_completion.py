"""Completion in bash, zsh and fish."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import invoke, variables

from milvus_import._cli._commands import cli

SHELLS = ("bash", "zsh", "fish")


def candidates(words: str, *, shell: str = "bash") -> str:
    last = words.rsplit(" ", maxsplit=1)[-1]
    index = last if shell == "fish" else str(len(words.split(" ")) - 1)
    ended = invoke(_MILVUS_IMPORT_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=index)
    assert ended.code == 0
    assert not ended.err
    return ended.out


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_are_completed(shell: str) -> None:
    text = candidates("milvus-import wa", shell=shell)
    assert "watch" in text
    assert "wait" in text
    assert "create" not in text
    all_of_them = candidates("milvus-import ", shell=shell)
    assert all(command in all_of_them for command in cli.commands)


@pytest.mark.parametrize("shell", SHELLS)
def test_options_and_their_values_are_completed(shell: str) -> None:
    assert "--interval" in candidates("milvus-import watch --int", shell=shell)
    assert "--uri" in candidates("milvus-import --u", shell=shell)
    services = candidates("milvus-import get --service ", shell=shell)
    assert all(service in services for service in ("auto", "internal", "public", "rest"))
    assert "file" in candidates("milvus-import get --ca x", shell=shell)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script(shell: str, tmp_path: Path) -> None:
    ended = invoke(_MILVUS_IMPORT_COMPLETE=f"{shell}_source")
    assert ended.code == 0
    assert "_MILVUS_IMPORT_COMPLETE" in ended.out
    assert "milvus-import" in ended.out
    if (program := shutil.which(shell)) is not None:
        script = tmp_path / "script"
        script.write_text(ended.out)
        check = subprocess.run([program, "-n", str(script)], capture_output=True, check=False)
        assert (check.returncode, check.stderr) == (0, b"")


def test_bash_completes_as_the_page_describes(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
    line = next(line for line in page.splitlines() if "=bash_source" in line)
    program = tmp_path / "milvus-import"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m milvus_import "$@"\n')
    program.chmod(0o755)
    script = f"""{line}
complete -p milvus-import
COMP_WORDS=(milvus-import cr) COMP_CWORD=1
_milvus_import_completion milvus-import
echo "${{COMPREPLY[@]}}"
"""
    path = f"{tmp_path}:{variables()['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=variables(PATH=path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    registered, completed = done.stdout.splitlines()
    assert registered.endswith("milvus-import")
    assert completed == "create"
