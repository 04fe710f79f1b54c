"""More jobs than are watched one by one, and how --timeout is shared."""

from __future__ import annotations

import time

import pytest
from command_line import FAST, run

from milvus_import._watch._polls import CONCURRENT_POLLS
from milvus_import.testing import FakeMilvus, Fault

pytestmark = pytest.mark.anyio


def methods(fake: FakeMilvus) -> list[str]:
    return [received.method for received in fake.received]


@pytest.mark.parametrize("jobs", [CONCURRENT_POLLS, CONCURRENT_POLLS + 1])
async def test_more_than_64_jobs_are_followed_by_lists(jobs: int, fake: FakeMilvus) -> None:
    """The first list finds the jobs of the collection; more lists follow them."""
    for _ in range(jobs):
        fake.add_job(collection_name="books", state="Completed", progress=100)
    ended = await run("watch", "books", "--uri", fake.internal_uri, *FAST)
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == f"{jobs} jobs completed, {jobs},000 rows"
    assert (methods(fake).count("ListImports") > 1) is (jobs > CONCURRENT_POLLS)


async def test_changes_of_many_jobs_are_printed(fake: FakeMilvus) -> None:
    for number in range(70):
        fake.add_job(
            job_id=str(number), collection_name="books",
            script=[("Pending", 0), ("Importing", 40), ("Completed", 100)],
        )  # fmt: skip
    ended = await run("watch", "books", "--uri", fake.internal_uri, *FAST)
    assert ended.code == 0
    assert "3  Importing  40%  books" in ended.out
    assert ended.out.splitlines()[-1] == "70 jobs completed, 70,000 rows"


async def test_until_uncommitted_holds_for_many_jobs(fake: FakeMilvus) -> None:
    for _ in range(70):
        fake.add_job(state="Uncommitted", progress=99)
    ended = await run(
        "wait", "books", "--uri", fake.internal_uri, *FAST,
        "--until", "uncommitted", "--timeout", "20",
    )  # fmt: skip
    assert ended.code == 0
    assert ended.out.startswith("70 jobs completed or waiting for commit")


async def test_outcomes_of_many_jobs_are_summed_up(fake: FakeMilvus) -> None:
    for number in range(1, 71):
        state = "Failed" if number == 5 else "Completed"
        fake.add_job(job_id=str(number), state=state, progress=100, reason="disk full")
    ids = [str(number) for number in range(1, 72)]
    ended = await run("wait", *ids, "--uri", fake.internal_uri, *FAST, "--json")
    assert ended.code == 1
    assert len(ended.objects) == 70  # the failed job's last state too
    ended = await run("wait", *ids, "--uri", fake.internal_uri, *FAST)
    assert ended.out == "69 jobs completed, 69,000 rows; 1 failed; 1 not found\n"


async def test_one_warning_for_many_jobs_that_wait_for_their_commit(fake: FakeMilvus) -> None:
    for _ in range(70):
        fake.add_job(state="Uncommitted", progress=99)
    ended = await run("wait", "books", "--uri", fake.internal_uri, *FAST, "--timeout", "300ms")
    assert ended.code == 5
    assert ended.err.count("waits for its commit") == 1
    assert "--service rest" in ended.err
    assert "service='rest'" not in ended.err


async def test_time_of_the_list_is_taken_off_the_timeout(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing")
    fake.inject(Fault(delay=0.8), method="ListImports")
    start = time.monotonic()
    ended = await run("wait", "books", "--uri", fake.internal_uri, *FAST, "--timeout", "1s")
    assert ended.code == 5
    remaining = float(ended.err.split("was not finished after ")[1].split(" s")[0])
    assert remaining <= 0.2
    assert time.monotonic() - start >= 0.8
