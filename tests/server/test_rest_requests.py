"""What a REST call sends, and what is rejected before anything is sent."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import web
from certificates import ELSEWHERE, Certificates

from milvus_import import ArgumentError, CallError, ImportClient, TLSConfig, UnavailableError
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

JOB = "450000000000000001"
PROGRESS = web.reply({"code": 0, "data": {"state": "Importing", "progress": 40}})
CREATED = web.reply({"code": 0, "data": {"jobId": JOB}})


@pytest.fixture
async def server() -> AsyncGenerator[web.Web, None]:
    async with web.serving(PROGRESS) as running:
        yield running


def connect(uri: str, **options: Any) -> ImportClient:
    return ImportClient(uri, service="rest", **options)


# Bytes on the wire.


@pytest.mark.parametrize(
    ("timeout", "header"), [(0.4, "1"), (1, "1"), (7.2, "8"), (10, "10"), (None, "9223372036")]
)
async def test_request_timeout_is_whole_seconds_rounded_up(
    timeout: float | None, header: str, server: web.Web
) -> None:
    async with connect(server.uri) as client:
        await client.get_import_progress(JOB, timeout=timeout)
    assert server.requests[0].header("Request-Timeout") == header
    # Milvus keeps the seconds as nanoseconds in an int64.
    assert int(header) * 10**9 < 2**63
    assert (9223372036 + 1) * 10**9 >= 2**63


async def test_headers_of_a_create() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with web.serving(CREATED) as server:
        async with connect(
            f"{server.uri}/books", user="root", password="Milvus", metadata={"traceparent": trace}
        ) as client:
            await client.create_import(
                "books",
                ["a.json", ["id.npy", "v.npy"]],
                partition_name="p",
                options={"auto_commit": False, "timeout": 300},
                idempotency_key="import-1",
                metadata=[("x-tag", "a"), ("x-tag", "b")],
            )
        (request,) = server.requests
    assert request.head.startswith(b"POST /v2/vectordb/jobs/import/create HTTP/1.1\r\n")
    assert request.header("Authorization") == "Bearer root:Milvus"
    assert request.header("DB-Name") == "books"
    assert request.header("Idempotency-Key") == "import-1"
    assert request.header("traceparent") == trace
    assert request.header("Accept-Encoding") == "identity"
    assert request.header("Content-Type") == "application/json"
    assert request.header("Request-Timeout") == "10"
    assert request.header("Host") == server.uri.removeprefix("http://")
    assert request.head.count(b"x-tag: ") == 2
    assert json.loads(request.body) == {
        "collectionName": "books",
        "dbName": "books",
        "partitionName": "p",
        "files": [["a.json"], ["id.npy", "v.npy"]],
        "options": {"auto_commit": "false", "timeout": "300s"},
    }


async def test_no_header_is_sent_that_was_not_set(server: web.Web) -> None:
    async with connect(server.uri) as client:
        await client.get_import_progress(JOB)
    (request,) = server.requests
    names = {line.partition(b":")[0].lower() for line in request.head.split(b"\r\n")[1:] if line}
    assert names == {
        *(b"accept", b"accept-encoding", b"content-length", b"content-type"),
        *(b"host", b"request-timeout", b"user-agent"),
    }
    assert json.loads(request.body) == {"jobId": JOB}


async def test_database_of_a_method_replaces_the_one_of_the_client() -> None:
    listed = web.reply({"code": 0, "data": {"records": []}})
    async with web.serving(listed) as server, connect(server.uri, db_name="a") as client:
        await client.list_imports("books", db_name="b")
        await client.list_imports("books", db_name="")
        await client.list_imports("books")
    assert [request.header("db-name") for request in server.requests] == ["b", None, "a"]
    bodies = [json.loads(request.body).get("dbName") for request in server.requests]
    assert bodies == ["b", None, "a"]


@pytest.mark.parametrize("secret", ["root:pässword", "root: Milvus ", "root:a\nb"])
async def test_credentials_that_no_header_carries_are_sent_as_basic(secret: str) -> None:
    async with (
        FakeMilvus(version="3.0", token=secret) as server,
        connect(server.rest_uri, token=secret) as client,
    ):
        server.add_job(job_id=JOB)
        assert (await client.get_import_progress(JOB)).data.job_id == JOB
        (value,) = server.received[-1].values("authorization")
        assert str(value).startswith("Basic ")


async def test_cookies_are_not_returned() -> None:
    reply = web.reply({"code": 0, "data": {"state": "Pending"}}, headers="set-cookie: a=b; path=/")
    async with web.serving(reply) as server, connect(server.uri) as client:
        for _ in range(2):
            await client.get_import_progress(JOB, on_finish=records_without_cookie)
    assert [request.header("cookie") for request in server.requests] == [None, None]


def records_without_cookie(record: Any) -> None:
    assert "set-cookie" not in dict(record.initial_metadata)


# Rejected before anything is sent.


class Interceptor(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"interceptors": [Interceptor()]}, "interceptors"),
        ({"channel_options": [("grpc.a", 1)]}, "channel_options"),
        ({"metadata": {"x-bin": b"1"}}, "x-bin"),
        ({"metadata": {"x": " a"}}, "'x'"),
        ({"metadata": {"transfer-encoding": "chunked"}}, "transfer-encoding"),
        ({"metadata": {"request-timeout": "5"}}, "timeout="),
        ({"wait_for_ready": True}, "wait_for_ready"),
        ({"compression": grpc.Compression.Gzip}, "compression"),
        ({"token": "schlüssel"}, "token"),
        ({"token": "key\r\nx"}, "token"),
        ({"max_receive_bytes": 0}, "max_receive_bytes"),
        ({"max_send_bytes": 2**31}, "max_send_bytes"),
        ({"uri": "ipv4:127.0.0.1:1,127.0.0.1:2"}, "uri"),
        ({"uri": "ipv6:[::1]:19530"}, "uri"),
        ({"uri": "dns:///localhost:19530"}, "uri"),
    ],
    ids=[
        *("interceptors", "channel options", "binary", "space", "transfer-encoding"),
        *("request-timeout", "wait_for_ready", "compression", "token", "line break"),
        *("receive", "send", "ipv4", "ipv6", "dns"),
    ],
)
def test_argument_that_http_cannot_carry(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ArgumentError, match=name) as caught:
        connect(**{"uri": "http://localhost:19530", **options})
    assert "\r" not in str(caught.value)
    assert "schlüssel" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"metadata": {"x-bin": b"1"}}, "x-bin"),
        ({"metadata": {"upgrade": "h2c"}}, "upgrade"),
        ({"metadata": {"x": "a "}}, "'x'"),
        ({"wait_for_ready": True}, "wait_for_ready"),
        ({"compression": grpc.Compression.Gzip}, "compression"),
    ],
    ids=str,
)
async def test_call_option_that_http_cannot_carry(options: Any, name: str, server: web.Web) -> None:
    async with connect(server.uri) as client:
        calls: list[Callable[[], Any]] = [
            lambda: client.get_import_progress(JOB, **options),
            lambda: client.create_import("books", ["a"], **options),
            lambda: client.wait(JOB, **options),
            lambda: client.commit_import(JOB, **options),
        ]
        for call in calls:
            with pytest.raises(ArgumentError, match=name):
                await call()
    assert not server.requests


async def test_call_credentials_are_rejected() -> None:
    credentials = grpc.access_token_call_credentials("x")
    with pytest.raises(ArgumentError, match="call_credentials"):
        connect("https://localhost", call_credentials=credentials)


async def test_options_that_change_nothing_are_accepted(server: web.Web) -> None:
    async with connect(
        server.uri,
        interceptors=(),
        channel_options=[],
        wait_for_ready=False,
        compression=grpc.Compression.NoCompression,
    ) as client:
        await client.get_import_progress(JOB, wait_for_ready=None, compression=None)


# Sockets, TLS and proxies.


async def test_unix_socket(tmp_path: Path) -> None:
    async with (
        web.serving(PROGRESS, path=str(tmp_path / "milvus.sock")) as server,
        connect(server.uri) as client,
    ):
        assert (await client.get_import_progress(JOB)).data.progress == 40
        assert server.requests[0].header("host") == "localhost"


async def test_abstract_unix_socket(tmp_path: Path) -> None:
    name = f"milvus-import-{tmp_path.name}"
    async with web.serving(PROGRESS, path=f"\0{name}"), connect(f"unix-abstract:{name}") as client:
        assert (await client.get_import_progress(JOB)).data.progress == 40


async def test_missing_unix_socket_is_named(tmp_path: Path) -> None:
    async with connect(f"unix:{tmp_path}/none") as client:
        with pytest.raises(UnavailableError, match="Check the path"):
            await client.get_import_progress(JOB)


@pytest.mark.parametrize("as_bytes", [True, False])
async def test_mutual_tls(as_bytes: bool, certificates: Certificates, tmp_path: Path) -> None:
    key, cert = certificates.client
    parts: dict[str, Any] = {"ca": certificates.ca, "cert": cert, "key": key}
    if not as_bytes:
        for name, content in parts.items():
            (tmp_path / name).write_bytes(content)
            parts[name] = tmp_path / name
    async with FakeMilvus(
        version="3.0", tls=certificates.server, client_ca=certificates.ca
    ) as server:
        server.add_job(job_id=JOB)
        async with connect(server.rest_uri, tls=TLSConfig(**parts)) as client:
            assert (await client.get_import_progress(JOB)).data.job_id == JOB
        async with connect(server.rest_uri, tls=TLSConfig(ca=certificates.ca)) as client:
            with pytest.raises(UnavailableError) as caught:
                await client.get_import_progress(JOB)
            assert "TLSConfig(cert=" in caught.value.hint


async def test_server_name_is_expected_in_the_certificate(certificates: Certificates) -> None:
    async with FakeMilvus(version="3.0", tls=certificates.elsewhere) as server:
        server.add_job(job_id=JOB)
        tls = TLSConfig(ca=certificates.ca, server_name=ELSEWHERE)
        async with connect(server.rest_uri, tls=tls) as client:
            await client.get_import_progress(JOB)
        async with connect(server.rest_uri, tls=TLSConfig(ca=certificates.ca)) as client:
            with pytest.raises(UnavailableError) as caught:
                await client.get_import_progress(JOB)
            assert "server_name" in caught.value.hint


async def test_certificates_that_are_not_trusted(certificates: Certificates) -> None:
    async with FakeMilvus(version="3.0", tls=certificates.server) as server:
        for tls in (None, TLSConfig(ca=certificates.other_ca)):
            async with connect(server.rest_uri, tls=tls) as client:
                with pytest.raises(UnavailableError) as caught:
                    await client.create_import("books", ["a.json"])
                assert "TLSConfig(ca=...)" in caught.value.hint
                assert not caught.value.may_have_run


async def test_expired_certificate(certificates: Certificates) -> None:
    tls = TLSConfig(ca=certificates.ca)
    async with (
        FakeMilvus(version="3.0", tls=certificates.expired) as server,
        connect(server.rest_uri, tls=tls) as client,
    ):
        with pytest.raises(UnavailableError, match="expired"):
            await client.get_import_progress(JOB)


async def test_tls_to_a_server_without_tls(server: web.Web) -> None:
    async with connect(server.uri.replace("http", "https")) as client:
        with pytest.raises(CallError) as caught:
            await client.get_import_progress(JOB, timeout=0.5)
        assert caught.value.transient
    gc.collect()  # a socket that the TLS handshake left open would warn here


async def test_proxy_of_the_environment_is_used(
    server: web.Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.uri)
    async with connect("http://milvus.example:19530") as client:
        assert (await client.get_import_progress(JOB)).data.progress == 40
    assert server.requests[0].path.startswith("http://milvus.example:19530/v2/vectordb/")


async def test_proxy_is_not_used_for_loopback(
    server: web.Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with connect(server.uri) as client:
        assert (await client.get_import_progress(JOB)).data.progress == 40


async def test_proxy_that_rejects_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with web.serving(web.reply(b"", 407)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.uri)
        async with connect("https://milvus.example") as client:
            with pytest.raises(UnavailableError) as caught:
                await client.create_import("books", ["a.json"])
    assert "proxy" in caught.value.hint
    assert not caught.value.may_have_run


async def test_token_is_in_no_error(server: web.Web) -> None:
    server.replies = [web.reply(b"no", 500)]
    async with connect(server.uri, token="root:S3cret") as client:
        with pytest.raises(CallError) as caught:
            await client.get_import_progress(JOB)
    error: BaseException | None = caught.value
    while error is not None:
        assert "S3cret" not in repr(error) + str(error) + str(vars(error))
        frames = error.__traceback__
        while frames is not None:
            assert "S3cret" not in str(frames.tb_frame.f_locals) or "tests" in str(
                frames.tb_frame.f_code.co_filename
            )
            frames = frames.tb_next
        error = error.__cause__ or error.__context__
