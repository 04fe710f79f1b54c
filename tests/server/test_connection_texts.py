"""What the installed grpcio reports for real connections, and what is made of it.

The texts differ between versions of grpcio: these tests run with the lowest and the newest one.
"""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from h2_server import H2Server, Request, Respond, Response, grpc_status, http
from interceptors import Pass
from network import closed_port
from web import error_of

from milvus_import import CallError, CallRecord, ImportClient, UnavailableError
from milvus_import._errors import hint_of
from milvus_import._failures._statuses import connection_broke, lacks_grpc_status
from milvus_import._hints import Hint

pytestmark = pytest.mark.anyio

Code = grpc.StatusCode


async def failure(
    respond: Respond, service: Any = "internal", *, write: bool = False, **options: Any
) -> tuple[CallError, list[CallRecord], int]:
    """Return the error of a call, the records of its attempts, and how many requests arrived."""
    records: list[CallRecord] = []
    async with H2Server(respond) as port, ImportClient(port.uri, service=service) as client:
        call = (
            client.create_import("books", ["a.parquet"], on_finish=records.append)
            if write
            else client.get_import_progress("7", on_finish=records.append, **options)
        )
        error = await error_of(call, CallError)
    return error, records, port.requests


BREAKS: dict[str, Respond] = {
    "closed": Request.end,
    "reset": Request.reset,
    "GOAWAY": lambda request: request.go_away(2),
}


@pytest.mark.parametrize("name", BREAKS)
async def test_read_is_retried_once_and_a_write_never_when_its_connection_breaks(name: str) -> None:
    error, records, _ = await failure(BREAKS[name])
    assert connection_broke(error), error.details
    assert type(error) is UnavailableError
    assert (error.transient, error.may_have_run) == (True, True)
    goaway = "GOAWAY" in error.details
    assert hint_of(error) is (Hint.GATEWAY_CLOSED if goaway else Hint.RECONNECT)
    assert len(records) == 2
    if name != "GOAWAY":
        error, records, requests = await failure(BREAKS[name], write=True)
        assert (error.transient, error.may_have_run) == (True, True)
        assert hint_of(error) is Hint.REPEAT_WITH_KEY
        assert (len(records), requests) == (1, 1)


async def test_refused_connection_is_not_retried() -> None:
    records: list[CallRecord] = []
    with closed_port() as port:
        async with ImportClient(f"http://127.0.0.1:{port}", on_finish=records.append) as client:
            error = await error_of(client.get_import_progress("7"), UnavailableError)
    assert not connection_broke(error), error.details
    assert (error.transient, error.may_have_run) == (True, False)
    assert hint_of(error) is Hint.CHECK_ADDRESS
    assert len(records) == 1


@pytest.mark.parametrize("content_type", ["text/plain", "application/grpc"])
async def test_empty_http_200_has_no_grpc_status(content_type: str) -> None:
    def respond(_: object) -> Response:
        return http(200, b"", ("content-type", content_type))

    error, records, requests = await failure(respond)
    assert lacks_grpc_status(error), error.details
    assert not connection_broke(error)
    assert (error.code, error.transient, error.may_have_run) == (Code.UNKNOWN, True, True)
    assert (len(records), requests) == (1, 1)
    error, _, requests = await failure(respond, "auto")
    assert lacks_grpc_status(error), error.details
    assert (error.service, requests) == ("public", 2)  # both services
    error, _, requests = await failure(respond, "auto", write=True)
    assert requests == 1
    assert hint_of(error) is Hint.REPEAT_WITH_KEY


@pytest.mark.parametrize(
    ("stream_error", "code"),
    [(2, Code.INTERNAL), (8, Code.CANCELLED), (11, Code.RESOURCE_EXHAUSTED)],
)
async def test_reset_of_the_request_alone_is_not_retried(
    stream_error: int, code: grpc.StatusCode
) -> None:
    error, records, requests = await failure(lambda request: request.reset_stream(stream_error))
    assert error.code is code
    assert error.transient
    assert (len(records), requests) == (1, 1)


async def test_metadata_that_is_too_large_for_the_gateway_is_not_sent_again() -> None:
    large = {"x-large": "x" * 5_000}
    error, records, _ = await failure(lambda request: request.go_away(11), metadata=large)
    assert hint_of(error) is Hint.GATEWAY_METADATA_SIZE, error.details
    assert len(records) == 1


@pytest.mark.parametrize("timeout", [60, None])
@pytest.mark.parametrize("interceptors", [[], [Pass()]], ids=["", "intercepted"])
async def test_status_code_without_a_name_is_unknown(
    interceptors: list[Pass], timeout: float | None
) -> None:
    """grpcio below 1.83 raises a KeyError instead of the error."""
    records: list[CallRecord] = []
    async with (
        H2Server(lambda _: grpc_status(99, "strange")) as server,
        ImportClient(server.uri, service="internal", interceptors=interceptors) as client,
    ):
        with pytest.raises(CallError, match=r"UNKNOWN \((status code 99|strange)\)") as caught:
            await client.get_import_progress("7", timeout=timeout, on_finish=records.append)
    assert (type(caught.value), caught.value.code) == (CallError, Code.UNKNOWN)
    assert [record.code for record in records] == [Code.UNKNOWN]


async def test_page_of_a_web_server_is_not_a_grpc_response() -> None:
    page = http(200, b"<html></html>", ("content-type", "text/html"))
    error, _, _ = await failure(lambda _: page)
    assert error.code is Code.UNKNOWN
    # The text of older versions of grpcio does not distinguish it from a broken stream.
    assert hint_of(error) in {Hint.NO_GRPC_STATUS, Hint.BROKEN_OR_NOT_GRPC}, error.details
