"""``service="rest"`` against FakeMilvus: the same facade, dataclasses and errors as on gRPC."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import AsyncGenerator

import grpc
import pytest
from leaks import alive

from milvus_import import (
    AccessDeniedError,
    CallRecord,
    GetImportProgressOption,
    ImportClient,
    ImportFailedError,
    ImportProgressData,
    ImportState,
    JobNotFoundError,
    MilvusStatusError,
    UnauthenticatedError,
    UnsupportedServerError,
    get_import_progress,
)
from milvus_import._services._replies import Snapshot
from milvus_import.testing import FakeFile, FakeMilvus, RestBehavior

pytestmark = pytest.mark.anyio

GUARD = 20.0
TOKEN = "root:Milvus"
JOB = "450000000000000001"


@pytest.fixture
async def milvus() -> AsyncGenerator[FakeMilvus, None]:
    """Return a Milvus 3.0 that requires a token."""
    async with FakeMilvus(version="3.0", token=TOKEN) as server:
        yield server


@pytest.fixture
async def client(milvus: FakeMilvus) -> AsyncGenerator[ImportClient, None]:
    async with ImportClient(milvus.rest_uri, service="rest", token=TOKEN) as rest:
        yield rest


async def test_every_field_on_each_service(milvus: FakeMilvus) -> None:
    files = [FakeFile("a.parquet", 100, 20), FakeFile("b.parquet", 50, 10)]
    milvus.add_job(job_id=JOB, collection_name="books", state="Importing", progress=40, files=files)
    responses: dict[str, ImportProgressData] = {}
    for uri, service in (
        (milvus.internal_uri, "internal"),
        (milvus.public_uri, "public"),
        (milvus.rest_uri, "rest"),
    ):
        option = GetImportProgressOption(uri, JOB, token=TOKEN, service=service)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        responses[service] = (await get_import_progress(option)).data
    internal, public, rest = responses["internal"], responses["public"], responses["rest"]

    assert dataclasses.replace(rest, service="internal") == internal
    assert [rest.service, rest.detailed, internal.detailed, public.detailed] == [
        "rest",
        True,
        True,
        False,
    ]
    assert rest.details[1].file_size == 50
    assert (rest.file_size, rest.total_rows, rest.collection_name) == (150, 30, "books")
    same = {"job_id", "state", "progress", "imported_rows", "reason", "create_time"}
    empty = {"collection_name", "complete_time", "total_rows", "file_size", "details"}
    assert same | empty | {"service"} == {field.name for field in dataclasses.fields(rest)}
    for name in same:
        assert getattr(public, name) == getattr(rest, name), name
    assert not any(getattr(public, name) for name in empty)


async def test_unknown_job_raises_job_not_found(client: ImportClient) -> None:
    with pytest.raises(JobNotFoundError) as caught:
        await client.get_import_progress(JOB)
    error = caught.value
    assert (error.code, error.http_status, error.service) == (2101, 200, "rest")
    assert (error.job_id, error.transient, error.may_have_run) == (JOB, False, False)
    assert error.to_dict()["http_status"] == 200


async def test_two_phase_import_is_created_waited_for_and_committed(
    milvus: FakeMilvus, client: ImportClient
) -> None:
    job_id = await client.create_import("books", ["a.parquet"], options={"auto_commit": False})
    waiting = await client.wait(job_id, until="uncommitted", interval=0.05, timeout=GUARD)
    assert waiting.state is ImportState.UNCOMMITTED
    await client.commit_import(job_id)
    await client.commit_import(job_id)
    final = await client.wait(job_id, interval=0.05, timeout=GUARD)
    assert final.state is ImportState.COMPLETED
    assert [call.method for call in milvus.received].count("commit") == 2


async def test_two_phase_import_is_aborted(client: ImportClient) -> None:
    job_id = await client.create_import("books", ["a.parquet"], options={"auto_commit": False})
    await client.wait(job_id, until="uncommitted", interval=0.05, timeout=GUARD)
    await client.abort_import(job_id)
    with pytest.raises(ImportFailedError) as caught:
        await client.wait(job_id, interval=0.05, timeout=GUARD)
    assert caught.value.progress.reason == "aborted by user"
    with pytest.raises(MilvusStatusError) as rejected:
        await client.commit_import(job_id)
    assert rejected.value.job_id == job_id


async def test_watch_keeps_only_the_last_reply(milvus: FakeMilvus, client: ImportClient) -> None:
    script = [*(("Importing", n) for n in range(20)), ("Completed", 100)]
    milvus.add_job(job_id=JOB, script=script)
    before = alive(Snapshot)
    watch = client.watch(JOB, interval=0.01)
    assert len([progress async for progress in watch]) == 21
    assert alive(Snapshot) <= before + 1


async def test_watch_all_makes_one_list_request_per_interval(
    milvus: FakeMilvus, client: ImportClient
) -> None:
    ids = [milvus.add_job(collection_name="books", seconds=0.3).job_id for _ in range(50)]
    outcomes = await client.wait_all(ids, interval=0.05, timeout=GUARD)
    assert all(isinstance(outcome, ImportProgressData) for outcome in outcomes.values())
    assert list(outcomes) == ids
    methods = [call.method for call in milvus.received]
    assert methods.count("list") < 25
    assert methods.count("describe") <= 100  # of each job its first and its last progress


async def test_list_is_sorted_and_of_one_collection(
    milvus: FakeMilvus, client: ImportClient
) -> None:
    for number in range(12):
        milvus.add_job(collection_name="books" if number % 2 else "films")
    jobs = await client.list_imports("books", db_name="default")
    assert len(jobs) == 6
    assert [job.job_id for job in jobs] == sorted(job.job_id for job in jobs)
    assert milvus.received[-1].request == {"collectionName": "books", "dbName": "default"}
    assert milvus.received[-1].values("db-name") == ["default"]
    assert len(await client.list_imports()) == 12


async def test_on_finish_receives_a_record_without_secrets(
    milvus: FakeMilvus, client: ImportClient
) -> None:
    milvus.add_job(job_id=JOB)
    records: list[CallRecord] = []
    await client.get_import_progress(JOB, on_finish=records.append)
    (record,) = records
    assert record.service == "rest"
    assert record.method == "/v2/vectordb/jobs/import/describe"
    assert (record.code, record.details) == (grpc.StatusCode.OK, "")
    assert record.trailing_metadata == ()
    names = dict(record.initial_metadata)
    assert len(names["x-milvus-trace-id"]) == 32
    assert record.elapsed > 0


# Versions.


@pytest.mark.parametrize("success_code", [0, 200])
@pytest.mark.parametrize("numbers_as_text", [False, True])
async def test_success_codes_and_numbers_as_text(
    success_code: int, numbers_as_text: bool, milvus: FakeMilvus, client: ImportClient
) -> None:
    milvus.rest = RestBehavior(
        success_code=success_code, numbers_as_text=numbers_as_text, create_time=False
    )
    job_id = await client.create_import("books", ["a.parquet", "b.parquet"])
    data = await client.wait(job_id, interval=0.05, timeout=GUARD)
    assert (data.progress, data.create_time) == (100, "")
    assert isinstance(data.details[0].file_size, int)
    assert [job.progress for job in await client.list_imports()] == [100]


async def test_older_name_of_describe_is_remembered() -> None:
    async with FakeMilvus(version="2.4") as server:
        server.add_job(job_id=JOB)
        async with ImportClient(server.rest_uri, service="rest") as client:
            for _ in range(3):
                await client.get_import_progress(JOB)
            with pytest.raises(UnsupportedServerError, match=r"Use Milvus 3\.0"):
                await client.commit_import(JOB)
        assert [call.method for call in server.unimplemented] == ["describe", "commit"]
        assert [call.method for call in server.received] == ["get_progress"] * 3


async def test_older_name_is_remembered_for_an_unknown_job_too() -> None:
    async with (
        FakeMilvus(version="2.4") as server,
        ImportClient(server.rest_uri, service="rest") as client,
    ):
        for _ in range(2):
            with pytest.raises(JobNotFoundError):
                await client.get_import_progress(JOB)
        assert len(server.unimplemented) == 1


async def test_describe_is_found_again_after_an_upgrade() -> None:
    async with (
        FakeMilvus(version="2.4") as server,
        ImportClient(server.rest_uri, service="rest") as client,
    ):
        server.add_job(job_id=JOB)
        await client.get_import_progress(JOB)
        server.inject("unimplemented", times=None, method="get_progress")
        server.version = "3.0"
        await client.get_import_progress(JOB)
        assert server.received[-1].method == "describe"


async def test_milvus_2_3_has_no_rest_api_for_imports() -> None:
    async with (
        FakeMilvus(version="2.3") as server,
        ImportClient(server.rest_uri, service="rest") as client,
    ):
        with pytest.raises(UnsupportedServerError) as caught:
            await client.get_import_progress(JOB)
        assert "service='public'" in caught.value.hint
        assert caught.value.http_status == 404
        assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED
        assert [call.method for call in server.unimplemented] == ["describe", "get_progress"]
        with pytest.raises(UnsupportedServerError, match="service='public'") as created:
            await client.create_import("books", ["a.json"])
        assert not created.value.may_have_run


async def test_describe_requires_an_administrator_before_2_6(milvus: FakeMilvus) -> None:
    milvus.version, milvus.token, milvus.users = "2.5", "root:Milvus", {"bob:Secret1": {"books"}}
    async with ImportClient(milvus.rest_uri, service="rest", token="bob:Secret1") as client:
        with pytest.raises(AccessDeniedError) as caught:
            await client.get_import_progress(JOB)
        assert "administrator" in caught.value.hint
        assert "service='public'" in caught.value.hint
        assert [call.method for call in milvus.received] == ["describe"]  # no silent fallback


@pytest.mark.parametrize(
    ("token", "hint"), [(None, "Pass token="), ("root:wrong", "Check the user")]
)
async def test_missing_and_wrong_credentials(
    token: str | None, hint: str, milvus: FakeMilvus
) -> None:
    async with ImportClient(milvus.rest_uri, service="rest", token=token) as client:
        with pytest.raises(UnauthenticatedError) as caught:
            await client.get_import_progress(JOB)
        assert caught.value.hint.startswith(hint)
        assert caught.value.http_status == 401
        assert not caught.value.transient


@pytest.mark.parametrize("standard_status", [False, True])
@pytest.mark.parametrize(
    ("fault", "transient"),
    [("no-collection", False), ("rate-limit", True), ("not-ready", True), ("job-limit", True)],
)
async def test_error_does_not_depend_on_the_http_status(
    standard_status: bool, fault: str, transient: bool, milvus: FakeMilvus, client: ImportClient
) -> None:
    milvus.rest = RestBehavior(standard_status=standard_status)
    milvus.inject(fault)
    with pytest.raises(MilvusStatusError) as caught:
        await client.create_import("books", ["a.json"])
    assert (caught.value.transient, caught.value.may_have_run) == (transient, False)


async def test_starting_proxy_is_not_a_denied_call(
    milvus: FakeMilvus, client: ImportClient
) -> None:
    milvus.add_job(job_id=JOB, state="Completed", progress=100)
    milvus.inject("proxy-not-ready")
    with pytest.raises(MilvusStatusError) as caught:
        await client.get_import_progress(JOB)
    assert caught.value.transient
    milvus.inject("proxy-not-ready")
    assert (await client.wait(JOB, interval=0.05, timeout=GUARD)).progress == 100


# The extra.

PROBE = """
import asyncio, sys
import milvus_import
from milvus_import.testing import FakeMilvus

async def main():
    async with FakeMilvus() as server, milvus_import.ImportClient(server.internal_uri) as client:
        await client.check()

asyncio.run(main())
assert not {"aiohttp", "httpcore2", "truststore"} & sys.modules.keys()
"""


def test_aiohttp_is_loaded_only_for_rest() -> None:
    subprocess.run([sys.executable, "-c", PROBE], check=True, timeout=60)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ImportError, match=r"pip install 'milvus-import\[rest\]'"):
        ImportClient("http://localhost:19530", service="rest")
