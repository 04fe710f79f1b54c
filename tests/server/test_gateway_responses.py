"""What Envoy and Caddy respond without Milvus, replayed as recorded with Envoy 1.40 and Caddy 2.11.

nginx and HAProxy run in tests/gateways.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from expectations import CLASSES
from h2_server import H2Server, Response, grpc_status, http, reply
from web import JOB, error_of

from milvus_import import (
    CallError,
    CallRecord,
    ImportClient,
    MilvusImportError,
)
from milvus_import._errors import hint_of
from milvus_import._hints import Hint
from milvus_import_pb import internal_pb2, milvus_pb2

pytestmark = pytest.mark.anyio

Code = grpc.StatusCode

RESET = "upstream connect error or disconnect/reset before headers. reset reason: "
REFUSED = (
    "remote connection failure, transport failure reason: delayed connect error: Connection refused"
)
NO_USER = "User authentication failed. Missing username and password."
PAGE = http(200, b"<html>A page.</html>", ("content-type", "text/html"))
COMPLETED = reply(internal_pb2.GetImportProgressResponse(state=5, progress=100))

LASTING = {
    *(Hint.GATEWAY_RBAC, Hint.GATEWAY_ACCESS, Hint.GATEWAY_ROUTE),
    *(Hint.GATEWAY_NO_TEXT, Hint.GATEWAY_HTTPS),
}
"""The hints of responses that are not transient."""

ROWS: dict[str, tuple[Response, grpc.StatusCode, Hint]] = {
    "envoy: backend refuses connections": (
        grpc_status(14, RESET + REFUSED),
        *(Code.UNAVAILABLE, Hint.GATEWAY_BACKEND),
    ),
    "envoy: too many requests to the backend": (
        grpc_status(14, RESET + "overflow"),
        *(Code.UNAVAILABLE, Hint.GATEWAY_BACKEND),
    ),
    "envoy: no backend": (
        grpc_status(14, "no healthy upstream"),
        *(Code.UNAVAILABLE, Hint.GATEWAY_BACKEND),
    ),
    "envoy: route timeout": (
        grpc_status(4, "upstream request timeout"),
        *(Code.DEADLINE_EXCEEDED, Hint.GATEWAY_TIMEOUT),
    ),
    "envoy: route timeout as 504": (
        grpc_status(14, "upstream request timeout"),
        *(Code.UNAVAILABLE, Hint.GATEWAY_TIMEOUT),
    ),
    "envoy: stream timeout": (
        grpc_status(14, "stream timeout"),
        *(Code.UNAVAILABLE, Hint.GATEWAY_TIMEOUT),
    ),
    "envoy: access denied with a text of its own": (
        grpc_status(7, "Only clients of the office may call this."),
        *(Code.PERMISSION_DENIED, Hint.GATEWAY_RBAC),
    ),
    "envoy: basic_auth": (grpc_status(16, NO_USER), Code.UNAUTHENTICATED, Hint.GATEWAY_ACCESS),
    "a status of success without gRPC": (http(204), Code.UNKNOWN, Hint.NO_GRPC_STATUS),
    "envoy: RBAC": (
        grpc_status(7, "RBAC: access denied"),
        *(Code.PERMISSION_DENIED, Hint.GATEWAY_RBAC),
    ),
    "envoy: rate limit": (
        grpc_status(14, "local_rate_limited"),
        *(Code.UNAVAILABLE, Hint.GATEWAY_RATE_LIMIT),
    ),
    "envoy: rate limit as RESOURCE_EXHAUSTED": (
        grpc_status(8, "local_rate_limited"),
        *(Code.RESOURCE_EXHAUSTED, Hint.GATEWAY_RATE_LIMIT),
    ),
    "envoy: unrouted path": (grpc_status(12), Code.UNIMPLEMENTED, Hint.GATEWAY_ROUTE),
    "envoy: redirect": (grpc_status(2), Code.UNKNOWN, Hint.GATEWAY_NO_TEXT),
    "caddy: unrouted path": (http(200), Code.UNKNOWN, Hint.NO_GRPC_STATUS),
    "a web page": (PAGE, Code.UNKNOWN, Hint.NO_GRPC_STATUS),
    "caddy: backend refuses connections": (http(502), Code.UNAVAILABLE, Hint.GATEWAY_BACKEND),
    "HTTP 302": (http(302), Code.UNKNOWN, Hint.GATEWAY_HTTPS),
    "HTTP 403": (http(403), Code.PERMISSION_DENIED, Hint.GATEWAY_ACCESS),
    "HTTP 404": (http(404), Code.UNIMPLEMENTED, Hint.GATEWAY_ROUTE),
    "HTTP 429": (http(429), Code.UNAVAILABLE, Hint.GATEWAY_RATE_LIMIT),
    "HTTP 500": (http(500), Code.UNKNOWN, Hint.GATEWAY_ERROR),
    "HTTP 503": (http(503), Code.UNAVAILABLE, Hint.GATEWAY_UNAVAILABLE),
}
TRANSIENT = [
    name
    for name, (_, _, hint) in ROWS.items()
    if hint not in LASTING | {Hint.NO_GRPC_STATUS} and not name.startswith("HTTP ")
]


@pytest.mark.parametrize("service", ["internal", "public", "auto"])
@pytest.mark.parametrize("name", ROWS)
async def test_response_of_a_gateway(name: str, service: Any) -> None:
    response, code, hint = ROWS[name]
    both = service == "auto" and (code is Code.UNIMPLEMENTED or hint is Hint.NO_GRPC_STATUS)
    records: list[CallRecord] = []
    async with (
        H2Server(lambda _: response) as server,
        ImportClient(server.uri, service=service, on_finish=records.append) as client,
    ):
        error = await error_of(client.get_import_progress(JOB))
        assert len(server.paths) == len(records) == (2 if both else 1)  # not retried
    assert (type(error), error.code) == (CLASSES.get(code, CallError), code)
    tried = "public" if both else service.replace("auto", "internal")
    assert error.service == tried or code is Code.UNIMPLEMENTED
    if not both:  # otherwise the hint names both services
        assert (hint_of(error), error.transient) == (hint, hint not in LASTING)
    assert error.http_status == (int(name[5:]) if name.startswith("HTTP ") else error.http_status)


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


@pytest.mark.parametrize(
    "name", [name for name, row in ROWS.items() if row[1] is not Code.UNIMPLEMENTED]
)
async def test_a_write_is_sent_once(name: str) -> None:
    async with H2Server(lambda _: ROWS[name][0]) as server, ImportClient(server.uri) as client:
        await error_of(client.create_import("books", ["a.parquet"]), CallError)
        assert len(server.paths) == 1
