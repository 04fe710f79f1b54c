"""Shared by the tests of watches and waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import anyio
import pytest
from times import GUARD, TICK

from milvus_import import (
    ImportClient,
    ImportJob,
    ImportProgressData,
    MilvusImportError,
)
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

QUICK: dict[str, Any] = {"interval": TICK, "timeout": GUARD}
"""The options of a test that only needs the next poll soon."""
METHODS = ("watch", "wait", "watch_all", "wait_all")
on_each_method = pytest.mark.parametrize("method", METHODS)
on_each_watch = pytest.mark.parametrize("method", ["watch", "watch_all"])
on_each_wait = pytest.mark.parametrize("method", ["wait", "wait_all"])
both_services = pytest.mark.parametrize("service", ["internal", "public"])


def uri_of(fake: FakeMilvus, service: str) -> str:
    uri: str = getattr(fake, f"{service}_uri")
    return uri


def connect(fake: FakeMilvus, service: str, **options: Any) -> ImportClient:
    """Return a client that the port leads to this service."""
    chosen: Any = {"service": "rest" if service == "rest" else "auto"} | options
    return ImportClient(uri_of(fake, service), **chosen)


def start_watch(client: ImportClient, method: str, *job_ids: str, **options: Any) -> Any:
    """Return a watch: of the first job, or of all of them."""
    chosen: Any = QUICK | options
    if method == "watch":
        return client.watch(job_ids[0], **chosen)
    return client.watch_all(job_ids, **chosen)


async def run(client: ImportClient, method: str, *job_ids: str, **options: Any) -> list[Any]:
    """Run one of the four methods to its end; return what it yields or returns."""
    chosen: Any = QUICK | options
    if method == "wait":
        return [await client.wait(job_ids[0], **chosen)]
    if method != "wait_all":
        return [job async for job in start_watch(client, method, *job_ids, **chosen)]
    outcomes = list((await client.wait_all(job_ids, **chosen)).values())
    for outcome in outcomes:
        if isinstance(outcome, MilvusImportError):
            raise outcome
    return outcomes


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

    def then(self, count: int, action: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something, such as to restart the server, after this number of errors."""

        async def reach_and_act() -> None:
            await self.reach(count)
            await action

        return asyncio.create_task(reach_and_act())

    @property
    def kinds(self) -> list[type[MilvusImportError]]:
        return [type(error) for error, _ in self]

    @property
    def outages(self) -> list[float]:
        return [outage for _, outage in self]


async def changes(watch: AsyncIterator[ImportProgressData | ImportJob]) -> list[Change]:
    """All changes of a watch of one job."""
    return [(str(progress.state), progress.progress) async for progress in watch]


async def job_changes(
    watch: AsyncIterator[ImportJob], *first: ImportJob, seen: dict[str, list[Change]] | None = None
) -> dict[str, list[Change]]:
    """All changes of a watch of many jobs, by job id; ``seen`` keeps them if it raises an error.

    ``first``: what the test has taken from it already.
    """
    seen = {} if seen is None else seen
    for job in first:
        seen.setdefault(job.job_id, []).append((str(job.state), job.progress))
    async for job in watch:
        seen.setdefault(job.job_id, []).append((str(job.state), job.progress))
    return seen


def missing(job_id: str) -> Fault:
    """The status of a server that has no such job."""
    reason = f"import job does not exist, jobID={job_id}: importing data failed"
    return Fault(status=common_pb2.Status(code=2100, error_code=1, reason=reason))


def add_running(fake: FakeMilvus, count: int) -> list[FakeJob]:
    """Add jobs that run until the test ends them."""
    return [fake.add_job(state="Importing", progress=40) for _ in range(count)]


def complete(*jobs: FakeJob) -> None:
    for job in jobs:
        job.state, job.progress = "Completed", 100


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
