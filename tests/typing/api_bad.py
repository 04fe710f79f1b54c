"""What mypy and pyright report, each line by both. Only type checkers read this file.

A marked line is one that both must report; the marks keep it quiet everywhere else.
"""

from __future__ import annotations

from milvus_import import (
    CallOptions,
    GetImportProgressOption,
    ImportClient,
    ImportFailedError,
    MilvusImportError,
    RpcOptions,
    WatchOptions,
    get_import_progress,
)
from milvus_import.testing import FakeMilvus


def no_argument() -> None:
    """Takes no CallRecord."""


async def one_call(client: ImportClient, option: GetImportProgressOption) -> None:
    await client.get_import_progress("7", timeuot=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.get_import_progress("7", timeout="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.get_import_progress("7", metadata="a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.get_import_progress("7", metadata={"a": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    await client.get_import_progress("7", metadata=[("a",)])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await client.get_import_progress("7", wait_for_ready="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.get_import_progress("7", compression="gzip")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.get_import_progress("7", call_credentials="root:Milvus")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.get_import_progress("7", on_finish=no_argument)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.get_import_progress(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.get_import_progress()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await get_import_progress(option, retries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await get_import_progress("http://localhost:19530")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def sets(client: ImportClient) -> None:
    misspelt: CallOptions = {"timeuot": 1}  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportAssignmentType]
    mistyped: CallOptions = {"timeout": "1"}  # type: ignore[typeddict-item]  # pyright: ignore[reportAssignmentType]
    saved: CallOptions = {"timeout": 30}
    watching: WatchOptions = {"timeout": 30}
    await client.get_import_progress("7", timeout=1, **saved)  # type: ignore[misc]  # pyright: ignore[reportCallIssue]
    await client.get_import_progress("7", **(saved | {"timeout": "1"}))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.wait("7", **(watching | {"interval": "1"}))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    defaults: RpcOptions = {"timeout": 1}  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportAssignmentType]
    print(misspelt, mistyped, defaults)


async def jobs(client: ImportClient) -> None:
    await client.create_import("books", ["s3://b/a"], storage="v")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.create_import("books", 7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.create_import("books", ["a.parquet"], options={"auto_commit": None})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    await client.create_import("books", ["a.parquet"], retries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.list_imports(["books"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.wait("7", until="done")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.wait("7", call={"timeout": 1})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.wait("7", rpc_timeout="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.wait("7", intervall=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.get_import_progress("7", rpc_timeout=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.get_import_progress("7", interval=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.watch("7", interval=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.watch("7", on_retry=no_argument)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.commit_import(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    list(client.watch("7"))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await client.wait_all(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def connections() -> None:
    MilvusImportError("no", code=8)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImportFailedError("failed")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImportClient("localhost", timeout=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImportClient("localhost", service="both")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImportClient("localhost", service="cloud", cluster_id=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GetImportProgressOption("localhost", "7", "token")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImportClient("localhost", "root:Milvus")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImportClient("localhost", tls=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImportClient("localhost", timeuot=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImportClient("localhost", interceptors=[object()])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    GetImportProgressOption("localhost", 7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    FakeMilvus(version="1.0")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
