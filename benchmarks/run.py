"""Measure the client against the raw stub and a bare HTTP session, in adjacent pairs: make bench.

ARGS="--quick" measures fewer rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import grpc.aio
from deadlines import deadline_rows
from measuring import (
    HEAD,
    HERE,
    JOB,
    Figure,
    Row,
    latency,
    mapped_reply,
    pairs,
    reply_of,
    served,
    throughput,
)
from rest import rest_rows

from milvus_import import (
    ImportClient,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
)
from milvus_import._services._internal import decode_progress
from milvus_import_pb import internal_pb2
from milvus_import_pb.proxy_grpc import ProxyStub

_STATES = {3: ImportState.IMPORTING}
METADATA = (("x-request-id", "0123456789abcdef" * 2), ("x-tenant", "books"))


async def calls(rounds: int) -> list[Row]:
    """Measure latency and throughput against the raw stub with the same decoding.

    Latencies take ``4 * rounds`` pairs: one pair varies by as much as the target allows.
    """
    rows: list[Row] = []
    for details in (1, 0, 10, 100, 1_000):
        with served("canned_server.py", reply_of(details).SerializeToString()) as port:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = ProxyStub(channel)

                async def raw(stub: ProxyStub = stub) -> object:
                    request = internal_pb2.GetImportProgressRequest(db_name="", jobID=JOB)
                    reply = await stub.GetImportProgress(request, timeout=10)
                    return mapped_reply(reply)

                async def raw_metadata(stub: ProxyStub = stub) -> object:
                    request = internal_pb2.GetImportProgressRequest(db_name="", jobID=JOB)
                    reply = await stub.GetImportProgress(request, timeout=10, metadata=METADATA)
                    return mapped_reply(reply)

                async with ImportClient(f"127.0.0.1:{port}") as client:

                    async def ours(client: ImportClient = client) -> object:
                        return await client.get_import_progress(JOB)

                    async def ours_metadata(client: ImportClient = client) -> object:
                        return await client.get_import_progress(JOB, metadata=METADATA)

                    assert await raw() == await ours() == await ours_metadata()
                    n = 200 if details < 1_000 else 50
                    name = f"latency, {details} file{'s' * (details != 1)}"
                    if details == 1:
                        found = await pairs(latency, raw, raw, n, 4 * rounds)
                        rows.append(Row("noise: latency, raw stub against itself", *found, "us"))
                        found = await pairs(throughput, raw, raw, 10 * n, rounds // 2)
                        rows.append(Row("noise: 64 at once, raw against itself", *found, "calls/s"))
                    found = await pairs(latency, raw, ours, n, 4 * rounds)
                    rows.append(Row(name, *found, "us", "<= 1.06"))
                    if details == 1:
                        found = await pairs(latency, raw_metadata, ours_metadata, n, 4 * rounds)
                        rows.append(Row(f"{name}, metadata", *found, "us", "<= 1.10"))
                        found = await pairs(throughput, raw, ours, 10 * n, rounds // 2)
                        rows.append(Row("64 at once", *found, "calls/s", ">= 0.80"))
                        found = await pairs(
                            throughput, raw_metadata, ours_metadata, 10 * n, rounds // 2
                        )
                        rows.append(Row("64 at once, metadata", *found, "calls/s", ">= 0.76"))
    return rows


async def layers(rounds: int) -> list[str]:
    """Return the CPU time of this thread per call and layer, 64 calls concurrently."""
    with served("canned_server.py", reply_of(1).SerializeToString()) as port:
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
            ImportClient(f"127.0.0.1:{port}") as client,
        ):
            stub = ProxyStub(channel)

            async def alone() -> object:
                request = internal_pb2.GetImportProgressRequest(db_name="", jobID=JOB)
                return await stub.GetImportProgress(request, timeout=10)

            async def mapped() -> object:
                request = internal_pb2.GetImportProgressRequest(db_name="", jobID=JOB)
                reply = await stub.GetImportProgress(request, timeout=10)
                return mapped_reply(reply)

            works = {
                "gRPC's stub": alone,
                "mapping the reply": mapped,
                "the client": lambda: client.get_import_progress(JOB),
                "the client, with timeout=None": lambda: client.get_import_progress(
                    JOB, timeout=None
                ),
            }
            found = {name: list[float]() for name in works}
            for index in range(rounds + 1):
                for name in works if index % 2 else reversed(works):
                    gc.collect()
                    start = time.thread_time()
                    await throughput(works[name], 2_000)
                    if index:
                        found[name].append((time.thread_time() - start) / 2_000 * 1e6)
    medians = [statistics.median(times) for times in found.values()]
    lines = [f"{medians[0]:5.1f} us  {next(iter(found))}"]
    for name, less, more in zip(list(found)[1:], medians[:-1], medians[1:], strict=True):
        lines.append(f"{more - less:+5.1f} us  {name}")
    return lines


def bare_decode(reply: internal_pb2.GetImportProgressResponse) -> ImportProgressData:
    """Map a reply onto the same dataclass with the least code."""
    details = [
        ImportProgressDetail(
            t.file_name,
            t.file_size,
            t.progress,
            t.complete_time,
            t.state,
            t.imported_rows,
            t.total_rows,
            t.reason,
        )
        for t in reply.task_progresses
    ]
    return ImportProgressData(
        reply.collection_name,
        JOB,
        reply.complete_time,
        _STATES[reply.state],
        reply.progress,
        reply.imported_rows,
        reply.total_rows,
        reply.reason,
        sum([detail.file_size for detail in details]),
        details,
        reply.create_time,
        "internal",
    )


def decoding(rounds: int) -> list[Row]:
    """Measure only the decoding against a positional comprehension."""
    rows: list[Row] = []
    for details in (1, 10, 100, 1_000):
        reply = internal_pb2.GetImportProgressResponse.FromString(
            reply_of(details).SerializeToString()
        )
        n = max(20_000 // (details + 10), 20)
        found: tuple[list[float], list[float]] = ([], [])
        for index in range(rounds):
            for which in (0, 1) if index % 2 else (1, 0):
                gc.collect()
                start = time.perf_counter()
                for _ in range(n):
                    if which:
                        decode_progress(reply, JOB)
                    else:
                        bare_decode(reply)
                found[which].append((time.perf_counter() - start) / n * 1e6)
        rows.append(Row(f"decode, {details} files", *found, "us", "<= 1.05"))
    return rows


def importing(rounds: int) -> Row:
    """Measure the import time from compiled files, in new processes."""
    found: tuple[list[float], list[float]] = ([], [])
    codes = (
        "import grpc.aio, anyio, google.protobuf.message, google.protobuf.message_factory",
        "import milvus_import",
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for index in range(-1, rounds):  # the first imports compile
            for which in (0, 1) if index % 2 else (1, 0):
                timed = f"t = time.perf_counter(); {codes[which]}; print(time.perf_counter() - t)"
                done = subprocess.run(
                    [sys.executable, "-c", f"import time; {timed}"],
                    capture_output=True,
                    check=True,
                    env=environment,
                    text=True,
                )
                if index >= 0:
                    found[which].append(float(done.stdout) * 1e3)
    return Row("import milvus_import", *found, "ms", "<= 1.25")


def resident() -> int:
    """Return the resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def memory(count: int) -> Figure:
    """Measure the bytes per call in flight, with a server that never responds."""
    silent = await asyncio.start_server(_swallow, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with ImportClient(f"127.0.0.1:{port}", rpc_timeout=600) as client:
        warm = asyncio.create_task(client.get_import_progress(JOB))
        await asyncio.sleep(0.5)
        gc.collect()
        before = resident()
        tasks = [asyncio.create_task(client.get_import_progress(JOB)) for _ in range(count)]
        await asyncio.sleep(3)
        used = (resident() - before) / count
        for task in (warm, *tasks):
            task.cancel()
        await asyncio.gather(warm, *tasks, return_exceptions=True)
    silent.close()
    return Figure(f"memory per call in flight, {count:,} calls", used / 1000, "kB", "<= 25")


async def _swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        pass
    writer.close()


def following(method: str, jobs: int, seconds: int) -> list[Figure]:
    """Follow many jobs in a new process: watch_all, or one wait each."""
    done = subprocess.run(
        [sys.executable, str(HERE / "watch.py"), method, str(jobs), str(seconds)],
        capture_output=True,
        check=True,
        text=True,
    )
    return [Figure(*figure) for figure in json.loads(done.stdout)]


def machine() -> str:
    """Return the machine and the versions."""
    names = ("grpcio", "protobuf", "anyio")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {packages}"
    )


async def main() -> None:
    """Measure everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    rounds = 8 if quick else 40
    print(machine(), end="\n\n")
    print(HEAD)
    print(await memory(2_000 if quick else 10_000))  # first, in a small process
    for row in [*await calls(rounds), *decoding(rounds), importing(rounds)]:
        print(row, flush=True)
    for row in await rest_rows(rounds // 2):
        print(row, flush=True)
    for line in await deadline_rows(2_000 if quick else 10_000):
        print(line, flush=True)
    for method, jobs in (("watch_all", 1_000), ("watch_all", 5_000), ("wait", 500)):
        for figure in following(method, jobs, 10 if quick else 60):
            print(figure, flush=True)
    print("\nCPU time of the main thread per call and layer, 64 calls concurrently:")
    print("\n".join(await layers(rounds // 2)))


if __name__ == "__main__":
    asyncio.run(main())
