"""watch_all and wait_all: many jobs, from one list per interval or from independent polls."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio
import grpc
import pytest
from following import cancel_one_request
from google.protobuf.message import Message
from interceptors import Around, Proceed
from processes import FakeProcess
from times import GUARD, SCALE, TICK, until
from watching import (
    QUICK,
    Change,
    FaultLog,
    add_running,
    add_scripted,
    both_services,
    complete,
    connect,
    expected,
    ids,
    job_changes,
    missing,
    on_each_watch,
    start_watch,
)

from milvus_import import (
    AccessDeniedError,
    CallError,
    ImportClient,
    ImportFailedError,
    ImportJob,
    ImportProgressData,
    ImportState,
    JobNotFoundError,
    MilvusStatusError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
)
from milvus_import.testing import FakeJob, FakeMilvus, Fault
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

pytestmark = pytest.mark.anyio

on_public = pytest.mark.parametrize("service", ["public"])
LISTED = 16
"""From so many jobs on, lists replace single polls."""


def calls(fake: FakeMilvus, method: str) -> int:
    return sum(received.method == method for received in fake.received)


def singles(fake: FakeMilvus) -> list[str]:
    """The jobs that were polled individually."""
    return [received.job_id for received in fake.received if received.method != "ListImports"]


# The changes that a watch yields.


@both_services
@pytest.mark.parametrize("count", [0, 1, 7, 150])
async def test_watch_all_yields_each_change_of_each_job_once(
    fake: FakeMilvus, client: ImportClient, count: int
) -> None:
    jobs = add_scripted(fake, count)
    fake.inject("unimplemented", times=None, method="ListImportTasks")  # it has no ids
    assert await job_changes(client.watch_all(ids(jobs), **QUICK)) == expected(jobs)


async def test_watch_all_makes_one_list_call_per_interval(
    fake: FakeMilvus, client: ImportClient
) -> None:
    jobs = add_scripted(fake, 50)
    await job_changes(client.watch_all(ids(jobs), **QUICK))
    assert singles(fake) == []
    assert len(fake.received) == max(len(job.script) for job in jobs)


async def test_watch_all_without_ids_follows_all_jobs_sorted_by_id(
    fake: FakeMilvus, client: ImportClient
) -> None:
    fake.add_job(job_id="100", state="Completed")
    fake.add_job(job_id="9", state="Failed", reason="bad")
    fake.add_job(job_id="20", state="Completed", collection_name="films")
    seen = [(job.job_id, job.reason) async for job in client.watch_all(**QUICK)]
    assert seen == [("9", "bad"), ("20", ""), ("100", "")]


@both_services
async def test_watch_all_follows_the_jobs_of_a_collection(
    fake: FakeMilvus, client: ImportClient, service: str
) -> None:
    fake.version = "2.6" if service == "internal" else "2.3"
    jobs = add_scripted(fake, 3)
    fake.add_job(collection_name="films")
    seen = await job_changes(client.watch_all(collection_name="books", **QUICK))
    assert set(seen) == set(ids(jobs))
    assert all(changes[-1] == ("Completed", 100) for changes in seen.values())


@on_public
async def test_watch_all_of_a_service_that_lists_no_ids_is_unsupported(
    client: ImportClient, job: FakeJob
) -> None:
    with pytest.raises(UnsupportedServerError, match=r"without their ids") as raised:
        await job_changes(client.watch_all(collection_name="books", **QUICK))
    assert "19529" in raised.value.hint


async def test_watch_all_does_not_follow_jobs_that_are_created_later(
    fake: FakeMilvus, client: ImportClient
) -> None:
    jobs = add_scripted(fake, 2)
    watch = client.watch_all(**QUICK)
    first = await anext(watch)
    add_running(fake, 1)
    assert set(await job_changes(watch, first)) == set(ids(jobs))


@both_services
async def test_watch_all_yields_a_failed_job_and_continues_with_the_others(
    fake: FakeMilvus, client: ImportClient
) -> None:
    failed = fake.add_job(state="Failed", reason="bad file")
    jobs = add_scripted(fake, 2)
    seen = await job_changes(client.watch_all(ids([failed, *jobs]), **QUICK))
    assert seen == {failed.job_id: [("Failed", 0)]} | expected(jobs)


@both_services
async def test_watch_all_takes_the_same_id_in_two_spellings_as_one_job(
    fake: FakeMilvus, client: ImportClient
) -> None:
    [job] = jobs = add_scripted(fake, 1)
    watch = client.watch_all([job.job_id, f"00{job.job_id}"], **QUICK)
    assert await job_changes(watch) == expected(jobs)


# The outcomes that a wait returns.


@both_services
async def test_wait_all_returns_the_outcome_of_each_job(
    fake: FakeMilvus, client: ImportClient
) -> None:
    completed = add_scripted(fake, 3)
    failed = fake.add_job(state="Failed", reason="disk full")
    running = fake.add_job(state="Importing", progress=70)
    order = [running.job_id, "1", *ids(completed), failed.job_id]
    outcomes = await client.wait_all(order, interval=TICK, timeout=0.7 * SCALE)
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
async def test_the_last_progress_of_an_ended_job_is_polled_again_after_an_error(
    fake: FakeMilvus, known: ImportClient
) -> None:
    [job] = add_scripted(fake, 1)
    for method in ("GetImportProgress", "GetImportState"):
        fake.inject("not-ready", times=2, method=method)
    outcomes = await known.wait_all([job.job_id], **QUICK)
    assert isinstance(outcomes[job.job_id], ImportProgressData)


async def test_wait_all_after_retention_returns_the_last_progress_of_the_job(
    fake: FakeMilvus, client: ImportClient
) -> None:
    """The server removes an ended job before its details were polled."""
    [job, *others] = add_running(fake, LISTED)
    complete(job, *others)
    fake.inject(missing(job.job_id), times=None, job_id=job.job_id)
    outcome = (await client.wait_all(ids([job, *others]), **QUICK))[job.job_id]
    assert isinstance(outcome, JobNotFoundError)
    assert "its last state was Completed at 100 %" in str(outcome)
    assert outcome.progress is not None
    assert outcome.progress.done


async def test_wait_all_of_no_jobs_makes_no_call(fake: FakeMilvus, client: ImportClient) -> None:
    assert await client.wait_all([]) == {}
    assert fake.received == []


# Leaving the loop and continuing.


@both_services
async def test_watch_all_loses_no_job_if_a_step_is_cancelled(
    fake: FakeMilvus, client: ImportClient
) -> None:
    jobs = add_running(fake, 100)
    watch = client.watch_all(ids(jobs), interval=TICK * 5, timeout=GUARD, rpc_timeout=GUARD / 20)
    for _ in jobs:
        await anext(watch)
    fake.inject("hang", times=10)
    complete(*jobs)
    seen: list[str] = []
    with anyio.move_on_after(TICK * 10) as scope:
        while True:
            seen.append((await anext(watch)).job_id)  # until only those that hang are left
    assert scope.cancelled_caught
    fake.clear_faults()
    seen += await job_changes(watch)
    assert sorted(seen) == ids(jobs)


@both_services
async def test_a_cancelled_wait_all_leaves_no_task_and_resets_no_call(
    fake: FakeMilvus, known: ImportClient
) -> None:
    before = asyncio.all_tasks()
    fake.inject("hang", times=None)
    task = asyncio.create_task(known.wait_all(ids(add_running(fake, 5)), interval=TICK))
    await asyncio.sleep(TICK * 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(TICK)
    ours = [t for t in asyncio.all_tasks() - before if "milvus_import/_watch" in repr(t)]
    assert ours == []
    assert not any(received.reset for received in fake.received)


@both_services
@on_each_watch
def test_a_watch_belongs_to_its_event_loop(process: FakeProcess, service: str, method: str) -> None:
    """The client itself serves the next loop, with new watches."""
    client = ImportClient(getattr(process, f"{service}_uri"))
    first = start_watch(client, method, "7")

    async def first_loop() -> None:
        assert (await anext(first)).job_id == "7"

    async def second_loop() -> None:
        async with client:
            with pytest.raises(RuntimeError, match="this watch belongs to another event loop"):
                await anext(first)
            assert (await anext(start_watch(client, method, "7"))).job_id == "7"

    asyncio.run(first_loop())
    asyncio.run(second_loop())


# Outages, and errors of all jobs.


@both_services
async def test_a_successful_response_ends_an_outage(fake: FakeMilvus, client: ImportClient) -> None:
    limit = 0.3 * SCALE
    job = fake.add_job(script=[("Importing", n) for n in range(1000)])
    faults = FaultLog()
    watch = client.watch_all([job.job_id], max_outage=limit, on_retry=faults, **QUICK)
    await anext(watch)
    for _ in range(2):
        fake.inject("not-ready")
        end = time.monotonic() + 1.3 * limit
        while time.monotonic() < end:
            await anext(watch)
    assert faults.kinds == [MilvusStatusError, MilvusStatusError]
    assert max(faults.outages) < limit


async def test_a_list_that_fails_is_not_requested_again_immediately(
    fake: FakeMilvus, known: ImportClient
) -> None:
    fake.inject("not-ready", times=None, method="ListImports")
    with pytest.raises(MilvusStatusError):
        await job_changes(known.watch_all(max_outage=SCALE))
    assert 2 <= calls(fake, "ListImports") <= 5 + 8 * SCALE  # 0.125 s apart at least


@on_public
async def test_an_outage_of_one_job_does_not_end_the_others(
    fake: FakeMilvus, known: ImportClient
) -> None:
    cut_off, other = add_running(fake, 2)
    fake.inject("unavailable", times=None, job_id=cut_off.job_id)
    watch = known.watch_all(ids([cut_off, other]), max_outage=0.3 * SCALE, **QUICK)
    assert (await anext(watch)).job_id == other.job_id
    asyncio.get_running_loop().call_later(1.0 * SCALE, complete, other)
    assert (await anext(watch)).done
    with pytest.raises(UnavailableError) as raised:
        await anext(watch)
    assert raised.value.job_id == cut_off.job_id
    assert raised.value.outage is not None


@both_services
async def test_an_outage_is_the_outcome_of_the_jobs_that_had_not_ended(
    fake: FakeMilvus, client: ImportClient
) -> None:
    done, *cut_off = add_running(fake, 4)
    complete(done)
    seen: set[str] = set()

    def record(job: ImportJob) -> None:
        seen.add(job.job_id)
        if len(seen) == 4:
            for running in cut_off:
                fake.inject("coordinator-unavailable", times=None, job_id=running.job_id)
            fake.inject("coordinator-unavailable", times=None, method="ListImports")

    outcomes = await client.wait_all(
        ids([done, *cut_off]), max_outage=0.3 * SCALE, on_progress=record, **QUICK
    )
    assert isinstance(outcomes[done.job_id], (ImportProgressData, MilvusStatusError))
    for job in cut_off:
        outcome = outcomes[job.job_id]
        assert isinstance(outcome, MilvusStatusError)
        assert outcome.code == 2
        assert outcome.outage is not None


@both_services
async def test_watch_all_raises_what_is_not_transient_immediately(
    fake: FakeMilvus, client: ImportClient
) -> None:
    """Also in a round in which other polls fail with transient errors."""
    jobs = add_running(fake, 5)
    faults = FaultLog()
    watch = client.watch_all(ids(jobs), on_retry=faults, **QUICK)
    for _ in jobs:
        await anext(watch)
    fake.inject("unavailable", times=1)
    fake.inject("denied", times=None)
    with pytest.raises(AccessDeniedError):
        await job_changes(watch)
    assert len(faults) <= 1


@both_services
async def test_an_exception_of_an_interceptor_propagates_once(
    fake: FakeMilvus, service: str, job: FakeJob
) -> None:
    bugs = [ZeroDivisionError("a bug")]

    async def raise_once(proceed: Proceed) -> Any:
        if bugs:
            raise bugs.pop()
        return await proceed()

    complete(job)
    async with connect(fake, service, interceptors=[Around(raise_once)]) as client:
        watch = client.watch_all([job.job_id], **QUICK)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await anext(watch)
        assert (await anext(watch)).done


@both_services
async def test_polls_that_somebody_else_cancelled_are_repeated(
    fake: FakeMilvus, client: ImportClient, job: FakeJob
) -> None:
    watch = client.watch_all([job.job_id], **QUICK)
    await anext(watch)
    fake.inject("hang")
    polls = len(fake.received)
    step = asyncio.ensure_future(anext(watch))
    await until(lambda: len(fake.received) > polls)
    assert cancel_one_request()
    complete(job)
    with anyio.fail_after(GUARD):
        assert (await step).done


# Lists that are not usable.


def list_reply(*job_ids: str, **columns: Any) -> internal_pb2.ListImportsResponse:
    size = len(job_ids)
    values: dict[str, Any] = {
        "jobIDs": job_ids,
        "states": [internal_pb2.Importing] * size,
        "reasons": [""] * size,
        "progresses": [1] * size,
        "collection_names": ["books"] * size,
    }
    return internal_pb2.ListImportsResponse(status=common_pb2.Status(), **(values | columns))


LIST_FAULTS: dict[str, Fault | str] = {
    "undecodable": "garbage",
    "too large": "too-large",
    "cannot be marshalled": Fault(
        grpc.StatusCode.INTERNAL,
        "grpc: error while marshaling: string field contains invalid UTF-8",
    ),
    "invalid UTF-8": Fault(
        reply=list_reply("7", reasons=["?"]).SerializeToString().replace(b"?", b"\xff")
    ),
    "columns of different lengths": Fault(reply=list_reply("7", states=[]).SerializeToString()),
    "invalid ids": Fault(reply=list_reply("x", "-1", "9" * 40, "").SerializeToString()),
    "not supported": "unimplemented",
}


@pytest.mark.parametrize("fault", LIST_FAULTS)
async def test_watch_all_polls_the_jobs_if_a_list_is_not_usable(
    fake: FakeMilvus, client: ImportClient, fault: str
) -> None:
    """No list is requested for some time; that is no outage."""
    jobs = add_scripted(fake, LISTED)
    faults = FaultLog()
    watch = client.watch_all(ids(jobs), on_retry=faults, **QUICK)
    first = await anext(watch)
    fake.inject(LIST_FAULTS[fault], times=None, method="ListImports")
    assert await job_changes(watch, first) == expected(jobs)
    assert set(singles(fake)) == set(ids(jobs))
    assert calls(fake, "ListImports") == 2
    assert faults == []


@pytest.mark.parametrize("job_id", ["x", "", "9" * 40, "1e3", "٣"])
async def test_a_listed_id_that_is_not_valid_is_a_call_error_if_all_jobs_are_followed(
    fake: FakeMilvus, client: ImportClient, job_id: str
) -> None:
    fake.inject(Fault(reply=list_reply("7", job_id).SerializeToString()), method="ListImports")
    with pytest.raises(CallError, match=r"lists the job id '.*', which is not valid"):
        await job_changes(client.watch_all(**QUICK))


# One job among others.


@both_services
async def test_one_job_whose_reply_is_not_valid_does_not_end_the_others(
    fake: FakeMilvus, client: ImportClient
) -> None:
    """As for a job whose reason is not valid UTF-8: the list is lost with it."""
    jobs = add_scripted(fake, 3)
    [bad] = add_running(fake, 1)
    replies: dict[str, Message] = {
        "GetImportProgress": internal_pb2.GetImportProgressResponse(reason="?"),
        "GetImportState": milvus_pb2.GetImportStateResponse(
            infos=[common_pb2.KeyValuePair(key="failed_reason", value="?")]
        ),
    }
    for method, reply in replies.items():
        fault = Fault(reply=reply.SerializeToString().replace(b"?", b"\xff"))
        fake.inject(fault, times=None, method=method, job_id=bad.job_id)
    fake.inject(LIST_FAULTS["cannot be marshalled"], times=None, method="ListImports")
    order = ids([bad, *jobs])
    watch = client.watch_all(order, max_outage=10 * TICK, **QUICK)
    seen: dict[str, list[Change]] = {}
    with pytest.raises(CallError, match="could not be parsed") as raised:
        await job_changes(watch, seen=seen)
    assert seen == expected(jobs)
    assert raised.value.job_id == bad.job_id
    assert await job_changes(watch) == {}
    outcomes = await client.wait_all(order, max_outage=TICK, **QUICK)
    kinds = [type(outcome) for outcome in outcomes.values()]
    assert kinds == [CallError, *[ImportProgressData] * 3]


@both_services
async def test_unknown_jobs_do_not_end_the_others(fake: FakeMilvus, client: ImportClient) -> None:
    jobs = add_scripted(fake, 3)
    watch = client.watch_all(["1", *ids(jobs), "2"], **QUICK)
    seen: dict[str, list[Change]] = {}
    with pytest.raises(JobNotFoundError, match="jobID=1") as raised:
        await job_changes(watch, seen=seen)
    assert seen == expected(jobs)
    assert "jobID=2" in "".join(raised.value.__notes__)
    assert await job_changes(watch) == {}
    assert singles(fake).count("1") == singles(fake).count("2") == 1


async def test_many_unknown_jobs_are_named_in_ten_notes(client: ImportClient) -> None:
    with pytest.raises(JobNotFoundError) as raised:
        await job_changes(client.watch_all([str(n) for n in range(1, 201)], **QUICK))
    assert len(raised.value.__notes__) == 10
    assert raised.value.__notes__[-1] == "and 190 more"


async def test_a_job_that_is_missing_from_the_list_is_polled_by_itself(
    fake: FakeMilvus, client: ImportClient
) -> None:
    """One job changes with each list; another one is missing from one of them."""
    pulse = fake.add_job(script=[*(("Importing", n) for n in range(10)), ("Completed", 100)])
    other, *running = add_running(fake, LISTED)
    seen: list[str] = []
    async for job in client.watch_all(ids([pulse, other, *running]), **QUICK):
        seen.append(job.job_id)
        if job.job_id == pulse.job_id and job.progress == 3:
            del fake.jobs[other.job_id]
        if job.job_id == pulse.job_id and job.progress == 4:
            other.state = "Completed"
            fake.jobs[other.job_id] = other
        if job.job_id == pulse.job_id and job.state.done:
            complete(*running)
    assert seen.count(other.job_id) == 2
    assert singles(fake) == [other.job_id]


# Time limits.


@both_services
@pytest.mark.parametrize("timeout", [0, -1])
async def test_every_job_is_polled_once_with_timeout_0(
    fake: FakeMilvus, client: ImportClient, service: str, timeout: float
) -> None:
    jobs = add_running(fake, 150)
    watch = client.watch_all(ids(jobs), timeout=timeout)
    assert {(await anext(watch)).job_id for _ in jobs} == set(ids(jobs))
    first = ", ".join(ids(jobs)[:10])
    with pytest.raises(WaitTimeoutError, match=f"150 of 150 .* s: {first} and 140 more"):
        await anext(watch)
    assert calls(fake, "GetImportState") == (150 if service == "public" else 0)
    assert calls(fake, "ListImports") == (0 if service == "public" else 1)
    complete(*jobs[1:])
    late, *ended = (await client.wait_all(ids(jobs), timeout=timeout)).values()
    assert isinstance(late, WaitTimeoutError)
    assert all(isinstance(outcome, ImportProgressData) for outcome in ended)


async def test_watch_all_names_the_list_if_no_list_arrived_within_the_timeout(
    fake: FakeMilvus, known: ImportClient
) -> None:
    fake.inject("coordinator-unavailable", times=None)
    with pytest.raises(WaitTimeoutError, match=r"no list .* service unavailable"):
        await job_changes(known.watch_all(interval=TICK, timeout=0.3 * SCALE))


async def test_watch_all_with_timeout_0_ends_after_a_list_that_failed(
    fake: FakeMilvus, known: ImportClient
) -> None:
    fake.inject("coordinator-unavailable", times=None)
    with anyio.fail_after(GUARD), pytest.raises(WaitTimeoutError, match="service unavailable"):
        await job_changes(known.watch_all(ids(add_running(fake, LISTED)), timeout=0))
    assert calls(fake, "ListImports") == 1
