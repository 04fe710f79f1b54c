"""More jobs than are watched one by one, and how --timeout is shared."""

from __future__ import annotations

import signal

import pytest
from command_line import run_line, start, until_received

from milvus_import.testing import FakeMilvus, Fault

pytestmark = pytest.mark.anyio


def methods(fake: FakeMilvus) -> list[str]:
    return [received.method for received in fake.received]


@pytest.mark.parametrize("jobs", [64, 65])
async def test_more_than_64_jobs_are_followed_by_lists(jobs: int, fake: FakeMilvus) -> None:
    """The first list finds the jobs of the collection; more lists follow them."""
    for _ in range(jobs):
        fake.add_job(collection_name="books", state="Completed", progress=100)
    ended = await run_line(fake, "watch books")
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == f"{jobs} jobs completed, {jobs},000 rows"
    assert (methods(fake).count("ListImports") > 1) is (jobs > 64)


async def test_many_jobs_that_wait_for_their_commit(fake: FakeMilvus) -> None:
    for _ in range(70):
        fake.add_job(state="Uncommitted", progress=99)
    ended = await run_line(fake, "wait books --until uncommitted --timeout 20")
    assert ended.code == 0
    assert ended.out.startswith("70 jobs completed or waiting for commit")
    ended = await run_line(fake, "wait books --timeout 300ms")
    assert ended.code == 5
    assert ended.err.count("waits for its commit") == 1
    assert "--service rest" in ended.err
    assert "service='rest'" not in ended.err


async def test_outcomes_of_many_jobs_are_summed_up(fake: FakeMilvus) -> None:
    for number in range(1, 71):
        state = "Failed" if number == 5 else "Completed"
        fake.add_job(job_id=str(number), state=state, progress=100, reason="disk full")
    line = f"wait {' '.join(map(str, range(1, 72)))}"
    ended = await run_line(fake, f"{line} --json")
    assert ended.code == 1
    assert len(ended.objects) == 70  # the failed job's last state too
    ended = await run_line(fake, line)
    assert ended.out == "69 jobs completed, 69,000 rows; 1 failed; 1 not found\n"


async def test_time_of_the_list_is_taken_off_the_timeout(fake: FakeMilvus) -> None:
    """The message states the whole timeout. 1.5 s are left for polls: at most 30, not 60."""
    fake.add_job(job_id="7", state="Importing")
    fake.inject(Fault(delay=1.5), method="ListImports")
    ended = await run_line(fake, "wait books --timeout 3s")
    assert ended.code == 5
    assert "was not finished after 3 s; " in ended.err
    assert methods(fake).count("GetImportProgress") <= 32


@pytest.mark.parametrize("jobs", [2, 70], ids=["watched individually", "listed"])
async def test_failed_job_is_reported_while_others_are_running(jobs: int, fake: FakeMilvus) -> None:
    fake.add_job(job_id="1", state="Failed", reason="disk full")
    running = [fake.add_job(job_id=str(number), state="Importing") for number in range(2, jobs + 1)]
    command = await start(fake, f"wait {' '.join(map(str, range(1, jobs + 1)))}")
    assert await command.line(err=True) == "milvus-import: import job 1 failed: disk full\n"
    for job in running:
        job.state, job.progress = "Completed", 100
    ended = await command.end()
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.endswith("; 1 failed\n")


async def test_failed_job_is_reported_before_an_interrupt(fake: FakeMilvus) -> None:
    fake.add_job(job_id="1", state="Failed", reason="disk full")
    fake.add_job(job_id="2", state="Importing")
    command = await start(fake, "watch 1 2")
    while "2  Importing" not in await command.line():
        pass
    await until_received(fake, 3)
    ended = await command.end(signal.SIGINT)
    assert ended.code == 130
    assert "import job 1 failed: disk full\n" in ended.err
