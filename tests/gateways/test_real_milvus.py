"""A real Milvus 2.3.5 behind nginx and HAProxy."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Generator

import pytest
from gateway_process import Gateway
from real_milvus import RealMilvus
from real_place import Place, place_at

from milvus_import import CallRecord, ImportClient, JobNotFoundError

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

GUARD = 120.0
CANCELLED = 200


@pytest.fixture(scope="module")
def server() -> Generator[RealMilvus, None, None]:
    with RealMilvus() as server:
        yield server


async def submit(place: Place, client: ImportClient, rows: int = 1_000) -> str:
    return await client.create_import(await place.collection(), [await place.rows_file(rows)])


async def test_import_through_a_gateway_that_is_reloaded_and_restarted(
    server: RealMilvus, kind: type[Gateway], scale: float
) -> None:
    async with (
        place_at(server, timeout=30 * scale) as place,
        kind(server) as gateway,
        ImportClient(gateway.uri, rpc_timeout=30 * scale) as client,
    ):
        assert await client.check() == "public"
        job_id = await submit(place, client)
        wait = asyncio.create_task(client.wait(job_id, interval=0.1))
        await gateway.reload()
        await gateway.stop()
        await gateway.start()
        final = await asyncio.wait_for(wait, GUARD)
        assert (final.state, final.imported_rows) == ("Completed", 1_000)
        with pytest.raises(JobNotFoundError):
            await client.get_import_progress("12345")


async def test_unimplemented_of_the_server_passes(server: RealMilvus, kind: type[Gateway]) -> None:
    """Milvus 2.3.5 has no GetImportProgress: grpc-status 12 has to arrive unchanged."""
    records: list[CallRecord] = []
    async with kind(server) as gateway, ImportClient(gateway.uri) as client:
        assert await client.check(on_finish=records.append) == "public"
        assert [request.status for request in await gateway.logged(2)] == [200, 200]
    assert [record.code.name for record in records] == ["UNIMPLEMENTED", "OK"]
    assert "unknown method" in records[0].details


async def test_server_survives_200_reads_cancelled_through_a_gateway(
    server: RealMilvus, kind: type[Gateway], scale: float
) -> None:
    numbers = random.Random(3)
    async with (
        place_at(server, timeout=30 * scale) as place,
        kind(server) as gateway,
        ImportClient(gateway.uri, rpc_timeout=30 * scale) as client,
    ):
        job_id = await submit(place, client)
        await client.wait(job_id, interval=0.1)
        cancelled = started = 0
        while cancelled < CANCELLED and started < 25 * CANCELLED:
            read = asyncio.create_task(client.get_import_progress(job_id))
            await asyncio.sleep(numbers.uniform(0, 0.004))
            read.cancel()
            await asyncio.wait((read,))
            started, cancelled = started + 1, cancelled + read.cancelled()
        assert cancelled == CANCELLED
        assert (await client.get_import_progress(job_id)).data.state == "Completed"
    assert server.alive()


async def test_authorization_reaches_the_server(kind: type[Gateway], scale: float) -> None:
    with RealMilvus(authorization=True) as server:
        async with (
            kind(server) as gateway,
            ImportClient(gateway.uri, token="root:Milvus", rpc_timeout=30 * scale) as client,
        ):
            assert await client.check() == "public"
