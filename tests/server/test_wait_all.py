"""wait_all: the outcome of each job, in full, whatever happens to the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from times import TICK
from watching import FaultLog, add_scripted, expected, ids, missing, uri_of

from milvus_import import (
    CallError,
    ImportClient,
    ImportFailedError,
    ImportJob,
    ImportProgressData,
    ImportState,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnavailableError,
    WaitTimeoutError,
)
from milvus_import._watch import _followers
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

both_services = pytest.mark.parametrize("client", ["internal", "public"], indirect=True)


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lists replace single polls from one job on, instead of 16."""
    monkeypatch.setattr(_followers, "LIST_FROM", 1)
    monkeypatch.setattr(_followers, "LIST_BELOW", 1)


@pytest.fixture
async def client(fake: FakeMilvus, request: pytest.FixtureRequest) -> AsyncIterator[ImportClient]:
    """A client of the internal service, unless the test names another."""
    public = getattr(request, "param", "internal") == "public"
    async with ImportClient(fake.public_uri if public else fake.internal_uri) as client:
        yield client


def arrivals(fake: FakeMilvus, method: str) -> list[float]:
    return [received.arrived for received in fake.received if received.method == method]


@both_services
async def test_wait_all_returns_the_outcome_of_each_job(
    fake: FakeMilvus, client: ImportClient, scale: float
) -> None:
    completed = add_scripted(fake, 3)
    failed = fake.add_job(state="Failed", reason="disk full")
    running = fake.add_job(state="Importing", progress=70)
    order = [running.job_id, "1", *ids(completed), failed.job_id]
    outcomes = await client.wait_all(order, interval=TICK, timeout=0.7 * scale)
    assert list(outcomes) == order
    for job in completed:
        progress = outcomes[job.job_id]
        assert isinstance(progress, ImportProgressData)
        assert (progress.job_id, progress.state) == (job.job_id, ImportState.COMPLETED)
        assert bool(progress.details) == progress.detailed
    failure, unknown, late = (outcomes[job_id] for job_id in (failed.job_id, "1", running.job_id))
    assert isinstance(failure, ImportFailedError)
    assert "disk full" in str(failure)
    assert isinstance(unknown, JobNotFoundError)
    assert isinstance(late, WaitTimeoutError)
    assert "Importing at 70 %" in str(late)
    for job_id, outcome in outcomes.items():
        assert outcome.job_id == job_id
        assert not getattr(outcome, "__notes__", [])  # an outcome is about its own job


@both_services
async def test_wait_all_until_uncommitted_returns_jobs_that_wait_for_their_commit(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    waits = fake.add_job(script=[("Importing", 40), ("Uncommitted", 99)])
    done = fake.add_job(state="Completed", progress=100)
    outcomes = await client.wait_all(
        [waits.job_id, done.job_id], until="uncommitted", interval=TICK, timeout=guard
    )
    states = [o.state for o in outcomes.values() if isinstance(o, ImportProgressData)]
    assert states == [ImportState.UNCOMMITTED, ImportState.COMPLETED]


@both_services
async def test_on_progress_of_wait_all_receives_each_change(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = add_scripted(fake, 5)
    seen: dict[str, list[tuple[str, int]]] = {}
    await client.wait_all(
        ids(jobs),
        interval=TICK,
        timeout=guard,
        on_progress=lambda job: seen.setdefault(job.job_id, []).append(
            (str(job.state), job.progress)
        ),
    )
    assert seen == expected(jobs)


@pytest.mark.parametrize("error", [KeyError("mine"), MilvusImportError("mine")])
async def test_an_exception_of_on_progress_ends_wait_all(
    fake: FakeMilvus, client: ImportClient, error: Exception, guard: float
) -> None:
    """It propagates also if it is one of the package's own: it is no outcome of a job."""
    jobs = add_scripted(fake, 2)

    def raising(job: ImportJob) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        await client.wait_all(ids(jobs), interval=TICK, timeout=guard, on_progress=raising)
    assert raised.value is error


@both_services
async def test_an_outage_is_the_outcome_of_the_jobs_that_had_not_ended(
    fake: FakeMilvus, client: ImportClient, scale: float, guard: float
) -> None:
    done = fake.add_job(state="Completed", progress=100)
    cut_off = [fake.add_job(state="Importing", progress=40) for _ in range(3)]
    seen: set[str] = set()

    def record(job: ImportJob) -> None:
        seen.add(job.job_id)
        if len(seen) == 4:
            for running in cut_off:
                fake.inject("coordinator-unavailable", times=None, job_id=running.job_id)
            fake.inject("coordinator-unavailable", times=None, method="ListImports")

    outcomes = await client.wait_all(
        [done.job_id, *ids(cut_off)],
        interval=TICK,
        max_outage=0.3 * scale,
        timeout=guard,
        on_progress=record,
    )
    assert isinstance(outcomes[done.job_id], (ImportProgressData, MilvusStatusError))
    for job in cut_off:
        outcome = outcomes[job.job_id]
        assert isinstance(outcome, MilvusStatusError)
        assert outcome.code == 2
        assert outcome.outage is not None


@pytest.mark.parametrize("fault", ["unavailable", "not-ready"])
async def test_successful_list_does_not_end_the_outage_of_a_poll(
    fake: FakeMilvus, client: ImportClient, fault: str, scale: float, guard: float
) -> None:
    """The job is polled for its details when the list shows its end: it has its own outage."""
    interval, limit = 0.2 * scale, 1.0 * scale
    job = fake.add_job(state="Completed", progress=100)
    other = fake.add_job(state="Importing", progress=40)
    await client.check()
    fake.inject(fault, times=None, job_id=job.job_id)
    faults = FaultLog()

    def end_other(error: MilvusImportError, outage: float) -> None:
        faults(error, outage)
        if outage > 0.6 * limit:
            other.state = "Completed"

    started = time.monotonic()
    outcomes = await client.wait_all(
        [job.job_id, other.job_id],
        interval=interval,
        max_outage=limit,
        timeout=guard,
        on_retry=end_other,
    )
    seconds = time.monotonic() - started
    failed = outcomes[job.job_id]
    assert isinstance(failed, (UnavailableError, MilvusStatusError))
    assert failed.outage is not None
    assert limit <= failed.outage < seconds < limit + 5 * scale
    assert isinstance(outcomes[other.job_id], ImportProgressData)
    assert faults.outages == sorted(faults.outages)
    assert faults.outages[-1] > 0.5 * limit
    lists = arrivals(fake, "ListImports")
    assert len(lists) <= seconds / interval + 1  # one list per interval
    assert all(after - before >= interval * 0.8 for before, after in pairwise(lists))


@both_services
@pytest.mark.parametrize("timeout", [0, -1])
async def test_wait_all_with_timeout_0_polls_every_job_once(
    fake: FakeMilvus, client: ImportClient, timeout: float
) -> None:
    jobs = [fake.add_job(state="Completed", progress=100) for _ in range(100)]
    running = fake.add_job(state="Importing", progress=70)
    outcomes = await client.wait_all([*ids(jobs), running.job_id], timeout=timeout)
    assert sum(isinstance(o, ImportProgressData) for o in outcomes.values()) == 100
    assert isinstance(outcomes[running.job_id], WaitTimeoutError)


@both_services
async def test_the_last_progress_of_an_ended_job_is_polled_again_after_an_error(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    [job] = jobs = add_scripted(fake, 1)
    await client.check()
    for method in ("GetImportProgress", "GetImportState"):
        fake.inject("not-ready", times=2, method=method)
    outcomes = await client.wait_all(ids(jobs), interval=TICK, timeout=guard)
    assert isinstance(outcomes[job.job_id], ImportProgressData)


@both_services
async def test_one_job_with_a_reply_that_is_not_valid_is_one_outcome(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = [fake.add_job(state="Completed", progress=100) for _ in range(3)]
    fake.inject("garbage", times=None, job_id=jobs[1].job_id)
    outcomes = await client.wait_all(ids(jobs), interval=TICK, timeout=guard, max_outage=TICK)
    kinds = [type(outcome) for outcome in outcomes.values()]
    assert kinds == [ImportProgressData, CallError, ImportProgressData]


@pytest.mark.usefixtures("lists")
async def test_wait_all_after_retention_returns_the_last_progress_of_the_job(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    """The server removes an ended job before its details were polled."""
    job = fake.add_job(state="Completed", progress=100)
    fake.inject(missing(job.job_id), times=None, job_id=job.job_id)
    outcome = (await client.wait_all([job.job_id], interval=TICK, timeout=guard))[job.job_id]
    assert isinstance(outcome, JobNotFoundError)
    assert "its last state was Completed at 100 %" in str(outcome)
    assert outcome.progress is not None
    assert outcome.progress.done


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_a_cancelled_wait_all_leaves_no_task_and_resets_no_call(
    fake: FakeMilvus, service: str
) -> None:
    jobs = [fake.add_job(state="Importing", progress=40) for _ in range(5)]
    async with ImportClient(uri_of(fake, service)) as client:
        await client.check()
        before = asyncio.all_tasks()
        fake.inject("hang", times=None)
        task = asyncio.create_task(client.wait_all(ids(jobs), interval=TICK))
        await asyncio.sleep(TICK * 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(TICK)
        ours = [t for t in asyncio.all_tasks() - before if "milvus_import/_watch" in repr(t)]
        assert ours == []
        assert not any(received.reset for received in fake.received)


async def test_wait_all_of_no_jobs_makes_no_call(fake: FakeMilvus, client: ImportClient) -> None:
    options: dict[str, Any] = {}
    assert await client.wait_all([], **options) == {}
    assert fake.received == []
