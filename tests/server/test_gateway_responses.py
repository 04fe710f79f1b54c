"""What Envoy and Caddy respond without Milvus, replayed as recorded with Envoy 1.40 and Caddy 2.11.

nginx and HAProxy run in tests/gateways.
"""

from __future__ import annotations

import asyncio

import grpc
import pytest
from h2_server import H2Server, Response, grpc_status, http, reply

from milvus_import import (
    AccessDeniedError,
    CallError,
    CallRecord,
    DeadlineExceededError,
    ImportClient,
    MilvusImportError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import._hints import Hint
from milvus_import_pb import internal_pb2, milvus_pb2

pytestmark = pytest.mark.anyio

Code = grpc.StatusCode
JOB = "450000000000000001"

NO_CONNECTION = (
    "upstream connect error or disconnect/reset before headers. "
    "reset reason: remote connection failure, transport failure reason: "
    "delayed connect error: Connection refused"
)
RESET = "upstream connect error or disconnect/reset before headers. reset reason: overflow"
PAGE = http(200, b"<html>A page.</html>", ("content-type", "text/html"))
COMPLETED = reply(internal_pb2.GetImportProgressResponse(state=5, progress=100))

Row = tuple[Response, type[CallError], grpc.StatusCode, Hint, bool]
ROWS: dict[str, Row] = {
    "envoy: backend refuses connections": (
        grpc_status(14, NO_CONNECTION),
        *(UnavailableError, Code.UNAVAILABLE, Hint.GATEWAY_BACKEND, True),
    ),
    "envoy: too many requests to the backend": (
        grpc_status(14, RESET),
        *(UnavailableError, Code.UNAVAILABLE, Hint.GATEWAY_BACKEND, True),
    ),
    "envoy: no backend": (
        grpc_status(14, "no healthy upstream"),
        *(UnavailableError, Code.UNAVAILABLE, Hint.GATEWAY_BACKEND, True),
    ),
    "envoy: route timeout": (
        grpc_status(4, "upstream request timeout"),
        *(DeadlineExceededError, Code.DEADLINE_EXCEEDED, Hint.GATEWAY_TIMEOUT, True),
    ),
    "envoy: route timeout as 504": (
        grpc_status(14, "upstream request timeout"),
        *(UnavailableError, Code.UNAVAILABLE, Hint.GATEWAY_TIMEOUT, True),
    ),
    "envoy: stream timeout": (
        grpc_status(14, "stream timeout"),
        *(UnavailableError, Code.UNAVAILABLE, Hint.GATEWAY_TIMEOUT, True),
    ),
    "envoy: access denied with a text of its own": (
        grpc_status(7, "Only clients of the office may call this."),
        *(AccessDeniedError, Code.PERMISSION_DENIED, Hint.GATEWAY_RBAC, False),
    ),
    "envoy: basic_auth": (
        grpc_status(16, "User authentication failed. Missing username and password."),
        *(UnauthenticatedError, Code.UNAUTHENTICATED, Hint.GATEWAY_ACCESS, False),
    ),
    "a status of success without gRPC": (
        http(204),
        *(CallError, Code.UNKNOWN, Hint.NO_GRPC_STATUS, True),
    ),
    "envoy: RBAC": (
        grpc_status(7, "RBAC: access denied"),
        *(AccessDeniedError, Code.PERMISSION_DENIED, Hint.GATEWAY_RBAC, False),
    ),
    "envoy: rate limit": (
        grpc_status(14, "local_rate_limited"),
        *(UnavailableError, Code.UNAVAILABLE, Hint.GATEWAY_RATE_LIMIT, True),
    ),
    "envoy: rate limit as RESOURCE_EXHAUSTED": (
        grpc_status(8, "local_rate_limited"),
        *(CallError, Code.RESOURCE_EXHAUSTED, Hint.GATEWAY_RATE_LIMIT, True),
    ),
    "envoy: unrouted path": (
        grpc_status(12),
        *(UnsupportedServerError, Code.UNIMPLEMENTED, Hint.GATEWAY_ROUTE, False),
    ),
    "envoy: redirect": (
        grpc_status(2),
        *(CallError, Code.UNKNOWN, Hint.GATEWAY_NO_TEXT, False),
    ),
    "caddy: unrouted path": (
        http(200),
        *(CallError, Code.UNKNOWN, Hint.NO_GRPC_STATUS, True),
    ),
    "a web page": (
        PAGE,
        *(CallError, Code.UNKNOWN, Hint.NO_GRPC_STATUS, True),
    ),
    "caddy: backend refuses connections": (
        http(502),
        *(UnavailableError, Code.UNAVAILABLE, Hint.GATEWAY_BACKEND, True),
    ),
}
TRANSIENT = [name for name, row in ROWS.items() if row[4] and row[3] is not Hint.NO_GRPC_STATUS]


@pytest.mark.parametrize("name", ROWS)
async def test_response_of_a_gateway(name: str) -> None:
    response, kind, code, hint, transient = ROWS[name]
    records: list[CallRecord] = []
    async with (
        H2Server(lambda _: response) as server,
        ImportClient(server.uri, service="internal", on_finish=records.append) as client,
    ):
        with pytest.raises(CallError) as caught:
            await client.get_import_progress(JOB)
        assert len(server.paths) == len(records) == 1  # not retried
    error = caught.value
    assert (type(error), error.code) == (kind, code)
    assert (error.hint, error.transient) == (hint.python, transient)


@pytest.mark.parametrize("name", TRANSIENT)
@pytest.mark.parametrize("responded", [True, False], ids=["later", "from the start"])
async def test_watch_survives_an_outage_that_a_gateway_reports(name: str, responded: bool) -> None:
    importing = reply(internal_pb2.GetImportProgressResponse(state=3, progress=10))
    script = [*([importing] if responded else []), *[ROWS[name][0]] * 3]
    faults: list[MilvusImportError] = []
    async with (
        H2Server(lambda _: script.pop(0) if script else COMPLETED) as server,
        ImportClient(server.uri, service="internal") as client,
    ):
        final = await asyncio.wait_for(
            client.wait(JOB, interval=0.01, on_retry=lambda error, _: faults.append(error)), 30
        )
    assert final.state == "Completed"
    assert len(faults) == 3


@pytest.mark.parametrize("response", [http(200), http(204), PAGE, grpc_status(12)])
async def test_auto_reads_from_the_public_service_if_the_internal_one_is_not_routed(
    response: Response,
) -> None:
    public = reply(milvus_pb2.GetImportStateResponse(state=2))
    async with (
        H2Server(lambda request: response if ".Proxy/" in request.path else public) as server,
        ImportClient(server.uri) as client,
    ):
        assert (await client.get_import_progress(JOB)).service == "public"


@pytest.mark.parametrize("name", [name for name in ROWS if name != "envoy: unrouted path"])
async def test_a_write_is_sent_once(name: str) -> None:
    async with H2Server(lambda _: ROWS[name][0]) as server, ImportClient(server.uri) as client:
        with pytest.raises(CallError):
            await client.create_import("books", ["a.parquet"])
        assert len(server.paths) == 1
