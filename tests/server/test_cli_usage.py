"""Wrong usage, where options are given, help, versions, and completion."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shlex
import shutil
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest
from command_line import METADATA, TOKEN, invoke, launch, run_line, run_process, variables

from milvus_import._cli._commands import cli
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
WHAT = "name job ids or a collection, or pass --all-databases"
ONE = "name one collection, as COLLECTION or --collection, or --all-databases"
MIXED = "job ids cannot be combined with a collection or --all-databases"
NO_PAIR = "it is not of the form KEY=VALUE"
TLS = "get 7 --uri https://localhost"
CREATE = "create books a.parquet"
MISUSE = {
    "look 7": "No such command 'look'",
    "watch 7 --colour": "No such option",
    "get": "Missing argument 'JOB_ID...'",
    "watch": WHAT,
    "wait ''": WHAT,
    "watch --collection=": WHAT,
    "wait 7 --collection books": MIXED,
    "wait 7 books": MIXED,
    "watch 7 --all-databases": MIXED,
    "watch books films": ONE,
    "list books --collection films": ONE,
    "list books --all-databases": ONE,
    "get books": "JOB_ID must be a decimal integer of at most 2**63-1, got 'books'",
    "get uri": "JOB_ID must be a decimal integer of at most 2**63-1, got 'uri'",
    "watch 7 7x": "JOB_ID must be a decimal integer",
    "watch my-books": "JOB_ID must be a decimal integer",
    "watch 7 my-books": "JOB_ID must be a decimal integer",
    "abort books": "JOB_ID must be a decimal integer",
    "commit": "Missing argument 'JOB_ID...'",
    "list --db shop": "--db needs --collection: a server lists the jobs of every database; pass "
    "--all-databases",
    "list --uri http://localhost/shop": "--db needs --collection: a server lists",
    "list ''": "--collection must not be empty; leave it out for all collections",
    "list \udcff": "--collection must be valid Unicode text",
    "watch --collection \udcff": "--collection must be valid Unicode text",
    "get 7 --uri http://localhost:port": "--uri 'http://localhost:port' has the ",
    "get 7 --uri http://tls=:x": "--uri 'http://tls=:x' has the ",
    "get 7 --uri=": "--uri must be one of",
    "--uri= get 7": "--uri must be one of",
    "get 7 --uri dns:///host/db": "--uri 'dns:///host/db' has a path; pass the database as --db",
    "get 7 --uri localhost/a --db b": "--db must be 'a', the database of the URI, got 'b'",
    "get 7 --uri http://root:Sup3rS3cret@localhost": "--uri must not contain '@': set "
    "MILVUS_TOKEN=user:password",
    "wait 7 --timeout soon": "Invalid value for '--timeout': 'soon' is not a duration such as",
    "watch 7 --interval 0": "Invalid value for '--interval': '0' must be above 0 seconds",
    "get 7 --rpc-timeout 0ms": "Invalid value for '--rpc-timeout'",
    "watch 7 --max-outage -1": "Invalid value for '--max-outage'",
    "get 7 --metadata metadata-s3cret": f"Invalid value for '--metadata': {NO_PAIR}",
    "get 7 --metadata te=metadata-s3cret": "--metadata key 'te' is reserved for gRPC",
    "get 7 --metadata 'x-secret=metadata-s3cret\n'": "--metadata 'x-secret': the value must be ",
    "get 7 --service proxy": "Invalid value for '--service'",
    f"{TLS} --ca /nowhere": "--ca file '/nowhere' cannot be read: ",
    f"{TLS} --cert /nowhere": "--key must be passed with --cert",
    f"{TLS} --key /nowhere": "--cert must be passed with --key",
    f"{TLS} --ca=": "--ca ",
    "get 7 --uri http://localhost --server-name a": "--uri 'http://localhost' has the scheme "
    "http://, but a TLS option was given",
    "get 7 --token 'Bearer x'": "--token must be passed without 'Bearer'",
    "get 7 --password s3cret": "--user must be passed with",
    "get 7 --token a:b --user c --password d": "--token must be ",
    "create books": "Missing argument 'FILE...'",
    "create books a.parquet ''": "FILE must not hold an empty path",
    "create '' a.parquet": "COLLECTION must not be empty",
    f"{CREATE} --until uncommitted": "--until needs --wait",
    f"{CREATE} --max-outage 1m": "--max-outage needs --wait",
    f"{CREATE} --volume v --access-key a": "--volume cannot be combined with the keys",
    f"{CREATE} --option sep=, --option s3cret": f"Invalid value for '--option': {NO_PAIR}",
    f"{CREATE} --option auto_commit=maybe": "Invalid value for '--option': auto_commit must be",
    f"{CREATE} --option sep=, --option 'sep=;'": "--option 'sep' is given twice",
    f"{CREATE} --idempotency-key \x07": "--idempotency-key must be 1 to 256 characters",
}


@pytest.mark.parametrize("line", MISUSE)
def test_misuse_is_reported_before_anything_is_sent(line: str) -> None:
    ended = invoke(*shlex.split(line), MILVUS_URI="http://127.0.0.1:1")
    message, hint = ended.err.splitlines()
    assert (ended.code, ended.out) == (2, "")
    assert message.startswith(f"milvus-import: {MISUSE[line]}")
    assert re.fullmatch(r"Try 'milvus-import[ a-z]* --help'\.", hint)
    assert not re.search(r"=\.\.\.|db_name|job_id|TLSConfig|s3cret", message)
    assert "tls=" not in re.sub(r"'[^']*'", "", message)


@pytest.mark.parametrize(
    ("line", "message"),
    [("", "Usage: milvus-import"), ("get 7", "milvus-import: MILVUS_URI is empty\n")],
)
def test_no_command_and_an_empty_milvus_uri_are_errors(line: str, message: str) -> None:
    ended = invoke(*line.split(), MILVUS_URI="")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(message)


DEAD = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("line", "environment", "database"),
    [
        ("--db before list books", {}, "before"),
        ("--db before list books", {"MILVUS_DB": "variable"}, "before"),
        ("--db before list books --db after", {"MILVUS_DB": "variable"}, "after"),
        ("list books", {"MILVUS_DB": "variable"}, "variable"),
        ("list books", {"MILVUS_URI": ""}, ""),
        ("list books", {"MILVUS_URI": DEAD}, ""),
        (f"--uri {DEAD} list books --uri URI", {}, ""),
        ("--uri URI list books", {"MILVUS_URI": DEAD}, ""),
        ("list --db shop --all-databases", {}, "shop"),
    ],
)
async def test_options_precede_variables_and_those_after_the_command_others(
    line: str, environment: dict[str, str], database: str, fake: FakeMilvus
) -> None:
    ended = await run_line(fake, line.replace("URI", fake.internal_uri), **environment)
    assert ended.code == 0
    assert fake.received[-1].request.db_name == database


async def test_options_before_and_after_the_command_are_equal(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Completed")
    before, after = [await run_line(fake, line) for line in ("--json get 7", "get 7 --json")]
    assert before.code == after.code == 0
    assert before.objects == after.objects


def test_each_connection_option_has_a_variable() -> None:
    """Not the limits and the form of one command."""
    own = {"--ask-token", "--timeout", "--metadata", "--json", "--debug", "--version", "--help"}
    for option in cli.params:
        if (name := option.opts[-1]) not in own:
            variable = option.envvar
            assert variable == f"MILVUS_{name[2:].upper().replace('-', '_')}"


@pytest.mark.parametrize(
    ("options", "environment", "user"),
    [
        ("", {"MILVUS_TOKEN": "a:1", "MILVUS_USER": "b", "MILVUS_PASSWORD": "2"}, "a:1"),
        ("--token c:3", {"MILVUS_USER": "b", "MILVUS_PASSWORD": "2"}, "c:3"),
        ("--user c --password 3", {"MILVUS_TOKEN": "a:1"}, "c:3"),
        ("--user c", {"MILVUS_TOKEN": "a:1", "MILVUS_PASSWORD": "2"}, "c:2"),
        ("--password 3", {"MILVUS_USER": "b", "MILVUS_PASSWORD": "2"}, "b:3"),
    ],
)
async def test_credentials_of_the_command_line_precede_the_environment(
    options: str, environment: dict[str, str], user: str, fake: FakeMilvus
) -> None:
    ended = await run_line(fake, f"list {options}", **{"MILVUS_TOKEN": "", **environment})
    assert ended.code == 0
    assert fake.received[-1].values("authorization") == [b64encode(user.encode()).decode()]


async def test_the_variable_of_the_service_is_read_as_rest(fake: FakeMilvus) -> None:
    assert (await run_line(fake, f"list --uri {fake.rest_uri}", MILVUS_SERVICE="rest")).code == 0


@pytest.mark.parametrize("name", ["CA", "CERT", "SERVICE"])
def test_variables_are_read(name: str) -> None:
    ended = invoke("list", "--uri", "https://localhost", **{f"MILVUS_{name}": "/nowhere"})
    assert (ended.code, f"--{name.lower()}" in ended.err) == (2, True)


async def test_a_plaintext_token_is_reported_unless_warnings_are_off(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Completed", progress=100)
    uri = fake.internal_uri.replace("127.0.0.1", "0.0.0.0")  # this machine, but no loopback address
    off = {"MILVUS_NO_WARNINGS": "1"}
    for more, environment, warnings in (("", {}, 1), ("--no-warnings", {}, 0), ("", off, 0)):
        ended = await run_process(fake, f"get 7 --uri {uri} {more}", **environment)
        assert (ended.code, len(ended.err.splitlines())) == (0, warnings)
        assert ended.err.count("warning: a token is sent to") == warnings


async def test_leading_zeros_and_repeated_ids_are_dropped(fake: FakeMilvus) -> None:
    for job_id in ("7", "8"):
        fake.add_job(job_id=job_id, state="Completed", progress=100)
    ended = await run_line(fake, "wait 8 007 7 08 --json")
    assert [job["jobId"] for job in ended.objects] == ["8", "7"]


async def test_options_reach_the_server(fake: FakeMilvus) -> None:
    fake.token = TOKEN
    fake.add_job(job_id="7", state="Completed")
    options = f"--db shop --rpc-timeout 7s --service public --token {TOKEN}"
    line = f"get 7 --uri {fake.public_uri} {options}"
    ended = await run_line(fake, line, MILVUS_TOKEN="root:another")
    assert ended.code == 0
    received = fake.received[-1]
    assert received.values("dbname") == ["shop"]
    assert received.values("x-secret") == [METADATA]
    assert received.time_remaining is not None
    assert 0 < received.time_remaining < 8  # gRPC rounds a little up; the default is 10


@pytest.mark.parametrize("command", ["list", "watch", "wait"])
async def test_collection_is_accepted_as_option_and_by_position(
    command: str, fake: FakeMilvus
) -> None:
    """The option names a collection whatever it looks like."""
    fake.add_job(job_id="7", collection_name="books", state="Completed", progress=100)
    fake.add_job(job_id="8", collection_name="films", state="Failed")
    for target in ("books", "--collection books"):
        ended = await run_line(fake, f"{command} {target} --json")
        assert ended.code == 0
        assert [job["jobId"] for job in ended.objects] == ["7"]
    ended = await run_line(fake, f"{command} --collection 7")
    assert ended.code == (0 if command == "list" else 4)
    assert "the collection '7' has no import jobs" in ended.err


@pytest.mark.parametrize("command", ["", *cli.commands])
def test_help_has_examples_exit_codes_and_options(command: str) -> None:
    ended = invoke(*command.split(), "--help", MILVUS_TOKEN=TOKEN, MILVUS_URI="http://example.org")
    assert ended.code == 0
    assert "Examples:\n    milvus-import " in ended.out
    assert "Exit codes:\n    0 success " in ended.out
    for name in ("MILVUS_TOKEN", "MILVUS_DB", "--uri"):
        assert name in ended.out


def test_the_page_names_every_option_and_no_other() -> None:
    known = {
        name
        for command in (cli, *cli.commands.values())
        for parameter in command.params
        for name in (*parameter.opts, parameter.envvar)
        if isinstance(name, str) and name.startswith(("--", "MILVUS_"))
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*|\bMILVUS_[A-Z_]+", PAGE.read_text("utf-8")))
    assert named == known


def test_version_prints_what_a_bug_report_needs() -> None:
    ended = invoke("--version")
    assert ended.code == 0
    shown = dict(line.split(" ", 1) for line in ended.out.splitlines())
    names = ["milvus-import", "Python", "grpcio", "protobuf", "anyio"]
    assert list(shown) in (names, [*names, "aiohttp"])
    assert shown["Python"] == platform.python_version()
    assert shown["grpcio"] == importlib.metadata.version("grpcio")


def test_version_leaves_out_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "aiohttp":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr("milvus_import._cli._commands.version", version)
    assert "aiohttp" not in invoke("--version").out
    assert "anyio 1" in invoke("--version").out


@pytest.mark.parametrize("missing", ["click", "rich"])
async def test_without_the_extra_a_line_reports_what_to_install(missing: str) -> None:
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name={missing!r})
sys.meta_path.insert(0, Missing())
from milvus_import.__main__ import main
main()
"""
    ended = await (await launch(sys.executable, "-P", "-c", code)).end()
    assert ended.code == 2
    assert ended.err == (
        "milvus-import: the command line needs click and rich, the extra milvus-import[cli]: "
        "pip install click rich\n"
    )


# ------------------------------------------------------------------------------------- completion

each_shell = pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])


@each_shell
@pytest.mark.parametrize(
    ("line", "offered", "others"),
    [
        ("", [*cli.commands], []),
        ("wa", ["watch", "wait"], ["create"]),
        ("watch --int", ["--interval"], ["--uri"]),
        ("--u", ["--uri"], ["--interval"]),
        ("get --service ", ["auto", "internal", "public", "rest"], []),
        ("get --ca x", ["file"], []),
    ],
)
def test_commands_options_and_values_are_completed(
    line: str, offered: list[str], others: list[str], shell: str
) -> None:
    typed = f"milvus-import {line}".split(" ")
    index = typed[-1] if shell == "fish" else str(len(typed) - 1)
    words = " ".join(typed)
    ended = invoke(_MILVUS_IMPORT_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=index)
    assert (ended.code, ended.err) == (0, "")
    assert all(word in ended.out for word in offered)
    assert not any(word in ended.out for word in others)


@each_shell
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
    line = next(line for line in PAGE.read_text("utf-8").splitlines() if "=bash_source" in line)
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
    command, env = ["bash", "--norc", "-c", script], variables(PATH=path)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    registered, completed = done.stdout.splitlines()
    assert registered.endswith("milvus-import")
    assert completed == "create"
