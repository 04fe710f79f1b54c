"""A wait over the restart of a real Milvus."""

from __future__ import annotations

import anyio
import pytest
from real_milvus import RealMilvus
from real_place import place_at
from watching import FaultLog

from milvus_import import ImportFailedError, ImportProgressData, UnavailableError

pytestmark = pytest.mark.anyio


@pytest.mark.timeout(240)
async def test_wait_survives_a_killed_server_and_reports_that_the_job_failed() -> None:
    progress: list[ImportProgressData] = []
    faults, running = FaultLog(), anyio.Event()

    def record(seen: ImportProgressData) -> None:
        progress.append(seen)
        if seen.state == "Importing" and seen.progress > 0:
            running.set()

    with RealMilvus() as server:
        async with place_at(server) as place:
            books, path = await place.collection(), await place.rows_file(1_000_000)
            job_id = await place.client.create_import(books, [path])

            async def wait_to_the_end() -> None:
                with pytest.raises(
                    ImportFailedError, match="task marked failed as service restarted"
                ):
                    await place.client.wait(
                        job_id, interval=0.5, on_progress=record, on_retry=faults
                    )

            async with anyio.create_task_group() as group:
                group.start_soon(wait_to_the_end)
                await running.wait()
                await anyio.to_thread.run_sync(server.kill)
                await faults.reach(1)
                await anyio.to_thread.run_sync(server.start, 120.0)
    assert faults.kinds[0] is UnavailableError
    assert [seen.state for seen in progress][-2:] == ["Importing", "Failed"]
    assert sum(seen.done for seen in progress) == 1
