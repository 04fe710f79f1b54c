"""The rules of a simulated Milvus, through the two gRPC services.

Replies, errors and privileges: server/test_fake_recorded.py compares them with real servers.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import grpc
import pytest
from command_line import until

from milvus_import import (
    DeadlineExceededError,
    ImportClient,
    ImportFailedError,
    MilvusImportError,
)
from milvus_import.testing import FakeMilvus, Fault, ManualClock
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2
from milvus_import_pb.milvus_grpc import MilvusServiceStub
from milvus_import_pb.proxy_grpc import ProxyStub

pytestmark = pytest.mark.anyio

TIMEOUT = 20
OLD_LIMIT = (
    "import task queue max size is 2, currently there are 2 tasks is pending. Not able to execute "
    "this request with 1 tasks"
)


@pytest.fixture
async def internal(fake: FakeMilvus) -> AsyncGenerator[ImportClient, None]:
    async with ImportClient(fake.internal_uri, rpc_timeout=TIMEOUT) as client:
        yield client


def channel(uri: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(uri.removeprefix("http://"))


async def list_ids(fake: FakeMilvus, collection_name: str = "", db_name: str = "") -> list[int]:
    """Return the job ids of ListImports in the order of the reply."""
    request = internal_pb2.ListImportsRequest(collection_name=collection_name, db_name=db_name)
    async with channel(fake.internal_uri) as connection:
        reply = await ProxyStub(connection).ListImports(request, timeout=TIMEOUT)
    return [int(job_id) for job_id in reply.jobIDs]


async def list_old_ids(
    fake: FakeMilvus, collection_name: str = "", db_name: str = "", limit: int = 0, **more: Any
) -> list[int]:
    """Return the job ids of ListImportTasks in the order of the reply."""
    names = {"collection_name": collection_name, "db_name": db_name}
    request = milvus_pb2.ListImportTasksRequest(**names, limit=limit)
    async with channel(fake.public_uri) as connection:
        stub = MilvusServiceStub(connection)
        reply = await stub.ListImportTasks(request, timeout=TIMEOUT, **more)
    return [task.id for task in reply.tasks]


async def import_status(
    fake: FakeMilvus, *files: str, collection: str = "books", options: Any = ()
) -> Any:
    """Return the Status of Import on the public service."""
    request = milvus_pb2.ImportRequest(collection_name=collection, files=files, options=options)
    async with channel(fake.public_uri) as connection:
        reply = await MilvusServiceStub(connection).Import(request, timeout=TIMEOUT)
    return reply.status


# --------------------------------------------------------------------------------- lists


def add_jobs_of_two_databases(fake: FakeMilvus) -> None:
    fake.add_job(job_id="1")
    fake.add_job(job_id="2", db_name="shop")
    fake.add_job(job_id="3", collection_name="films")
    fake.add_job(job_id="4", db_name="default")


async def test_list_imports_filters_by_collection_and_database(fake: FakeMilvus) -> None:
    add_jobs_of_two_databases(fake)
    assert sorted(await list_ids(fake, "books")) == [1, 4]
    assert sorted(await list_ids(fake, "books", "default")) == [1, 4]
    assert await list_ids(fake, "books", "shop") == [2]
    assert await list_ids(fake, "films", "shop") == []
    assert sorted(await list_ids(fake)) == [1, 2, 3, 4]
    assert sorted(await list_ids(fake, "", "shop")) == [1, 2, 3, 4]  # as real servers do


async def test_list_import_tasks_of_2_3_filters_and_sorts(fake: FakeMilvus) -> None:
    fake.version = "2.3"
    add_jobs_of_two_databases(fake)
    assert await list_old_ids(fake) == [1, 2, 3, 4]
    assert await list_old_ids(fake, "", "shop") == [1, 2, 3, 4]
    assert await list_old_ids(fake, "books") == [1, 4]
    assert await list_old_ids(fake, "books", "shop") == [2]
    assert await list_old_ids(fake, limit=2) == [3, 4]
    assert await list_old_ids(fake, limit=-1) == [1, 2, 3, 4]
    assert await list_old_ids(fake, limit=9) == [1, 2, 3, 4]


async def test_public_service_reads_the_database_from_metadata(fake: FakeMilvus) -> None:
    fake.version = "2.3"
    add_jobs_of_two_databases(fake)
    assert await list_old_ids(fake, "books", metadata=(("dbname", "shop"),)) == [2]


async def test_list_imports_is_shuffled_by_a_seedable_generator(fake: FakeMilvus) -> None:
    ids = list(range(1, 31))
    for job_id in ids:
        fake.add_job(job_id=str(job_id))
    fake.random = random.Random(7)
    first = [await list_ids(fake) for _ in range(3)]
    fake.random = random.Random(7)
    assert [await list_ids(fake) for _ in range(3)] == first
    assert all(sorted(order) == ids for order in first)
    assert len({tuple(order) for order in (ids, *first)}) == 4


# --------------------------------------------------------------------------- create import


async def test_assigned_state_overrides_the_clock(
    fake: FakeMilvus, internal: ImportClient, clock: ManualClock
) -> None:
    fake.import_seconds = 100
    job_id = await internal.create_import("books", ["a.parquet"])
    clock.advance(50)
    job = fake.jobs[job_id]
    job.state, job.reason = "Failed", "disk full"
    clock.advance(1000)
    with pytest.raises(ImportFailedError, match="disk full") as caught:
        await internal.wait(job_id)
    assert caught.value.progress is not None
    assert caught.value.progress.progress == 0
    job.state = "Importing"
    assert (await internal.get_import_progress(job_id)).data.state == "Importing"


@pytest.mark.parametrize(
    ("state", "progress"),
    [("Completed", 100), ("Uncommitted", 99), ("Failed", 0), ("Sorting", 50)],
)
async def test_assigned_state_sets_the_progress_of_a_driven_job(
    fake: FakeMilvus, state: str, progress: int
) -> None:
    fake.clock = clock = ManualClock()
    job = fake.add_job(seconds=100)
    clock.advance(50)
    job.state = state
    assert (job.state, job.progress) == (state, progress)
    by_hand = fake.add_job(state="Importing", progress=40)
    by_hand.state = state
    assert by_hand.progress == 40


async def test_assigned_progress_stops_the_clock_and_the_script(
    fake: FakeMilvus, internal: ImportClient, clock: ManualClock
) -> None:
    timed = fake.add_job(seconds=100)
    scripted = fake.add_job(script=[("Importing", 20), ("Completed", 100)])
    clock.advance(50)
    await internal.get_import_progress(scripted.job_id)
    timed.progress = scripted.progress = 41
    clock.advance(500)
    for job in (timed, scripted):
        data = (await internal.get_import_progress(job.job_id)).data
        assert (data.state, data.progress) == ("Importing", 41)


async def test_created_jobs_fail_with_fail_imports(
    fake: FakeMilvus, internal: ImportClient, clock: ManualClock
) -> None:
    fake.fail_imports = "the file is empty"
    job_id = await internal.create_import("books", ["a.parquet"])
    assert not (await internal.get_import_progress(job_id)).data.done
    clock.advance(1)
    with pytest.raises(ImportFailedError, match="the file is empty"):
        await internal.wait(job_id)
    fake.fail_imports = None
    other = await internal.create_import("books", ["a.parquet"])
    clock.advance(1)
    assert (await internal.wait(other)).state == "Completed"


@pytest.mark.parametrize(
    ("version", "code", "text"),
    [
        ("2.3", 65535, OLD_LIMIT),
        ("2.5", 2100, "The number of jobs has reached the limit"),
        ("2.6", 2101,
         "failed to broadcast import: failed to validate import request: The number of jobs has"),
    ],
)  # fmt: skip
async def test_job_limit_counts_unfinished_jobs(
    fake: FakeMilvus, version: Any, code: int, text: str
) -> None:
    fake.version, fake.max_jobs, fake.import_seconds = version, 2, None
    fake.add_job(state="Completed", progress=100)
    fake.add_job(state="Importing")
    assert not (await import_status(fake, "a.json")).code
    status = await import_status(fake, "a.json")
    assert (status.code, status.error_code) == (code, common_pb2.UnexpectedError)
    assert status.reason.startswith(text)
    for job in fake.jobs.values():
        job.state = "Failed"
    assert not (await import_status(fake, "a.json")).code


async def test_milvus_2_3_takes_one_file_per_job_or_npy_columns(fake: FakeMilvus) -> None:
    fake.version = "2.3"
    for files in (["a.json", "b.json"], ["id.npy", "a.parquet"]):
        status = await import_status(fake, *files)
        reason = "each task only accepts one file, not allowed to input multiple files"
        assert (status.code, status.reason) == (65535, f"for JSON or parquet file, {reason}")
    assert not fake.jobs
    assert not (await import_status(fake, "id.npy", "v.npy")).code
    fake.version = "2.6"
    status = await import_status(fake, "a.json", "b.json")
    assert status.reason == "for JSON import, accepts only one file: importing data failed"


@pytest.mark.parametrize(
    ("files", "options", "text"),
    [
        (["dir.json/a"], {}, "unexpected file type, files=[dir.json/a]"),
        (["a.npy", "b.json"], {}, "inconsistency in file types, (a.npy) vs (b.json)"),
        (["a.csv", "b.csv"], {}, "for CSV import, accepts only one file"),
        (["a.parquet", "b.parquet"], {}, "for Parquet import, accepts only one file"),
        (["a.npy", "b.npy"], {}, ""),
        (["folder/"], {"l0_import": "true"}, ""),
        (["a.json"], {"timeout": "1h30m0.5s"}, ""),
        (["a.json"], {"timeout": "0"}, ""),
    ],
)
async def test_files_and_options_are_checked_as_by_milvus(
    fake: FakeMilvus, files: list[str], options: dict[str, str], text: str
) -> None:
    pairs = [common_pb2.KeyValuePair(key=key, value=value) for key, value in options.items()]
    status = await import_status(fake, *files, options=pairs)
    assert status.reason.startswith(text)
    assert bool(status.code) is bool(text)
    assert len(fake.jobs) == (not text)


@pytest.mark.parametrize(
    ("version", "code", "text"),
    [
        ("2.3", 65535, "collection not found[database=default][collection=nosuch]"),
        ("2.6", 100, "collection not found[database=default][collection=nosuch]"),
    ],
)
async def test_unknown_collection(fake: FakeMilvus, version: Any, code: int, text: str) -> None:
    fake.version, fake.collections = version, {"books"}
    status = await import_status(fake, "a.json", collection="nosuch")
    assert (status.code, text in status.reason) == (code, True)
    assert not (await import_status(fake, "a.json")).code


@pytest.mark.parametrize(("version", "state"), [("2.6", "Completed"), ("3.0", "Uncommitted")])
async def test_auto_commit_is_followed_in_3_0_only(
    fake: FakeMilvus, internal: ImportClient, version: Any, state: str
) -> None:
    fake.version, fake.import_seconds = version, 0
    job_id = await internal.create_import("books", ["a.json"], options={"auto_commit": False})
    assert (await internal.wait(job_id, until="uncommitted")).state == state


@pytest.mark.parametrize("service", ["internal", "public", "rest"])
@pytest.mark.parametrize(("honoured", "jobs"), [(False, 2), (True, 1)])
async def test_idempotency_key_returns_the_same_job(
    fake: FakeMilvus, service: Any, honoured: bool, jobs: int
) -> None:
    fake.idempotency_keys = honoured
    uri = getattr(fake, f"{service}_uri")
    async with ImportClient(uri, service=service, rpc_timeout=TIMEOUT) as client:
        keys = ("k", "k", "other")
        ids = [await client.create_import("books", ["a.json"], idempotency_key=k) for k in keys]
    assert len({*ids}) == len(fake.jobs) == jobs + 1


# -------------------------------------------------------------------------------- one job


@pytest.mark.parametrize("how", ["hangs", "inject"])
@pytest.mark.parametrize("service", ["internal", "public"])
async def test_a_hanging_job_does_not_affect_others(
    fake: FakeMilvus, scale: float, how: str, service: str
) -> None:
    hanging, good = fake.add_job(hangs=how == "hangs"), fake.add_job()
    if how == "inject":
        fake.inject("hang", times=None, job_id=hanging.job_id)
    uri = fake.internal_uri if service == "internal" else fake.public_uri
    async with ImportClient(uri) as client:
        with pytest.raises(DeadlineExceededError):
            await client.get_import_progress(hanging.job_id, timeout=0.3 * scale)
        await client.get_import_progress(good.job_id, timeout=TIMEOUT * scale)
        hanging.hangs = False
        fake.clear_faults()
        await client.get_import_progress(hanging.job_id, timeout=TIMEOUT * scale)


async def test_choose_fault_sees_each_call_after_the_injected_faults(
    fake: FakeMilvus, internal: ImportClient
) -> None:
    job = fake.add_job()
    methods: list[str] = []

    def choose(received: Any) -> Fault | None:
        methods.append(received.method)
        return Fault(grpc.StatusCode.DATA_LOSS, "lost") if len(methods) == 2 else None

    fake.choose_fault = choose
    fake.inject("denied")
    outcomes: list[str] = []
    for _ in range(4):
        try:
            await internal.get_import_progress(job.job_id)
            outcomes.append("OK")
        except MilvusImportError as error:
            outcomes.append(str(getattr(error, "details", "")))
    assert methods == ["GetImportProgress"] * 3
    assert [outcome[:4] for outcome in outcomes] == ["Priv", "OK", "lost", "OK"]


async def test_replies_may_be_larger_than_grpcs_default_limit(
    fake: FakeMilvus, internal: ImportClient
) -> None:
    job = fake.add_job(state="Failed", reason="x" * 9_000_000)
    data = (await internal.get_import_progress(job.job_id)).data
    assert len(data.reason) == 9_000_000


async def test_received_keeps_the_newest_calls() -> None:
    async with FakeMilvus(max_received=3) as fake:
        kept = fake.received
        async with ImportClient(fake.internal_uri, rpc_timeout=TIMEOUT) as client:
            for number in range(5):
                fake.add_job(job_id=str(number))
                await client.get_import_progress(str(number))
        assert [call.job_id for call in kept] == ["2", "3", "4"]
    with pytest.raises(ValueError, match="max_received must be at least 1, got 0"):
        FakeMilvus(max_received=0)


async def test_calls_hanging_at_stop_are_recorded_as_reset(fake: FakeMilvus, scale: float) -> None:
    job = fake.add_job(hangs=True)
    async with channel(fake.internal_uri) as connection, anyio.create_task_group() as tasks:

        async def call() -> None:
            request = internal_pb2.GetImportProgressRequest(jobID=job.job_id)
            with pytest.raises(grpc.aio.AioRpcError):
                await ProxyStub(connection).GetImportProgress(request, timeout=TIMEOUT * scale)

        tasks.start_soon(call)
        await until(lambda: bool(fake.received))
        await fake.stop()
    assert [received.reset for received in fake.received] == [True]
