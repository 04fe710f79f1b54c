"""FakeMilvus(version="2.3") responds as the real Milvus 2.3.5 does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

import anyio
import grpc.aio
import pytest
from conformance import State, as_fake, comparable
from real_place import Place, raw_channel

from milvus_import.testing import FakeMilvus
from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2
from milvus_import_pb.milvus_grpc import MilvusServiceStub
from milvus_import_pb.proxy_grpc import ProxyStub

pytestmark = pytest.mark.anyio


@pytest.fixture
async def simulated() -> AsyncGenerator[FakeMilvus, None]:
    async with FakeMilvus(version="2.3") as server:
        yield server


async def call_public(channel: grpc.aio.Channel) -> object:
    return await MilvusServiceStub(channel).GetImportState(
        milvus_pb2.GetImportStateRequest(task=12345), timeout=30
    )


async def call_internal(channel: grpc.aio.Channel) -> object:
    return await ProxyStub(channel).GetImportProgress(
        internal_pb2.GetImportProgressRequest(jobID="12345"), timeout=30
    )


async def outcome(call: Callable[[grpc.aio.Channel], Awaitable[object]], uri: str) -> object:
    """Return the reply, or the status of the failed call."""
    async with raw_channel(uri) as channel:
        try:
            return await call(channel)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()


@pytest.mark.parametrize("port", ["public", "internal"])
@pytest.mark.parametrize("call", [call_public, call_internal])
async def test_unknown_jobs_services_and_methods_have_the_same_status(
    place: Place,
    simulated: FakeMilvus,
    call: Callable[[grpc.aio.Channel], Awaitable[object]],
    port: str,
) -> None:
    real, fake = (
        (place.server.uri, simulated.public_uri)
        if port == "public"
        else (place.server.internal_uri, simulated.internal_uri)
    )
    assert await outcome(call, fake) == await outcome(call, real)


async def test_each_state_of_a_job_has_the_same_fields(place: Place, simulated: FakeMilvus) -> None:
    books = await place.collection()
    good = await place.client.create_import(books, [await place.rows_file(200_000)])
    bad = await place.client.create_import(books, ["/nowhere.json"])
    seen: list[State] = []
    last: dict[str, State] = {}
    while len(last) < 2 or not all(has_ended(reply) for reply in last.values()):
        for job_id in (good, bad):
            request = milvus_pb2.GetImportStateRequest(task=int(job_id))
            reply = await place.stub.GetImportState(request, timeout=30)
            if reply != last.get(job_id):
                seen.append(reply)
                last[job_id] = reply
        await anyio.sleep(0.02)
    listed = await place.stub.ListImportTasks(
        milvus_pb2.ListImportTasksRequest(collection_name=books), timeout=30
    )
    assert {reply.state for reply in seen} >= {
        common_pb2.ImportPending,
        common_pb2.ImportStarted,
        common_pb2.ImportCompleted,
        common_pb2.ImportFailed,
    }
    for real in seen:
        simulated.jobs.clear()
        simulated.add_job(as_fake(real, rows=200_000))
        async with raw_channel(simulated.public_uri) as channel:
            stub = MilvusServiceStub(channel)
            fake = await stub.GetImportState(
                milvus_pb2.GetImportStateRequest(task=real.id), timeout=30
            )
        assert comparable(fake) == comparable(real)
    assert list(listed.tasks) == [last[good], last[bad]]


def has_ended(reply: State) -> bool:
    return reply.state in {common_pb2.ImportCompleted, common_pb2.ImportFailed}
