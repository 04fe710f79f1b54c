"""The cloud face of FakeMilvus: bodies, keys, ids, pages, and the rate limit of Zilliz Cloud."""

from __future__ import annotations

import re
from typing import Any

import pytest
from http_calls import post

from milvus_import.testing import FakeFile, FakeMilvus, ManualClock, ZillizBehavior

pytestmark = [pytest.mark.anyio, pytest.mark.rest]

TARGET = {"clusterId": "in01-1"}
PROJECT = {"projectId": "proj-1", "regionId": "aws-us-east-1"}
URL = "https://bucket.example/a.parquet?X-Amz-Signature=secret"
BOOKS = {"collectionName": "books"}
CREATE = {**TARGET, **BOOKS, "objectUrls": [[URL]]}
KEY = {"Authorization": "Bearer key"}
ILLEGAL = (21119, "The apikey is illegal.")


async def call(fake: FakeMilvus, method: str, body: object, **headers: str) -> Any:
    return await post(fake.cloud_uri, method, body, **(KEY | headers))


async def data_of(fake: FakeMilvus, method: str, **body: Any) -> Any:
    return (await call(fake, method, TARGET | body)).data


# --------------------------------------------------------------------------------- create


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (CREATE, ["https://bucket.example/a.parquet"]),
        (CREATE | {"accessKey": "a", "secretKey": "s", "token": "t"}, None),
        (PROJECT | {"collectionName": "books", "objectUrl": URL}, None),
        (TARGET | BOOKS | {"volumeName": "v", "dataPaths": [["1/"], ["2/"]]}, ["1/", "2/"]),
        (CREATE | {"options": {"sep": ","}, "partitionName": "p", "unknown": 1}, None),
    ],
)
async def test_create_adds_a_job(
    fake: FakeMilvus, body: dict[str, Any], names: list[str] | None
) -> None:
    job_id = (await call(fake, "create", body)).data["jobId"]
    assert re.fullmatch(r"job-[0-9a-zA-Z]{21}", job_id)
    job = fake.jobs[job_id]
    assert job.collection_name == "books"
    assert names is None or [file.name for file in job.files] == names


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"collectionName": "books", "objectUrls": [[URL]]}, 90104),
        (CREATE | PROJECT, 1100),
        ({"collectionName": "books", "projectId": "proj-1", "objectUrls": [[URL]]}, 1100),
        (CREATE | {"clusterId": "in01-unknown"}, 80020),
        (TARGET | {"collectionName": "books"}, 1100),
        (TARGET | {"collectionName": "books", "files": [["a.json"]]}, 1100),
        (CREATE | {"volumeName": "v", "dataPaths": [["1/"]]}, 1100),
        (TARGET | {"collectionName": "books", "dataPaths": [["1/"]]}, 1100),
        (TARGET | {"collectionName": "books", "volumeName": "v"}, 1100),
        (CREATE | {"accessKey": "a"}, 1100),
        (CREATE | {"objectUrls": [URL]}, 1801),
        (TARGET | {"objectUrls": [[URL]]}, 1802),
        (CREATE | {"collectionName": "films"}, 100),
    ],
)
async def test_create_with_a_wrong_body(fake: FakeMilvus, body: dict[str, Any], code: int) -> None:
    fake.cloud.clusters, fake.collections = {"in01-1", "proj-1"}, {"books"}
    response = await call(fake, "create", body)
    assert (response.status, response.error[0]) == (200, code)
    assert not fake.jobs


async def test_secrets_are_kept_in_the_received_body_only(fake: FakeMilvus) -> None:
    body = CREATE | {"accessKey": "AKEY", "secretKey": "SKEY", "token": "TOKEN"}
    job_id = (await call(fake, "create", body)).data["jobId"]
    (received,) = fake.received
    assert (received.service, received.method, received.request) == ("cloud", "create", body)
    described = (await data_of(fake, "describe", jobId=job_id), repr(fake.jobs), repr(received))
    for secret in ("AKEY", "SKEY", "TOKEN", "X-Amz-Signature", "key"):
        assert secret not in str(described)


async def test_job_limit_missing_file_and_failure_are_those_of_the_other_services(
    fake: FakeMilvus,
) -> None:
    fake.import_seconds, fake.missing_files = 0, {"https://bucket.example/a.parquet"}
    job_id = (await call(fake, "create", CREATE)).data["jobId"]
    data = await data_of(fake, "describe", jobId=job_id)
    assert (data["state"], data["reason"][:26]) == ("Failed", "error: key not found[key=h")
    fake.max_jobs = 0
    assert "reached the limit" in (await call(fake, "create", CREATE)).error[1]


# ------------------------------------------------------------------------------- progress


@pytest.mark.parametrize("method", ["describe", "get_progress"])
async def test_progress_of_a_job(fake: FakeMilvus, method: str) -> None:
    files = [FakeFile("1.parquet", size=30, rows=6), FakeFile("2.parquet", size=12, rows=6)]
    job = fake.add_job(state="Importing", progress=40, files=files)
    assert await data_of(fake, method, jobId=job.job_id) == {
        "jobId": job.job_id,
        "collectionName": "books",
        "fileName": "1.parquet,2.parquet",
        "fileSize": 42,
        "state": "InProgress",
        "progress": 40,
        "completeTime": None,
        "details": [
            {"fileName": f"[{name}]", "fileSize": size, "progress": 50}
            | {"state": "InProgress", "completeTime": None}
            for name, size in (("1.parquet", 30), ("2.parquet", 12))
        ],
    }


async def test_switches(fake: FakeMilvus) -> None:
    fake.cloud = ZillizBehavior(numbers_as_text=True, imported_rows=True)
    job = fake.add_job(state="Completed", progress=100)
    data = await data_of(fake, "describe", jobId=job.job_id)
    assert (data["progress"], data["importedRows"], data["totalRows"]) == ("100", "1000", "1000")
    assert data["details"][0]["importedRows"] == "1000"
    assert data["completeTime"] == "2026-01-02T03:14:05Z"
    assert (await data_of(fake, "list"))["count"] == 1


async def test_job_is_driven_as_on_the_other_services(fake: FakeMilvus) -> None:
    fake.clock, fake.import_seconds = (clock := ManualClock()), 100
    job_id = (await call(fake, "create", CREATE)).data["jobId"]
    states = list[str]()
    for _ in range(3):
        states.append((await data_of(fake, "describe", jobId=job_id))["state"])
        clock.advance(50)
    fake.jobs[job_id].state, fake.jobs[job_id].reason = "Failed", "disk full"
    data = await data_of(fake, "describe", jobId=job_id)
    assert states == ["Pending", "InProgress", "Completed"]
    assert (data["state"], data["reason"]) == ("Failed", "disk full")
    del fake.jobs[job_id]
    response = await call(fake, "describe", TARGET | {"jobId": job_id})
    assert f"import job does not exist, jobID={job_id}" in response.error[1]


async def test_jobs_of_the_cloud_are_not_those_of_a_milvus(fake: FakeMilvus) -> None:
    await call(fake, "create", CREATE)
    milvus_job = fake.add_job()
    listed = (await post(fake.rest_uri, "list")).data["records"]
    assert [row["jobId"] for row in listed] == [milvus_job.job_id]
    (job_id,) = fake.jobs.keys() - {milvus_job.job_id}
    response = await post(fake.rest_uri, "describe", {"jobId": job_id})
    assert response.error[0] == 1100


# ---------------------------------------------------------------------------------- pages


async def test_list_has_pages(fake: FakeMilvus) -> None:
    ids = [fake.add_job(state="Importing").job_id for _ in range(25)]
    seen = list[str]()
    for page, size in ((1, 10), (2, 10), (3, 5), (4, 0)):
        data = await data_of(fake, "list", currentPage=page)
        assert (data["count"], data["currentPage"], data["pageSize"]) == (25, page, 10)
        assert len(data["records"]) == size
        seen += [row["jobId"] for row in data["records"]]
    assert seen == ids
    data = await data_of(fake, "list", pageSize=100)
    assert len(data["records"]) == 25
    assert data["records"][0] == BOOKS | {"jobId": ids[0], "state": "InProgress"}


async def test_list_of_a_collection(fake: FakeMilvus) -> None:
    fake.add_job(job_id="1")
    fake.add_job(job_id="2", collection_name="films")
    fake.add_job(job_id="3", db_name="shop")
    for body, ids in (
        ({}, ["1", "2", "3"]),
        (BOOKS, ["1"]),
        (BOOKS | {"dbName": "shop"}, ["3"]),
    ):
        records = (await data_of(fake, "list", **body))["records"]
        assert [row["jobId"] for row in records] == ids
    for wrong in ({"pageSize": 0}, {"currentPage": 0}):
        assert (await call(fake, "list", TARGET | wrong)).error[0] == 1100
    assert (await call(fake, "list", TARGET | {"pageSize": "10"})).error[0] == 1801


# ------------------------------------------------------------------- keys, limits, routes


@pytest.mark.parametrize(
    ("token", "authorization", "accepted"),
    [
        (None, "Bearer any", True),
        (None, "", False),
        ("key-1", "Bearer key-1", True),
        ("key-1", "Bearer key-2", False),
        ("key-1", "", False),
    ],
)
async def test_key(fake: FakeMilvus, token: str | None, authorization: str, accepted: bool) -> None:
    fake.token = token
    response = await call(fake, "list", TARGET, Authorization=authorization)
    assert response.status == 200
    assert ("data" in response.envelope) is accepted
    assert accepted or response.error == ILLEGAL


async def test_rate_limit_is_per_endpoint_and_key(fake: FakeMilvus) -> None:
    fake.cloud.requests_per_second = 3
    job_id = fake.add_job().job_id
    responses = [await call(fake, "list", TARGET) for _ in range(12)]
    limited = [response for response in responses if response.status == 429]
    assert len(limited) >= 6  # 12 requests take less than 3 seconds
    assert {response.headers["Retry-After"] for response in limited} == {"1"}
    assert (await data_of(fake, "describe", jobId=job_id))["state"] == "Pending"
    assert (await call(fake, "list", TARGET, Authorization="Bearer 2")).status == 200
    fake.cloud.requests_per_second = None
    assert (await call(fake, "list", TARGET)).status == 200


@pytest.mark.parametrize("method", ["commit", "abort", "getProgress"])
async def test_other_methods_do_not_exist(fake: FakeMilvus, method: str) -> None:
    fake.version = "3.0"
    response = await call(fake, method, TARGET | {"jobId": "7"})
    assert response.status == 404
    assert [received.service for received in fake.unimplemented] == ["cloud"]


async def test_faults_apply_to_the_cloud_too(fake: FakeMilvus) -> None:
    fake.inject("http-503-html", method="list")
    assert (await call(fake, "list", TARGET)).status == 503
    fake.inject("job-limit")
    assert (await call(fake, "create", CREATE)).error[0] == 2101
    assert not fake.jobs
