"""``--service rest``, commit and abort."""

from __future__ import annotations

import pytest
from command_line import FAST, run

from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio


@pytest.fixture
def milvus_3(fake: FakeMilvus) -> FakeMilvus:
    fake.version = "3.0"
    return fake


async def test_rest_shows_what_the_internal_service_shows(milvus_3: FakeMilvus) -> None:
    milvus_3.add_job(job_id="7", state="Completed", progress=100)
    rest = await run("get", "7", "--uri", milvus_3.rest_uri, "--service", "rest")
    grpc = await run("get", "7", "--uri", milvus_3.internal_uri)
    assert rest.code == 0
    assert "Created     2026-01-02 03:04:05\n" in grpc.out  # in REST since Milvus 3.0
    assert rest.out.replace("rest", "internal") == grpc.out


async def test_rest_lists_and_follows_many_jobs(fake: FakeMilvus) -> None:
    for _ in range(70):
        fake.add_job(script=[("Importing", 40), ("Importing", 60), ("Completed", 100)])
    ended = await run("watch", "books", "--uri", fake.rest_uri, "--service", "rest", *FAST)
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == "70 jobs completed, 70,000 rows"


async def test_two_phase_import_on_the_command_line(milvus_3: FakeMilvus) -> None:
    milvus_3.import_seconds = 0.1
    rest = ("--uri", milvus_3.rest_uri, "--service", "rest")
    created = await run("create", "books", "a.parquet", "--option", "auto_commit=false", *rest)
    job_id = created.out.strip()
    ended = await run("wait", job_id, "--until", "uncommitted", *FAST, *rest)
    assert (ended.code, ended.out) == (0, "1 job completed or waiting for commit, 1,000 rows\n")
    ended = await run("commit", job_id, *rest)
    assert (ended.code, ended.out, ended.err) == (0, f"{job_id}  commit accepted\n", "")
    ended = await run("wait", job_id, *FAST, *rest)
    assert (ended.code, ended.out) == (0, "1 job completed, 1,000 rows\n")


async def test_abort_ends_jobs_as_failed(milvus_3: FakeMilvus) -> None:
    for job_id in ("7", "8"):
        milvus_3.add_job(job_id=job_id, state="Uncommitted", progress=99, auto_commit=False)
    rest = ("--uri", milvus_3.rest_uri, "--service", "rest")
    ended = await run("abort", "7", "8", "--json", *rest)
    assert ended.code == 0
    assert ended.objects == [
        {"jobId": "7", "accepted": "abort"},
        {"jobId": "8", "accepted": "abort"},
    ]
    ended = await run("watch", "7", "8", *FAST, *rest)
    assert ended.code == 1
    assert ended.out.splitlines()[-1] == "2 failed"


async def test_commit_goes_on_after_a_job_that_does_not_exist(milvus_3: FakeMilvus) -> None:
    milvus_3.add_job(job_id="8", state="Uncommitted", progress=99, auto_commit=False)
    rest = ("--uri", milvus_3.rest_uri, "--service", "rest")
    ended = await run("commit", "7", "8", *rest)
    assert ended.code != 0
    assert ended.out == "8  commit accepted\n"


async def test_commit_before_milvus_3_has_a_hint(fake: FakeMilvus) -> None:
    fake.add_job(job_id="7", state="Importing")
    ended = await run("commit", "7", "--uri", fake.rest_uri, "--service", "rest")
    assert ended.code == 3
    assert "Use Milvus 3.0 or newer" in ended.err
