"""What the benchmarks share: rows with targets, canned servers, time and CPU per call."""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from milvus_import import GetImportProgressResponse
from milvus_import._services._internal import decode_progress
from milvus_import_pb import common_pb2, internal_pb2

HERE = Path(__file__).parent
JOB = "449839014328146739"

Work = Callable[[], Awaitable[object]]
Measure = Callable[[Work, int], Awaitable[float]]

HEAD = (
    "| what | raw | ours | unit | ours/raw, median (quartiles) | target | verdict |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


def verdict(value: float, target: str) -> str:
    """Return whether a value meets a target such as "<= 1.05"; "" without one."""
    if not target:
        return ""
    sign, limit = target.split()[:2]
    return "met" if (value <= float(limit) if sign == "<=" else value >= float(limit)) else "MISSED"


@dataclass
class Row:
    """Pairs of (raw, client), and their ratios."""

    name: str
    base: list[float]
    ours: list[float]
    unit: str
    target: str = ""

    def __str__(self) -> str:
        ratios = sorted(b / a for a, b in zip(self.base, self.ours, strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        return (
            f"| {self.name} | {statistics.median(self.base):,.0f} | "
            f"{statistics.median(self.ours):,.0f} | {self.unit} | "
            f"{middle:.3f} ({low:.3f}-{high:.3f}) | {self.target} | "
            f"{verdict(middle, self.target)} |"
        )


@dataclass
class Figure:
    """One value of the client, with a target of its own."""

    name: str
    value: float
    unit: str
    target: str = ""

    def __str__(self) -> str:
        return (
            f"| {self.name} | | {self.value:,.1f} | {self.unit} | | {self.target} | "
            f"{verdict(self.value, self.target)} |"
        )


async def pairs(
    measure: Measure, base: Work, ours: Work, calls: int, count: int
) -> tuple[list[float], list[float]]:
    """Measure both in pairs of alternating order, so that a drift of the machine affects both."""
    await measure(base, calls)
    await measure(ours, calls)
    found: tuple[list[float], list[float]] = ([], [])
    for index in range(count):
        gc.collect()
        for which in (0, 1) if index % 2 else (1, 0):
            found[which].append(await measure((base, ours)[which], calls))
    return found


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


async def cpu_alone(work: Work, calls: int) -> float:
    """Return the microseconds of CPU of this process per call, one call after the other."""
    start = time.process_time()
    await latency(work, calls)
    return (time.process_time() - start) / calls * 1e6


async def cpu_concurrent(work: Work, calls: int) -> float:
    """Return the microseconds of CPU of this process per call, 64 calls concurrently."""
    start = time.process_time()
    await throughput(work, calls)
    return (time.process_time() - start) / calls * 1e6
