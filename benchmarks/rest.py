"""Measure REST: latency, 64 concurrent calls, and a list of many jobs.

python benchmarks/rest.py    measures against a canned HTTP server, and prints a table
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from milvus_import import ImportClient

SERVER = Path(__file__).with_name("canned_http.py")
JOB_ID = 450_000_000_000_000_001
FILES = 2
CALLS = 2_000
CONCURRENCY = 64
JOBS = 1_000


@dataclass(slots=True)
class RestFigures:
    """The measured values."""

    p50_ms: float
    """One call after the other."""
    p99_ms: float
    per_second: float
    """64 calls at the same time."""
    list_ms: float
    """One request that lists JOBS jobs, decoded."""
    loop_cpu_ms: float
    """CPU time of one list in this process."""


def progress_reply() -> bytes:
    """Return what ``describe`` returns for a job of FILES file groups."""
    file = {
        "fileName": "[a.parquet]",
        "fileSize": 1_000_000,
        "progress": 42,
        "completeTime": "",
        "state": "InProgress",
        "importedRows": 420,
        "totalRows": 1_000,
    }
    data = {
        "jobId": str(JOB_ID),
        "collectionName": "books",
        "state": "Importing",
        "progress": 42,
        "importedRows": 420 * FILES,
        "totalRows": 1_000 * FILES,
        "fileSize": 1_000_000 * FILES,
        "completeTime": "",
        "createTime": "2026-01-02T03:04:05Z",
        "details": [file] * FILES,
    }
    return json.dumps({"code": 0, "data": data}).encode()


def list_reply(jobs: int = JOBS) -> bytes:
    """Return what ``list`` returns for ``jobs`` jobs."""
    records = [
        {
            "jobId": str(JOB_ID + index),
            "collectionName": "books",
            "state": "Importing",
            "progress": 42,
        }
        for index in range(jobs)
    ]
    return json.dumps({"code": 0, "data": {"records": records}}).encode()


@contextmanager
def serving(reply: bytes) -> Generator[str, None, None]:
    """Run the canned server in a separate process; yield its URI."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "reply.json")
        path.write_bytes(reply)
        command = [sys.executable, str(SERVER), str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            try:
                yield f"http://127.0.0.1:{int(process.stdout.readline())}"
            finally:
                process.stdin.close()


async def _latencies(client: ImportClient, calls: int) -> list[float]:
    times: list[float] = []
    for _ in range(calls):
        started = time.perf_counter()
        await client.get_import_progress(str(JOB_ID))
        times.append((time.perf_counter() - started) * 1_000)
    return times


async def _throughput(client: ImportClient, calls: int) -> float:
    remaining = iter(range(calls))

    async def worker() -> None:
        for _ in remaining:
            await client.get_import_progress(str(JOB_ID))

    started = time.perf_counter()
    await asyncio.gather(*[worker() for _ in range(CONCURRENCY)])
    return calls / (time.perf_counter() - started)


async def _lists(client: ImportClient, calls: int) -> tuple[float, float]:
    times: list[float] = []
    await client.list_imports("books")
    cpu = time.process_time()
    for _ in range(calls):
        started = time.perf_counter()
        assert len(await client.list_imports("books")) == JOBS
        times.append((time.perf_counter() - started) * 1_000)
    return statistics.median(times), (time.process_time() - cpu) / calls * 1_000


async def measure_rest(calls: int = CALLS) -> RestFigures:
    """Measure REST against the canned server."""
    with serving(progress_reply()) as uri:
        async with ImportClient(uri, service="rest") as client:
            await _latencies(client, 200)
            times = await _latencies(client, calls)
            await _throughput(client, CONCURRENCY * 4)
            per_second = await _throughput(client, calls)
    with serving(list_reply()) as uri:
        async with ImportClient(uri, service="rest") as client:
            list_ms, cpu_ms = await _lists(client, max(10, calls // 50))
    p99 = statistics.quantiles(times, n=100)[98]
    return RestFigures(statistics.median(times), p99, per_second, list_ms, cpu_ms)


def main() -> None:
    """Measure, and print a table."""
    figures = asyncio.run(measure_rest())
    latency = f"p50 {figures.p50_ms:6.2f} ms, p99 {figures.p99_ms:.2f} ms"
    print(f"REST, one call after the other   {latency}")
    print(f"REST, {CONCURRENCY} at the same time        {figures.per_second:8.0f} calls/s")
    print(
        f"REST, list of {JOBS:,} jobs         {figures.list_ms:8.2f} ms, "
        f"{figures.loop_cpu_ms:.2f} ms of CPU"
    )


if __name__ == "__main__":
    main()
