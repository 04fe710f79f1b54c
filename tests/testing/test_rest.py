"""The REST API of a simulated Milvus: requests, envelopes, versions and switches."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from http_calls import PREFIX, post, send

from milvus_import.testing import FakeFile, FakeMilvus, ManualClock, RestBehavior

pytestmark = pytest.mark.anyio

NOT_FOUND = (404, b"404 page not found", "text/plain")
MISSING = (
    "missing required parameters, error: Key: '{0}.{1}' Error:Field validation for '{1}' failed on "
    "the 'required' tag"
)


async def route(fake: FakeMilvus, name: str, **options: Any) -> tuple[int, bytes, str]:
    response = await send(fake.rest_uri, PREFIX + name, b"{}", **options)
    return response.status, response.body, response.headers["Content-Type"]


# ----------------------------------------------------------------------------- envelopes


async def test_describe_has_every_field(fake: FakeMilvus) -> None:
    files = [FakeFile("a.parquet", size=30, rows=6), FakeFile("id.npy v.npy", reason="bad row")]
    job = fake.add_job(state="Importing", progress=40, files=files)
    response = await post(fake.rest_uri, "describe", {"jobId": job.job_id})
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.envelope == {
        "code": 0,
        "data": {
            "jobId": job.job_id,
            "collectionName": "books",
            "state": "Importing",
            "progress": 40,
            "importedRows": 503,
            "totalRows": 1006,
            "fileSize": 1_000_030,
            "completeTime": "",
            "createTime": "2026-01-02T03:04:05Z",
            "details": [
                {
                    "fileName": "[a.parquet]",
                    "fileSize": 30,
                    "progress": 50,
                    "completeTime": "",
                    "state": "InProgress",
                    "importedRows": 3,
                    "totalRows": 6,
                },
                {
                    "fileName": "[id.npy v.npy]",
                    "fileSize": 1_000_000,
                    "progress": 50,
                    "completeTime": "",
                    "state": "Failed",
                    "importedRows": 500,
                    "totalRows": 1000,
                    "reason": "bad row",
                },
            ],
        },
    }
    assert (await post(fake.rest_uri, "get_progress", {"jobId": job.job_id})).data == response.data


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("Failed", "disk full", {"state": "Failed", "reason": "disk full", "totalRows": 0}),
        ("Completed", "", {"state": "Completed", "completeTime": "2026-01-02T03:14:05Z"}),
        ("11", "", {"state": "11"}),
    ],
)
async def test_describe_of_a_state(
    fake: FakeMilvus, state: str, reason: str, expected: dict[str, Any]
) -> None:
    job = fake.add_job(state=state, progress=100, reason=reason)
    data = (await post(fake.rest_uri, "describe", {"jobId": job.job_id})).data
    assert data | expected == data
    assert isinstance(data["details"], list)
    assert ("reason" in data) is (state == "Failed")


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
    assert paged.data["records"] == [
        {
            "jobId": "20",
            "collectionName": "films",
            "state": "Failed",
            "progress": 0,
            "reason": "bad",
        }
    ]
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
    assert ([file.name for file in job.files], job.db_name) == (
        ["a.parquet", "id.npy v.npy"],
        "shop",
    )


@pytest.mark.parametrize(("honoured", "jobs"), [(False, 2), (True, 1)])
async def test_create_with_an_idempotency_key(fake: FakeMilvus, honoured: bool, jobs: int) -> None:
    fake.idempotency_keys = honoured
    body = {"collectionName": "books", "files": [["a.json"]]}
    ids = {
        (await post(fake.rest_uri, "create", body, Idempotency_Key="k")).data["jobId"]
        for _ in range(2)
    }
    assert len(ids) == len(fake.jobs) == jobs


# -------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("method", "body", "code", "text"),
    [
        ("describe", b"", 1801, "the request body should be nil, however {} is valid"),
        ("describe", b"{", 1801, "error: the body is not a valid JobIDReq"),
        ("describe", b"[" * 100_000, 1801, "error: the body is not a valid JobIDReq"),
        ("describe", b"[]", 1801, "error: the body is not a valid JobIDReq"),
        ("commit", b'{"jobId":7}', 1801, "error: the body is not a valid JobIDReq"),
        ("describe", b"{}", 1802, MISSING.format("JobIDReq", "JobID")),
        ("abort", b'{"jobId":""}', 1802, MISSING.format("JobIDReq", "JobID")),
        ("describe", b'{"jobId":"x"}', 1100, "parse job id failed: strconv.ParseInt"),
        ("describe", b'{"jobId":"7"}', 2101, "import job does not exist, jobID=7: importing data"),
        ("commit", b'{"jobId":"x"}', 1100, "invalid parameter[expected=int64 jobId][actual=x]"),
        ("abort", b'{"jobId":"7"}', 2101, "job 7 not found: importing data failed on server side"),
        ("create", b"{}", 1802, MISSING.format("ImportReq", "CollectionName")),
        ("create", b'{"collectionName":"b","files":null}', 1802, "'Files' failed on"),
        ("create", b'{"collectionName":"b","files":[]}', 1100, "import request is empty"),
        ("create", b'{"collectionName":"b","files":[null]}', 1100, "import request is empty"),
        ("create", b'{"collectionName":"b","files":["a"]}', 1801, "not a valid ImportReq"),
        ("create", b'{"collectionName":"b","files":[[1]]}', 1801, "not a valid ImportReq"),
        (
            "create",
            b'{"collectionName":"b","files":[["a"]],"options":{"timeout":300}}',
            1801,
            "not a valid ImportReq",
        ),
        (
            "create",
            b'{"collectionName":"b","files":[["a"]],"options":{"auto_commit":null}}',
            1801,
            'options.auto_commit must be one of "true" or "false"',
        ),
        ("create", b'{"collectionName":"no","files":[["a"]]}', 100, "collection not found"),
        ("list", b'{"collectionName":"no"}', 100, "collection not found"),
        ("list", b'{"collectionName":"b","dbName":"no"}', 800, "database not found"),
    ],
)
async def test_error_has_an_envelope_on_http_200(
    fake: FakeMilvus, method: str, body: bytes, code: int, text: str
) -> None:
    fake.version, fake.collections, fake.databases = "3.0", {"b"}, set()
    response = await send(fake.rest_uri, PREFIX + method, body)
    assert response.status == 200
    assert response.error[0] == code
    assert text in response.error[1]
    assert not fake.jobs


# ---------------------------------------------------------------------------- credentials


@pytest.mark.parametrize(
    ("token", "authorization", "accepted"),
    [
        ("root:Milvus", "Bearer root:Milvus", True),
        ("key-7", "Bearer key-7", True),
        ("root:Milvus", "Basic " + base64.b64encode(b"root:Milvus").decode(), True),
        ("root:Milvus", "Bearer root:Wrong", False),
        ("root:Milvus", "Basic " + base64.b64encode(b"root:Wrong").decode(), False),
        ("root:Milvus", "Basic ???", False),
        ("root:Milvus", "", False),
    ],
)
async def test_credentials(
    fake: FakeMilvus, token: str, authorization: str, accepted: bool
) -> None:
    fake.token = token
    response = await post(fake.rest_uri, "list", Authorization=authorization)
    if accepted:
        assert response.data == {"records": []}
    else:
        assert response.status == 401
        assert response.error == (1800, "user hasn't authenticated")
    challenge = response.headers["WWW-Authenticate"]
    assert (challenge is not None) is (authorization[:6] == "Basic " and "?" not in authorization)


async def test_missing_credentials_come_before_unknown_paths(fake: FakeMilvus) -> None:
    fake.token = "root:Milvus"
    assert (await send(fake.rest_uri, "/nothing")).status == 401
    authorized = await send(
        fake.rest_uri, "/nothing", headers={"Authorization": "Bearer root:Milvus"}
    )
    assert authorized.status == 404


@pytest.mark.parametrize(
    ("version", "token", "job_id", "answer"),
    [
        ("2.5", "root:Milvus", "1", "books"),
        ("2.5", "adm:a", "1", "books"),
        ("2.5", "imp:i", "1", "PrivilegeGetImportProgress: permission deny to imp in the"),
        ("2.5", "imp:i", "7", "PrivilegeGetImportProgress: permission deny to imp in the"),
        ("2.6", "imp:i", "1", "books"),
        ("2.6", "imp:i", "2", "films"),
        ("2.6", "imp:i", "3", "PrivilegeImport: permission deny to imp in the `default` database"),
        ("2.6", "imp:i", "7", "import job does not exist"),
        ("2.6", "bob:b", "1", "PrivilegeImport: permission deny to bob in the `default` database"),
    ],
)
async def test_users_read_what_the_version_lets_them(
    fake: FakeMilvus, version: Any, token: str, job_id: str, answer: str
) -> None:
    fake.version, fake.token = version, "root:Milvus"
    fake.users = {"imp:i": {"books", "shop.films"}, "bob:b": set(), "adm:a": None}
    fake.add_job(job_id="1")
    fake.add_job(job_id="2", collection_name="films", db_name="shop")
    fake.add_job(job_id="3", collection_name="films")
    headers = {"Authorization": f"Bearer {token}"}
    if job_id == "2":
        headers["DB_Name"] = "shop"
    response = await post(fake.rest_uri, "describe", {"jobId": job_id}, **headers)
    assert response.status == (403 if "permission deny" in answer else 200)
    envelope = response.envelope
    if "data" in envelope:
        assert envelope["data"]["collectionName"] == answer
    else:
        assert answer in envelope["message"]


@pytest.mark.parametrize(
    ("version", "token", "ids"),
    [
        ("2.5", "root:Milvus", ["1", "3"]),
        ("2.5", "imp:i", None),
        ("2.6", "root:Milvus", ["1", "3"]),
        ("2.6", "imp:i", ["1"]),
        ("3.0", "bob:b", []),
    ],
)
async def test_list_is_filtered_by_the_privileges_of_the_user(
    fake: FakeMilvus, version: Any, token: str, ids: list[str] | None
) -> None:
    fake.version, fake.token = version, "root:Milvus"
    fake.users = {"imp:i": {"books"}, "bob:b": set()}
    fake.add_job(job_id="1")
    fake.add_job(job_id="3", collection_name="films")
    response = await post(fake.rest_uri, "list", Authorization=f"Bearer {token}")
    if ids is None:
        assert response.status == 403
        assert "PrivilegeListImport: permission deny to imp" in response.error[1]
    else:
        assert sorted(row["jobId"] for row in response.data["records"]) == ids


async def test_create_commit_and_abort_need_the_privilege(fake: FakeMilvus) -> None:
    fake.version, fake.token, fake.users = "3.0", "root:Milvus", {"bob:b": set()}
    job = fake.add_job(state="Uncommitted", auto_commit=False)
    for method, body in (
        ("create", {"collectionName": "books", "files": [["a.txt"]]}),
        ("commit", {"jobId": job.job_id}),
        ("abort", {"jobId": job.job_id}),
    ):
        response = await post(fake.rest_uri, method, body, Authorization="Bearer bob:b")
        assert (response.status, response.error[0]) == (403, 65535)
    assert (job.state, len(fake.jobs)) == ("Uncommitted", 1)


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


async def test_create_time_is_sent_from_2_6_on(fake: FakeMilvus) -> None:
    job = fake.add_job()
    for version in ("2.5", "2.6", "3.0"):
        fake.version = version
        data = (await post(fake.rest_uri, "describe", {"jobId": job.job_id})).data
        assert ("createTime" in data) is (version != "2.5")


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("no-collection", 400),
        ("job-limit", 500),
        ("rate-limit", 500),
        ("not-ready", 500),
        ("denied", 403),
        ("deadline", 408),
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
    body = {
        "collectionName": "books",
        "files": [["a.parquet"]],
        "options": {"auto_commit": "false"},
    }
    job = {"jobId": (await post(fake.rest_uri, "create", body)).data["jobId"]}
    early = await post(fake.rest_uri, "commit", job)
    assert early.error == (
        2100,
        f"job {job['jobId']} is in state Pending, expected Uncommitted: importing data failed",
    )
    clock.advance(1)
    assert await two_phase_state(fake, job["jobId"]) == ("Uncommitted", "")
    for seconds, state in ((0, "Committing"), (5, "Completed"), (0, "Completed")):
        clock.advance(seconds)
        assert (await post(fake.rest_uri, "commit", job)).envelope == {"code": 0, "data": {}}
        assert await two_phase_state(fake, job["jobId"]) == (state, "")
    response = await post(fake.rest_uri, "abort", job)
    assert response.error[0] == 2100
    assert "terminal/committed state Completed, abort not allowed" in response.error[1]


@pytest.mark.parametrize("state", ["Pending", "Importing", "Uncommitted"])
async def test_abort_before_the_commit(fake: FakeMilvus, state: str) -> None:
    fake.version = "3.0"
    job = fake.add_job(state=state, auto_commit=False)
    for _ in range(2):
        response = await post(fake.rest_uri, "abort", {"jobId": job.job_id})
        assert response.envelope == {"code": 0, "data": {}}
        assert await two_phase_state(fake, job.job_id) == ("Failed", "aborted by user")
    assert (await post(fake.rest_uri, "commit", {"jobId": job.job_id})).error[0] == 2100


@pytest.mark.parametrize(
    ("fields", "method", "text"),
    [
        ({"state": "Uncommitted"}, "commit", "is auto-commit, manual commit/abort not allowed"),
        ({"state": "Importing"}, "abort", "is auto-commit, manual commit/abort not allowed"),
        ({"state": "Importing"}, "commit", "is in state Importing, expected Uncommitted"),
        ({"state": "Failed"}, "commit", "is in state Failed, expected Uncommitted"),
        ({"state": "Committing"}, "abort", "is in terminal/committed state Committing, abort not"),
        ({"state": "Completed"}, "abort", "is in terminal/committed state Completed, abort not"),
        ({"state": "Completed"}, "commit", ""),
        ({"state": "Failed", "auto_commit": False, "reason": "disk full"}, "abort", ""),
    ],
)
async def test_commit_and_abort_in_a_state(
    fake: FakeMilvus, fields: dict[str, Any], method: str, text: str
) -> None:
    fake.version = "3.0"
    job = fake.add_job(**fields)
    response = await post(fake.rest_uri, method, {"jobId": job.job_id})
    if text:
        assert response.error[0] == 2100
        assert response.error[1].startswith(f"job {job.job_id} {text}")
    else:
        assert response.envelope == {"code": 0, "data": {}}
    assert (await two_phase_state(fake, job.job_id)) == (fields["state"], fields.get("reason", ""))


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
    if version == "3.0":
        assert response.error == (
            1100,
            (
                'Request-Timeout parse failed, err: strconv.ParseInt: parsing "0.5": invalid '
                "syntax: invalid parameter"
            ),
        )
    else:
        assert response.data == {"records": []}


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
