"""A real import, followed from start to end.

Starts a Milvus 2.3.5, imports a JSON file and follows the job with ``client.get_import_progress``,
displayed as on the command line. Milvus 2.3.5 has only the public service; the fields that Milvus
2.4+ adds (the progress of each file) are then shown on a simulated server.

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

echo = partial(print, flush=True)  # immediately, also into a pipe or a log file


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
    """Return the number of rows of a collection, as reported by the server."""
    request = milvus_pb2.GetCollectionStatisticsRequest(collection_name=name)
    reply = await milvus.GetCollectionStatistics(request, timeout=30)
    _check(reply.status)
    return int({pair.key: pair.value for pair in reply.stats}["row_count"])


def write_rows(path: Path, rows: int) -> None:
    """Write a JSON file with this number of rows for a collection of ``create_collection``."""
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
    """Display the progress of a job until it ends; return the last."""
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
    """Import the file, follow the job, and compare the number of rows."""
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
        echo(f"import job {job_id}, followed on the {service} service:")
        last = await follow(client, job_id)
        if last.state != "Completed":
            echo(f"the import failed: {last.reason}")
            return False
        found = await count_rows(milvus, COLLECTION)
    comparison = "as many as the file" if found == rows else f"but the file has {rows:,}"
    echo(f"{last.state}: the collection holds {found:,} rows, {comparison}")
    return found == rows


def real_part(rows: int) -> bool:
    """Start a Milvus and import a file of this number of rows."""
    start = time.monotonic()
    try:
        with RealMilvus() as server, tempfile.TemporaryDirectory(prefix="milvus-import-") as folder:
            echo(f"Milvus 2.3.5 is ready at {server.uri} after {time.monotonic() - start:.1f} s")
            path = Path(folder) / "books.json"
            write_rows(path, rows)
            megabytes = path.stat().st_size / 1e6
            echo(f"wrote {path}: {rows:,} rows of {DIM} dimensions, {megabytes:.0f} MB")
            return asyncio.run(real_import(server, path, rows))
    except (RuntimeError, MilvusImportError, grpc.aio.AioRpcError) as error:
        echo(f"failed: {error}")
        return False


async def simulated_part() -> None:
    """Print the progress of a job and its files on a simulated Milvus 2.6."""
    files = [
        FakeFile("books-1.parquet", size=48_000_000, rows=120_000),
        FakeFile("books-2.parquet", size=51_000_000, rows=130_000),
        FakeFile("id.npy v.npy", size=34_000_000, rows=90_000),
    ]
    async with FakeMilvus(version="2.6") as server, ImportClient(server.internal_uri) as client:
        job = server.add_job(FakeJob(state="Importing", progress=46, files=files))
        data = (await client.get_import_progress(job.job_id)).data
    echo(
        f"get_import_progress, {data.service} service: {data.state} {data.progress} %, "
        f"{data.imported_rows:,} of {data.total_rows:,} rows, {data.file_size / 1e6:.0f} MB"
    )
    for file in data.details:
        echo(
            f"  {' + '.join(file.paths):<16} {file.state:<10} {file.progress:3} %  "
            f"{file.imported_rows:>7,} of {file.total_rows:>7,} rows, "
            f"{file.file_size / 1e6:.0f} MB"
        )


def main() -> int:
    """Run both parts."""
    # SIGTERM too stops the server and removes the files.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    start = time.monotonic()
    echo("--- A real Milvus 2.3.5 ---")
    reason = why_not()
    succeeded = True
    if reason is None:
        try:
            succeeded = real_part(rows)
        except KeyboardInterrupt:
            echo("\ninterrupted; the server is stopped and its files are removed")
            return 130
    else:
        echo(f"skipped: {reason}")
    echo("\n--- A SIMULATION (milvus_import.testing.FakeMilvus) of the fields of Milvus 2.4+ ---")
    asyncio.run(simulated_part())
    result = "done" if succeeded else "FAILED"
    echo(f"\nmake demo: {result} in {time.monotonic() - start:.0f} s")
    return 0 if succeeded else 1


def _check(status: common_pb2.Status) -> None:
    if status.code or status.error_code:
        raise RuntimeError(status.reason)


if __name__ == "__main__":
    sys.exit(main())
