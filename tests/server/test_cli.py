"""How each command ends: its exit code and its message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from command_line import FAST, Ended, run, run_process, until
from network import closed_port

from milvus_import.testing import FakeJob, FakeMilvus

pytestmark = pytest.mark.anyio

UNKNOWN = "449839014328146739"


@dataclass
class Case:
    """A command, what the server does meanwhile, and how it should end."""

    code: int
    message: str
    command: str
    prepare: Callable[[FakeMilvus], object] = lambda server: None
    public: bool = False

    @property
    def run(self) -> Callable[..., Awaitable[Ended]]:
        """Return how to run it.

        gRPC passes the end of a call that was given up from one event loop to another, and fails
        if that is closed meanwhile: such commands run in a process of their own.
        """
        return run_process if self.prepare is hang else run


def importing(**fields: Any) -> Callable[[FakeMilvus], object]:
    return lambda server: server.add_job(FakeJob(job_id="7", **fields))


def faulty(name: str) -> Callable[[FakeMilvus], object]:
    return lambda server: server.inject(name, times=None)


def hang(server: FakeMilvus) -> None:
    server.inject("hang", times=None)


def guarded(server: FakeMilvus) -> None:
    server.token = "root:another"


def milvus_2_3(server: FakeMilvus) -> None:
    server.version = "2.3"


CASES = {
    "completed": Case(0, "", "watch 7", importing(state="Completed", progress=100)),
    "completed, waited for": Case(0, "", "wait 7", importing(state="Completed", progress=100)),
    "uncommitted": Case(
        0, "", "wait 7 --until uncommitted", importing(state="Uncommitted", progress=99)
    ),
    "failed": Case(
        1, "import job 7 failed: disk full", "watch 7",
        importing(state="Failed", reason="disk\nfull"),
    ),
    "failed, waited for": Case(
        1, "disk full", "wait 7", importing(state="Failed", reason="disk full")
    ),
    "wrong token": Case(
        3, "Check the user and the password, or the API key, in MILVUS_TOKEN or --token",
        "get 7", guarded, public=True,
    ),
    "wrong port for the service": Case(
        3, "--service auto", "get 7 --service internal", public=True
    ),
    "rejected by Milvus": Case(
        3, "Check the collection's name and --db", "create nosuch a.parquet",
        faulty("no-collection"),
    ),
    "list without ids": Case(
        3, "Pass --service rest or use port 19529", "list", importing(), public=True
    ),
    "commit on gRPC": Case(3, "Pass --service rest (Milvus 3.0", "commit 7", importing()),
    "abort on gRPC": Case(3, "Pass --service rest (Milvus 3.0", "abort 7", importing()),
    "many groups on the public service": Case(
        3, "with --together", "create books a/v.npy b/v.npy",
        public=True,
    ),
    "RPC times out": Case(3, "no response within 0.3 s", "get 7 --rpc-timeout 300ms", hang),
    "RPC of create times out": Case(
        3, "the job may have been started", "create books a.parquet --rpc-timeout 0.3",
        hang,
    ),
    "unknown job": Case(4, "does not exist", f"get {UNKNOWN}"),
    "unknown job, watched": Case(4, "does not exist", f"watch {UNKNOWN}"),
    "unknown job of 2.3": Case(4, "key not found", f"wait {UNKNOWN}", milvus_2_3, public=True),
    "no jobs of the collection": Case(4, "'books' has no import jobs", "watch books"),
    "no jobs at all": Case(4, "the server has no import jobs", "wait --all-databases"),
    "timed out": Case(
        5, "was not finished after 0.3 s; ", "wait 7 --timeout 0.3",
        importing(state="Importing", progress=46),
    ),
    "polled once": Case(
        5, "was not finished after 0 s", "watch 7 --timeout 0", importing(state="Importing")
    ),
    "get timed out": Case(
        5, "timed out: no response within 0.3 s (--timeout)", "get 7 --timeout 0.3", hang
    ),
    "list before wait timed out": Case(
        5, "timed out: no response within 0.3 s (--timeout)", "wait books --timeout 300ms",
        hang,
    ),
    "create timed out": Case(
        5, "the job may have been started", "create books a.parquet --timeout 0.3", hang
    ),
}  # fmt: skip


async def end_of(fake: FakeMilvus, case: Case, *more: str) -> Ended:
    case.prepare(fake)
    uri = fake.public_uri if case.public else fake.internal_uri
    command = case.command.split()
    fast = FAST if command[0] in {"watch", "wait"} or "--wait" in command else ()
    return await case.run(*case.command.split(" "), "--uri", uri, *fast, *more)


@pytest.mark.parametrize("name", CASES)
async def test_each_end_has_its_exit_code_and_message(name: str, fake: FakeMilvus) -> None:
    case = CASES[name]
    ended = await end_of(fake, case)
    assert ended.code == case.code
    assert case.message in ended.err
    lines = ended.err.splitlines()
    assert len(lines) <= 2
    assert all(line.startswith("milvus-import: ") for line in lines)
    assert "Traceback" not in ended.err
    assert bool(ended.err) is bool(case.code)


@pytest.mark.parametrize("name", ["completed", "failed", "unknown job"])
async def test_a_process_ends_as_the_function_does(name: str, fake: FakeMilvus) -> None:
    case = CASES[name]
    case.prepare(fake)
    ended = await run_process(*case.command.split(), "--uri", fake.internal_uri)
    assert ended.code == case.code
    assert case.message in ended.err
    assert "Traceback" not in ended.err


async def test_empty_list_is_reported_and_is_no_failure(fake: FakeMilvus) -> None:
    message = "milvus-import: the collection 'books' has no import jobs\n"
    ended = await end_of(fake, Case(0, message, "list books"))
    assert (ended.code, ended.out, ended.err) == (0, "", message)


@pytest.mark.parametrize("name", ["rejected by Milvus", "wrong token, creating"])
async def test_create_warns_only_if_the_request_may_have_run(name: str, fake: FakeMilvus) -> None:
    """A CallError and a Status that precede the execution: no such message."""
    cases = CASES | {
        "wrong token, creating": Case(3, "", "create books a.parquet", guarded, public=True)
    }
    ended = await end_of(fake, cases[name])
    assert ended.code == 3
    assert "may have been started" not in ended.err


@pytest.mark.parametrize("name", ["failed", "wrong token", "unknown job", "create timed out"])
async def test_debug_shows_the_traceback(name: str, fake: FakeMilvus) -> None:
    ended = await end_of(fake, CASES[name], "--debug")
    assert ended.code == CASES[name].code
    assert "Traceback" in ended.err or "milvus_import._errors." in ended.err


async def test_dead_port_is_one_line_for_all_jobs_together() -> None:
    with closed_port() as port:
        ended = await run("watch", "7", "8", "9", "--uri", f"http://127.0.0.1:{port}")
    assert ended.code == 3
    assert len(ended.err.splitlines()) == 1
    assert "Check host and port" in ended.err


async def test_max_outage_retries_before_the_first_response() -> None:
    with closed_port() as port:
        uri = f"http://127.0.0.1:{port}"
        ended = await run("watch", "7", "--uri", uri, "--max-outage", "300ms", *FAST)
    assert ended.code == 3
    assert "reconnecting: UNAVAILABLE" in ended.err
    assert "without a successful response" in ended.err


async def test_failed_handshake_prints_no_lines_of_grpc(fake: FakeMilvus) -> None:
    uri = fake.internal_uri.replace("http", "https")
    ended = await run_process("get", "7", "--uri", uri)
    assert (ended.code, len(ended.err.splitlines())) == (3, 1), ended.err
    assert ended.err.endswith("Use http://: the server does not use TLS.\n")
    ended = await run_process("get", "7", "--uri", uri, GRPC_VERBOSITY="INFO")
    assert len(ended.err.splitlines()) > 1


async def test_worst_of_several_ends_is_the_exit_code(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Completed", progress=100)
    fake.add_job(job_id="8", state="Failed", reason="disk full")
    ended = await run("watch", "7", "8", "9", "--uri", fake.internal_uri, *FAST)
    assert ended.code == 1
    assert ended.out.splitlines()[-1] == "1 job completed, 1,000 rows; 1 failed; 1 not found"
    assert len(ended.err.splitlines()) == 2


async def test_many_errors_are_cut_to_ten_lines(fake: FakeMilvus) -> None:
    ids = [str(number) for number in range(100, 130)]
    ended = await run("wait", *ids, "--uri", fake.internal_uri, *FAST)
    assert ended.code == 4
    assert len(ended.err.splitlines()) == 11
    assert ended.err.splitlines()[-1] == "milvus-import: ... and 20 more errors"


async def test_removed_job_is_printed_with_its_last_progress(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing", progress=46)
    command = asyncio.create_task(run("watch", "7", "--uri", fake.internal_uri, *FAST))
    await until(lambda: bool(fake.received))
    del fake.jobs["7"]
    ended = await command
    assert ended.code == 4
    assert "7  Importing  46%" in ended.out
    assert "1 not found" in ended.out
    assert "; its last state was Importing at 46 %. Check the job id" in ended.err
