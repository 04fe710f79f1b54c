"""watch_all: the changes of many jobs, from one list per interval or from independent polls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from processes import FakeProcess
from servers import CountingServer
from times import TICK, until
from watching import FaultLog, add_scripted, expected, ids, job_changes, uri_of

from milvus_import import (
    AccessDeniedError,
    CallError,
    ImportClient,
    JobNotFoundError,
    MilvusStatusError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
)
from milvus_import._watch import _followers
from milvus_import.testing import FakeMilvus, Fault
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

pytestmark = pytest.mark.anyio

both_services = pytest.mark.parametrize("client", ["internal", "public"], indirect=True)
on_public = pytest.mark.parametrize("client", ["public"], indirect=True)


@pytest.fixture
async def client(fake: FakeMilvus, request: pytest.FixtureRequest) -> AsyncIterator[ImportClient]:
    """A client of the internal service, unless the test names another."""
    public = getattr(request, "param", "internal") == "public"
    async with ImportClient(fake.public_uri if public else fake.internal_uri) as client:
        yield client


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lists replace single polls from one job on, instead of 16."""
    monkeypatch.setattr(_followers, "LIST_FROM", 1)
    monkeypatch.setattr(_followers, "LIST_BELOW", 1)


def methods(fake: FakeMilvus) -> set[str]:
    return {received.method for received in fake.received}


def calls(fake: FakeMilvus, method: str) -> int:
    return sum(received.method == method for received in fake.received)


# The changes that a watch yields.


@both_services
@pytest.mark.parametrize("count", [0, 1, 7, 150])
async def test_watch_all_yields_each_change_of_each_job_once(
    fake: FakeMilvus, client: ImportClient, count: int, guard: float
) -> None:
    jobs = add_scripted(fake, count)
    fake.inject("unimplemented", times=None, method="ListImportTasks")  # it has no ids
    seen = await job_changes(client.watch_all(ids(jobs), interval=TICK, timeout=guard))
    assert seen == expected(jobs)


async def test_watch_all_makes_one_list_call_per_interval(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = add_scripted(fake, 50)
    await job_changes(client.watch_all(ids(jobs), interval=TICK, timeout=guard))
    assert methods(fake) == {"ListImports"}
    assert len(fake.received) == max(len(job.script) for job in jobs)


async def test_watch_all_without_ids_follows_all_jobs_sorted_by_id(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    fake.add_job(job_id="100", state="Completed")
    fake.add_job(job_id="9", state="Failed", reason="bad")
    fake.add_job(job_id="20", state="Completed", collection_name="films")
    watch = client.watch_all(interval=TICK, timeout=guard)
    assert [(job.job_id, job.reason) async for job in watch] == [
        ("9", "bad"),
        ("20", ""),
        ("100", ""),
    ]


@pytest.mark.parametrize("port", ["internal", "public"])
async def test_watch_all_follows_the_jobs_of_a_collection(port: str, guard: float) -> None:
    async with FakeMilvus(version="2.6" if port == "internal" else "2.3") as fake:
        jobs = add_scripted(fake, 3)
        fake.add_job(collection_name="films")
        uri = fake.internal_uri if port == "internal" else fake.public_uri
        async with ImportClient(uri) as client:
            watch = client.watch_all(collection_name="books", interval=TICK, timeout=guard)
            seen = await job_changes(watch)
    assert set(seen) == set(ids(jobs))
    assert all(changes[-1] == ("Completed", 100) for changes in seen.values())


@on_public
async def test_watch_all_of_a_service_that_lists_no_ids_is_unsupported(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    fake.add_job()
    with pytest.raises(UnsupportedServerError, match=r"without their ids") as raised:
        await job_changes(client.watch_all(collection_name="books", timeout=guard))
    assert "19529" in raised.value.hint


async def test_watch_all_does_not_follow_jobs_that_are_created_later(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = add_scripted(fake, 2)
    watch = client.watch_all(interval=TICK, timeout=guard)
    first = await anext(watch)
    fake.add_job(state="Importing")
    seen = await job_changes(watch)
    assert {first.job_id, *seen} == set(ids(jobs))


@both_services
async def test_watch_all_yields_a_failed_job_and_continues_with_the_others(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    failed = fake.add_job(state="Failed", reason="bad file")
    jobs = [failed, *add_scripted(fake, 2)]
    seen = await job_changes(client.watch_all(ids(jobs), interval=TICK, timeout=guard))
    assert seen[failed.job_id] == [("Failed", 0)]
    assert all(seen[job.job_id][-1] == ("Completed", 100) for job in jobs[1:])


@both_services
async def test_watch_all_takes_the_same_id_in_two_spellings_as_one_job(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    [job] = jobs = add_scripted(fake, 1)
    watch = client.watch_all([job.job_id, f"00{job.job_id}"], interval=TICK, timeout=guard)
    assert await job_changes(watch) == expected(jobs)


# Leaving the loop and continuing.


@both_services
async def test_watch_all_loses_no_job_if_a_step_is_cancelled(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = [fake.add_job(state="Importing", progress=40) for _ in range(100)]
    watch = client.watch_all(ids(jobs), interval=TICK * 5, timeout=guard, rpc_timeout=guard / 20)
    for _ in jobs:
        await anext(watch)
    fake.inject("hang", times=10)
    for job in jobs:
        job.state, job.progress = "Completed", 100
    seen: list[str] = []
    with anyio.move_on_after(TICK * 10) as scope:
        while True:
            seen.append((await anext(watch)).job_id)  # until only those that hang are left
    assert scope.cancelled_caught
    fake.clear_faults()
    seen += await job_changes(watch)
    assert sorted(seen) == ids(jobs)


@pytest.mark.parametrize("service", ["internal", "public"])
@pytest.mark.parametrize("method", ["watch", "watch_all"])
def test_a_watch_belongs_to_its_event_loop(service: str, method: str) -> None:
    """The client itself serves the next loop, with new watches."""
    process = FakeProcess({"job_id": "7", "state": "Importing", "progress": 40})
    asyncio.run(process.start())
    try:
        uri = process.internal_uri if service == "internal" else process.public_uri
        client = ImportClient(uri)

        def watch() -> Any:
            return client.watch("7") if method == "watch" else client.watch_all(["7"])

        first = watch()

        async def first_loop() -> None:
            assert (await anext(first)).job_id == "7"

        async def second_loop() -> None:
            async with client:
                with pytest.raises(RuntimeError, match="this watch belongs to another event loop"):
                    await anext(first)
                assert (await anext(watch())).job_id == "7"

        asyncio.run(first_loop())
        asyncio.run(second_loop())
    finally:
        asyncio.run(process.kill())


# Errors.


@both_services
async def test_watch_all_survives_a_restart_without_losing_a_job(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = add_scripted(fake, 20)
    faults = FaultLog()

    async def restart() -> None:
        await fake.stop()
        while UnavailableError not in faults.kinds:
            await faults.reach(len(faults) + 1)
        await fake.start()

    watch = client.watch_all(ids(jobs), interval=TICK, timeout=guard, on_retry=faults)
    first = await anext(watch)
    restarting = asyncio.create_task(restart())
    seen = await job_changes(watch)
    await restarting
    seen[first.job_id].insert(0, (str(first.state), first.progress))
    # A reply that was lost with the server took its script entry with it.
    for job_id, changes in expected(jobs).items():
        assert seen[job_id][-1] == changes[-1]
        assert seen[job_id] == [change for change in changes if change in seen[job_id]]


@both_services
async def test_a_successful_response_ends_an_outage(
    fake: FakeMilvus, client: ImportClient, scale: float, guard: float
) -> None:
    limit = 0.3 * scale
    job = fake.add_job(script=[("Importing", n) for n in range(1000)])
    faults = FaultLog()
    watch = client.watch_all(
        [job.job_id], interval=TICK, max_outage=limit, timeout=guard, on_retry=faults
    )
    await anext(watch)
    for _ in range(2):
        fake.inject("not-ready")
        end = time.monotonic() + 1.3 * limit
        while time.monotonic() < end:
            await anext(watch)
    assert faults.kinds == [MilvusStatusError, MilvusStatusError]
    assert max(faults.outages) < limit


async def test_a_list_that_fails_is_not_requested_again_immediately(
    fake: FakeMilvus, client: ImportClient, scale: float
) -> None:
    fake.add_job(state="Importing", progress=40)
    await client.check()
    fake.inject("not-ready", times=None, method="ListImports")
    with pytest.raises(MilvusStatusError):
        await job_changes(client.watch_all(max_outage=scale))
    assert 2 <= calls(fake, "ListImports") <= 5 + 8 * scale  # 0.125 s apart at least


@on_public
async def test_an_outage_of_one_job_does_not_end_the_others(
    fake: FakeMilvus, client: ImportClient, scale: float, guard: float
) -> None:
    cut_off, other = (fake.add_job(state="Importing", progress=40) for _ in range(2))
    await client.check()
    fake.inject("unavailable", times=None, job_id=cut_off.job_id)
    watch = client.watch_all(
        ids([cut_off, other]), interval=TICK, max_outage=0.3 * scale, timeout=guard
    )
    assert (await anext(watch)).job_id == other.job_id
    asyncio.get_running_loop().call_later(1.0 * scale, setattr, other, "state", "Completed")
    assert (await anext(watch)).done
    with pytest.raises(UnavailableError) as raised:
        await anext(watch)
    assert raised.value.job_id == cut_off.job_id
    assert raised.value.outage is not None


@both_services
async def test_watch_all_raises_what_is_not_transient_immediately(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    """Also in a round in which other polls fail with transient errors."""
    jobs = [fake.add_job() for _ in range(5)]
    faults = FaultLog()
    watch = client.watch_all(ids(jobs), interval=TICK, timeout=guard, on_retry=faults)
    for _ in jobs:
        await anext(watch)
    fake.inject("unavailable", times=1)
    fake.inject("denied", times=None)
    with pytest.raises(AccessDeniedError):
        await job_changes(watch)
    assert len(faults) <= 1


@pytest.mark.usefixtures("lists")
async def test_watch_all_polls_the_jobs_if_the_server_stops_listing(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = add_scripted(fake, 3)
    faults = FaultLog()
    watch = client.watch_all(ids(jobs), interval=TICK, timeout=guard, on_retry=faults)
    first = await anext(watch)
    fake.inject("unimplemented", times=None, method="ListImports")
    seen = await job_changes(watch)
    seen[first.job_id].insert(0, (str(first.state), first.progress))
    assert seen == expected(jobs)
    assert methods(fake) == {"ListImports", "GetImportProgress"}
    assert calls(fake, "ListImports") == 2
    assert faults == []  # no list for some time


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
}


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize("fault", LIST_FAULTS)
async def test_watch_all_polls_the_jobs_if_a_list_is_not_usable(
    fake: FakeMilvus, client: ImportClient, fault: str, guard: float
) -> None:
    jobs = add_scripted(fake, 3)
    fake.inject(LIST_FAULTS[fault], times=None, method="ListImports")
    seen = await job_changes(client.watch_all(ids(jobs), interval=TICK, timeout=guard))
    assert seen == expected(jobs)
    assert calls(fake, "ListImports") == 1


@pytest.mark.usefixtures("lists")
async def test_jobs_are_polled_singly_if_a_listed_id_is_not_valid(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    odd = list_reply("x", "-1", "9" * 40, "", job.job_id)
    fake.inject(Fault(reply=odd.SerializeToString()), method="ListImports")
    watch = client.watch_all([job.job_id], interval=TICK, timeout=guard)
    assert (await anext(watch)).progress == 40
    assert calls(fake, "ListImports") == calls(fake, "GetImportProgress") == 1


@pytest.mark.parametrize("job_id", ["x", "", "9" * 40, "1e3", "٣"])
async def test_a_listed_id_that_is_not_valid_is_a_call_error_if_all_jobs_are_followed(
    fake: FakeMilvus, client: ImportClient, job_id: str, guard: float
) -> None:
    fake.inject(Fault(reply=list_reply("7", job_id).SerializeToString()), method="ListImports")
    with pytest.raises(CallError, match=r"lists the job id '.*', which is not valid"):
        await job_changes(client.watch_all(timeout=guard))


@both_services
async def test_one_job_whose_reply_is_not_valid_does_not_end_the_others(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    """As for a job whose reason is not valid UTF-8: the list is lost with it."""
    jobs = add_scripted(fake, 3)
    bad = fake.add_job(state="Importing")
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
    watch = client.watch_all(
        [bad.job_id, *ids(jobs)], interval=TICK, timeout=guard, max_outage=10 * TICK
    )
    seen: dict[str, list[tuple[str, int]]] = {}

    async def follow() -> None:
        async for job in watch:
            seen.setdefault(job.job_id, []).append((str(job.state), job.progress))

    with pytest.raises(CallError, match="could not be parsed") as raised:
        await follow()
    assert seen == expected(jobs)
    assert raised.value.job_id == bad.job_id
    assert await job_changes(watch) == {}


@both_services
async def test_unknown_jobs_do_not_end_the_others(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    jobs = add_scripted(fake, 3)
    watch = client.watch_all(["1", *ids(jobs), "2"], interval=TICK, timeout=guard)
    seen: dict[str, list[tuple[str, int]]] = {}

    async def follow() -> None:
        async for job in watch:
            seen.setdefault(job.job_id, []).append((str(job.state), job.progress))

    with pytest.raises(JobNotFoundError, match="jobID=1") as raised:
        await follow()
    assert seen == expected(jobs)
    assert "jobID=2" in "".join(raised.value.__notes__)
    assert await job_changes(watch) == {}
    single = [r.job_id for r in fake.received if r.method != "ListImports"]
    assert single.count("1") == single.count("2") == 1


async def test_many_unknown_jobs_are_named_in_ten_notes(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    with pytest.raises(JobNotFoundError) as raised:
        await job_changes(client.watch_all([str(n) for n in range(1, 201)], timeout=guard))
    assert len(raised.value.__notes__) == 10
    assert raised.value.__notes__[-1] == "and 190 more"


@pytest.mark.usefixtures("lists")
async def test_a_job_that_is_missing_from_the_list_is_polled_by_itself(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    """One job changes with each list; the other is missing from one of them."""
    pulse = fake.add_job(script=[*(("Importing", n) for n in range(10)), ("Completed", 100)])
    other = fake.add_job(state="Importing", progress=40)
    seen: list[str] = []
    async for job in client.watch_all([pulse.job_id, other.job_id], interval=TICK, timeout=guard):
        seen.append(job.job_id)
        if job.job_id == pulse.job_id and job.progress == 3:
            del fake.jobs[other.job_id]
        if job.job_id == pulse.job_id and job.progress == 4:
            other.state = "Completed"
            fake.jobs[other.job_id] = other
    assert seen.count(other.job_id) == 2
    single = [r.job_id for r in fake.received if r.method == "GetImportProgress"]
    assert single == [other.job_id]


@both_services
async def test_watch_all_polls_a_missing_job_twice_before_job_not_found(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    watch = client.watch_all([job.job_id], interval=TICK, timeout=guard)
    await anext(watch)
    del fake.jobs[job.job_id]
    polls = len(fake.received)
    with pytest.raises(JobNotFoundError) as raised:
        await anext(watch)
    single = [r for r in fake.received[polls:] if r.method != "ListImports"]
    assert len(single) == 2
    last = raised.value.progress
    assert last is not None
    assert (last.state, last.progress) == ("Importing", 40)


async def test_at_most_64_missing_jobs_are_polled_at_once(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    await client.check()
    in_flight = most = 0
    fake.inject(Fault(delay=TICK), times=None, method="GetImportProgress")

    class Count(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(
            self, continuation: Any, client_call_details: Any, request: Any
        ) -> Any:
            nonlocal in_flight, most
            if b"ListImports" in client_call_details.method:
                return await continuation(client_call_details, request)
            in_flight += 1
            most = max(most, in_flight)
            try:
                call = await continuation(client_call_details, request)
                await call
                return call
            finally:
                in_flight -= 1

    async with ImportClient(fake.internal_uri, interceptors=[Count()]) as counted:
        with pytest.raises(JobNotFoundError):
            await job_changes(
                counted.watch_all([str(n) for n in range(1, 201)], timeout=0, interval=guard)
            )
    assert most == 64
    assert calls(fake, "GetImportProgress") == 200 + 1  # and the check


class Broken(grpc.aio.UnaryUnaryClientInterceptor):
    """Raises an exception that is not the package's, once."""

    raised = 0

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        if not self.raised:
            self.raised += 1
            raise ZeroDivisionError("a bug")
        return await continuation(client_call_details, request)


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_an_exception_of_an_interceptor_propagates_once(
    fake: FakeMilvus, service: Any, guard: float
) -> None:
    job = fake.add_job(state="Completed", progress=100)
    uri = uri_of(fake, service)
    async with ImportClient(uri, service=service, interceptors=[Broken()]) as broken:
        watch = broken.watch_all([job.job_id], timeout=guard, interval=TICK)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await anext(watch)
        assert (await anext(watch)).done


@both_services
async def test_polls_that_somebody_else_cancelled_are_repeated(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    watch = client.watch_all([job.job_id], interval=TICK, timeout=guard)
    await anext(watch)
    fake.inject("hang")
    polls = len(fake.received)
    step = asyncio.ensure_future(anext(watch))
    await until(lambda: len(fake.received) > polls)
    for task in asyncio.all_tasks():
        if "Polls._send" in repr(task):
            task.cancel()
    job.state, job.progress = "Completed", 100
    with anyio.fail_after(guard):
        assert (await step).done


# Time limits.


@both_services
async def test_watch_all_with_timeout_0_polls_every_job_once(
    fake: FakeMilvus, client: ImportClient
) -> None:
    jobs = [fake.add_job(state="Importing", progress=40) for _ in range(150)]
    watch = client.watch_all(ids(jobs), timeout=0)
    assert {(await anext(watch)).job_id for _ in jobs} == set(ids(jobs))
    first = ", ".join(ids(jobs)[:10])
    with pytest.raises(WaitTimeoutError, match=f"150 of 150 .* 0 s: {first} and 140 more"):
        await anext(watch)
    assert calls(fake, "GetImportState") in {0, 150}
    assert calls(fake, "ListImports") == (0 if calls(fake, "GetImportState") else 1)


@both_services
async def test_the_timeout_of_watch_all_is_exact_while_the_server_hangs(
    fake: FakeMilvus, client: ImportClient, scale: float
) -> None:
    await client.check()
    jobs = [fake.add_job() for _ in range(5)]
    fake.inject("hang", times=None)
    started = time.monotonic()
    with pytest.raises(WaitTimeoutError, match=f"5 of 5 .* 0.5 s: {', '.join(ids(jobs))}"):
        await job_changes(client.watch_all(ids(jobs), timeout=0.5))
    assert 0.5 <= time.monotonic() - started < 0.5 + 5 * scale


async def test_watch_all_names_the_list_if_no_list_arrived_within_the_timeout(
    fake: FakeMilvus, client: ImportClient, scale: float
) -> None:
    await client.check()
    fake.inject("coordinator-unavailable", times=None)
    with pytest.raises(WaitTimeoutError, match=r"no list .* service unavailable"):
        await job_changes(client.watch_all(interval=TICK, timeout=0.3 * scale))


@pytest.mark.usefixtures("lists")
async def test_watch_all_with_timeout_0_ends_after_a_list_that_failed(
    fake: FakeMilvus, client: ImportClient, guard: float
) -> None:
    await client.check()
    job = fake.add_job()
    fake.inject("coordinator-unavailable", times=None)
    async with asyncio.timeout(guard):
        with pytest.raises(WaitTimeoutError, match=r"1 of 1 .* service unavailable"):
            await job_changes(client.watch_all([job.job_id], interval=TICK, timeout=0))
    assert "ListImports" in methods(fake)


# Many jobs.


async def counted_polls(
    server: CountingServer, job_ids: list[str], interval: float, intervals: float, guard: float
) -> tuple[set[str], dict[int, int], set[str]]:
    """The jobs of the first round, the number of polls of each job, and the jobs that ended."""
    async with ImportClient(server.uri, service="public", rpc_timeout=None) as client:
        watch = client.watch_all(job_ids, interval=interval, timeout=2 * guard)
        respond = len(job_ids) - len(server.hanging)
        first = {(await anext(watch)).job_id for _ in range(respond)}
        with anyio.move_on_after(intervals * interval):
            await anext(watch)  # nothing changes
        await anyio.sleep(interval / 2)  # polls in flight end by themselves
        polls = {job_id: len(times) for job_id, times in server.polls.items()}
        server.released = True
        ended: set[str] = set()
        while len(ended) < respond:
            ended.add((await anext(watch)).job_id)
    return first, polls, ended


async def test_three_hundred_jobs_are_polled_64_at_a_time(guard: float) -> None:
    """Within one interval; a poll that takes longer gives up its place."""
    job_ids = [str(n) for n in range(1, 301)]
    async with (
        CountingServer(delay=0.1) as server,
        ImportClient(server.uri, service="public") as client,
    ):
        watch = client.watch_all(job_ids, interval=guard, timeout=2 * guard)
        assert {(await anext(watch)).job_id for _ in job_ids} == set(job_ids)
        assert 32 < server.most <= 64


async def test_three_hundred_jobs_are_polled_once_per_interval(scale: float, guard: float) -> None:
    interval = 0.8 * scale
    job_ids = [str(n) for n in range(1, 301)]
    async with CountingServer(delay=0.02) as server:
        started = time.monotonic()
        first, polls, ended = await counted_polls(server, job_ids, interval, 2, guard)
        passed = (time.monotonic() - started) / interval
    assert first == ended == set(job_ids)
    assert set(polls) == set(map(int, job_ids))
    assert max(polls.values()) <= 2 + passed  # the first round, then one per interval
    assert min(polls.values()) >= 2


@pytest.mark.parametrize("hanging", [10, 100])
async def test_jobs_that_hang_do_not_delay_the_others(
    hanging: int, scale: float, guard: float
) -> None:
    """More hang than there are places (64): each gives up its place after one interval."""
    interval, jobs = 0.8 * scale, 300
    job_ids = [str(n) for n in range(1, jobs + 1)]
    async with CountingServer(delay=0.0) as server:
        server.hanging = set(range(1, hanging + 1))
        first, polls, ended = await counted_polls(server, job_ids, interval, 4, guard)
    responding = {n: count for n, count in polls.items() if n not in server.hanging}
    assert first == ended == {str(n) for n in range(hanging + 1, jobs + 1)}
    assert all(polls[n] == 1 for n in server.hanging)
    assert min(responding.values()) >= 3  # 4 intervals and a half, less the second of 100
    assert len(responding) == jobs - hanging
