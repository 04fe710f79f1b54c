"""What the commands print."""

from __future__ import annotations

import asyncio
import json
import re
import time

import pytest
from command_line import GUARD, run_line, run_process, start, until_received
from processes import FakeProcess

from milvus_import.testing import FakeFile, FakeMilvus

pytestmark = pytest.mark.anyio


async def test_lines_are_written_immediately(fake: FakeMilvus) -> None:
    """As in ``milvus-import watch books --json | jq .state``."""
    job = fake.add_job(job_id="7", collection_name="books", state="Pending")
    fake.add_job(job_id="8", collection_name="films", state="Pending")
    command = await start(fake, "watch books --json")
    seen: list[str] = []
    for state, percent in (("Importing", 30), ("Sorting", 75), ("Completed", 100)):
        line = json.loads(await command.line())
        seen.append(line["state"])
        assert line["jobId"] == "7"
        job.progress, job.state = percent, state  # only now: the line came before the change
    ended = await command.end()
    seen += [line["state"] for line in ended.objects]
    assert seen == ["Pending", "Importing", "Sorting", "Completed"]
    assert ended.code == 0


async def test_without_a_terminal_there_is_a_line_per_change(fake: FakeMilvus) -> None:
    states = [("Pending", 0), ("Pending", 0), ("Importing", 40), ("Importing", 40)]
    fake.add_job(job_id="7", script=[*states, ("Completed", 100)])
    ended = await run_process(fake, "watch 7", FORCE_COLOR="1")
    assert ended.out.splitlines() == [
        "7  Pending  0%  (internal)",
        "7  Importing  40%  500/1,000 rows  (internal)",
        "7  Completed  100%  1,000/1,000 rows  (internal)",
        "1 job completed, 1,000 rows",
    ]


async def test_wait_prints_only_the_outcome(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", script=[("Importing", 40), ("Completed", 100)])
    ended = await run_line(fake, "wait 7")
    assert ended.out == "1 job completed, 1,000 rows\n"
    ended = await run_line(fake, "wait 7 --json")
    assert [line["state"] for line in ended.objects] == ["Completed"]


async def test_summary_counts_timed_out_jobs_and_lost_connections(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing")
    ended = await run_line(fake, "watch 7 --timeout 200ms")
    assert ended.out.splitlines()[-1] == "1 timed out"
    command = asyncio.create_task(run_line(fake, "watch 7"))
    await until_received(fake, 1)
    fake.inject("denied", times=None)
    ended = await command
    assert (ended.code, ended.out.splitlines()[-1]) == (3, "1 could not be followed")
    ended = await run_line(fake, "watch 7")
    assert (ended.code, ended.out) == (3, "")


async def test_get_shows_a_job_and_its_files(fake: FakeMilvus) -> None:
    files = [FakeFile("a.parquet", size=48_500_000), FakeFile("id.npy v.npy", reason="cut short")]
    fake.add_job(job_id="7", state="Completed", progress=100, files=files)
    ended = await run_process(fake, "get 7", TZ="UTC-3")
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
    ended = await run_line(fake, "get 7 8 9 --json")
    assert [job["jobId"] for job in ended.objects] == ["7", "9"]
    assert ended.code == 4
    ended = await run_line(fake, "get 7 8 9")
    assert re.findall(r"(?m)(?:\A|\n\n)Job +(\d+)$", ended.out) == ["7", "9"]


async def test_list_shows_jobs_uncut(fake: FakeMilvus) -> None:
    reason = "because " * 50
    fake.add_job(job_id="7", collection_name="books", state="Failed", reason=reason)
    fake.add_job(job_id="8", collection_name="films", state="Importing", progress=40)
    heads, first, second = (await run_line(fake, "list")).out.splitlines()
    assert heads.split() == ["Job", "Collection", "State", "%", "Reason"]
    assert first.split()[:4] == ["7", "books", "Failed", "0%"]
    assert first.endswith(reason.strip())
    assert second.split() == ["8", "films", "Importing", "40%"]


FILE_KEYS = "fileName fileSize progress completeTime state importedRows totalRows reason"
JOB_KEYS = (
    "collectionName jobId completeTime state progress importedRows totalRows reason fileSize "
    "details createTime service"
)


async def test_json_keys_are_those_of_the_go_sdk(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Completed", progress=100)
    for command in ("get", "watch", "wait"):
        (job,) = (await run_line(fake, f"{command} 7 --json")).objects
        assert list(job) == JOB_KEYS.split()
        assert list(job["details"][0]) == FILE_KEYS.split()
    (job,) = (await run_line(fake, "list --json")).objects
    assert list(job) == ["jobId", "collectionName", "state", "progress", "reason"]


async def test_text_of_the_server_cannot_control_the_terminal(fake: FakeMilvus) -> None:
    bad = "\x1b[2Jgone\r\n\x9b31m"
    fake.add_job(job_id="7", collection_name=bad, state="Failed", reason=bad)
    for line in ("get 7", "get 7 --json", "list", "list --json", "watch 7", "watch 7 --json"):
        ended = await run_line(fake, line)
        assert "gone" in ended.out + ended.err
        assert all(c.isprintable() for c in (ended.out + ended.err).replace("\n", ""))


async def test_create_prints_only_the_job_id_on_stdout(fake: FakeMilvus) -> None:
    create = "create books a.parquet b.parquet --option timeout=300 --idempotency-key k --db shop"
    ended = await run_line(fake, create)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.strip() in fake.jobs
    request = fake.received[-1].request
    assert [list(file.paths) for file in request.files] == [["a.parquet"], ["b.parquet"]]
    assert {pair.key: pair.value for pair in request.options}["timeout"] == "300s"
    assert request.db_name == "shop"
    create = "create books id.npy v.npy --json --together --option auto_commit=false"
    ended = await run_line(fake, create)
    assert list(ended.objects[0]) == ["jobId"]
    request = fake.received[-1].request
    assert [list(file.paths) for file in request.files] == [["id.npy", "v.npy"]]
    assert {pair.key: pair.value for pair in request.options}["auto_commit"] == "false"


async def test_unknown_import_option_is_a_warning(fake: FakeMilvus) -> None:
    option = f"unknown_{time.time_ns()}=1"  # each name is logged once per process
    ended = await run_line(fake, f"create books a.json --option {option}")
    assert ended.code == 0
    assert ended.err.startswith("milvus-import: warning: import option unknown_")


@pytest.mark.parametrize("more", ["", "--json"])
async def test_create_follows_on_stderr(more: str, fake: FakeMilvus) -> None:
    fake.import_seconds = 0.1
    ended = await run_line(fake, f"create books a.parquet --wait {more}")
    assert ended.code == 0
    (job_id,) = fake.jobs
    assert ended.out == (json.dumps({"jobId": job_id}) if more else job_id) + "\n"
    assert "Completed" in ended.err


async def test_job_that_waits_for_its_commit_is_reported_once(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Uncommitted", progress=99)
    ended = await run_line(fake, "wait 7 --timeout 300ms")
    assert ended.code == 5
    assert ended.err.startswith(
        "milvus-import: import job 7 waits for its commit: run "
        "milvus-import commit 7 --service rest\n"
    )
    assert ended.err.count("waits for its commit") == 1


@pytest.mark.parametrize("more", ["", "--json"])
async def test_killed_server_is_waited_for(more: str) -> None:
    job = {"job_id": "7", "state": "Importing", "progress": 30}
    async with FakeProcess(job) as server, asyncio.timeout(GUARD):
        command = await start(server, f"watch 7 {more}")
        await command.line()
        await server.kill()
        assert await command.line(err=True) == "reconnecting: UNAVAILABLE\n"
        job.update(state="Completed", progress=100)
        await server.start()
        ended = await command.end()
    assert (ended.code, ended.err) == (0, "reconnected\n")
    assert "Completed" in ended.out


async def test_starting_server_is_not_reported_as_reconnected_too_early(fake: FakeMilvus) -> None:
    job = fake.add_job(job_id="7", state="Importing", progress=30)
    command = await start(fake, "watch 7")
    await command.line()
    fake.inject("not-ready", times=3)
    assert "reconnecting: " in await command.line(err=True)
    await until_received(fake, 5)
    job.state, job.progress = "Completed", 100
    assert (await command.end()).err == "reconnected\n"
