"""Shared by the tests of watches and waits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio

from milvus_import import ImportJob, ImportProgressData, MilvusImportError
from milvus_import.testing import FakeJob, FakeMilvus, Fault
from milvus_import_pb import common_pb2

Change = tuple[str, int]
"""State and progress."""

SCRIPT: list[Change] = [
    ("Pending", 0),
    ("Pending", 0),
    ("Importing", 40),
    ("Importing", 40),
    ("Importing", 60),
    ("Completed", 100),
]
CHANGES: list[Change] = [("Pending", 0), ("Importing", 40), ("Importing", 60), ("Completed", 100)]


class FaultLog(list[tuple[MilvusImportError, float]]):
    """Records the calls of ``on_retry``: ``on_retry=log``."""

    def __init__(self) -> None:
        super().__init__()
        self._added = anyio.Event()

    def __call__(self, error: MilvusImportError, outage: float) -> None:
        self.append((error, outage))
        self._added.set()
        self._added = anyio.Event()

    async def reach(self, count: int) -> None:
        """Wait until this number of errors has been recorded."""
        while len(self) < count:
            await self._added.wait()

    @property
    def kinds(self) -> list[type[MilvusImportError]]:
        return [type(error) for error, _ in self]

    @property
    def outages(self) -> list[float]:
        return [outage for _, outage in self]


async def changes(watch: AsyncIterator[ImportProgressData]) -> list[Change]:
    """All changes of a watch of one job."""
    return [(str(progress.state), progress.progress) async for progress in watch]


async def job_changes(watch: AsyncIterator[ImportJob]) -> dict[str, list[Change]]:
    """All changes of a watch of many jobs, by job id."""
    seen: dict[str, list[Change]] = {}
    async for job in watch:
        seen.setdefault(job.job_id, []).append((str(job.state), job.progress))
    return seen


def missing(job_id: str) -> Fault:
    """The status of a server that has no such job."""
    reason = f"import job does not exist, jobID={job_id}: importing data failed"
    return Fault(status=common_pb2.Status(code=2100, error_code=1, reason=reason))


def add_scripted(fake: FakeMilvus, count: int) -> list[FakeJob]:
    """Add jobs that end after different numbers of responses, each with a repeated one."""
    return [
        fake.add_job(
            script=[("Importing", 10 + 10 * step) for step in range(index % 4 + 1)]
            + [("Importing", 50), ("Importing", 50), ("Completed", 100)]
        )
        for index in range(count)
    ]


def ids(jobs: list[FakeJob]) -> list[str]:
    return [job.job_id for job in jobs]


def expected(jobs: list[FakeJob]) -> dict[str, list[Change]]:
    """The script of each job without its repeats."""
    return {job.job_id: list(dict.fromkeys(job.script)) for job in jobs}


def uri_of(fake: FakeMilvus, service: str) -> str:
    uri: str = getattr(fake, f"{service}_uri")
    return uri
