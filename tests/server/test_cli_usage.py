"""Wrong usage, where options are given, help, and versions."""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
import re
import sys
from base64 import b64encode
from pathlib import Path

import pytest
from command_line import METADATA, TOKEN, finish, invoke, run, run_process

from milvus_import._cli._commands import cli
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

MISUSE = {
    "no command": "",
    "unknown command": "look 7",
    "unknown option": "watch 7 --colour",
    "no job": "get",
    "neither job nor collection": "watch",
    "both job and collection": "wait 7 --collection books",
    "job and collection by position": "wait 7 books",
    "two collections": "watch books films",
    "two collections to list": "list books --collection films",
    "no job id": "get books",
    "no job id among others": "watch 7 7x",
    "job ids and all databases": "watch 7 --all-databases",
    "a collection and all databases": "list books --all-databases",
    "a database without a collection": "list --db shop",
    "a database without a collection, in the URI": "list --uri http://localhost/shop",
    "no job to commit": "commit",
    "no job id to abort": "abort books",
    "bad URI": "get 7 --uri http://localhost:port",
    "empty URI": "get 7 --uri=",
    "empty URI before the command": "--uri= get 7",
    "credentials in the URI": "get 7 --uri http://root:Sup3rS3cret@localhost",
    "bad time": "wait 7 --timeout soon",
    "unknown unit": "wait 7 --timeout 10w",
    "NaN for a time": "wait 7 --timeout nan",
    "infinite time": "wait 7 --timeout inf",
    "too long a time": "wait 7 --timeout 20000d",
    "NaN for an interval": "watch 7 --interval nan",
    "interval of 0": "watch 7 --interval 0",
    "RPC timeout of 0": "get 7 --rpc-timeout 0",
    "RPC timeout of 0 ms": "get 7 --rpc-timeout 0ms",
    "negative time": "get 7 --rpc-timeout -1",
    "negative outage": "watch 7 --max-outage -1",
    "metadata without a value": "get 7 --metadata metadata-s3cret",
    "metadata gRPC rejects": "get 7 --metadata te=metadata-s3cret",
    "metadata that is no text": "get 7 --metadata x-secret=metadata-s3cret\n",
    "unknown service": "get 7 --service proxy",
    "no such file": "get 7 --uri https://localhost --ca /nowhere/ca.pem",
    "certificate without key": "get 7 --uri https://localhost --cert /nowhere/cert.pem",
    "TLS files without TLS": "get 7 --uri http://localhost --ca /nowhere/ca.pem",
    "empty TLS file name": "get 7 --uri https://localhost --ca=",
    "no file": "create books",
    "state to wait for without --wait": "create books a.parquet --until uncommitted",
    "outage without --wait": "create books a.parquet --max-outage 1m",
    "empty file name": "create books a.parquet ",
    "empty collection": "create  a.parquet",
    "empty collection to list": "list ",
    "empty collection to wait for": "wait ",
    "empty name of a collection to watch": "watch --collection=",
    "a name with a hyphen": "watch my-books",
    "a name with a hyphen among job ids": "watch 7 my-books",
    "volume and keys of a bucket": "create books a.parquet --volume v --access-key a",
    "no user for the password": "get 7 --password s3cret",
    "token and user": "get 7 --token a:b --user c --password d",
    "option without a value": "create books a.parquet --option timeout",
    "option of another type": "create books a.parquet --option auto_commit=maybe",
    "option given twice": "create books a.parquet --option sep=, --option SEP=;",
    "bad idempotency key": "create books a.parquet --idempotency-key \x07",
    "a collection that is no text": "list \udcff",
    "a collection to watch that is no text": "watch --collection \udcff",
}


@pytest.mark.parametrize("command", MISUSE.values(), ids=MISUSE)
def test_misuse_is_reported_before_anything_is_sent(command: str) -> None:
    words = command.split(" ") if command else []
    ended = invoke(*words, MILVUS_URI="http://127.0.0.1:1")
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert not ended.out
    if words:
        assert len(ended.err.splitlines()) == 2
        assert ended.err.startswith("milvus-import: ")
        assert "=..." not in ended.err
        assert not any(name in ended.err for name in ("db_name", "job_id", "tls=", "TLSConfig"))
    else:
        assert "Usage: milvus-import" in ended.err


@pytest.mark.parametrize("command", ["wait ", "watch --collection="])
def test_empty_collection_to_follow_names_what_is_possible(command: str) -> None:
    message = "milvus-import: name job ids or a collection, or pass --all-databases"
    assert invoke(*command.split(" ")).err.splitlines()[0] == message


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (("get", "7", "--uri", "http://tls=:x"), "--uri 'http://tls=:x' has the "),
        (("get", "7", "--uri", "dns:///host/db"),
         "--uri 'dns:///host/db' has a path; pass the database as --db"),
        (("get", "7", "--uri", "http://localhost", "--server-name", "a"),
         "--uri 'http://localhost' has the scheme http://, but a TLS option was given"),
        (("get", "7", "--uri", "localhost/a", "--db", "b"),
         "--db must be 'a', the database of the URI, got 'b'"),
        (("get", "7", "--uri", "http://root:Sup3rS3cret@localhost"),
         "--uri must not contain '@': set MILVUS_TOKEN=user:password"),
        (("get", "7", "--token", "Bearer x"), "--token must be passed without 'Bearer'"),
        (("get", "7", "--uri", "https://localhost", "--ca", "/nowhere"),
         "--ca file '/nowhere' cannot be read: "),
        (("get", "7", "--uri", "https://localhost", "--key", "/nowhere"),
         "--cert must be passed with --key"),
        (("get", "uri"), "JOB_ID must be a decimal integer of at most 2**63-1, got 'uri'"),
        (("create", "books", ""), "FILE must not hold an empty path"),
        (("create", "", "a"), "COLLECTION must not be empty"),
        (("list", ""), "--collection must not be empty; leave it out for all collections"),
        (("list", "--db", "a"),
         "--db needs --collection: a server lists the jobs of every database; pass --all-data"),
    ],
)  # fmt: skip
def test_errors_of_arguments_name_options(words: tuple[str, ...], start: str) -> None:
    assert invoke(*words).err.startswith(f"milvus-import: {start}")


def test_empty_milvus_uri_is_an_error() -> None:
    ended = invoke("get", "7", MILVUS_URI="")
    assert (ended.code, ended.err.splitlines()[0]) == (2, "milvus-import: MILVUS_URI is empty")


async def test_uri_option_overrides_an_empty_milvus_uri(fake: FakeMilvus) -> None:
    assert (await run("list", "--uri", fake.internal_uri, MILVUS_URI="")).code == 0


async def test_options_before_and_after_the_command_are_equal(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Completed")
    before = await run("--uri", fake.internal_uri, "--json", "get", "7")
    after = await run("get", "7", "--uri", fake.internal_uri, "--json")
    assert before.code == after.code == 0
    assert before.objects == after.objects


async def test_option_after_the_command_takes_precedence(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Completed")
    dead = "http://127.0.0.1:1"
    ended = await run(
        "--uri", dead, "--db", "before", "get", "7", "--uri", fake.public_uri, "--db", "after"
    )
    assert ended.code == 0
    assert fake.received[-1].values("dbname") == ["after"]


async def test_option_before_the_command_overrides_the_environment(fake: FakeMilvus) -> None:
    ended = await run("--uri", fake.internal_uri, "list", MILVUS_URI="http://127.0.0.1:1")
    assert ended.code == 0


async def test_database_is_read_from_the_environment(fake: FakeMilvus) -> None:
    await run("list", "books", "--uri", fake.internal_uri, MILVUS_DB="shop")
    assert fake.received[-1].request.db_name == "shop"
    await run("list", "books", "--uri", fake.internal_uri, "--db", "other", MILVUS_DB="shop")
    assert fake.received[-1].request.db_name == "other"


def test_each_connection_option_has_a_variable() -> None:
    """Not the limits and the form of one command."""
    own = {"--ask-token", "--timeout", "--metadata", "--json", "--debug", "--version", "--help"}
    for option in cli.params:
        if (name := option.opts[-1]) not in own:
            variable = option.envvar
            assert variable == f"MILVUS_{name[2:].upper().replace('-', '_')}"


@pytest.mark.parametrize(
    ("words", "environment", "user"),
    [
        ("", {"MILVUS_TOKEN": "a:1", "MILVUS_USER": "b", "MILVUS_PASSWORD": "2"}, "a:1"),
        ("--token c:3", {"MILVUS_USER": "b", "MILVUS_PASSWORD": "2"}, "c:3"),
        ("--user c --password 3", {"MILVUS_TOKEN": "a:1"}, "c:3"),
        ("--user c", {"MILVUS_TOKEN": "a:1", "MILVUS_PASSWORD": "2"}, "c:2"),
        ("--password 3", {"MILVUS_USER": "b", "MILVUS_PASSWORD": "2"}, "b:3"),
    ],
)
async def test_credentials_of_the_command_line_precede_the_environment(
    words: str, environment: dict[str, str], user: str, fake: FakeMilvus
) -> None:
    ended = await run("list", "--uri", fake.internal_uri, *words.split(), **{
        "MILVUS_TOKEN": "", **environment
    })  # fmt: skip
    assert ended.code == 0
    assert fake.received[-1].values("authorization") == [b64encode(user.encode()).decode()]


async def test_service_rest_is_read_from_the_environment(fake: FakeMilvus) -> None:
    assert (await run("list", "--uri", fake.rest_uri, MILVUS_SERVICE="rest")).code == 0
    ended = invoke("list", MILVUS_SERVICE="proxy")
    assert ended.code == 2
    assert "--service" in ended.err


@pytest.mark.parametrize("name", ["CA", "CERT"])
def test_tls_files_are_read_from_the_environment(name: str) -> None:
    ended = invoke("list", "--uri", "https://localhost", **{f"MILVUS_{name}": "/nowhere/x.pem"})
    assert ended.code == 2
    assert f"--{name.lower()}" in ended.err


async def test_a_plaintext_token_is_reported_unless_warnings_are_off(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Completed", progress=100)
    uri = fake.internal_uri.replace("127.0.0.1", "0.0.0.0")  # this machine, but no loopback address
    command = ("get", "7", "--uri", uri)
    ended = await run_process(*command)
    assert (ended.code, ended.err.count("warning: a token is sent to")) == (0, 1)
    for words, environment in ((("--no-warnings",), {}), ((), {"MILVUS_NO_WARNINGS": "1"})):
        ended = await run_process(*command, *words, **environment)
        assert (ended.code, ended.err) == (0, "")


async def test_leading_zeros_and_repeated_ids_are_dropped(fake: FakeMilvus) -> None:
    for job_id in ("7", "8"):
        fake.add_job(job_id=job_id, state="Completed", progress=100)
    ended = await run("wait", "8", "007", "7", "08", "--uri", fake.internal_uri, "--json")
    assert [job["jobId"] for job in ended.objects] == ["8", "7"]


@pytest.mark.parametrize("more", ["--collection 7", "--collection 7 --until uncommitted"])
async def test_the_option_names_a_collection_whatever_it_looks_like(
    more: str, fake: FakeMilvus
) -> None:
    ended = await run("wait", *more.split(), "--uri", fake.internal_uri)
    assert ended.code == 4
    assert "the collection '7' has no import jobs" in ended.err


async def test_options_reach_the_server(fake: FakeMilvus) -> None:
    fake.token = TOKEN
    fake.add_job(job_id="7", state="Completed")
    ended = await run(
        "get", "7", "--uri", fake.public_uri, "--db", "shop", "--rpc-timeout", "7s",
        "--service", "public", "--token", TOKEN, MILVUS_TOKEN="root:another",
    )  # fmt: skip
    assert ended.code == 0
    received = fake.received[-1]
    assert received.values("dbname") == ["shop"]
    assert received.values("x-secret") == [METADATA]
    assert received.time_remaining is not None
    assert 0 < received.time_remaining < 8  # gRPC rounds a little up; the default is 10


async def test_all_databases_lists_the_jobs_although_a_database_is_named(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Completed")
    ended = await run("list", "--db", "shop", "--all-databases", "--uri", fake.internal_uri)
    assert ended.code == 0
    assert fake.received[-1].request.collection_name == ""


@pytest.mark.parametrize("command", ["list", "watch", "wait"])
async def test_collection_is_accepted_as_option_and_by_position(
    command: str, fake: FakeMilvus
) -> None:
    fake.add_job(job_id="7", collection_name="books", state="Completed", progress=100)
    fake.add_job(job_id="8", collection_name="films", state="Failed")
    for words in (("books",), ("--collection", "books")):
        ended = await run(command, *words, "--json", "--uri", fake.internal_uri)
        assert ended.code == 0
        assert [job["jobId"] for job in ended.objects] == ["7"]


@pytest.mark.parametrize("command", ["", *cli.commands])
def test_help_has_examples_exit_codes_and_options(command: str) -> None:
    ended = invoke(*command.split(), "--help", MILVUS_TOKEN=TOKEN, MILVUS_URI="http://example.org")
    assert ended.code == 0
    assert "Examples:\n    milvus-import " in ended.out
    assert "Exit codes:\n    0 success " in ended.out
    for name in ("MILVUS_TOKEN", "MILVUS_DB", "--uri"):
        assert name in ended.out


def test_the_page_names_every_option_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
    known = {
        name
        for command in (cli, *cli.commands.values())
        for parameter in command.params
        for name in (*parameter.opts, parameter.envvar)
        if isinstance(name, str) and name.startswith(("--", "MILVUS_"))
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*|\bMILVUS_[A-Z_]+", page))
    assert named == known


def test_version_prints_what_a_bug_report_needs() -> None:
    ended = invoke("--version")
    assert ended.code == 0
    shown = dict(line.split(" ", 1) for line in ended.out.splitlines())
    names = ["milvus-import", "Python", "grpcio", "protobuf", "anyio"]
    assert list(shown)[:5] == names
    assert set(shown) - set(names) <= {"aiohttp"}
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
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", code, stderr=asyncio.subprocess.PIPE
    )
    ended = await finish(process)
    assert ended.code == 2
    assert ended.err == (
        "milvus-import: the command line needs click and rich, the extra milvus-import[cli]: "
        "pip install click rich\n"
    )
