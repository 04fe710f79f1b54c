"""What the commands print."""

from __future__ import annotations

import asyncio
import json
import re
import time

import pytest
from command_line import FAST, GUARD, finish, run, run_process, start, until
from processes import FakeProcess

from milvus_import.testing import FakeFile, FakeMilvus

pytestmark = pytest.mark.anyio


def lines(text: str) -> list[str]:
    return text.splitlines()


async def test_lines_are_written_immediately(fake: FakeMilvus) -> None:
    """As in ``milvus-import watch books --json | jq .state``."""
    job = fake.add_job(job_id="7", collection_name="books", state="Pending")
    fake.add_job(job_id="8", collection_name="films", state="Pending")
    process = await start("watch", "books", "--json", "--uri", fake.internal_uri, *FAST)
    assert process.stdout is not None
    seen: list[str] = []
    for state, percent in (("Importing", 30), ("Sorting", 75), ("Completed", 100)):
        async with asyncio.timeout(GUARD):
            line = json.loads(await process.stdout.readline())
        seen.append(line["state"])
        assert line["jobId"] == "7"
        job.progress, job.state = percent, state  # only now: the line came before the change
    ended = await finish(process)
    assert [*seen, *(line["state"] for line in ended.objects)] == [
        "Pending", "Importing", "Sorting", "Completed",
    ]  # fmt: skip
    assert ended.code == 0


async def test_without_a_terminal_there_is_a_line_per_change(fake: FakeMilvus) -> None:
    states = [("Pending", 0), ("Pending", 0), ("Importing", 40), ("Importing", 40)]
    fake.add_job(job_id="7", script=[*states, ("Completed", 100)])
    ended = await run_process("watch", "7", "--uri", fake.internal_uri, *FAST, FORCE_COLOR="1")
    assert lines(ended.out) == [
        "7  Pending  0%  (internal)",
        "7  Importing  40%  500/1,000 rows  (internal)",
        "7  Completed  100%  1,000/1,000 rows  (internal)",
        "1 job completed, 1,000 rows",
    ]


async def test_wait_prints_only_the_outcome(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", script=[("Importing", 40), ("Completed", 100)])
    ended = await run("wait", "7", "--uri", fake.internal_uri, *FAST)
    assert ended.out == "1 job completed, 1,000 rows\n"
    ended = await run("wait", "7", "--uri", fake.internal_uri, *FAST, "--json")
    assert [line["state"] for line in ended.objects] == ["Completed"]


async def test_summary_counts_timed_out_jobs_and_lost_connections(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing")
    ended = await run("watch", "7", "--uri", fake.internal_uri, *FAST, "--timeout", "200ms")
    assert lines(ended.out)[-1] == "1 timed out"
    fake.inject("denied", times=None)
    command = asyncio.create_task(run("watch", "7", "--uri", fake.internal_uri, *FAST))
    ended = await command
    assert ended.code == 3
    fake.clear_faults()
    received = len(fake.received)
    command = asyncio.create_task(run("watch", "7", "--uri", fake.internal_uri, *FAST))
    await until(lambda: len(fake.received) > received)
    fake.inject("denied", times=None)
    assert lines((await command).out)[-1] == "1 could not be followed"


async def test_get_shows_a_job_and_its_files(fake: FakeMilvus) -> None:
    files = [FakeFile("a.parquet", size=48_500_000), FakeFile("id.npy v.npy", reason="cut short")]
    fake.add_job(job_id="7", state="Completed", progress=100, files=files)
    ended = await run_process("get", "7", "--uri", fake.internal_uri, TZ="UTC-3")
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
        "Service": "internal",
    }
    assert heads.split() == ["File", "State", "%", "Rows", "Size", "Reason"]
    assert [re.split(r"  +", line) for line in table] == [
        ["a.parquet", "Completed", "100%", "1,000/1,000", "48.5 MB"],
        ["id.npy, v.npy", "Failed", "100%", "1,000/1,000", "1.0 MB", "cut short"],
    ]


async def test_get_of_several_jobs_shows_those_that_exist(fake: FakeMilvus) -> None:
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


JOB_KEYS = [
    "collectionName", "jobId", "completeTime", "state", "progress", "importedRows", "totalRows",
    "reason", "fileSize", "details", "createTime", "service",
]  # fmt: skip
FILE_KEYS = [
    "fileName", "fileSize", "progress", "completeTime", "state", "importedRows", "totalRows",
    "reason",
]  # fmt: skip


async def test_json_keys_are_those_of_the_go_sdk(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Completed", progress=100)
    for command in ("get", "watch", "wait"):
        (job,) = (await run(command, "7", "--json", "--uri", fake.internal_uri)).objects
        assert list(job) == JOB_KEYS
        assert list(job["details"][0]) == FILE_KEYS
    (job,) = (await run("list", "--json", "--uri", fake.internal_uri)).objects
    assert list(job) == ["jobId", "collectionName", "state", "progress", "reason"]


async def test_text_of_the_server_cannot_control_the_terminal(fake: FakeMilvus) -> None:
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
    columns = ("create", "books", "id.npy", "v.npy", "--uri", fake.internal_uri)
    ended = await run(*columns, "--json", "--together", "--option", "auto_commit=false")
    assert list(ended.objects[0]) == ["jobId"]
    request = fake.received[-1].request
    assert [list(file.paths) for file in request.files] == [["id.npy", "v.npy"]]
    assert {pair.key: pair.value for pair in request.options}["auto_commit"] == "false"


async def test_unknown_import_option_is_a_warning(fake: FakeMilvus) -> None:
    option = f"unknown_{time.time_ns()}=1"  # each name is logged once per process
    ended = await run("create", "books", "a.json", "--option", option, "--uri", fake.internal_uri)
    assert ended.code == 0
    assert ended.err.startswith("milvus-import: warning: import option unknown_")


@pytest.mark.parametrize("more", [(), ("--json",)])
async def test_create_follows_on_stderr(more: tuple[str, ...], fake: FakeMilvus) -> None:
    fake.import_seconds = 0.1
    ended = await run(
        "create", "books", "a.parquet", "--wait", "--uri", fake.internal_uri, *FAST, *more
    )
    assert ended.code == 0
    (job_id,) = fake.jobs
    (line,) = lines(ended.out)
    assert line == (json.dumps({"jobId": job_id}) if more else job_id)
    assert "Completed" in ended.err


async def test_job_that_waits_for_its_commit_is_reported_once(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Uncommitted", progress=99)
    ended = await run("wait", "7", "--uri", fake.internal_uri, *FAST, "--timeout", "300ms")
    assert ended.code == 5
    message = (
        "milvus-import: import job 7 waits for its commit: run "
        "milvus-import commit 7 --service rest"
    )
    assert lines(ended.err)[0] == message
    assert ended.err.count("waits for its commit") == 1


@pytest.mark.parametrize("more", [(), ("--json",)])
async def test_killed_server_is_waited_for(more: tuple[str, ...]) -> None:
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


async def test_starting_server_is_not_reported_as_reconnected_too_early(fake: FakeMilvus) -> None:
    job = fake.add_job(job_id="7", state="Importing", progress=30)
    process = await start("watch", "7", "--uri", fake.internal_uri, *FAST)
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(GUARD):
        await process.stdout.readline()
        received = len(fake.received)
        fake.inject("not-ready", times=3)
        assert b"reconnecting: " in await process.stderr.readline()
        await until(lambda: len(fake.received) >= received + 5)
    job.state, job.progress = "Completed", 100
    ended = await finish(process)
    assert lines(ended.err) == ["reconnected"]
