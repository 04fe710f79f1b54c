"""A job, and a client of a service that a test may choose: ``parametrize("service", ...)``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator

import pytest
from processes import FakeProcess
from watching import connect

from milvus_import import ImportClient
from milvus_import.testing import FakeJob, FakeMilvus


@pytest.fixture
def service() -> str:
    return "internal"


@pytest.fixture
async def client(fake: FakeMilvus, service: str) -> AsyncGenerator[ImportClient, None]:
    """A client without a successful response yet."""
    async with connect(fake, service) as client:
        yield client


@pytest.fixture
async def known(client: ImportClient) -> ImportClient:
    """The same client after a successful response."""
    await client.check()
    return client


@pytest.fixture
def job(fake: FakeMilvus) -> FakeJob:
    """A job that runs until the test ends it."""
    return fake.add_job(state="Importing", progress=40)


@pytest.fixture
def process() -> Generator[FakeProcess, None, None]:
    """A server with the job "7" in a process of its own, for several event loops or processes."""
    server = FakeProcess({"job_id": "7", "state": "Importing", "progress": 40})
    asyncio.run(server.start())
    yield server
    asyncio.run(server.kill())
