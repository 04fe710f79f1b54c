"""Watch many jobs with one list per second, and compare what is yielded with what is sent.

python watch.py JOBS SECONDS
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from milvus_import import ImportClient, WaitTimeoutError
from milvus_import_pb import common_pb2, internal_pb2
from milvus_import_pb.proxy_grpc import ProxyStub

_FIRST = 450_000_000_000_000_000


async def serve(jobs: int) -> None:
    """Serve lists, in another process: with each of them a tenth of the jobs has advanced."""
    rng = random.Random(1)
    progresses = [0] * jobs
    ids = [str(_FIRST + i) for i in range(jobs)]

    async def list_imports(
        _: internal_pb2.ListImportsRequest, context: object
    ) -> internal_pb2.ListImportsResponse:
        del context
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

    handler = grpc.unary_unary_rpc_method_handler(
        list_imports,
        request_deserializer=internal_pb2.ListImportsRequest.FromString,
        response_serializer=internal_pb2.ListImportsResponse.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(ProxyStub.SERVICE, {"ListImports": handler}),)
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


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


async def watch(port: int, jobs: int, seconds: int) -> str:
    """Follow all jobs, first to measure the cost, then to count the changes."""
    cost = await measured(port, seconds / 2)
    recorder = Recorder()
    yielded: list[tuple[str, int]] = []
    async with ImportClient(
        f"127.0.0.1:{port}", service="internal", interceptors=[recorder]
    ) as client:
        with suppress(WaitTimeoutError):
            async for job in client.watch_all(timeout=seconds / 2, interval=1.0):
                yielded.append((job.job_id, job.progress))  # noqa: PERF401 - kept when the time expires
    sent = expected(recorder.lists)
    verdict = "each yielded once" if sorted(yielded) == sorted(sent) else "LOST OR DOUBLED"
    return (
        f"watch of {jobs:,} jobs with one list per second: {cost} in {seconds / 2:g} s; "
        f"then {len(sent):,} changes in {len(recorder.lists)} lists, {verdict}"
    )


async def measured(port: int, seconds: float) -> str:
    """Return the processor time and the memory."""
    async with ImportClient(f"127.0.0.1:{port}", service="internal") as client:
        await client.list_imports("none")
        gc.collect()
        memory, cpu, start = resident(), time.process_time(), time.perf_counter()
        with suppress(WaitTimeoutError):
            async for job in client.watch_all(timeout=seconds, interval=1.0):
                del job
        used = (time.process_time() - cpu) / (time.perf_counter() - start)
        grown = (resident() - memory) / 1e6
    return f"{used:.1%} of a core (at most 1.5 %), {grown:.1f} MB more (at most 40)"


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
    """Start the server in another process and watch its jobs."""
    jobs, seconds = int(sys.argv[1]), int(sys.argv[2])
    command = [sys.executable, __file__, str(jobs), "0", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            print(asyncio.run(watch(port, jobs, seconds)))
        finally:
            server.stdin.close()


if __name__ == "__main__":
    if sys.argv[3:] == ["serve"]:
        asyncio.run(serve(int(sys.argv[1])))
    else:
        main()
