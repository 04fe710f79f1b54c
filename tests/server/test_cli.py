"""The command line as its users run it: a process of its own, against servers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from processes import FakeProcess
from network import dead_port
from terminal import Terminal, terminal
from times import SCALE

from milvus_import.testing import FakeFile, FakeJob, FakeMilvus

pytestmark = pytest.mark.anyio

COMMAND = (sys.executable, "-P", "-m", "milvus_import")
GUARD = 40.0 * SCALE
"""Seconds after which a command that should have ended fails its test."""
FAST = ("--interval", "0.05")
UNKNOWN = "449839014328146739"

TOKEN, METADATA = "root:Sup3rS3cret", "metadata-s3cret"
BASE64_TOKEN = "cm9vdDpTdXAzclMzY3JldA=="
SECRETS = (TOKEN, "Sup3rS3cret", METADATA, BASE64_TOKEN)

_CLEARED = ("MILVUS_", "GRPC_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")


@dataclass
class Ended:
    """A command that has ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def variables(**added: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(_CLEARED)} | added


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=variables(**environment),
    )


async def finish(process: asyncio.subprocess.Process) -> Ended:
    try:
        async with asyncio.timeout(GUARD):
            out, err = await process.communicate()
    except TimeoutError:
        os.kill(process.pid, signal.SIGKILL)
        raise
    ended = Ended(process.returncode or 0, (out or b"").decode(), (err or b"").decode())
    assert not any(secret in ended.out + ended.err for secret in SECRETS)
    return ended


async def run(*arguments: str, **environment: str) -> Ended:
    """Run a command to its end, with secrets that it must keep."""
    environment.setdefault("MILVUS_TOKEN", TOKEN)
    return await finish(
        await start(*arguments, "--metadata", f"x-secret={METADATA}", **environment)
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GUARD):
        while not condition():  # noqa: ASYNC110 - what a server has received rings no bell
            await asyncio.sleep(0.01)


def lines(text: str) -> list[str]:
    return text.splitlines()


# How it ends.


@dataclass
class Case:
    """A command, what the server does meanwhile, and how it should end."""

    code: int
    said: str
    command: str
    prepare: Callable[[FakeMilvus], object] = lambda server: None
    public: bool = False


def importing(**fields: Any) -> Callable[[FakeMilvus], object]:
    return lambda server: server.add_job(FakeJob(job_id="7", **fields))


def faulty(name: str, method: str | None = None) -> Callable[[FakeMilvus], object]:
    return lambda server: server.inject(name, times=None, method=method)


def guarded(server: FakeMilvus) -> None:
    server.token = "root:another"


def aged(server: FakeMilvus) -> None:
    server.version = "2.3"


MISUSE = {
    "no command": "",
    "unknown command": "look 7",
    "unknown option": "watch 7 --colour",
    "no job": "get",
    "neither job nor collection": "watch",
    "both job and collection": "wait 7 --collection books",
    "no job id": "get books",
    "no job id among others": "watch 7 7x",
    "bad URI": "get 7 --uri http://localhost:port",
    "credentials in the URI": "get 7 --uri http://root:Sup3rS3cret@localhost",
    "bad time": "wait 7 --timeout soon",
    "NaN for a time": "wait 7 --timeout nan",
    "NaN for an interval": "watch 7 --interval nan",
    "negative time": "get 7 --rpc-timeout -1",
    "metadata without a value": "get 7 --metadata metadata-s3cret",
    "metadata gRPC refuses": "get 7 --metadata te=metadata-s3cret",
    "metadata that is no text": "get 7 --metadata x-secret=metadata-s3cret\n",
    "unknown service": "get 7 --service proxy",
    "no such file": "get 7 --uri https://localhost --ca /nowhere/ca.pem",
    "certificate without key": "get 7 --uri https://localhost --cert /nowhere/cert.pem",
    "TLS files without TLS": "get 7 --uri http://localhost --ca /nowhere/ca.pem",
    "no file": "create books",
    "empty collection": "create  a.parquet",
    "empty collection to list": "list ",
    "option without a value": "create books a.parquet --option timeout",
    "option of another type": "create books a.parquet --option auto_commit=maybe",
    "bad idempotency key": "create books a.parquet --idempotency-key \x07",
    "a collection that is no text": "list \udcff",
    "a collection to watch that is no text": "watch --collection \udcff",
}

CASES = {
    "completed": Case(0, "", "watch 7", importing(state="Completed", progress=100)),
    "waited for": Case(0, "", "wait 7", importing(state="Completed", progress=100)),
    "waits for its commit": Case(
        0, "", "wait 7 --until uncommitted", importing(state="Uncommitted", progress=99)
    ),
    "failed": Case(
        1,
        "import job 7 failed: disk full",
        "watch 7",
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
    "refused": Case(
        3, "Check the collection's name and --db", "create nosuch a.parquet",
        faulty("no-collection"),
    ),
    "no lists there": Case(3, "Milvus", "list", importing(), public=True),
    "call that hangs": Case(
        3, "no answer within 0.3 s", "get 7 --rpc-timeout 0.3", faulty("hang")
    ),
    "creation that hangs": Case(
        3, "may have been started", "create books a.parquet --rpc-timeout 0.3", faulty("hang")
    ),
    "unknown job": Case(4, "does not exist", f"get {UNKNOWN}"),
    "unknown job, watched": Case(4, "does not exist", f"watch {UNKNOWN}"),
    "unknown job of 2.3": Case(
        4, "key not found", f"wait {UNKNOWN}",
        aged, public=True,
    ),
    "no jobs": Case(4, "'books' has no import jobs", "watch --collection books"),
    "ran out": Case(
        5, "had not ended after 0.3 s; ",
        "wait 7 --timeout 0.3", importing(state="Importing", progress=46),
    ),
    "looked at once": Case(
        5, "had not ended after 0 s", "watch 7 --timeout 0", importing(state="Importing")
    ),
    "ran out, getting": Case(
        5, "no answer within the 0.3 s of --timeout", "get 7 --timeout 0.3", faulty("hang")
    ),
    "ran out, listing": Case(
        5, "no answer within the 0.3 s of --timeout", "list --timeout 0.3", faulty("hang")
    ),
    "ran out, listing what to watch": Case(
        5, "no answer within the 0.3 s of --timeout", "wait --collection books --timeout 0.3",
        faulty("hang"),
    ),
    "ran out, creating": Case(
        5, "may have been started", "create books a.parquet --timeout 0.3", faulty("hang")
    ),
}  # fmt: skip


async def end_of(fake: FakeMilvus, case: Case, *more: str) -> Ended:
    case.prepare(fake)
    uri = fake.public_uri if case.public else fake.internal_uri
    fast = () if case.command.split()[0] in {"get", "list"} else FAST
    return await run(*case.command.split(" "), "--uri", uri, *fast, *more)


@pytest.mark.parametrize("name", CASES)
async def test_each_end_has_its_exit_code_and_a_line_that_says_why(
    name: str, fake: FakeMilvus
) -> None:
    case = CASES[name]
    ended = await end_of(fake, case)
    assert ended.code == case.code
    assert case.said in ended.err
    assert len(lines(ended.err)) <= 2
    assert all(line.startswith("milvus-import: ") for line in lines(ended.err))
    assert "Traceback" not in ended.err
    assert bool(ended.err) is bool(case.code)


async def test_an_empty_list_says_so_and_is_no_failure(fake: FakeMilvus) -> None:
    said = "milvus-import: the collection 'books' has no import jobs\n"
    ended = await end_of(fake, Case(0, said, "list books"))
    assert (ended.code, ended.out, ended.err) == (0, "", said)


async def test_two_groups_for_the_public_service_are_told_of_together(fake: FakeMilvus) -> None:
    ended = await end_of(fake, Case(2, "", "create books id.npy v.npy", public=True))
    assert ended.code == 2
    assert "join the .npy files of one by --together" in ended.err
    assert not fake.jobs


@pytest.mark.parametrize("name", ["failed", "wrong token", "unknown job", "ran out, creating"])
async def test_debug_shows_the_traceback(name: str, fake: FakeMilvus) -> None:
    ended = await end_of(fake, CASES[name], "--debug")
    assert ended.code == CASES[name].code
    assert "Traceback" in ended.err or "milvus_import._errors." in ended.err


@pytest.mark.parametrize("command", MISUSE.values(), ids=MISUSE)
async def test_misuse_is_told_before_anything_is_sent(command: str, fake: FakeMilvus) -> None:
    words = command.split(" ") if command else []
    ended = await finish(await start(*words, MILVUS_URI=fake.internal_uri))
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert not ended.out
    assert not fake.received
    if words:
        assert len(lines(ended.err)) == 2
        assert ended.err.startswith("milvus-import: ")
    else:
        assert "Usage: milvus-import" in ended.err


async def test_a_dead_port_is_told_in_a_line_for_all_jobs_together() -> None:
    with dead_port() as port:
        ended = await run("watch", "7", "8", "9", "--uri", f"http://127.0.0.1:{port}")
    assert ended.code == 3
    assert len(lines(ended.err)) == 1
    assert "Nothing listens there: check host and port" in ended.err


async def test_a_failed_handshake_leaves_no_lines_of_grpcs_own(fake: FakeMilvus) -> None:
    uri = fake.internal_uri.replace("http", "https")
    ended = await run("get", "7", "--uri", uri)
    assert (ended.code, len(lines(ended.err))) == (3, 1), ended.err
    assert ended.err.endswith("The server answers without TLS: write http://\n")
    ended = await run("get", "7", "--uri", uri, GRPC_VERBOSITY="INFO")
    assert len(lines(ended.err)) > 1


async def test_of_several_ends_the_worst_is_told(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Completed", progress=100)
    fake.add_job(job_id="8", state="Failed", reason="disk full")
    ended = await run("watch", "7", "8", "9", "--uri", fake.internal_uri, *FAST)
    assert ended.code == 1
    assert lines(ended.out)[-1] == "1 job completed, 1,000 rows; 1 failed; 1 not found"
    assert len(lines(ended.err)) == 2


async def test_of_many_errors_the_first_are_told(fake: FakeMilvus) -> None:
    ids = [str(number) for number in range(100, 200)]
    ended = await run("wait", *ids, "--uri", fake.internal_uri, *FAST)
    assert ended.code == 4
    assert len(lines(ended.err)) == 11
    assert lines(ended.err)[-1] == "milvus-import: ... and 90 more errors"


async def test_ctrl_c_leaves_the_job_running_and_says_so(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing")
    process = await start("watch", "7", "--uri", fake.internal_uri, *FAST)
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    ended = await finish(process)
    assert ended.code == 130
    assert ended.err == (
        "\nmilvus-import: interrupted; the job goes on. Follow it again: milvus-import watch 7\n"
    )


async def test_ctrl_c_in_a_creation_says_that_the_job_may_have_been_started(
    fake: FakeMilvus,
) -> None:
    fake.inject("hang")
    process = await start("create", "books", "a.parquet", "--uri", fake.internal_uri)
    await until(lambda: bool(fake.received))
    process.send_signal(signal.SIGINT)
    ended = await finish(process)
    assert ended.code == 130
    assert "interrupted; the job may have been started" in ended.err


@pytest.mark.parametrize(
    "command", ["watch 7 8", "watch 7 8 --json", "wait 7 8", "list", "get 7 8", "get 7 8 --json"]
)
async def test_a_reader_that_leaves_ends_the_command_quietly(
    command: str, fake: FakeMilvus
) -> None:
    """As in ``milvus-import ... | head -1``."""
    for job_id in ("7", "8"):
        script = [("Importing", percent) for percent in range(20, 40)] + [("Completed", 100)]
        fake.add_job(job_id=job_id, script=script)
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *command.split(), "--uri", fake.internal_uri,
        *(FAST if command.startswith("w") else ()),
        stdout=writer, stderr=asyncio.subprocess.PIPE, env=variables(),
    )  # fmt: skip
    os.close(writer)
    ended = await finish(process)
    assert (ended.code, ended.err) == (141, "")


# What is shown.


async def test_lines_come_as_it_happens(fake: FakeMilvus) -> None:
    """As in ``milvus-import watch --collection books --json | jq .state``."""
    job = fake.add_job(job_id="7", collection_name="books", state="Pending")
    fake.add_job(job_id="8", collection_name="films", state="Pending")
    process = await start(
        "watch", "--collection", "books", "--json", "--uri", fake.internal_uri, *FAST
    )
    assert process.stdout is not None
    seen: list[str] = []
    for state, percent in (("Importing", 30), ("Sorting", 75), ("Completed", 100)):
        async with asyncio.timeout(GUARD):
            line = json.loads(await process.stdout.readline())
        seen.append(line["state"])
        assert line["jobId"] == "7"
        job.progress, job.state = percent, state  # only now: the line came before the job went on
    ended = await finish(process)
    assert [*seen, *(line["state"] for line in ended.objects)] == [
        "Pending", "Importing", "Sorting", "Completed",
    ]  # fmt: skip
    assert ended.code == 0


async def test_where_there_is_no_terminal_a_line_is_written_at_each_change(
    fake: FakeMilvus,
) -> None:
    states = [("Pending", 0), ("Pending", 0), ("Importing", 40), ("Importing", 40)]
    fake.add_job(job_id="7", script=[*states, ("Completed", 100)])
    ended = await run("watch", "7", "--uri", fake.internal_uri, *FAST, FORCE_COLOR="1")
    assert lines(ended.out) == [
        "7  Pending  0%  (internal)",
        "7  Importing  40%  500/1,000 rows  (internal)",
        "7  Completed  100%  1,000/1,000 rows  (internal)",
        "1 job completed, 1,000 rows",
    ]


async def test_a_service_without_totals_is_told_without_them(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", script=[("Importing", 40), ("Completed", 100)])
    ended = await run("watch", "7", "--uri", fake.public_uri, *FAST)
    assert lines(ended.out)[0] == "7  Importing  40%  500 rows  (public)"


async def test_wait_says_only_what_the_jobs_ended_in(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", script=[("Importing", 40), ("Completed", 100)])
    ended = await run("wait", "7", "--uri", fake.internal_uri, *FAST)
    assert ended.out == "1 job completed, 1,000 rows\n"
    ended = await run("wait", "7", "--uri", fake.internal_uri, *FAST, "--json")
    assert [line["state"] for line in ended.objects] == ["Completed"]


async def test_more_jobs_than_are_polled_at_once_are_listed(fake: FakeMilvus) -> None:
    for _ in range(70):
        fake.add_job(collection_name="books", script=[("Importing", 40), ("Completed", 100)])
    ended = await run("watch", "--collection", "books", "--uri", fake.internal_uri, *FAST)
    assert ended.code == 0
    assert lines(ended.out)[-1] == "70 jobs completed, 70,000 rows"
    assert "ListImports" in {received.method for received in fake.received}


async def test_get_shows_a_job_and_its_files(fake: FakeMilvus) -> None:
    files = [FakeFile("a.parquet", size=48_500_000), FakeFile("id.npy v.npy", reason="cut short")]
    fake.add_job(job_id="7", state="Completed", progress=100, files=files)
    ended = await run("get", "7", "--uri", fake.internal_uri, TZ="UTC-3")
    assert ended.code == 0
    job, heads, *table = ended.out.split("\n\n")[0], *ended.out.split("\n\n")[1].splitlines()
    assert dict(re.split(r"  +", line, maxsplit=1) for line in job.splitlines()) == {
        "Job": "7",
        "Collection": "books",
        "State": "Completed, 100%",
        "Rows": "2,000/2,000",
        "Size": "49.5 MB",
        "Created": "2026-01-02 06:04:05",
        "Completed": "2026-01-02 06:14:05",
        "Answered by": "internal service",
    }
    assert heads.split() == ["File", "State", "%", "Rows", "Size", "Reason"]
    assert [re.split(r"  +", line) for line in table] == [
        ["a.parquet", "Completed", "100%", "1,000/1,000", "48.5 MB"],
        ["id.npy, v.npy", "Failed", "100%", "1,000/1,000", "1.0 MB", "cut short"],
    ]


async def test_get_of_several_jobs_shows_those_that_are_there(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing")
    fake.add_job(job_id="9", state="Failed", reason="broken")
    ended = await run("get", "7", "8", "9", "--json", "--uri", fake.internal_uri)
    assert [job["jobId"] for job in ended.objects] == ["7", "9"]
    assert ended.code == 4


async def test_list_shows_jobs_uncut(fake: FakeMilvus) -> None:
    reason = "because " * 50
    fake.add_job(job_id="7", collection_name="books", state="Failed", reason=reason)
    fake.add_job(job_id="8", collection_name="films", state="Importing", progress=40)
    ended = await run("list", "--uri", fake.internal_uri)
    heads, first, second = lines(ended.out)
    assert heads.split() == ["Job", "Collection", "State", "%", "Reason"]
    assert first.split()[:4] == ["7", "books", "Failed", "0%"]
    assert first.endswith(reason.strip())
    assert second.split() == ["8", "films", "Importing", "40%"]
    ended = await run("list", "films", "--json", "--uri", fake.internal_uri)
    assert [job["jobId"] for job in ended.objects] == ["8"]


async def test_words_of_the_server_cannot_steer_the_terminal(fake: FakeMilvus) -> None:
    bad = "\x1b[2Jgone\r\n\x9b31m"
    fake.add_job(job_id="7", collection_name=bad, state="Failed", reason=bad)
    for command in ("get 7", "get 7 --json", "list", "list --json", "watch 7", "watch 7 --json"):
        ended = await run(*command.split(), "--uri", fake.internal_uri)
        assert "gone" in ended.out + ended.err
        assert all(c.isprintable() for c in (ended.out + ended.err).replace("\n", ""))


async def test_create_prints_only_the_job_id_on_stdout(fake: FakeMilvus) -> None:
    create = ("create", "books", "a.parquet", "b.parquet", "--uri", fake.internal_uri)
    ended = await run(*create, "--option", "timeout=300", "--idempotency-key", "k", "--db", "shop")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.strip() in fake.jobs
    request = fake.received[-1].request
    assert [list(file.paths) for file in request.files] == [["a.parquet"], ["b.parquet"]]
    assert {pair.key: pair.value for pair in request.options}["timeout"] == "300s"
    assert request.db_name == "shop"
    ended = await run(*create, "--json", "--together", "--option", "auto_commit=false")
    assert list(ended.objects[0]) == ["jobId"]
    request = fake.received[-1].request
    assert [list(file.paths) for file in request.files] == [["a.parquet", "b.parquet"]]
    assert {pair.key: pair.value for pair in request.options}["auto_commit"] == "false"


@pytest.mark.parametrize("more", [(), ("--json",)])
async def test_create_follows_on_stderr(more: tuple[str, ...], fake: FakeMilvus) -> None:
    ended = await run(
        "create", "books", "a.parquet", "--wait", "--uri", fake.internal_uri, *FAST, *more
    )
    assert ended.code == 0
    (job_id,) = fake.jobs
    (line,) = lines(ended.out)
    assert line == (json.dumps({"jobId": job_id}) if more else job_id)
    assert "Completed" in ended.err


async def test_the_options_reach_the_server(fake: FakeMilvus) -> None:
    fake.token = TOKEN
    fake.add_job(job_id="7", state="Completed")
    ended = await run(
        "get", "7", "--uri", fake.public_uri, "--db", "shop", "--rpc-timeout", "7",
        "--service", "public", "--token", TOKEN, MILVUS_TOKEN="root:another",
    )  # fmt: skip
    assert ended.code == 0
    received = fake.received[-1]
    assert received.values("dbname") == ["shop"]
    assert received.values("x-secret") == [METADATA]
    assert received.time_remaining is not None
    assert 0 < received.time_remaining <= 7
    assert not fake.refused


@pytest.mark.parametrize("more", [(), ("--json",)])
async def test_a_server_that_was_killed_is_waited_for(more: tuple[str, ...]) -> None:
    job = {"job_id": "7", "state": "Importing", "progress": 30}
    async with FakeProcess(job) as server:
        process = await start("watch", "7", "--uri", server.internal_uri, *FAST, *more)
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(GUARD):
            await process.stdout.readline()
            await server.kill()
            assert await process.stderr.readline() == b"reconnecting: UNAVAILABLE\n"
            job.update(state="Completed", progress=100)
            await server.start()
        ended = await finish(process)
    assert ended.code == 0
    assert lines(ended.err)[-1] == "reconnected"
    assert "Completed" in ended.out


async def test_a_server_that_starts_is_not_told_as_back_before_it_is(fake: FakeMilvus) -> None:
    job = fake.add_job(job_id="7", state="Importing", progress=30)
    process = await start("watch", "7", "--uri", fake.internal_uri, *FAST)
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(GUARD):
        await process.stdout.readline()
        asked = len(fake.received)
        fake.inject("not-ready", times=3)
        assert b"reconnecting: " in await process.stderr.readline()
        await until(lambda: len(fake.received) >= asked + 5)
    job.state, job.progress = "Completed", 100
    ended = await finish(process)
    assert lines(ended.err) == ["reconnected"]


# In a terminal.


@asynccontextmanager
async def screen(
    *arguments: str, kind: str = "xterm-256color", **environment: str
) -> AsyncGenerator[Terminal, None]:
    async with terminal(
        (*COMMAND, *arguments), kind=kind, environment=variables(**environment)
    ) as running:
        yield running
    assert not any(secret in running.screen.text() for secret in SECRETS)


async def test_a_terminal_shows_bars_in_place_and_a_clean_end(fake: FakeMilvus) -> None:
    files = [FakeFile(f"part-{number}.parquet") for number in range(8)]
    job = fake.add_job(job_id="7", state="Importing", progress=28, files=files)
    async with screen("watch", "7", "--uri", fake.internal_uri, *FAST) as running:
        text = await running.see(re.compile(r"part-7.* MB\Z").search)
        assert len(lines(text)) == 9
        assert re.fullmatch(
            r"7 +[━╺╸]+ +28%  Importing +2,400/8,000 +\d:\d\d +internal", lines(text)[0]
        )
        assert re.fullmatch(
            r"  part-0.parquet +[━╺╸]+ +30%  InProgress +300/1,000 +1.0 MB", lines(text)[1]
        )
        assert not running.screen.cursor_shown
        job.progress = 64
        text = await running.see(lambda text: text.count(" 90%") == 8)
        assert len(lines(text)) == 9
        job.state, job.progress = "Completed", 100
        assert await running.end() == 0
    line, summary = lines(running.screen.text())
    assert "100%  Completed" in line
    assert summary == "1 job completed, 8,000 rows"
    assert running.screen.cursor_shown


async def test_a_terminal_shows_an_outage_in_place() -> None:
    job = {"job_id": "7", "state": "Importing", "progress": 30}
    async with (
        FakeProcess(job) as server,
        screen("watch", "7", "--uri", server.internal_uri, *FAST) as running,
    ):
        await running.see(" 30%")
        await server.kill()
        await running.see(re.compile(r"\nreconnecting for \d:\d\d: UNAVAILABLE\Z").search)
        job.update(progress=60)
        await server.start()
        await running.see(lambda text: " 60%" in text and "reconnecting" not in text)
        await server.kill()
        job.update(state="Completed", progress=100)
        await server.start()
        assert await running.end() == 0
    line, summary = lines(running.screen.text())
    assert "Completed" in line
    assert summary == "1 job completed, 1,000 rows"


async def test_ctrl_c_at_a_terminal_leaves_it_tidy(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing", progress=28)
    async with screen("watch", "7", "--uri", fake.internal_uri, *FAST) as running:
        await running.see("28%")
        running.type("\x03")
        assert await running.end() == 130
    assert running.screen.cursor_shown
    assert "the job goes on. Follow it again: milvus-import watch 7" in running.screen.text()


@pytest.mark.parametrize(
    ("kind", "environment", "bars", "colors"),
    [
        ("xterm-256color", {}, True, True),
        ("xterm-256color", {"NO_COLOR": "1"}, True, False),
        ("dumb", {}, False, False),
    ],
    ids=["terminal", "NO_COLOR", "dumb"],
)
async def test_the_terminal_decides_on_bars_and_colors(
    kind: str, environment: dict[str, str], bars: bool, colors: bool, fake: FakeMilvus
) -> None:
    fake.add_job(job_id="7", script=[("Importing", 40), ("Completed", 100)])
    arguments = ("watch", "7", "--uri", fake.internal_uri, *FAST)
    async with screen(*arguments, kind=kind, **environment) as running:
        assert await running.end() == 0
    assert ("━" in running.screen.text()) is bars
    assert bool(re.search(r"\x1b\[[0-9;]*[39][0-7]", running.screen.styled())) is colors


async def test_the_token_is_asked_for_and_not_shown(fake: FakeMilvus) -> None:
    fake.token = TOKEN
    fake.add_job(job_id="7", state="Completed", progress=100)
    async with screen("get", "7", "--ask-token", "--uri", fake.public_uri) as running:
        await until(lambda: not running.echoes)
        running.type(f"{TOKEN}\n")
        assert await running.end() == 0
    assert "Token:" in running.screen.text()
    assert "Completed, 100%" in running.screen.text()


async def test_ctrl_c_at_the_question_for_the_token(fake: FakeMilvus) -> None:
    async with screen("get", "7", "--ask-token", "--uri", fake.public_uri) as running:
        await until(lambda: not running.echoes)
        running.type("\x03")
        assert await running.end() == 130
    assert not fake.received


# Around it.


@pytest.mark.parametrize("command", ["", "get", "watch", "wait", "list", "create"])
async def test_help_has_examples_and_exit_codes(command: str) -> None:
    ended = await finish(await start(*command.split(), "--help", MILVUS_TOKEN=TOKEN))
    assert ended.code == 0
    assert "Examples:\n    milvus-import " in ended.out
    assert "Exit codes:\n    0 completed " in ended.out
    if command:
        assert "MILVUS_TOKEN" in ended.out


@pytest.mark.parametrize("missing", ["click", "rich"])
async def test_without_the_extra_a_line_says_what_to_install(missing: str) -> None:
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
