"""What the tests of watching share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio

from milvus_import import ImportProgressData, MilvusImportError
from milvus_import.testing import Fault
from milvus_import_pb import common_pb2

TICK = 0.02
"""Seconds between the polls of a test that only wants the next one soon."""


class FaultLog(list[tuple[MilvusImportError, float]]):
    """Keeps what ``on_fault`` is told: ``on_fault=told``."""

    def __init__(self) -> None:
        super().__init__()
        self._news = anyio.Event()

    def __call__(self, error: MilvusImportError, outage: float) -> None:
        self.append((error, outage))
        self._news.set()
        self._news = anyio.Event()

    async def reach(self, count: int) -> None:
        """Wait until so many have been told."""
        while len(self) < count:
            await self._news.wait()

    @property
    def kinds(self) -> list[type[MilvusImportError]]:
        return [type(error) for error, _ in self]


async def changes(watch: AsyncIterator[ImportProgressData]) -> list[tuple[str, int]]:
    """All that a watch gives, as (state, progress)."""
    return [(str(progress.state), progress.progress) async for progress in watch]


def gone(job_id: str) -> Fault:
    """The server's word that it knows no such job, though it may."""
    reason = f"import job does not exist, jobID={job_id}: importing data failed"
    return Fault(status=common_pb2.Status(code=2100, error_code=1, reason=reason))
