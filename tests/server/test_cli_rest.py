"""``--service rest``, commit and abort."""

from __future__ import annotations

import pytest
from command_line import run_line

from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

REST = "--service rest"


@pytest.fixture
def milvus_3(fake: FakeMilvus) -> FakeMilvus:
    fake.version = "3.0"
    return fake


async def test_rest_shows_what_the_internal_service_shows(milvus_3: FakeMilvus) -> None:
    milvus_3.add_job(job_id="7", state="Completed", progress=100)
    rest = await run_line(milvus_3, f"get 7 {REST}")
    grpc = await run_line(milvus_3, "get 7")
    assert rest.code == 0
    assert "Created     2026-01-02 03:04:05\n" in grpc.out  # in REST since Milvus 3.0
    assert rest.out.replace("rest", "internal") == grpc.out


async def test_rest_lists_and_follows_many_jobs(fake: FakeMilvus) -> None:
    for _ in range(70):
        fake.add_job(script=[("Importing", 40), ("Importing", 60), ("Completed", 100)])
    ended = await run_line(fake, f"watch books {REST}")
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == "70 jobs completed, 70,000 rows"


async def test_two_phase_import_on_the_command_line(milvus_3: FakeMilvus) -> None:
    milvus_3.import_seconds = 0.1
    create = f"create books a.parquet --option auto_commit=false {REST}"
    job_id = (await run_line(milvus_3, create)).out.strip()
    for line, out in (
        (f"wait {job_id} --until uncommitted", "1 job completed or waiting for commit, 1,000 rows"),
        (f"commit {job_id}", f"{job_id}  commit accepted"),
        (f"wait {job_id}", "1 job completed, 1,000 rows"),
    ):
        ended = await run_line(milvus_3, f"{line} {REST}")
        assert (ended.code, ended.out, ended.err) == (0, f"{out}\n", "")


async def test_abort_ends_jobs_as_failed(milvus_3: FakeMilvus) -> None:
    for job_id in ("7", "8"):
        milvus_3.add_job(job_id=job_id, state="Uncommitted", progress=99, auto_commit=False)
    ended = await run_line(milvus_3, f"abort 7 8 --json {REST}")
    assert ended.code == 0
    assert ended.objects == [{"jobId": job_id, "accepted": "abort"} for job_id in ("7", "8")]
    ended = await run_line(milvus_3, f"watch 7 8 {REST}")
    assert ended.code == 1
    assert ended.out.splitlines()[-1] == "2 failed"


async def test_commit_goes_on_after_a_job_that_does_not_exist(milvus_3: FakeMilvus) -> None:
    milvus_3.add_job(job_id="8", state="Uncommitted", progress=99, auto_commit=False)
    ended = await run_line(milvus_3, f"commit 7 8 {REST}")
    assert ended.code != 0
    assert ended.out == "8  commit accepted\n"
