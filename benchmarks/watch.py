"""Follow many jobs on one client; print figures with their targets as JSON.

python watch.py watch_all JOBS SECONDS    with one list per second; compares what is yielded with
                                          what is sent
python watch.py wait JOBS SECONDS         one independent wait per job, with the default interval
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from milvus_import import ImportClient, WaitTimeoutError
from milvus_import_pb import common_pb2, internal_pb2
from milvus_import_pb.proxy_grpc import ProxyStub

INTERVAL = 2.0
"""Seconds; the default of the client."""
KINDS = ("lists", "polls")
_FIRST = 450_000_000_000_000_000

Figure = tuple[str, float, str, str]
"""Name, value, unit and target."""


async def serve(jobs: int) -> None:
    """Serve lists, in another process: with each of them a tenth of the jobs has advanced."""
    rng = random.Random(1)
    received = Counter[str]()
    progresses = [0] * jobs
    ids = [str(_FIRST + i) for i in range(jobs)]

    async def list_imports(
        _: internal_pb2.ListImportsRequest, context: object
    ) -> internal_pb2.ListImportsResponse:
        del context
        received["lists"] += 1
        for index in rng.sample(range(jobs), jobs // 10):
            progresses[index] = min(progresses[index] + 1, 99)
        order = list(range(jobs))
        rng.shuffle(order)
        return internal_pb2.ListImportsResponse(
            status=common_pb2.Status(),
            jobIDs=[ids[i] for i in order],
            states=[3] * jobs,
            reasons=[""] * jobs,
            progresses=[progresses[i] for i in order],
            collection_names=["books"] * jobs,
        )

    async def get_progress(
        request: internal_pb2.GetImportProgressRequest, context: object
    ) -> internal_pb2.GetImportProgressResponse:
        del request, context
        received["polls"] += 1
        return internal_pb2.GetImportProgressResponse(
            status=common_pb2.Status(), state=3, progress=40, collection_name="books"
        )

    methods: dict[str, Any] = {"ListImports": list_imports, "GetImportProgress": get_progress}
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            method,
            request_deserializer=ProxyStub.METHODS[name][0].FromString,
            response_serializer=ProxyStub.METHODS[name][1].SerializeToString,
        )
        for name, method in methods.items()
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(ProxyStub.SERVICE, handlers),)
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    # Each line on stdin is a request for the number of calls so far.
    while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        print(json.dumps(received), flush=True)


class Recorder(grpc.aio.UnaryUnaryClientInterceptor):
    """Records the replies."""

    def __init__(self) -> None:
        self.lists: list[dict[str, int]] = []

    async def intercept_unary_unary(
        self,
        continuation: Callable[[Any, Any], Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Record the reply."""
        call = await continuation(client_call_details, request)
        reply = await call
        self.lists.append(dict(zip(reply.jobIDs, reply.progresses, strict=True)))
        return call


async def watch(port: int, jobs: int, seconds: int) -> list[Figure]:
    """Follow all jobs, first to measure the cost, then to count the changes."""
    name = f"watch_all of {jobs:,} jobs, one list per second"
    async with ImportClient(f"127.0.0.1:{port}", service="internal") as client:
        await client.list_imports("none")
        gc.collect()
        memory, cpu, start = resident(), time.process_time(), time.perf_counter()
        with suppress(WaitTimeoutError):
            async for job in client.watch_all(timeout=seconds / 2, interval=1.0):
                del job
        used = (time.process_time() - cpu) / (time.perf_counter() - start)
        grown = (resident() - memory) / 1e6
    recorder = Recorder()
    yielded: list[tuple[str, int]] = []
    async with ImportClient(
        f"127.0.0.1:{port}", service="internal", interceptors=[recorder]
    ) as client:
        with suppress(WaitTimeoutError):
            async for job in client.watch_all(timeout=seconds / 2, interval=1.0):
                yielded.append((job.job_id, job.progress))  # noqa: PERF401 - kept when the time expires
    missing = Counter(expected(recorder.lists))
    missing.subtract(yielded)
    wrong = sum(abs(count) for count in missing.values())
    return [
        (f"{name}: CPU", used * 100, "% of a core", "<= 1.5"),
        (f"{name}: memory", grown, "MB", "<= 40"),
        (f"{name}: lost or doubled of {len(yielded):,} changes", wrong, "changes", "<= 0"),
    ]


async def wait(
    port: int, jobs: int, seconds: int, count: Callable[[], Counter[str]]
) -> list[Figure]:
    """Wait for each job on its own; measure after the first two intervals."""
    name = f"{jobs:,} independent waits"
    async with ImportClient(f"127.0.0.1:{port}", service="internal") as client:
        tasks = [asyncio.create_task(client.wait(str(_FIRST + i))) for i in range(jobs)]
        await asyncio.sleep(2 * INTERVAL)
        before, cpu, start = count(), time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        elapsed = time.perf_counter() - start
        used, after = (time.process_time() - cpu) / elapsed, count()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    per_interval = {kind: (after[kind] - before[kind]) * INTERVAL / elapsed for kind in KINDS}
    return [
        (f"{name}: CPU", used * 100, "% of a core", "<= 1"),
        (f"{name}: lists per interval", per_interval["lists"], "lists", "<= 1.1"),
        (f"{name}: polls per interval", per_interval["polls"], "polls", "<= 1"),
    ]


def expected(lists: list[dict[str, int]]) -> list[tuple[str, int]]:
    """Return every difference between one list and the next."""
    changes: list[tuple[str, int]] = []
    before: dict[str, int] = {}
    for listed in lists:
        changes += [
            (job_id, percent) for job_id, percent in listed.items() if percent != before.get(job_id)
        ]
        before = listed
    return changes


def resident() -> int:
    """Return the resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Start the server in another process and follow its jobs."""
    method, jobs, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    command = [sys.executable, __file__, "serve", str(jobs)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        stdin, stdout = server.stdin, server.stdout
        assert stdin is not None
        assert stdout is not None
        port = int(stdout.readline())

        def count() -> Counter[str]:
            stdin.write("\n")
            stdin.flush()
            return Counter(json.loads(stdout.readline()))

        try:
            following = (
                watch(port, jobs, seconds)
                if method == "watch_all"
                else wait(port, jobs, seconds, count)
            )
            print(json.dumps(asyncio.run(following)))
        finally:
            stdin.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
    else:
        main()
