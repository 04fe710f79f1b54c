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
        await equals_the_client_on_the_cloud(server, peers)
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
    """Each row: changes of the server, a fault, the function, its arguments, and the text."""
    progress, create = peers.get_import_progress, peers.bulk_import
    job: dict[str, Any] = {"job_id": "1"}
    books: dict[str, Any] = {"collection_name": "books"}
    missing = "code: 2101, message: import job does not exist, jobID=999: importing data failed"
    rows: list[tuple[dict[str, Any], str, Callable[..., Any], dict[str, Any], str]] = [
        ({}, "", progress, {"job_id": "999"}, missing),
        ({}, "", progress, job | {"api_key": "root:Wrong"}, "status code: 401"),
        ({}, "", progress, {"job_id": ""}, "code: 1802"),
        ({}, "", create, books, "code: 1802"),  # files is null
        ({}, "", create, books | {"files": []}, "code: 1100"),
        ({"max_jobs": 1}, "", create, books | {"files": GROUPS}, "number of jobs has reached the"),
        ({"version": "2.3"}, "", progress, job, "status code: 404"),
        ({"version": "2.6"}, "http-502-html", progress, job, "status code: 502"),
        ({}, "http-close", progress, job, "Remote end closed connection"),
        ({}, "http-truncated", progress, job, "IncompleteRead"),
        ({}, "rate-limit", progress, job, "code: 8, message: rate limit exceeded"),
    ]
    for changes, fault, function, arguments, text in rows:
        for name, value in changes.items():
            setattr(server, name, value)
        if fault:
            server.inject(fault)
        await raises(text, function, server, **arguments)


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


async def equals_the_client_on_the_cloud(server: Any, peers: Any) -> None:
    """Compare the bodies and the answers of the three functions with those of ImportClient."""
    package: Any = importlib.import_module("milvus_import")
    server.jobs.clear()
    cluster, server.cloud.imported_rows = {"cluster_id": "in01-1"}, True
    compared: list[str] = []

    def bodies_equal() -> None:
        """Compare the last two requests, without members that are empty."""
        theirs, ours = (
            {name: value for name, value in received.request.items() if value}
            for received in server.received[-2:]
        )
        theirs |= {"pageSize": 100} if "pageSize" in theirs else {}
        assert theirs == ours, (theirs, ours)
        compared.extend(f"body {name}" for name in ours)

    def members_equal(data: dict[str, Any], ours: dict[str, Any]) -> None:
        """Compare each member of an answer: null is "" or 0, InProgress of a job is Importing."""
        for name in data.keys() - {"fileName"}:  # the client has it in the details
            expected = data[name] or ("" if isinstance(ours[name], str) else 0)
            if name == "state" and expected == "InProgress":
                expected = "Importing"
            if name == "details":
                for theirs, our in zip(data[name], ours[name], strict=True):
                    members = theirs | {"completeTime": theirs["completeTime"] or ""}
                    assert members.items() <= (our | {"reason": our.get("reason")}).items(), our
            else:
                assert expected == ours[name], (name, expected, ours[name])
            compared.append(name)

    async with package.ImportClient(
        server.cloud_uri, service="cloud", token=TOKEN, **cluster
    ) as client:
        urls = [["https://b.example/a.parquet?sig=1"], ["s3://b/id.npy", "s3://b/v.npy"]]
        keys = {"access_key": "a", "secret_key": "s"}
        more: dict[str, Any] = {"db_name": "shop", "partition_name": "p"}
        await call(
            peers.bulk_import,
            server,
            **(cluster | more | keys),
            collection_name="books",
            object_urls=urls,
            token="t",
            options={"timeout": "300s"},
        )
        storage = package.BucketCredentials(**keys, session_token="t")
        job_id = await client.create_import(
            "books", urls, storage=storage, options={"timeout": 300}, **more
        )
        bodies_equal()
        volume: dict[str, Any] = {"volume_name": "v", "data_paths": [["a.parquet"], ["b/"]]}
        reply = await call(peers.bulk_import, server, collection_name="books", **cluster, **volume)
        await client.create_import("books", volume["data_paths"], storage=package.Volume("v"))
        bodies_equal()
        assert reply["data"].keys() == {"jobId"}, reply
        for as_text in (False, True):
            server.cloud.numbers_as_text = as_text
            for state, progress in (("Importing", 40), ("Completed", 100), ("Failed", 0)):
                job = server.jobs[job_id]
                job.state, job.progress, job.reason = state, progress, "why"
                reply = await call(peers.get_import_progress, server, job_id=job_id, **cluster)
                ours = (await client.get_import_progress(job_id)).data.to_dict()
                bodies_equal()
                members_equal(with_numbers(reply["data"]), ours)
        reply = await call(
            peers.list_import_jobs, server, collection_name="books", db_name="shop", **cluster
        )
        rows = await client.list_imports("books", db_name="shop")
        bodies_equal()
        by_id = {row.job_id: row.to_dict() for row in rows}
        assert len(by_id) == int(reply["data"]["count"]) == 2, reply
        for record in reply["data"]["records"]:
            members_equal(record, by_id[record["jobId"]])
    print(f"Zilliz Cloud, equal members: {', '.join(sorted(set(compared)))}")


def with_numbers(data: dict[str, Any]) -> dict[str, Any]:
    """Return an answer whose numbers, which may be text, are integers."""
    numbers = ("progress", "importedRows", "totalRows", "fileSize")
    found: dict[str, Any] = {
        name: int(value) if name in numbers else value for name, value in data.items()
    }
    if "details" in found:
        found["details"] = [with_numbers(part) for part in found["details"]]
    return found


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
