"""What a user may write. Only type checkers read this file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Unpack, assert_type

import grpc
import grpc.aio

from milvus_import import (
    ArgumentError,
    BucketCredentials,
    CallError,
    CallOptions,
    CallRecord,
    GetImportProgressOption,
    GetImportProgressResponse,
    ImportClient,
    ImportFailedError,
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    RpcOptions,
    Service,
    TLSConfig,
    Volume,
    WaitTimeoutError,
    WatchOptions,
    get_import_progress,
)
from milvus_import.testing import FakeMilvus, ManualClock, Received


async def one_call() -> None:
    option = GetImportProgressOption("localhost", "7", token="root:Milvus", service="public")
    response = await get_import_progress(option, timeout=10, metadata={"a": "1", "b-bin": b"\x00"})
    assert_type(response, GetImportProgressResponse)
    assert_type(response.data, ImportProgressData)
    assert_type(response.data.state, ImportState)
    assert_type(response.data.details, list[ImportProgressDetail])
    assert_type(response.data.created_at, datetime | None)
    if response.service == "internal":
        assert_type(response.data.total_rows, int)


async def on_the_cloud() -> None:
    client = ImportClient("api", service="cloud", token="key", project_id="p", region_id="r")
    job_id = await client.create_import("books", ["s3://b/a"], storage=BucketCredentials("a", "s"))
    await client.create_import("books", ["a/"], storage=Volume("v"))
    option = GetImportProgressOption("api", job_id, service="cloud", cluster_id="in01-1")
    service: Service = (await get_import_progress(option)).service
    if service == "cloud":
        print(BucketCredentials("a", "s", session_token="t").secret_key, Volume("v").name)


async def options(client: ImportClient) -> None:
    records: list[CallRecord] = []
    saved: CallOptions = {"timeout": 30, "on_finish": records.append}
    await client.get_import_progress("7", **saved)
    await client.get_import_progress("7", **(saved | {"timeout": 1}))
    await client.get_import_progress("7", timeout=None, metadata=None, on_finish=None)
    await client.get_import_progress("7", metadata=[("a", "1"), ("a", "2")], wait_for_ready=True)
    await client.get_import_progress("7", metadata={"a": None}, compression=grpc.Compression.Gzip)
    await client.get_import_progress("7", call_credentials=grpc.access_token_call_credentials("t"))
    assert_type(await client.check(timeout=1.5), Service)


async def wrapped(client: ImportClient, **options: Unpack[CallOptions]) -> ImportState:
    """Pass on call options, with one of them changed."""
    changed: CallOptions = {**options, "timeout": 1}
    await client.get_import_progress("7", **changed)
    return (await client.get_import_progress("7", **options)).data.state


async def watched(client: ImportClient, **options: Unpack[WatchOptions]) -> ImportProgressData:
    """Pass on watch options, with one of them changed."""
    saved: WatchOptions = {"timeout": 60, "interval": 5, "rpc_timeout": 30, "max_outage": None}
    async for progress in client.watch("7", **(saved | options)):
        assert_type(progress, ImportProgressData)
    await client.wait_all(["7"], until="uncommitted", **saved)
    return await client.wait("7", on_progress=print, **options)


async def jobs(client: ImportClient) -> None:
    job_id = await client.create_import(
        "books",
        ["a.parquet", ("id.npy", "v.npy")],
        options={"timeout": timedelta(minutes=5), "auto_commit": False, "sep": ","},
        idempotency_key="order-7",
        timeout=30,
    )
    assert_type(job_id, str)
    assert_type(await client.list_imports("books", db_name="shop", timeout=5), list[ImportJob])
    async for progress in client.watch(job_id, timeout=60, rpc_timeout=30, metadata={"a": "1"}):
        assert_type(progress, ImportProgressData)
    assert_type(await client.list_imports(all_databases=True), list[ImportJob])
    await client.commit_import(job_id, timeout=30)
    await client.abort_import(job_id)
    async for job in client.watch_all(collection_name="books", max_outage=60):
        assert_type(job, ImportJob)
    assert_type(await client.wait(job_id, until="uncommitted"), ImportProgressData)
    outcomes = await client.wait_all([job_id], on_progress=print)
    assert_type(outcomes, dict[str, ImportProgressData | MilvusImportError])


async def errors(client: ImportClient) -> None:
    try:
        await client.wait("7")
    except ImportFailedError as error:
        assert_type(error.progress, ImportProgressData)
        print(error.progress.details)
    except JobNotFoundError as error:
        assert_type(error.progress, ImportProgressData | None)
    except MilvusStatusError as error:
        assert_type(error.code, int)
    except CallError as error:
        assert_type(error.code, grpc.StatusCode)
        assert_type(error.record, CallRecord | None)
        assert_type(error.http_status, int | None)
    except WaitTimeoutError as error:
        assert_type(error.progress, ImportProgressData | None)
    except ArgumentError as error:
        value_error: ValueError = error
        print(value_error)
    except MilvusImportError as error:
        assert_type(error.message, str)
        assert_type(error.hint, str)
        assert_type(error.transient, bool)
        assert_type(error.may_have_run, bool)
        assert_type(error.job_id, str | None)
        assert_type(error.outage, float | None)
        assert_type(error.service, Service | None)
        assert_type(error.to_dict(), dict[str, Any])


def own_errors() -> None:
    """Make errors, as a test of a program does."""
    MilvusStatusError("no", code=8, transient=True, job_id="7")
    CallError("no", code=grpc.StatusCode.UNKNOWN, may_have_run=True)
    WaitTimeoutError("late", job_id="7")


async def connections(interceptors: Sequence[grpc.aio.ClientInterceptor]) -> None:
    defaults: RpcOptions = {"rpc_timeout": 30, "metadata": {"a": "1"}}
    async with ImportClient(
        "https://milvus.example/books",
        user="root",
        password="Milvus",
        tls=TLSConfig(ca="ca.pem", cert=b"...", key=b"...", server_name="milvus"),
        interceptors=interceptors,
        channel_options=[("grpc.primary_user_agent", "bookshop/1.2")],
        **defaults,
    ) as client:
        assert_type(client, ImportClient)


async def fake() -> None:
    async with FakeMilvus(version="2.3", clock=ManualClock()) as server:
        server.inject("unavailable", times=None, method="GetImportState")
        assert_type(server.received, list[Received])
