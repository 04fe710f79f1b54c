"""The HTTP side of a simulated Milvus: connections, TLS, faults, start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from certificates import make_certificates
from command_line import until
from http_calls import PREFIX, post, send

from milvus_import import ImportClient
from milvus_import.testing import FAULTS, FakeMilvus, Fault, HttpResponse

pytestmark = [pytest.mark.anyio, pytest.mark.rest]

LIST = f"POST {PREFIX}list HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
H2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GUARD = 20
RESPONSES = [
    ("http-408", 408, b'{"code":10001,"message":"request timeout"}'),
    ("http-429", 429, b"<html>"),
    ("http-500", 500, b'{"code":500}'),
    *((f"http-{status}-html", status, b"<html>") for status in (502, 503, 504)),
    ("http-empty-200", 200, b""),
    ("http-html-200", 200, b"<html>"),
    ("http-redirect", 307, b""),
    # gRPC's faults, as Milvus sends them over REST
    ("aborted", 200, b'{"code": 65535, "message": "rpc error: code = Aborted desc = the call'),
    ("cancelled", 200, b'{"code": 65535, "message": "rpc error: code = Canceled desc ='),
    ("coordinator-unavailable", 200, b'{"code": 2, "message": "node not found[node=1]: service'),
    ("deadline", 408, b'{"code": 10001, "message": "request timeout"}'),
    ("denied", 403, b'{"code": 65535, "message": "rpc error: code = PermissionDenied desc = P'),
    ("empty", 200, b""),
    ("garbage", 200, b"\xff\xff\xff\xff"),
    ("job-limit", 200, b'{"code": 2101, "message": "failed to broadcast import: failed to'),
    ("legacy", 200, b'{"code": 65535, "message": "old server says no"}'),
    ("no-collection", 200, b'{"code": 100, "message": "collection not found'),
    ("not-ready", 200, b'{"code": 1, "message": "state code: Abnormal: service not ready"}'),
    ("proxy-not-ready", 200, b'{"code": 2, "message": "service unavailable: internal: Milvus P'),
    ("rate-limit", 200, b'{"code": 8, "message": "rate limit exceeded[rate=12.5]"}'),
    ("unavailable", 200, b'{"code": 65535, "message": "rpc error: code = Unavailable desc = t'),
    ("unimplemented", 404, b"404 page not found"),
]
"""Fault, HTTP status, start of the body."""


@dataclass
class RawConnection:
    """A connection on which a test writes bytes and reads responses."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def response(self) -> tuple[int, bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        sizes = [line for line in lines if line.lower().startswith("content-length: ")]
        return int(lines[0].split()[1]), await self.reader.readexactly(int(sizes[0].split()[1]))


@asynccontextmanager
async def connected(fake: FakeMilvus) -> AsyncGenerator[RawConnection, None]:
    reader, writer = await asyncio.open_connection("127.0.0.1", fake.rest_port)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def until_received(fake: FakeMilvus, count: int = 1) -> None:
    await until(lambda: len(fake.received) >= count)


# ---------------------------------------------------------------------------- connections


async def test_keep_alive_serves_many_requests(fake: FakeMilvus) -> None:
    async with connected(fake) as connection:
        for _ in range(3):
            connection.writer.write(LIST)
            assert json.loads((await connection.response())[1])["code"] == 0
    assert len(fake.received) == 3


@pytest.mark.parametrize("request_bytes", [b"\x16\x03\x01 TLS\r\n\r\n", H2, b"half a head"])
async def test_clients_of_another_protocol_end_without_a_log(
    fake: FakeMilvus, caplog: pytest.LogCaptureFixture, request_bytes: bytes
) -> None:
    async with connected(fake) as connection:
        connection.writer.write(request_bytes)
        connection.writer.write_eof()
        received = await connection.reader.read()
        assert received == b"" or received.startswith(b"HTTP/1.0 400 ")
    assert (await post(fake.rest_uri, "list")).status == 200
    assert not caplog.records


async def test_body_of_megabytes(fake: FakeMilvus) -> None:
    body = {"collectionName": "books", "unknown": "x" * 3_000_000}
    assert (await post(fake.rest_uri, "list", body)).data == {"records": []}
    assert fake.received[0].request == body


async def test_head_has_no_body(fake: FakeMilvus) -> None:
    response = await send(fake.rest_uri, PREFIX + "list", method="HEAD")
    assert (response.status, response.body) == (404, b"")


async def test_64_requests_run_at_the_same_time(fake: FakeMilvus) -> None:
    fake.inject("http-hang", times=None)
    async with asyncio.timeout(GUARD), AsyncExitStack() as stack:
        for _ in range(64):
            connection = await stack.enter_async_context(connected(fake))
            connection.writer.write(LIST)
        await until_received(fake, 64)


async def test_reset_is_recorded_if_the_client_closes_first(fake: FakeMilvus) -> None:
    job = fake.add_job(hangs=True)
    body = json.dumps({"jobId": job.job_id}).encode()
    head = f"POST {PREFIX}describe HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    async with connected(fake) as connection:
        connection.writer.write(head.encode() + body)
        await until_received(fake)
        assert not fake.received[0].reset
    await until(lambda: fake.received[0].reset)
    assert (await post(fake.rest_uri, "list")).status == 200
    assert not fake.received[1].reset


# ------------------------------------------------------------------------------------ TLS


async def test_mutual_tls_and_stop_with_an_open_connection() -> None:
    certificates = make_certificates()
    context = ssl.create_default_context(cadata=certificates.ca.decode())
    async with FakeMilvus(tls=certificates.server, client_ca=certificates.ca) as fake:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await send(fake.rest_uri, PREFIX + "list", b"{}", context=context)
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"".join(certificates.client))
            file.flush()
            context.load_cert_chain(file.name)
        assert (await send(fake.rest_uri, PREFIX + "list", b"{}", context=context)).status == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", fake.rest_port, ssl=context)
        writer.write(LIST)
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(GUARD):
            await fake.stop()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


# --------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(("fault", "status", "body"), RESPONSES)
async def test_fault_by_name(fake: FakeMilvus, fault: str, status: int, body: bytes) -> None:
    fake.inject(fault)
    response = await post(fake.rest_uri, "list")
    assert response.status == status
    assert response.body.startswith(body)
    assert bool(response.body) is bool(body)
    assert (response.headers["Content-Type"] == "text/html") is (body == b"<html>")
    location = "https://milvus.elsewhere.example/" if fault == "http-redirect" else None
    assert response.headers["Location"] == location
    assert (await post(fake.rest_uri, "list")).data == {"records": []}


async def test_gzip_compresses_the_normal_response(fake: FakeMilvus) -> None:
    fake.inject("http-gzip")
    response = await post(fake.rest_uri, "list", Accept_Encoding="identity")
    assert response.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(response.body))["code"] == 0


@pytest.mark.parametrize("fault", ["http-close", "http-truncated"])
async def test_connection_closed_after_the_call_was_executed(fake: FakeMilvus, fault: str) -> None:
    fake.inject(fault, method="create")
    error = {"http-close": http.client.RemoteDisconnected, "http-truncated": Exception}[fault]
    with pytest.raises(error) as caught:
        await post(fake.rest_uri, "create", {"collectionName": "books", "files": [["a.json"]]})
    if fault == "http-truncated":
        assert isinstance(caught.value, http.client.IncompleteRead)
        assert caught.value.partial
        assert caught.value.expected
    assert len(fake.jobs) == 1
    assert not fake.received[0].reset


async def test_huge_response_is_sent_while_it_is_read(fake: FakeMilvus) -> None:
    fake.inject("http-huge")
    async with connected(fake) as connection:
        connection.writer.write(LIST)
        head = await connection.reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 134217728" in head.lower()
        assert (await connection.reader.readexactly(40)).startswith(b'{"code": 0')
    # The server is not blocked by the client that left.
    assert (await post(fake.rest_uri, "list")).data == {"records": []}
    fake.inject(Fault(http=HttpResponse(size=200_000)))
    response = await post(fake.rest_uri, "list")
    assert len(response.body) == 200_000
    assert response.data == {"records": []}


async def test_http_hang_sends_no_408(fake: FakeMilvus) -> None:
    fake.rest.request_timeout = 0.01
    fake.inject("http-hang")
    async with connected(fake) as connection:
        connection.writer.write(LIST)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await connection.reader.read(1)
        connection.writer.close()


async def test_faults_of_one_method_and_one_job(fake: FakeMilvus) -> None:
    first, second = fake.add_job(), fake.add_job()
    fake.inject("http-500", method="describe", job_id=second.job_id)
    for method, job, status in (
        *(("describe", first, 200), ("get_progress", second, 200)),
        *(("describe", second, 500), ("describe", second, 200)),
    ):
        assert (await post(fake.rest_uri, method, {"jobId": job.job_id})).status == status


async def test_http_faults_do_not_apply_to_grpc(fake: FakeMilvus, scale: float) -> None:
    job = fake.add_job()
    fake.inject("http-500")
    async with ImportClient(fake.internal_uri, rpc_timeout=GUARD * scale) as client:
        await client.get_import_progress(job.job_id)
    assert (await post(fake.rest_uri, "list")).status == 500


async def test_fault_of_a_route_that_the_version_does_not_have(fake: FakeMilvus) -> None:
    fake.inject("denied", method="commit")
    assert (await post(fake.rest_uri, "commit", {"jobId": "7"})).status == 403
    assert (await post(fake.rest_uri, "commit", {"jobId": "7"})).status == 404
    assert [received.method for received in fake.unimplemented] == ["commit", "commit"]


async def test_a_response_of_your_own(fake: FakeMilvus) -> None:
    fake.inject(Fault(http=HttpResponse(418, b"[]", (("X-Gateway", "g"),))))
    response = await post(fake.rest_uri, "list")
    assert (response.status, response.body, response.headers["X-Gateway"]) == (418, b"[]", "g")
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"


def test_every_http_fault_is_tested() -> None:
    named = {fault for fault, _, _ in RESPONSES}
    elsewhere = {"http-close", "http-gzip", "http-hang", "http-huge", "http-truncated"}
    assert {name for name in FAULTS if name.startswith("http-")} <= named | elsewhere


# -------------------------------------------------------------------------- start and stop


async def test_stop_closes_idle_connections_and_frees_the_port(fake: FakeMilvus) -> None:
    async with connected(fake) as connection:
        connection.writer.write(LIST)
        await connection.response()
        async with asyncio.timeout(GUARD):
            await fake.stop()
            assert await connection.reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await post(fake.rest_uri, "list")
    await fake.start()
    assert (await post(fake.rest_uri, "list")).status == 200


@pytest.mark.parametrize("grace", [None, GUARD])
async def test_stop_ends_calls_in_flight_after_the_grace_period(
    fake: FakeMilvus, scale: float, grace: float | None
) -> None:
    fake.inject(Fault(delay=0.3 * scale))
    async with asyncio.timeout(GUARD * scale), connected(fake) as connection:
        connection.writer.write(LIST)
        await until_received(fake)
        await fake.stop(grace)
        if grace is None:
            assert await connection.reader.read() == b""
        else:
            assert (await connection.response())[0] == 200
    assert fake.received[0].reset is (grace is None)


async def test_stop_leaves_no_task(fake: FakeMilvus) -> None:
    before = asyncio.all_tasks()
    fake.inject("http-hang")
    async with FakeMilvus() as other, connected(other) as idle, connected(fake) as busy:
        idle.writer.write(LIST)
        await idle.response()
        busy.writer.write(LIST)
        await until_received(fake)
        assert asyncio.all_tasks() != before
        for server in (fake, other):
            await server.stop()
        assert asyncio.all_tasks() <= before


def test_aiohttp_is_not_imported_to_start() -> None:
    code = """
import asyncio, sys
from milvus_import.testing import FakeMilvus

async def main():
    async with FakeMilvus() as fake:
        assert fake.rest_port and fake.cloud_port

asyncio.run(main())
print('aiohttp' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
