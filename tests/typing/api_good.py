"""What a user may write. Only type checkers read this file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import assert_type

import grpc
import grpc.aio

from milvus_import import (
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
    MilvusImportError,
    RefusedError,
    TLSConfig,
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


async def options(client: ImportClient) -> None:
    records: list[CallRecord] = []
    saved: CallOptions = {"timeout": 30, "on_finish": records.append}
    await client.get_import_progress("7", **saved)
    await client.get_import_progress("7", **(saved | {"timeout": 1}))
    await client.get_import_progress("7", timeout=None, metadata=None, on_finish=None)
    await client.get_import_progress("7", metadata=[("a", "1"), ("a", "2")], wait_for_ready=True)
    await client.get_import_progress("7", metadata={"a": None}, compression=grpc.Compression.Gzip)
    await client.get_import_progress("7", call_credentials=grpc.access_token_call_credentials("t"))
    await client.check(timeout=1.5)


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
    async for progress in client.watch(job_id, timeout=60, call={"timeout": 30}):
        assert_type(progress, ImportProgressData)
    async for job in client.watch_all(collection_name="books"):
        assert_type(job, ImportJob)
    assert_type(await client.wait(job_id, until="uncommitted"), ImportProgressData)
    outcomes = await client.wait_all([job_id], on_progress=print)
    assert_type(outcomes, dict[str, ImportProgressData | MilvusImportError])


async def errors(client: ImportClient) -> None:
    try:
        await client.wait("7")
    except ImportFailedError as error:
        assert_type(error.progress, ImportProgressData | None)
    except RefusedError as error:
        assert_type(error.code, int)
    except TimeoutError:
        pass


async def connections(interceptors: Sequence[grpc.aio.ClientInterceptor]) -> None:
    defaults: CallOptions = {"timeout": 30, "metadata": {"a": "1"}}
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
