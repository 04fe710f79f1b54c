"""Replies over REST that are no valid reply of Milvus: an error, never a wrong state."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
import web
from expectations import CLASSES
from web import JOB, connected, error_of, success

from milvus_import import (
    AccessDeniedError,
    CallError,
    DeadlineExceededError,
    ImportClient,
    MilvusStatusError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

STATUS = grpc.StatusCode
OK: dict[str, Any] = {
    "jobId": JOB,
    "collectionName": "books",
    "state": "Importing",
    "progress": 40,
    "importedRows": 10,
    "totalRows": 30,
    "fileSize": 7,
    "completeTime": "",
    "details": [{"fileName": "[a.parquet]", "fileSize": 7, "progress": 40, "state": "InProgress"}],
}
HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def described(**changes: Any) -> bytes:
    return success(OK | changes)


async def describe(*replies: bytes, **options: Any) -> Any:
    async with connected(*replies, **options) as (client, _):
        return (await client.get_import_progress(JOB)).data


UNUSUAL: dict[str, tuple[bytes, dict[str, Any]]] = {
    "numbers as text": (
        success({"state": "Importing", "progress": "40", "totalRows": "-1"}),
        dict.fromkeys(("reason", "create_time", "collection_name"), "")
        | {"progress": 40, "total_rows": -1, "file_size": 0},
    ),
    "unknown state": (described(state="11"), {"state": "11", "done": False}),
    "largest number": (described(totalRows=2**63 - 1), {"total_rows": 2**63 - 1}),
    "half a surrogate pair": (
        web.reply(b'{"code":0,"data":{"state":"Failed","reason":"x\\ud83d"}}'),
        {"reason": "x\N{REPLACEMENT CHARACTER}"},
    ),
}


@pytest.mark.parametrize(("reply", "fields"), UNUSUAL.values(), ids=UNUSUAL)
async def test_unusual_values_are_accepted(reply: bytes, fields: dict[str, Any]) -> None:
    data = await describe(reply)
    assert len(data.details) == reply.count(b"fileName")
    assert {name: getattr(data, name) for name in fields} == fields


WRONG: dict[str, tuple[Any, ...]] = {
    "state": (None, "", 5, ["Completed"]),
    "progress": ("forty", 40.5, True, {}),
    "totalRows": (2**63,),
    "importedRows": ("1e3",),
    "collectionName": (7,),
    "reason": (["x"],),
    "details": ({}, ["a.parquet"], [{"fileName": ["a"]}]),
    "jobId": ("450000000000000002", []),
}


@pytest.mark.parametrize(
    "changes", [{name: value} for name, values in WRONG.items() for value in values], ids=str
)
async def test_wrong_types_are_an_error(changes: dict[str, Any]) -> None:
    error = await error_of(describe(described(**changes)))
    assert type(error) is CallError
    assert (error.code, error.http_status, error.transient) == (STATUS.INTERNAL, 200, False)
    assert error.job_id == JOB


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"{}", b"OK", HTML, b"\xff\xfe\xfa", b'{"code":0', b"[" * 100_000),
        *(b'{"code":0}', b'{"code":0,"data":[]}', b'{"code":0,"data":"Completed"}'),
        b'{"code":true,"data":{}}',
        b'{"code":"0","data":{"state":"Completed"}}',
        b'{"status":"Completed","progress":100}',
        b'{"code":' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_body_that_is_no_envelope_is_an_error(body: bytes) -> None:
    error = await error_of(describe(web.reply(body)))
    assert type(error) is CallError
    assert error.http_status == 200
    assert "route /v2/vectordb to Milvus" in error.hint or "the reply" in error.message


@pytest.mark.parametrize(
    ("status", "code", "transient", "hint"),
    [
        (400, STATUS.INTERNAL, False, "a gateway or web server responded"),
        (401, STATUS.UNAUTHENTICATED, False, "Check which clients"),
        (403, STATUS.PERMISSION_DENIED, False, "Check which clients"),
        (404, STATUS.UNIMPLEMENTED, False, "route /v2/vectordb"),
        (405, STATUS.UNKNOWN, False, "route /v2/vectordb"),
        (408, STATUS.DEADLINE_EXCEEDED, True, ""),
        (413, STATUS.UNKNOWN, False, "Pass fewer files"),
        (429, STATUS.UNAVAILABLE, True, "Poll less often"),
        (500, STATUS.UNKNOWN, True, "log of the gateway"),
        (501, STATUS.UNKNOWN, False, ""),
        (502, STATUS.UNAVAILABLE, True, "the gateway cannot reach"),
        (503, STATUS.UNAVAILABLE, True, "the gateway cannot reach"),
        (504, STATUS.UNAVAILABLE, True, "read timeout of the gateway"),
    ],
)
async def test_http_status_of_a_gateway(
    status: int, code: grpc.StatusCode, transient: bool, hint: str
) -> None:
    page = web.reply(HTML, status, "content-type: text/html")
    async with connected(page) as (client, server):
        error = await error_of(client.create_import("books", ["a.json"]))
        assert len(server.requests) == 1
        assert hint in (await error_of(client.get_import_progress("7"), CallError)).hint
    assert type(error) is CLASSES.get(code, CallError)
    assert (error.code, error.http_status, error.transient) == (code, status, transient)
    assert error.may_have_run is (status >= 500 or status == 408)
    assert error.may_have_run or hint in error.hint
    assert "gRPC" not in str(error)
    assert "Bad Gateway" in str(error)
    assert "<html>" not in str(error)
    assert error.record is not None
    assert error.record.code is code


async def test_redirect_is_not_followed() -> None:
    async with web.serving(described()) as target:
        error = await error_of(describe(web.reply(b"", 307, f"location: {target.uri}/")))
        assert not target.requests
    assert (error.http_status, error.may_have_run) == (307, False)
    assert "redirects" in error.hint


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
async def test_compressed_response_is_an_error(encoding: str) -> None:
    error = await error_of(describe(web.reply(b"\x1f\x8b", 200, f"content-encoding: {encoding}")))
    assert type(error) is CallError
    assert "compressed" in error.message
    assert "Turn off" in error.hint


LIMITED = "request is rejected by limiter"


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "transient"),
    [
        (200, 1800, "user hasn't authenticated", UnauthenticatedError, False),
        (401, 65535, "no", UnauthenticatedError, False),
        (200, 1400, "x", AccessDeniedError, False),
        (200, 1401, "x", AccessDeniedError, False),
        (403, 65535, "x", AccessDeniedError, False),
        (200, 65535, "PrivilegeImport: permission deny", AccessDeniedError, False),
        (403, 2, "service unavailable: Proxy is not ready yet", MilvusStatusError, True),
        (403, 65535, "Milvus Proxy is not ready yet", MilvusStatusError, True),
        (408, 408, None, DeadlineExceededError, True),
        (408, 10001, "request timeout", DeadlineExceededError, True),
        (200, 10001, "request timeout", DeadlineExceededError, True),
        (200, 1807, LIMITED, MilvusStatusError, True),
        (429, 1807, LIMITED, MilvusStatusError, True),
        (200, 65535, "x", MilvusStatusError, False),
        (500, 65535, "x", CallError, True),
        (500, 500, None, CallError, True),
        (404, 404, "no Route", UnsupportedServerError, False),
        (502, 0, None, UnavailableError, True),
        (200, 31337, "new", MilvusStatusError, False),
        (200, -1, ["not", "text"], MilvusStatusError, False),
        (400, 100, "collection not found", MilvusStatusError, False),
    ],
)
async def test_code_decides_before_the_http_status(
    status: int, code: int, message: Any, kind: type[Any], *, transient: bool
) -> None:
    envelope = {"code": code, **({"data": OK} if message is None else {"message": message})}
    error = await error_of(describe(web.reply(envelope, status), token="root:Milvus"))
    assert type(error) is kind
    assert (error.http_status, error.transient) == (status, transient)
    if isinstance(error, MilvusStatusError):
        assert error.code == code
    if isinstance(error, CallError):
        assert "not sent" not in error.message


async def test_gateway_error_codes_of_a_commit_are_never_a_success() -> None:
    async with connected(web.reply({"code": 200, "data": {}}, 502)) as (client, _):
        assert (await error_of(client.commit_import(JOB), UnavailableError)).may_have_run


@pytest.mark.parametrize("job_id", ["", "job-1", None, [1]])
async def test_created_job_without_a_valid_id_may_exist(job_id: object) -> None:
    for data in ({"jobId": job_id}, {}):
        async with connected(success(data)) as (client, server):
            error = await error_of(client.create_import("books", ["a.json"]), CallError)
            assert len(server.requests) == 1
        assert error.may_have_run


@pytest.mark.parametrize("job_id", [JOB, int(JOB)], ids=["text", "number"])
async def test_created_job_id_may_be_a_number(job_id: object) -> None:
    async with connected(success({"jobId": job_id})) as (client, _):
        assert await client.create_import("books", ["a.json"]) == JOB


LISTS: list[dict[str, Any]] = [
    {},
    {"records": {}},
    {"records": ["x"]},
    {"records": [{"jobId": JOB}]},
    {"records": [{"jobId": "x", "state": "Pending"}]},
    {"records": [{"state": "Pending"}]},
    {"records": [{"jobId": JOB, "state": "Pending", "progress": []}]},
]


@pytest.mark.parametrize("data", LISTS)
async def test_list_that_is_not_valid_is_an_error(data: dict[str, Any]) -> None:
    async with connected(success(data)) as (client, _):
        await error_of(client.list_imports(), CallError)


async def test_list_of_a_server_without_progress_and_reason() -> None:
    records = [{"jobId": JOB, "collectionName": "books", "state": "InProgress"}]
    async with connected(success({"records": records})) as (client, _):
        (job,) = await client.list_imports()
    assert (job.progress, job.reason, job.state) == (0, "", "Importing")


# Sizes.

CHUNK = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNK * 100
DETAILS = b'{"code":0,"data":{"state":"Importing","details":[%b]}}'


async def test_reply_larger_than_max_receive_bytes_is_not_read_to_its_end() -> None:
    async with (
        FakeMilvus(version="3.0") as server,
        ImportClient(server.rest_uri, service="rest", max_receive_bytes=100_000) as client,
    ):
        server.add_job(job_id=JOB)
        server.inject("http-huge")
        error = await error_of(client.get_import_progress(JOB), CallError)
        assert (error.code, error.transient) == (STATUS.RESOURCE_EXHAUSTED, False)
        assert "max_receive_bytes" in error.hint
        assert (await client.get_import_progress(JOB)).data.job_id == JOB


async def test_reply_without_a_length_is_counted_while_it_arrives() -> None:
    error = await error_of(describe(CHUNKED, max_receive_bytes=0x4000))
    assert error.code is STATUS.RESOURCE_EXHAUSTED


async def test_progress_is_limited_to_16_mib() -> None:
    body = b'{"code":0,"data":{"state":"Importing"}}' + b" " * (16 * 1024 * 1024)
    error = await error_of(describe(web.reply(body), max_receive_bytes=2**25))
    assert "larger than 16,777,216" in error.message


@pytest.mark.parametrize("entry", [b"{},", b"[],", b"0,", b'"",'])
async def test_entries_are_counted_before_the_parsing(entry: bytes) -> None:
    error = await error_of(describe(web.reply(DETAILS % (entry * 1_500_000)[:-1])))
    assert "more than 100,000 entries" in error.message


async def test_as_many_entries_as_allowed_are_read() -> None:
    entry = {"fileName": "[x]", "fileSize": 1, "progress": 1, "state": "Pending", "totalRows": 1}
    data = await describe(described(details=[entry] * 100_000))
    assert len(data.details) == 100_000
    assert data.file_size == 7


async def test_request_larger_than_max_send_bytes_is_not_sent() -> None:
    async with connected(described(), max_send_bytes=100) as (client, server):
        error = await error_of(client.create_import("books", ["x" * 100]), CallError)
        assert not server.requests
    assert not error.may_have_run
    assert "max_send_bytes" in error.hint
