"""``service="rest"`` against FakeMilvus: the same facade, dataclasses and errors as on gRPC."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from leaks import alive
from times import GUARD
from watching import changes, uri_of
from web import JOB, error_of
from web import rest_client as connect

from milvus_import import (
    CallRecord,
    GetImportProgressOption,
    ImportClient,
    ImportFailedError,
    ImportProgressData,
    ImportState,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnsupportedServerError,
    get_import_progress,
)
from milvus_import._services._replies import Snapshot
from milvus_import.testing import FakeFile, FakeMilvus, RestBehavior

pytestmark = pytest.mark.anyio

TOKEN = "root:Milvus"
NOBODY = "http://127.0.0.1:9"
SOON: dict[str, Any] = {"interval": 0.05, "timeout": GUARD}


@asynccontextmanager
async def of_version(version: Any) -> AsyncGenerator[tuple[FakeMilvus, ImportClient], None]:
    async with FakeMilvus(version=version) as server, connect(server.rest_uri) as client:
        yield server, client


@pytest.fixture
async def milvus() -> AsyncGenerator[FakeMilvus, None]:
    """Return a Milvus 3.0 that requires a token."""
    async with FakeMilvus(version="3.0", token=TOKEN) as server:
        yield server


@pytest.fixture
async def client(milvus: FakeMilvus) -> AsyncGenerator[ImportClient, None]:
    async with connect(milvus.rest_uri, token=TOKEN) as rest:
        yield rest


def methods(milvus: FakeMilvus) -> list[str]:
    return [call.method for call in milvus.received]


async def test_every_field_on_each_service(milvus: FakeMilvus) -> None:
    files = [FakeFile("a.parquet", 100, 20), FakeFile("b.parquet", 50, 10)]
    milvus.add_job(job_id=JOB, collection_name="books", state="Importing", progress=40, files=files)
    responses: dict[str, ImportProgressData] = {}
    for service in ("internal", "public", "rest"):
        chosen: dict[str, Any] = {"service": service, "token": TOKEN}
        option = GetImportProgressOption(uri_of(milvus, service), JOB, **chosen)
        responses[service] = (await get_import_progress(option)).data
    internal, public, rest = responses.values()

    assert dataclasses.replace(rest, service="internal") == internal
    assert (rest.service, rest.detailed, internal.detailed, public.detailed) == (
        *("rest", True, True, False),
    )
    assert rest.details[1].file_size == 50
    assert (rest.file_size, rest.total_rows, rest.collection_name) == (150, 30, "books")
    same = {"job_id", "state", "progress", "imported_rows", "reason", "create_time"}
    empty = {"collection_name", "complete_time", "total_rows", "file_size", "details"}
    assert same | empty | {"service"} == {field.name for field in dataclasses.fields(rest)}
    for name in same:
        assert getattr(public, name) == getattr(rest, name), name
    assert not any(getattr(public, name) for name in empty)


@pytest.mark.parametrize("aborted", [False, True], ids=["committed", "aborted"])
async def test_two_phase_import(milvus: FakeMilvus, client: ImportClient, aborted: bool) -> None:
    job_id = await client.create_import("books", ["a.parquet"], options={"auto_commit": False})
    waiting = await client.wait(job_id, until="uncommitted", **SOON)
    assert waiting.state is ImportState.UNCOMMITTED
    if aborted:
        await client.abort_import(job_id)
        error = await error_of(client.wait(job_id, **SOON), ImportFailedError)
        assert error.progress.reason == "aborted by user"
        error = await error_of(client.commit_import(job_id), MilvusStatusError)
        assert error.job_id == job_id
    else:
        await client.commit_import(job_id)
        await client.commit_import(job_id)
        assert (await client.wait(job_id, **SOON)).state is ImportState.COMPLETED
        assert methods(milvus).count("commit") == 2


async def test_watch_keeps_only_the_last_reply(milvus: FakeMilvus, client: ImportClient) -> None:
    script = [*(("Importing", n) for n in range(20)), ("Completed", 100)]
    milvus.add_job(job_id=JOB, script=script)
    before = alive(Snapshot)
    watch = client.watch(JOB, interval=0.01)
    assert len(await changes(watch)) == 21
    assert alive(Snapshot) <= before + 1


async def test_watch_all_makes_one_list_request_per_interval(
    milvus: FakeMilvus, client: ImportClient
) -> None:
    ids = [milvus.add_job(collection_name="books", seconds=0.3).job_id for _ in range(50)]
    outcomes = await client.wait_all(ids, **SOON)
    assert all(isinstance(outcome, ImportProgressData) for outcome in outcomes.values())
    assert list(outcomes) == ids
    assert methods(milvus).count("list") < 25
    assert methods(milvus).count("describe") <= 100  # of each job its first and its last progress


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
    assert (record.service, record.method) == ("rest", "/v2/vectordb/jobs/import/describe")
    assert (record.code, record.details) == (grpc.StatusCode.OK, "")
    assert record.trailing_metadata == ()
    assert len(dict(record.initial_metadata)["x-milvus-trace-id"]) == 32
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
    data = await client.wait(job_id, **SOON)
    assert (data.progress, data.create_time) == (100, "")
    assert isinstance(data.details[0].file_size, int)
    assert [job.progress for job in await client.list_imports()] == [100]


async def test_older_name_of_describe_is_remembered_until_an_upgrade() -> None:
    async with of_version("2.4") as (server, client):
        await error_of(client.get_import_progress(JOB), JobNotFoundError)
        server.add_job(job_id=JOB)
        for _ in range(2):
            await client.get_import_progress(JOB)
        await error_of(client.commit_import(JOB), UnsupportedServerError, r"Use Milvus 3\.0")
        assert [call.method for call in server.unimplemented] == ["describe", "commit"]
        assert methods(server) == ["get_progress"] * 3
        server.inject("unimplemented", times=None, method="get_progress")
        server.version = "3.0"
        await client.get_import_progress(JOB)
        assert methods(server)[-1] == "describe"


async def test_milvus_2_3_has_no_rest_api_for_imports() -> None:
    async with of_version("2.3") as (server, client):
        error = await error_of(client.get_import_progress(JOB), UnsupportedServerError)
        assert "service='public'" in error.hint
        assert (error.http_status, error.code) == (404, grpc.StatusCode.UNIMPLEMENTED)
        assert [call.method for call in server.unimplemented] == ["describe", "get_progress"]
        create = client.create_import("books", ["a.json"])
        error = await error_of(create, UnsupportedServerError, "service='public'")
        assert not error.may_have_run


# Errors: the recorded ones are in test_recordings.py.


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
    error = await error_of(client.create_import("books", ["a.json"]), MilvusStatusError)
    assert (error.transient, error.may_have_run) == (transient, False)


async def test_starting_proxy_is_not_a_denied_call(
    milvus: FakeMilvus, client: ImportClient
) -> None:
    milvus.add_job(job_id=JOB, state="Completed", progress=100)
    milvus.inject("proxy-not-ready", times=2)
    assert (await error_of(client.get_import_progress(JOB), MilvusStatusError)).transient
    assert (await client.wait(JOB, **SOON)).progress == 100


# The event loop and the process of a client.


async def outcome(client: ImportClient) -> str:
    try:
        await client.get_import_progress(JOB)
    except (RuntimeError, MilvusImportError) as error:
        return type(error).__name__
    return "no error"


def test_client_belongs_to_its_loop_until_that_is_closed() -> None:
    client = connect(NOBODY)
    first = asyncio.new_event_loop()
    assert first.run_until_complete(outcome(client)) == "UnavailableError"
    assert asyncio.run(outcome(client)) == "RuntimeError"
    first.close()
    assert asyncio.run(outcome(client)) == "UnavailableError"
    asyncio.run(client.close())


def test_open_client_in_a_forked_process_raises_runtime_error() -> None:
    client, fresh = connect(NOBODY), connect(NOBODY)
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(outcome(client)) == "UnavailableError"
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pytest-xdist has threads
        child = os.fork()
    if not child:
        names = [asyncio.run(outcome(of)) for of in (client, fresh)]
        os.write(writer, " ".join(names).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as report:
        assert report.read() == "RuntimeError UnavailableError"
    loop.run_until_complete(client.close())
    loop.close()


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
        connect("http://localhost:19530")
