"""Hints on a real Milvus 2.3.5: a full import queue, and a path that only the client has."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from real_milvus import RealMilvus
from real_place import Place, place_at

from milvus_import import ImportFailedError, ImportProgressData, JobLimitError

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

QUEUE = 3


class SmallQueue(RealMilvus):
    """A server that accepts few pending imports."""

    def _configure(self, server: Path) -> None:
        super()._configure(server)
        path = self.data_dir / "configs" / "milvus.yaml"
        text = path.read_text()
        setting = f"\nrootCoord:\n  importMaxPendingTaskCount: {QUEUE}\n"
        assert "\nrootCoord:\n" in text
        path.write_text(text.replace("\nrootCoord:\n", setting, 1))


@pytest.fixture
async def crowded(scale: float) -> AsyncGenerator[Place, None]:
    server = SmallQueue()
    await anyio.to_thread.run_sync(server.start)
    try:
        async with place_at(server, timeout=30.0 * scale) as place:
            yield place
    finally:
        server.stop()


async def test_a_full_queue_is_a_job_limit_error_and_a_loop_gets_all_imports_in(
    crowded: Place,
) -> None:
    books, path = await crowded.collection(), await crowded.rows_file(100)
    limits: list[JobLimitError] = []
    job_ids: list[str] = []
    while len(job_ids) < 8:
        try:
            job_ids.append(await crowded.client.create_import(books, [path]))
        except JobLimitError as error:
            limits.append(error)
            await anyio.sleep(0.5)
    outcomes = await crowded.client.wait_all(job_ids, interval=0.5)
    assert all(isinstance(outcome, ImportProgressData) for outcome in outcomes.values())
    assert await crowded.count_rows(books) == 800
    assert limits
    assert all(error.transient and not error.may_have_run for error in limits)
    assert limits[0].hint == "Try again when some of the server's import jobs have ended."


async def test_a_path_that_the_server_does_not_have_gets_its_hint(place: Place) -> None:
    books = await place.collection()
    job_id = await place.client.create_import(books, ["/home/me/books.parquet"])
    with pytest.raises(ImportFailedError, match="no such file or directory") as caught:
        await place.client.wait(job_id, interval=0.2)
    assert caught.value.hint.startswith("Pass a path on the server's disk, or a key of")
