"""Count the requests of many followers of one client; print figures as JSON.

python sharing.py CASE SECONDS    a case of CASES, or all: what the server counts in SECONDS

The server runs in another process. Nothing ends; the interval is 2 seconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from milvus_import import ImportClient

CASES: dict[str, tuple[str, int, int]] = {
    "1 wait of one job": ("internal", 1, 1),
    "50 waits of one job": ("internal", 50, 1),
    "500 waits of one job": ("internal", 500, 1),
    "500 waits of 500 jobs, internal": ("internal", 500, 500),
    "500 waits of 500 jobs, REST": ("rest", 500, 500),
    "500 waits of 500 jobs, public": ("public", 500, 500),
    "50 watches of one job, one not iterated": ("internal", -50, 1),
}
"""The service, the followers (negative: watches) and the jobs of each case."""
_FIRST = 450_000_000_000_000_000


async def serve(jobs: int) -> None:
    """Serve jobs that never end; a line on stdin is a request for the calls so far."""
    from milvus_import.testing import FakeMilvus  # noqa: PLC0415 - only the server needs it

    async with FakeMilvus() as fake:
        for index in range(jobs):
            fake.add_job(job_id=str(_FIRST + index), state="Importing", progress=40)
        uris = {
            "internal": fake.internal_uri,
            "public": fake.public_uri,
            "rest": fake.rest_uri,
        }
        print(json.dumps(uris), flush=True)
        while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            counts = Counter("polls" if call.job_id else "lists" for call in fake.received)
            print(json.dumps(counts), flush=True)


async def measure(name: str, seconds: float) -> dict[str, object]:
    """Return what the server counts from the first request on, and the client's CPU."""
    service, followers, jobs = CASES[name]
    async with server(jobs) as (uris, count):
        chosen: Any = service
        async with ImportClient(uris[service], service=chosen) as client:
            await client.check()
            before = count()
            gc.collect()
            cpu, start = time.process_time(), time.perf_counter()
            ids = [str(_FIRST + number % jobs) for number in range(abs(followers))]
            if followers < 0:
                paused = client.watch(ids[0])
                await anext(paused)
            tasks = [asyncio.create_task(follow(client, id_, followers)) for id_ in ids]
            await asyncio.sleep(4.0)
            steady_cpu, steady = time.process_time(), time.perf_counter()
            await asyncio.sleep(seconds - 4.0)
            elapsed, used = time.perf_counter() - steady, time.process_time() - steady_cpu
            whole = (time.process_time() - cpu) / (time.perf_counter() - start)
            counted = count()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return {
            "case": name,
            "polls": counted["polls"] - before["polls"],
            "lists": counted["lists"] - before["lists"],
            "CPU after 4 s, % of a core": round(100 * used / elapsed, 2),
            "CPU with the start, % of a core": round(100 * whole, 2),
        }


def follow(client: ImportClient, job_id: str, followers: int) -> Coroutine[Any, Any, object]:
    """Wait for a job, or iterate over its watch."""

    async def iterate() -> None:
        async for _ in client.watch(job_id):
            pass

    return client.wait(job_id) if followers > 0 else iterate()


@asynccontextmanager
async def server(
    jobs: int,
) -> AsyncGenerator[tuple[dict[str, str], Callable[[], Counter[str]]], None]:
    """Yield the URIs of a server in another process, and a function that returns its counts."""
    command = [sys.executable, __file__, "serve", str(jobs)]
    process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def count() -> Counter[str]:
        stdin.write("\n")
        stdin.flush()
        return Counter(json.loads(stdout.readline()))

    try:
        yield json.loads(stdout.readline()), count
    finally:
        stdin.close()
        process.wait()
        stdout.close()


async def main(case: str, seconds: float) -> None:
    """Measure one case, or all of them."""
    for name in CASES if case == "all" else [case]:
        print(json.dumps(await measure(name, seconds)), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
    else:
        asyncio.run(main(sys.argv[1], float(sys.argv[2])))
