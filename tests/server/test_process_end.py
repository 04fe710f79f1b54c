"""A process that ends keeps no call and no channel alive."""

from __future__ import annotations

import subprocess
import sys

import anyio
import pytest

from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

PROGRAM = """
import asyncio, atexit, gc, sys
import grpc.aio
from milvus_import import ImportClient, ImportFailedError

@atexit.register
def report():  # registered first, called last
    gc.collect()  # up to grpcio 1.83 an ended call is a reference cycle
    kinds = (grpc.aio.Call, grpc.aio.Channel)
    print([type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, kinds)])

async def main(uri, job_id):
    async with ImportClient(uri) as client:
        return (await client.wait(job_id)).state

gc.disable()
try:
    print(asyncio.run(main(*sys.argv[1:])))
except ImportFailedError as error:
    kept = error
    print(kept)
"""


@pytest.mark.parametrize(
    ("state", "printed"), [("Completed", "Completed"), ("Failed", "import job 7 failed: no rows")]
)
async def test_a_process_that_ends_has_freed_its_calls_and_its_channel(
    fake: FakeMilvus, state: str, printed: str, guard: float
) -> None:
    fake.add_job(job_id="7", state=state, reason="no rows")
    with anyio.fail_after(guard):
        done = await anyio.run_process(
            [sys.executable, "-c", PROGRAM, fake.public_uri, "7"], stderr=subprocess.STDOUT
        )
    assert done.stdout.decode().splitlines() == [printed, "[]"]
