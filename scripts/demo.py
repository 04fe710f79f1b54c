"""A real import, followed from its start to its end.

Brings up a Milvus 2.3.5 of its own, imports a JSON file into it and follows the job with
``client.get_import_progress``, shown as the command line shows it. That version answers on the
public service alone, so what Milvus 2.4+ tells beyond that, each file's progress, is then shown on
a simulated server.

python scripts/demo.py [ROWS]
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import environment
import grpc.aio
from real_milvus import RealMilvus, why_not
from rich.console import Console

from milvus_import import ImportClient, MilvusImportError
from milvus_import.progress import ProgressBars
from milvus_import.testing import FakeFile, FakeJob, FakeMilvus
from milvus_import_pb import common_pb2, milvus_pb2, schema_pb2
from milvus_import_pb.milvus_grpc import MilvusServiceStub

if TYPE_CHECKING:
    from milvus_import import ImportProgressData

COLLECTION = "books"
ROWS = 1_000_000
DIM = 16
INTERVAL = 0.5

say = partial(print, flush=True)  # at once, also into a pipe or a log


async def create_collection(milvus: MilvusServiceStub, name: str) -> None:
    """Create a collection of an integer key and a small vector."""
    key = schema_pb2.FieldSchema(name="id", is_primary_key=True, data_type=schema_pb2.Int64)
    vector = schema_pb2.FieldSchema(
        name="v",
        data_type=schema_pb2.FloatVector,
        type_params=[common_pb2.KeyValuePair(key="dim", value=str(DIM))],
    )
    schema = schema_pb2.CollectionSchema(name=name, fields=[key, vector])
    request = milvus_pb2.CreateCollectionRequest(
        collection_name=name, schema=schema.SerializeToString(), shards_num=1
    )
    _check(await milvus.CreateCollection(request, timeout=30))


async def count_rows(milvus: MilvusServiceStub, name: str) -> int:
    """Ask the server how many rows the collection has."""
    request = milvus_pb2.GetCollectionStatisticsRequest(collection_name=name)
    reply = await milvus.GetCollectionStatistics(request, timeout=30)
    _check(reply.status)
    return int({pair.key: pair.value for pair in reply.stats}["row_count"])


def write_rows(path: Path, rows: int) -> None:
    """Write a JSON file of so many rows for such a collection."""
    numbers = random.Random(1)  # noqa: S311 - test data
    vectors = [
        "[" + ",".join(f"{numbers.uniform(-1, 1):.4f}" for _ in range(DIM)) + "]"
        for _ in range(997)
    ]
    with path.open("w") as file:
        file.write('{"rows":[\n')
        for first in range(0, rows, 10_000):
            block = range(first, min(first + 10_000, rows))
            lines = [f'{{"id":{key},"v":{vectors[key % len(vectors)]}}}' for key in block]
            file.write(",\n".join(lines) + (",\n" if block.stop < rows else ""))
        file.write("]}\n")


async def follow(client: ImportClient, job_id: str) -> ImportProgressData:
    """Show a job's progress as the command line does until it has ended; return its last."""
    last: ImportProgressData | None = None
    with ProgressBars(Console(), job_ids=[job_id]) as bars:
        while True:
            progress = (await client.get_import_progress(job_id)).data
            if progress != last:
                bars(progress)
            if progress.done:
                return progress
            last = progress
            await asyncio.sleep(INTERVAL)


async def real_import(server: RealMilvus, path: Path, rows: int) -> bool:
    """Import the file, follow the job, compare what the collection holds then."""
    async with (
        grpc.aio.insecure_channel(
            server.uri.removeprefix("http://"), options=[("grpc.enable_http_proxy", 0)]
        ) as channel,
        ImportClient(server.uri) as client,
    ):
        milvus = MilvusServiceStub(channel)
        await create_collection(milvus, COLLECTION)
        job_id = await client.create_import(COLLECTION, [str(path)])
        service = await client.check()
        say(f"import job {job_id}, followed on the {service} service:")
        last = await follow(client, job_id)
        if last.state != "Completed":
            say(f"the import failed: {last.reason}")
            return False
        found = await count_rows(milvus, COLLECTION)
    verdict = "as many as the file" if found == rows else f"but the file has {rows:,}"
    say(f"{last.state}: the collection holds {found:,} rows, {verdict}")
    return found == rows


def real_part(rows: int) -> bool:
    """Do all of that on a real server."""
    start = time.monotonic()
    try:
        with RealMilvus() as server, tempfile.TemporaryDirectory(prefix="milvus-import-") as folder:
            say(f"Milvus 2.3.5 serves at {server.uri} after {time.monotonic() - start:.1f} s")
            path = Path(folder) / "books.json"
            write_rows(path, rows)
            megabytes = path.stat().st_size / 1e6
            say(f"wrote {path}: {rows:,} rows of {DIM} dimensions, {megabytes:.0f} MB")
            return asyncio.run(real_import(server, path, rows))
    except (RuntimeError, MilvusImportError, grpc.aio.AioRpcError) as trouble:
        say(f"this did not work: {trouble}")
        return False


async def simulated_part() -> None:
    """Ask a simulated Milvus 2.6 for a job's progress, with its files."""
    files = [
        FakeFile("books-1.parquet", size=48_000_000, rows=120_000),
        FakeFile("books-2.parquet", size=51_000_000, rows=130_000),
        FakeFile("id.npy v.npy", size=34_000_000, rows=90_000),
    ]
    async with FakeMilvus(version="2.6") as server, ImportClient(server.internal_uri) as client:
        job = server.add_job(FakeJob(state="Importing", progress=46, files=files))
        data = (await client.get_import_progress(job.job_id)).data
    say(
        f"get_import_progress, {data.service} service: {data.state} {data.progress} %, "
        f"{data.imported_rows:,} of {data.total_rows:,} rows, {data.file_size / 1e6:.0f} MB"
    )
    for file in data.details:
        say(
            f"  {' + '.join(file.paths):<16} {file.state:<10} {file.progress:3} %  "
            f"{file.imported_rows:>7,} of {file.total_rows:>7,} rows, "
            f"{file.file_size / 1e6:.0f} MB"
        )


def main() -> int:
    """Run both parts."""
    # However it is ended, the server and the files go.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    start = time.monotonic()
    say("--- A real Milvus 2.3.5 ---")
    reason = why_not()
    good = True
    if reason is None:
        try:
            good = real_part(rows)
        except KeyboardInterrupt:
            say("\ninterrupted; the server is stopped and its files are removed")
            return 130
    else:
        say(f"left out: {reason}")
    say("\n--- A SIMULATION (milvus_import.testing.FakeMilvus) of what Milvus 2.4+ tells ---")
    asyncio.run(simulated_part())
    ending = "done" if good else "FAILED"
    say(f"\nmake demo: {ending} in {time.monotonic() - start:.0f} s")
    return 0 if good else 1


def _check(status: common_pb2.Status) -> None:
    if status.code or status.error_code:
        raise RuntimeError(status.reason)


if __name__ == "__main__":
    environment.run(main)
