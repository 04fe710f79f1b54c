"""Milvus 2.3.5 crashes if a client resets a read (milvus#35539). This client never does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import grpc.aio
import pytest
from network import FrameRelay
from real_milvus import RealMilvus
from real_place import Place, place_at, raw_channel

from milvus_import import ImportClient
from milvus_import_pb import milvus_pb2
from milvus_import_pb.milvus_grpc import MilvusServiceStub

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

CANCELLED = 200
TRIES = 5_000
"""A read may end before it is cancelled, so that more reads are started."""

Read = Callable[[], Awaitable[object]]


async def by_scope(read: Read, delay: float) -> bool:
    with anyio.move_on_after(delay) as scope:
        await read()
    return scope.cancelled_caught


async def by_task(read: Read, delay: float) -> bool:
    task = asyncio.ensure_future(read())
    await asyncio.sleep(delay)
    task.cancel()
    return isinstance((await asyncio.gather(task, return_exceptions=True))[0], BaseException)


async def by_timeout(read: Read, delay: float) -> bool:
    try:
        async with asyncio.timeout(delay):
            await read()
    except TimeoutError:
        return True
    return False


async def by_group(read: Read, delay: float) -> bool:
    done = False

    async def run() -> None:
        nonlocal done
        await read()
        done = True

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await anyio.sleep(delay)
        group.cancel_scope.cancel()
    return not done


WAYS = (by_scope, by_task, by_timeout, by_group)


async def cancel_reads(read: Read, numbers: random.Random) -> tuple[int, int]:
    """Start reads until enough were cancelled at a random moment; return both numbers."""
    started = cancelled = 0
    while cancelled < CANCELLED and started < TRIES:
        started += 1
        cancelled += await WAYS[started % len(WAYS)](read, numbers.uniform(0, 0.004))
    return started, cancelled


async def finished_job(place: Place) -> str:
    job_id = await place.client.create_import(
        await place.collection(), [await place.rows_file(1_000)]
    )
    await place.client.wait(job_id, interval=0.5)
    return job_id


async def test_server_survives_200_cancelled_reads(place: Place) -> None:
    job_id = await finished_job(place)
    async with FrameRelay(place.server.public_port) as relay:
        async with ImportClient(relay.uri) as client:
            await client.check()
            before = relay.requests
            started, cancelled = await cancel_reads(
                lambda: client.get_import_progress(job_id), random.Random(1)
            )
            assert (await client.get_import_progress(job_id)).data.state == "Completed"
        print(f"{started} reads started, {cancelled} cancelled; {relay.requests=} {relay.resets=}")
        assert cancelled == CANCELLED
        assert relay.requests - before == started + 1  # each one reached the server
        assert relay.responses == relay.requests  # and got its response
        assert relay.resets == 0
    assert place.server.alive()


async def test_the_same_reads_without_the_client_crash_the_server() -> None:
    """The control experiment of the test above."""
    with RealMilvus() as server:
        async with place_at(server) as place, FrameRelay(server.public_port) as relay:
            job_id = await finished_job(place)
            async with raw_channel(relay.uri) as channel:
                stub = MilvusServiceStub(channel)
                await reset_reads(stub, job_id, server)
            print(f"{relay.requests=} {relay.resets=}")
            assert not server.alive()
            assert 0 < relay.resets <= CANCELLED


async def reset_reads(stub: MilvusServiceStub, job_id: str, server: RealMilvus) -> None:
    numbers = random.Random(1)
    for _ in range(TRIES):
        call = stub.GetImportState(milvus_pb2.GetImportStateRequest(task=int(job_id)), timeout=30)
        await asyncio.sleep(numbers.uniform(0, 0.004))
        call.cancel()
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await call
        if not server.alive():
            return


async def test_200_watches_cancelled_at_random_moments_do_not_crash_the_server(
    place: Place,
) -> None:
    books, path = await place.collection(), await place.rows_file(1_000)
    # The jobs run one after the other, 2 s each. On a slow machine the last one ends before 200
    # watches are cancelled: from then on a watch ends with its first response.
    job_ids = [await place.client.create_import(books, [path]) for _ in range(4)]

    async def watch() -> None:
        async for progress in place.client.watch(job_ids[-1], interval=0.001):
            assert progress.job_id == job_ids[-1]

    started, cancelled = await cancel_reads(watch, random.Random(2))
    print(f"{started} watches started, {cancelled} cancelled")
    assert cancelled == CANCELLED
    outcomes = await place.client.wait_all(job_ids)
    assert [getattr(outcome, "state", outcome) for outcome in outcomes.values()] == [
        "Completed"
    ] * 4
    assert place.server.alive()
