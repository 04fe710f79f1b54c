"""What the benchmarks share: a canned server, its reply, latency and throughput."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from milvus_import import GetImportProgressResponse
from milvus_import._services._internal import decode_progress
from milvus_import_pb import common_pb2, internal_pb2

HERE = Path(__file__).parent
JOB = "449839014328146739"

Work = Callable[[], Awaitable[object]]


@contextmanager
def served(script: str, reply: bytes) -> Generator[int, None, None]:
    """Run a canned server in a separate process; yield its port."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(reply)
        file.flush()
        command = [sys.executable, str(HERE / script), file.name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield int(process.stdout.readline())
            finally:
                process.stdin.close()


def reply_of(details: int) -> internal_pb2.GetImportProgressResponse:
    """Return the reply of a running job with ``details`` files."""
    return internal_pb2.GetImportProgressResponse(
        status=common_pb2.Status(),
        state=3,
        progress=40,
        collection_name="books",
        imported_rows=400 * details,
        total_rows=1_000 * details,
        create_time="2026-01-02T03:04:05Z",
        task_progresses=[
            internal_pb2.ImportTaskProgress(
                file_name=f"[data/part-{i:05}.parquet]",
                file_size=1_000_000,
                progress=40,
                state="InProgress",
                imported_rows=400,
                total_rows=1_000,
            )
            for i in range(details)
        ],
    )


def mapped_reply(reply: internal_pb2.GetImportProgressResponse) -> GetImportProgressResponse:
    """Map a reply of the raw stub onto the response that the client returns."""
    return GetImportProgressResponse(0, reply.status.reason, decode_progress(reply, JOB))


async def latency(work: Work, calls: int) -> float:
    """Return the microseconds per call, one call after the other."""
    start = time.perf_counter()
    for _ in range(calls):
        await work()
    return (time.perf_counter() - start) / calls * 1e6


async def throughput(work: Work, calls: int) -> float:
    """Return the calls per second, 64 calls concurrently."""
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            await work()

    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(64):
            group.create_task(caller())
    return calls / (time.perf_counter() - start)
