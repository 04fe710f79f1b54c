"""How each command ends: its exit code and its messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from command_line import Ended, run, run_line, run_process, until_received
from network import closed_port

from milvus_import.testing import FakeJob, FakeMilvus

pytestmark = pytest.mark.anyio

Prepare = Callable[[FakeMilvus], object]
Case = tuple[int, str, str, Prepare]
UNKNOWN = "449839014328146739"


def importing(**fields: Any) -> Prepare:
    return lambda server: server.add_job(FakeJob(job_id="7", **fields))


def idle(server: FakeMilvus) -> None:
    """Leave the server as it is."""


def hang(server: FakeMilvus) -> None:
    server.inject("hang", times=None)


def guarded(server: FakeMilvus) -> None:
    server.token = "root:another"


def missing_collection(server: FakeMilvus) -> None:
    server.inject("no-collection", times=None)


def milvus_2_3(server: FakeMilvus) -> None:
    server.version = "2.3"


COMPLETED, UNFINISHED = importing(state="Completed", progress=100), importing(state="Importing")
FAILED = importing(state="Failed", reason="disk\nfull")
TO_WAIT = importing(state="Uncommitted", progress=99)
PUBLIC = "--uri PUBLIC"
CREATE = "create books a.parquet"
CHECK_TOKEN = "Check the user and the password, or the API key, in MILVUS_TOKEN or --token"
CHECK_COLLECTION = "Check the collection's name and --db"
USE_REST = "Pass --service rest (Milvus 3.0"
NO_RESPONSE = "timed out: no response within 0.3 s (--timeout)"
MAY_EXIST = "the job may have been started"
CASES: dict[str, Case] = {
    "completed": (0, "", "watch 7", COMPLETED),
    "completed, waited for": (0, "", "wait 7", COMPLETED),
    "uncommitted": (0, "", "wait 7 --until uncommitted", TO_WAIT),
    "failed": (1, "import job 7 failed: disk full", "watch 7", FAILED),
    "failed, waited for": (1, "disk full", "wait 7", FAILED),
    "wrong token": (3, CHECK_TOKEN, f"get 7 {PUBLIC}", guarded),
    "wrong port": (3, "--service auto", f"get 7 --service internal {PUBLIC}", idle),
    "rejected by Milvus": (3, CHECK_COLLECTION, "create nosuch a.parquet", missing_collection),
    "list without ids": (3, "Pass --service rest or use port 19529", f"list {PUBLIC}", UNFINISHED),
    "commit on gRPC": (3, USE_REST, "commit 7", UNFINISHED),
    "abort on gRPC": (3, USE_REST, "abort 7", UNFINISHED),
    "rest commit before 3.0": (3, "Use Milvus 3.0 or newer", "commit 7 --service rest", UNFINISHED),
    "many groups": (3, "with --together", f"create books a/v.npy b/v.npy {PUBLIC}", idle),
    "RPC times out": (3, "no response within 0.3 s", "get 7 --rpc-timeout 300ms", hang),
    "RPC of create times out": (3, MAY_EXIST, f"{CREATE} --rpc-timeout 0.3", hang),
    "unknown job": (4, "does not exist", f"get {UNKNOWN}", idle),
    "unknown job, watched": (4, "does not exist", f"watch {UNKNOWN}", idle),
    "unknown job of 2.3": (4, "key not found", f"wait {UNKNOWN} {PUBLIC}", milvus_2_3),
    "no jobs of the collection": (4, "'books' has no import jobs", "watch books", idle),
    "no jobs at all": (4, "the server has no import jobs", "wait --all-databases", idle),
    "timed out": (5, "was not finished after 0.3 s; ", "wait 7 --timeout 0.3", UNFINISHED),
    "polled once": (5, "was not finished after 0 s", "watch 7 --timeout 0", UNFINISHED),
    "get timed out": (5, NO_RESPONSE, "get 7 --timeout 0.3", hang),
    "list before wait timed out": (5, NO_RESPONSE, "wait books --timeout 300ms", hang),
    "create timed out": (5, MAY_EXIST, f"{CREATE} --timeout 0.3", hang),
}


async def end_of(fake: FakeMilvus, case: Case, more: str = "") -> Ended:
    """Run a case.

    gRPC passes the end of a call that was given up from one event loop to another, and fails if
    that is closed meanwhile: such commands run in a process of their own.
    """
    _, _, line, prepare = case
    prepare(fake)
    line = line.replace("PUBLIC", fake.public_uri)
    return await (run_process if prepare is hang else run_line)(fake, line + more)


@pytest.mark.parametrize("name", CASES)
async def test_each_end_has_its_exit_code_and_message(name: str, fake: FakeMilvus) -> None:
    code, message, _, _ = CASES[name]
    ended = await end_of(fake, CASES[name])
    assert ended.code == code
    assert message in ended.err
    lines = ended.err.splitlines()
    assert len(lines) <= 2
    assert all(line.startswith("milvus-import: ") for line in lines)
    assert bool(ended.err) is bool(code)


async def test_empty_list_is_reported_and_is_no_failure(fake: FakeMilvus) -> None:
    message = "milvus-import: the collection 'books' has no import jobs\n"
    ended = await run_line(fake, "list books")
    assert (ended.code, ended.out, ended.err) == (0, "", message)


@pytest.mark.parametrize("prepare", [missing_collection, guarded])
async def test_create_warns_only_if_the_request_may_have_run(
    prepare: Prepare, fake: FakeMilvus
) -> None:
    """A Status and a CallError that precede the execution: no such message."""
    ended = await end_of(fake, (3, "", f"{CREATE} {PUBLIC}", prepare))
    assert ended.code == 3
    assert MAY_EXIST not in ended.err


@pytest.mark.parametrize("name", ["failed", "wrong token", "unknown job", "create timed out"])
async def test_debug_shows_the_traceback(name: str, fake: FakeMilvus) -> None:
    ended = await end_of(fake, CASES[name], " --debug")
    assert ended.code == CASES[name][0]
    assert "Traceback" in ended.err or "milvus_import._errors." in ended.err


@pytest.mark.parametrize(
    ("line", "messages"),
    [
        ("watch 7 8 9", ["Check host and port"]),  # one line for all jobs together
        ("watch 7 --max-outage 300ms --interval 50ms",
         ["reconnecting: UNAVAILABLE", "without a successful response"]),
    ],
)  # fmt: skip
async def test_dead_port_is_reported(line: str, messages: list[str]) -> None:
    with closed_port() as port:
        ended = await run(*line.split(), "--uri", f"http://127.0.0.1:{port}")
    assert ended.code == 3
    for message, shown in zip(messages, ended.err.splitlines(), strict=True):
        assert message in shown


async def test_failed_handshake_prints_no_lines_of_grpc(fake: FakeMilvus) -> None:
    line = f"get 7 --uri {fake.internal_uri.replace('http', 'https')}"
    ended = await run_process(fake, line)
    assert (ended.code, len(ended.err.splitlines())) == (3, 1), ended.err
    assert ended.err.endswith("Use http://: the server does not use TLS.\n")
    ended = await run_process(fake, line, GRPC_VERBOSITY="INFO")
    assert len(ended.err.splitlines()) > 1


async def test_worst_of_several_ends_is_the_exit_code(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Completed", progress=100)
    fake.add_job(job_id="8", state="Failed", reason="disk full")
    ended = await run_line(fake, "watch 7 8 9")
    assert ended.code == 1
    assert ended.out.splitlines()[-1] == "1 job completed, 1,000 rows; 1 failed; 1 not found"
    assert len(ended.err.splitlines()) == 2


async def test_many_errors_are_cut_to_ten_lines(fake: FakeMilvus) -> None:
    ended = await run_line(fake, f"wait {' '.join(map(str, range(100, 130)))}")
    assert ended.code == 4
    assert len(ended.err.splitlines()) == 11
    assert ended.err.splitlines()[-1] == "milvus-import: ... and 20 more errors"


async def test_removed_job_is_printed_with_its_last_progress(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing", progress=46)
    command = asyncio.create_task(run_line(fake, "watch 7"))
    await until_received(fake, 1)
    del fake.jobs["7"]
    ended = await command
    assert ended.code == 4
    assert "7  Importing  46%" in ended.out
    assert "1 not found" in ended.out
    assert "; its last state was Importing at 46 %. Check the job id" in ended.err
