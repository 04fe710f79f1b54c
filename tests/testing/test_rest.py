"""The REST API of a simulated Milvus: requests, versions and switches.

Responses, errors and privileges: server/test_fake_recorded.py compares them with real servers.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from http_calls import PREFIX, post, send

from milvus_import.testing import FakeMilvus, ManualClock, RestBehavior

pytestmark = pytest.mark.anyio

NOT_FOUND = (404, b"404 page not found", "text/plain")


async def route(fake: FakeMilvus, name: str, **options: Any) -> tuple[int, bytes, str]:
    response = await send(fake.rest_uri, PREFIX + name, b"{}", **options)
    return response.status, response.body, response.headers["Content-Type"]


# ----------------------------------------------------------------------------- envelopes


async def test_list_filters_and_shuffles(fake: FakeMilvus) -> None:
    for number in range(20):
        fake.add_job(job_id=str(number), db_name="shop" if number < 3 else "")
    fake.add_job(job_id="20", collection_name="films", state="Failed", reason="bad")

    async def ids(body: dict[str, str], **headers: str) -> list[int]:
        records = (await post(fake.rest_uri, "list", body, **headers)).data["records"]
        return [int(record["jobId"]) for record in records]

    everything = await ids({})
    assert sorted(everything) == list(range(21))
    assert everything != sorted(everything)
    assert sorted(await ids({"collectionName": "books"})) == list(range(3, 20))
    assert sorted(await ids({"collectionName": "books", "dbName": "shop"})) == [0, 1, 2]
    assert sorted(await ids({"collectionName": "books"}, DB_Name="shop")) == [0, 1, 2]
    paged = await post(fake.rest_uri, "list", {"collectionName": "films", "pageSize": 0})
    names = {"jobId": "20", "collectionName": "films"}
    assert paged.data["records"] == [names | {"state": "Failed", "progress": 0, "reason": "bad"}]
    assert (await post(fake.rest_uri, "list", {"collectionName": "none"})).data == {"records": []}


async def test_create_adds_one_job_with_all_groups(fake: FakeMilvus) -> None:
    body = {
        "collectionName": "books",
        "partitionName": "p",
        "files": [["a.parquet"], ["id.npy", "v.npy"]],
        "options": {"timeout": "300s"},
        "clusterId": "ignored",
        "objectUrls": None,
    }
    response = await post(fake.rest_uri, "create", body, DB_Name="shop")
    (job,) = fake.jobs.values()
    assert response.envelope == {"code": 0, "data": {"jobId": job.job_id}}
    assert [file.name for file in job.files] == ["a.parquet", "id.npy v.npy"]
    assert job.db_name == "shop"


# ---------------------------------------------------------------------------- credentials


async def test_missing_credentials_come_before_unknown_paths(fake: FakeMilvus) -> None:
    fake.token = "root:Milvus"
    assert (await send(fake.rest_uri, "/nothing")).status == 401
    headers = {"Authorization": "Bearer root:Milvus"}
    assert (await send(fake.rest_uri, "/nothing", headers=headers)).status == 404


# ------------------------------------------------------------------- versions and switches


@pytest.mark.parametrize(
    ("version", "routes"),
    [
        ("2.3", ""),
        ("2.4", "create get_progress list"),
        ("2.5", "create describe get_progress list"),
        ("2.6", "create describe get_progress list"),
        ("3.0", "create describe get_progress list commit abort"),
    ],
)
async def test_routes_of_a_version(fake: FakeMilvus, version: Any, routes: str) -> None:
    fake.version = version
    found: list[str] = []
    for method in ("create", "describe", "get_progress", "list", "commit", "abort"):
        response = await route(fake, method)
        if response != NOT_FOUND:
            assert response[0] == 200
            found.append(method)
    assert found == routes.split()
    assert len(fake.received) == len(found)
    assert len(fake.unimplemented) == 6 - len(found)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_methods_other_than_post_are_not_found(fake: FakeMilvus, method: str) -> None:
    assert await route(fake, "list", method=method) == NOT_FOUND


async def test_query_string_is_ignored_and_the_prefix_is_required(fake: FakeMilvus) -> None:
    assert (await route(fake, "list?a=1"))[0] == 200
    assert (await send(fake.rest_uri, "list", b"{}")).status in {400, 404}
    assert (await send(fake.rest_uri, "/list", b"{}")).status == 404


async def test_switches(fake: FakeMilvus) -> None:
    job = fake.add_job(state="Importing", progress=40)
    fake.rest = RestBehavior(
        success_code=200,
        numbers_as_text=True,
        create_time=True,
        describe=False,
        two_phase=True,
        trace_id=False,
    )
    assert await route(fake, "describe") == NOT_FOUND
    response = await post(fake.rest_uri, "get_progress", {"jobId": job.job_id})
    assert response.envelope["code"] == 200
    assert "X-Milvus-Trace-Id" not in response.headers
    data = response.data
    assert (data["progress"], data["createTime"]) == ("40", "2026-01-02T03:04:05Z")
    assert {type(data[name]) for name in ("importedRows", "totalRows", "fileSize")} == {str}
    assert data["details"][0]["fileSize"] == "1000000"
    assert (await post(fake.rest_uri, "list")).data["records"][0]["progress"] == "40"
    assert (await post(fake.rest_uri, "commit", {"jobId": "7"})).error[0] == 2101


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        *[("no-collection", 400), ("job-limit", 500), ("rate-limit", 500), ("not-ready", 500)],
        *[("denied", 403), ("deadline", 408)],
    ],
)
async def test_standard_status_keeps_the_envelope(
    fake: FakeMilvus, fault: str, status: int
) -> None:
    fake.rest.standard_status = True
    fake.inject(fault, times=2)
    response = await post(fake.rest_uri, "list")
    assert response.status == status
    fake.rest.standard_status = False
    assert (await post(fake.rest_uri, "list")).error == response.error


async def test_trace_id_of_3_0_follows_traceparent(fake: FakeMilvus) -> None:
    assert "X-Milvus-Trace-Id" not in (await post(fake.rest_uri, "list")).headers
    fake.version = "3.0"
    trace_id = "0123456789abcdef" * 2
    response = await post(fake.rest_uri, "list", traceparent=f"00-{trace_id}-{'1' * 16}-01")
    assert response.headers["X-Milvus-Trace-Id"] == trace_id
    response = await post(fake.rest_uri, "list", traceparent="nonsense")
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Milvus-Trace-Id"])


# ------------------------------------------------------------------------- commit and abort


async def two_phase_state(fake: FakeMilvus, job_id: str) -> tuple[str, str]:
    data = (await post(fake.rest_uri, "describe", {"jobId": job_id})).data
    return data["state"], data.get("reason", "")


async def test_create_commit_and_complete(fake: FakeMilvus) -> None:
    fake.version, fake.clock, fake.commit_seconds = "3.0", (clock := ManualClock()), 5
    options = {"auto_commit": "false"}
    body = {"collectionName": "books", "files": [["a.parquet"]], "options": options}
    job = {"jobId": (await post(fake.rest_uri, "create", body)).data["jobId"]}
    early = await post(fake.rest_uri, "commit", job)
    text = "is in state Pending, expected Uncommitted: importing data failed"
    assert early.error == (2100, f"job {job['jobId']} {text}")
    clock.advance(1)
    assert await two_phase_state(fake, job["jobId"]) == ("Uncommitted", "")
    for seconds, state in ((0, "Committing"), (5, "Completed"), (0, "Completed")):
        clock.advance(seconds)
        assert (await post(fake.rest_uri, "commit", job)).envelope == {"code": 0, "data": {}}
        assert await two_phase_state(fake, job["jobId"]) == (state, "")
    response = await post(fake.rest_uri, "abort", job)
    assert response.error[0] == 2100
    assert "terminal/committed state Completed, abort not allowed" in response.error[1]


# -------------------------------------------------------------------------------- received


async def test_received_has_body_headers_and_timeout(fake: FakeMilvus) -> None:
    await post(fake.rest_uri, "describe", {"jobId": "7"}, Request_Timeout="12", DB_Name="shop")
    await send(fake.rest_uri, PREFIX + "list", b"no json")
    first, second = fake.received
    assert (first.service, first.method, first.job_id) == ("rest", "describe", "7")
    assert (first.request, first.time_remaining) == ({"jobId": "7"}, 12.0)
    assert (first.values("db-name"), first.values("DB-Name")) == (["shop"], ["shop"])
    assert (second.method, second.request, second.time_remaining) == ("list", b"no json", None)


@pytest.mark.parametrize("version", ["2.6", "3.0"])
async def test_request_timeout_that_is_no_integer(fake: FakeMilvus, version: Any) -> None:
    fake.version = version
    response = await post(fake.rest_uri, "list", Request_Timeout="0.5")
    if version != "3.0":
        assert response.data == {"records": []}
        return
    text = 'err: strconv.ParseInt: parsing "0.5": invalid syntax: invalid parameter'
    assert response.error == (1100, f"Request-Timeout parse failed, {text}")


@pytest.mark.parametrize("seconds", ["0", "-1", "9223372037"])
async def test_request_timeout_out_of_range_ends_at_once(fake: FakeMilvus, seconds: str) -> None:
    response = await post(fake.rest_uri, "list", Request_Timeout=seconds)
    assert (response.status, response.error) == (408, (10001, "request timeout"))
    response = await post(fake.rest_uri, "list", Request_Timeout="9223372036")
    assert response.data == {"records": []}


async def test_hang_ends_at_request_timeout_with_408(fake: FakeMilvus) -> None:
    job = fake.add_job(hangs=True)
    response = await post(fake.rest_uri, "describe", {"jobId": job.job_id}, Request_Timeout="1")
    assert (response.status, response.error) == (408, (10001, "request timeout"))
    fake.rest.request_timeout = 0.05
    assert (await post(fake.rest_uri, "describe", {"jobId": job.job_id})).status == 408
    assert not fake.received[-1].reset
