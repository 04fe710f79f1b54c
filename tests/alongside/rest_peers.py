"""pymilvus' own REST functions as clients of FakeMilvus' REST API, and of its Zilliz Cloud.

python tests/alongside/rest_peers.py

The environment needs the wheel, pymilvus, and the packages that pymilvus.bulk_writer
imports: minio, azure-storage-blob, pyarrow, ml_dtypes, requests.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import logging
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOKEN = "root:Milvus"
TIMEOUT = 30
GROUPS = [["a.parquet"], ["id.npy", "v.npy"]]


def load() -> tuple[Any, Any]:
    """Import the installed wheel and pymilvus; a warning about our modules is an error."""
    warnings.filterwarnings("error", module=r"milvus_import(_pb)?\b")
    testing = importlib.import_module("milvus_import.testing")
    peers = importlib.import_module("pymilvus.bulk_writer.bulk_import")
    logging.disable()  # pymilvus logs each exception
    assert Path(peers.__file__ or "").is_relative_to(sys.prefix), peers
    return testing, peers


async def main() -> None:
    """Create, describe, list and fail, as each function reads the responses."""
    testing, peers = load()
    async with testing.FakeMilvus(token=TOKEN) as server:
        server.import_seconds, server.random = None, random.Random(1)
        await creates_one_job_with_all_groups(server, peers)
        await reads_progress(server, peers)
        await lists_jobs(server, peers)
        await raises_for_errors(server, peers)
        await uses_the_cloud(server, peers)
        resets = [call.method for call in server.received if call.reset]
    assert not resets, resets
    pymilvus: Any = importlib.import_module("pymilvus")
    print(f"pymilvus {pymilvus.__version__}: {len(server.received)} requests")


async def call(function: Callable[..., Any], server: Any, **arguments: Any) -> Any:
    """Call a function of pymilvus in a thread; return the JSON that it received."""
    arguments = {"api_key": TOKEN, "timeout": TIMEOUT, **arguments}
    is_cloud = "cluster_id" in arguments or "project_id" in arguments
    url = server.cloud_uri if is_cloud else server.rest_uri
    response = await asyncio.to_thread(function, url=url, **arguments)
    return response.json()


async def creates_one_job_with_all_groups(server: Any, peers: Any) -> None:
    reply = await call(
        peers.bulk_import,
        server,
        collection_name="books",
        db_name="shop",
        partition_name="p",
        files=GROUPS,
        options={"timeout": "300s"},
    )
    (job_id,) = server.jobs
    assert reply == {"code": 0, "data": {"jobId": job_id}}, reply
    job = server.jobs[job_id]
    assert (job.collection_name, job.db_name) == ("books", "shop"), job
    assert [file.name for file in job.files] == ["a.parquet", "id.npy v.npy"], job
    received = server.received[-1]
    assert (received.service, received.method) == ("rest", "create"), received
    assert received.values("db-name") == ["shop"], received.metadata
    assert received.values("authorization") == [f"Bearer {TOKEN}"], received.metadata


async def reads_progress(server: Any, peers: Any) -> None:
    (job,) = server.jobs.values()
    for state, progress, rows in (("Importing", 40, 1000), ("Completed", 100, 2000)):
        job.state, job.progress = state, progress
        reply = await call(peers.get_import_progress, server, job_id=job.job_id, db_name="shop")
        data = reply["data"]
        assert (data["state"], data["progress"], data["importedRows"]) == (state, progress, rows)
        assert [part["fileName"] for part in data["details"]] == ["[a.parquet]", "[id.npy v.npy]"]
        assert "reason" not in data, data
    assert server.received[-1].method == "describe"


async def lists_jobs(server: Any, peers: Any) -> None:
    for number in range(12):  # more than the page size that pymilvus sends
        server.add_job(collection_name="films", job_id=str(number + 1))
    reply = await call(peers.list_import_jobs, server, collection_name="films")
    ids = [int(record["jobId"]) for record in reply["data"]["records"]]
    assert sorted(ids) == list(range(1, 13)), ids
    assert ids != sorted(ids), ids
    everything = await call(peers.list_import_jobs, server)
    assert len(everything["data"]["records"]) == 13, everything
    other = await call(peers.list_import_jobs, server, collection_name="books", db_name="shop")
    assert [record["state"] for record in other["data"]["records"]] == ["Completed"], other


async def raises_for_errors(server: Any, peers: Any) -> None:
    progress, create = peers.get_import_progress, peers.bulk_import
    text = "code: 2101, message: import job does not exist, jobID=999: importing data failed"
    await raises(text, progress, server, job_id="999")
    await raises("status code: 401", progress, server, job_id="1", api_key="root:Wrong")
    await raises("code: 1802", progress, server, job_id="")
    await raises("code: 1802", create, server, collection_name="books")  # files is null
    await raises("code: 1100", create, server, collection_name="books", files=[])
    server.max_jobs = 1
    text = "The number of jobs has reached the limit"
    await raises(text, create, server, collection_name="books", files=GROUPS)
    server.version = "2.3"
    await raises("status code: 404", progress, server, job_id="1")
    server.version = "2.6"
    for fault, text in (
        ("http-502-html", "status code: 502"),
        ("http-close", "Remote end closed connection"),
        ("http-truncated", "IncompleteRead"),
        ("rate-limit", "code: 8, message: rate limit exceeded"),
    ):
        server.inject(fault)
        await raises(text, progress, server, job_id="1")


async def uses_the_cloud(server: Any, peers: Any) -> None:
    """Create from a bucket and from a volume, describe, list pages, and fail."""
    server.jobs.clear()
    server.max_jobs, server.cloud.clusters = None, {"in01-1", "proj-1"}
    cluster, create = {"cluster_id": "in01-1"}, peers.bulk_import
    project = {"project_id": "proj-1", "region_id": "aws-us-east-1"}
    bucket = {
        "object_urls": [["s3://bucket/a.parquet"], ["s3://bucket/b/"]],
        "access_key": "a",
        "secret_key": "s",
        "token": "t",
    }
    volume = {"volume_name": "v", "data_paths": [["a.parquet"], ["b/"]]}
    for target, source in ((cluster, bucket), (project, volume)):
        reply = await call(create, server, collection_name="books", **target, **source)
        assert list(server.jobs)[-1] == reply["data"]["jobId"], reply
    job_id, job = next(iter(server.jobs.items()))
    assert [file.name for file in job.files] == ["s3://bucket/a.parquet", "s3://bucket/b/"], job
    job.state, job.progress = "Importing", 40
    reply = await call(peers.get_import_progress, server, job_id=job_id, **cluster)
    data = reply["data"]
    assert (data["jobId"], data["state"], data["progress"]) == (job_id, "InProgress", 40), data
    for _ in range(11):
        server.add_job()
    reply = await call(peers.list_import_jobs, server, current_page=2, **cluster)
    data = reply["data"]
    assert (data["count"], data["currentPage"], data["pageSize"]) == (13, 2, 10), data
    assert len(data["records"]) == 3, data
    illegal = "code: 21119, message: The apikey is illegal."
    await raises(illegal, peers.list_import_jobs, server, api_key="wrong", **cluster)
    await raises("code: 80020", peers.list_import_jobs, server, cluster_id="in01-2")
    assert {call.service for call in server.received[-6:]} == {"cloud"}


async def raises(text: str, function: Callable[..., Any], server: Any, **arguments: Any) -> None:
    """Check that pymilvus raises its exception with a text."""
    exceptions: Any = importlib.import_module("pymilvus.exceptions")
    outcome = "no error"
    try:
        await call(function, server, **arguments)
    except exceptions.MilvusException as error:
        outcome = str(error)
    assert text in outcome, outcome


if __name__ == "__main__":
    faulthandler.dump_traceback_later(4 * TIMEOUT, exit=True)
    asyncio.run(main())
