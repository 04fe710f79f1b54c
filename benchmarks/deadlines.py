"""Many requests in flight, each with another deadline, which the server never responds to.

The client has one timer for all of them. It is compared with the timers of gRPC and of aiohttp.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

import grpc.aio
from measuring import JOB, Figure, Row, served

from milvus_import import DeadlineExceededError, ImportClient
from milvus_import_pb import internal_pb2
from milvus_import_pb.proxy_grpc import ProxyStub

aiohttp: Any = import_module("aiohttp")  # untyped here, as the other programs need no aiohttp

EARLIEST, LATEST = 2.0, 6.0
"""Seconds between which the deadlines are spread."""

Request = Callable[[float], Awaitable[None]]
"""Make one request with this timeout; return when it has expired."""


async def expire(request: Request, count: int) -> tuple[float, float]:
    """Return the CPU per request in microseconds, and by how many seconds the last was late."""
    rng = random.Random(1)
    late = 0.0

    async def one(timeout: float) -> None:
        nonlocal late
        start = time.monotonic()
        await request(timeout)
        late = max(late, time.monotonic() - start - timeout)

    start = time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one(rng.uniform(EARLIEST, LATEST)))
    return (time.process_time() - start) / count * 1e6, late


async def deadline_rows(count: int) -> list[Row | Figure]:
    """Measure requests over gRPC and over REST."""
    rows: list[Row | Figure] = []
    with served("canned_server.py", b"") as port, served("canned_http.py", b"") as http_port:
        uri, http_uri = f"127.0.0.1:{port}", f"http://127.0.0.1:{http_port}"
        async with (
            grpc.aio.insecure_channel(uri) as channel,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session,
            ImportClient(uri, service="internal") as client,
            ImportClient(http_uri, service="rest") as rest,
        ):
            stub = ProxyStub(channel)

            async def by_stub(timeout: float) -> None:
                message = internal_pb2.GetImportProgressRequest(jobID=JOB)
                try:
                    await stub.GetImportProgress(message, timeout=timeout)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                        raise

            async def by_session(timeout: float) -> None:
                limit = aiohttp.ClientTimeout(total=timeout)
                try:
                    async with session.post(http_uri, json={"jobId": JOB}, timeout=limit):
                        pass
                except TimeoutError:
                    pass

            def by(client: ImportClient) -> Request:
                async def get(timeout: float) -> None:
                    with suppress(DeadlineExceededError):
                        await client.get_import_progress(JOB, timeout=timeout)

                return get

            for name, base, ours in (("gRPC", by_stub, by(client)), ("REST", by_session, by(rest))):
                raw_cpu, raw_late = await expire(base, count)
                cpu, late = await expire(ours, count)
                what = f"{name}: {count:,} different deadlines in flight"
                rows += [
                    Row(f"{what}, CPU per request", [raw_cpu], [cpu], "us"),
                    Figure(f"{what}, the latest end (raw {raw_late * 1e3:,.0f})", late * 1e3, "ms"),
                ]
    return rows
