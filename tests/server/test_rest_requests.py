"""What a REST call sends, and what is rejected before anything is sent."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import web
from certificates import ELSEWHERE, make_certificates
from interceptors import Pass
from traces import frames
from web import CREATED, IMPORTING, JOB, connected, error_of, success
from web import rest_client as connect

import milvus_import
from milvus_import import (
    ArgumentError,
    CallError,
    CallRecord,
    TLSConfig,
    UnavailableError,
)
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

CERTIFICATES = make_certificates()
CA, (KEY, CERT) = CERTIFICATES.ca, CERTIFICATES.client


@pytest.fixture
async def server() -> AsyncGenerator[web.Web, None]:
    async with web.serving(IMPORTING) as running:
        yield running


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
    assert request.json == {
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
    assert request.json == {"jobId": JOB}


async def test_database_of_a_method_replaces_the_one_of_the_client() -> None:
    async with connected(success({"records": []}), db_name="a") as (client, server):
        await client.list_imports("books", db_name="b")
        await client.list_imports("books", db_name="")
        await client.list_imports("books")
    assert [request.header("db-name") for request in server.requests] == ["b", None, "a"]
    bodies = [request.json.get("dbName") for request in server.requests]
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
    records: list[CallRecord] = []
    async with connected(reply, on_finish=records.append) as (client, server):
        for _ in range(2):
            await client.get_import_progress(JOB)
    assert [request.header("cookie") for request in server.requests] == [None, None]
    assert not any("set-cookie" in dict(record.initial_metadata) for record in records)


# Rejected before anything is sent.


NOT_FOR_HTTP: dict[str, list[dict[str, Any]]] = {
    "interceptors": [{"interceptors": [Pass()]}],
    "channel_options": [{"channel_options": [("grpc.a", 1)]}],
    "x-bin": [{"metadata": {"x-bin": b"1"}}],
    "'x'": [{"metadata": {"x": " a"}}],
    "transfer-encoding": [{"metadata": {"transfer-encoding": "chunked"}}],
    "timeout=": [{"metadata": {"request-timeout": "5"}}],
    "wait_for_ready": [{"wait_for_ready": True}],
    "compression": [{"compression": grpc.Compression.Gzip}],
    "call_credentials": [{"call_credentials": grpc.access_token_call_credentials("x")}],
    "token": [{"token": "schl\u00fcssel"}, {"token": "key\r\nx"}],
    "max_receive_bytes": [{"max_receive_bytes": 0}],
    "max_send_bytes": [{"max_send_bytes": 2**31}],
    "uri": [
        {"uri": uri}
        for uri in ("ipv4:127.0.0.1:1,127.0.0.1:2", "ipv6:[::1]:19530", "dns:///localhost:19530")
    ],
}


@pytest.mark.parametrize("name", NOT_FOR_HTTP)
def test_argument_that_http_cannot_carry(name: str) -> None:
    for options in NOT_FOR_HTTP[name]:
        with pytest.raises(ArgumentError, match=name) as caught:
            connect(**{"uri": "https://localhost:19530", **options})
        assert "\r" not in str(caught.value)
        assert "schl" not in str(caught.value)


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


@pytest.mark.parametrize("abstract", [False, True])
async def test_unix_socket(abstract: bool, tmp_path: Path) -> None:
    path = f"\0milvus-import-{tmp_path.name}" if abstract else str(tmp_path / "milvus.sock")
    uri = path.replace("\0", "unix-abstract:") if abstract else f"unix:{path}"
    async with web.serving(IMPORTING, path=path) as server, connect(uri) as client:
        assert (await client.get_import_progress(JOB)).data.progress == 40
        assert server.requests[0].header("host") == "localhost"


async def test_missing_unix_socket_is_named(tmp_path: Path) -> None:
    async with connect(f"unix:{tmp_path}/none") as client:
        await error_of(client.get_import_progress(JOB), UnavailableError, "Check the path")


@pytest.mark.parametrize("as_bytes", [True, False])
async def test_files_of_tls_may_be_paths(as_bytes: bool, tmp_path: Path) -> None:
    parts: dict[str, Any] = {"ca": CA, "cert": CERT, "key": KEY}
    if not as_bytes:
        for name, content in parts.items():
            (tmp_path / name).write_bytes(content)
            parts[name] = tmp_path / name
    async with FakeMilvus(version="3.0", tls=CERTIFICATES.server, client_ca=CA) as server:
        server.add_job(job_id=JOB)
        async with connect(server.rest_uri, tls=TLSConfig(**parts)) as client:
            assert (await client.get_import_progress(JOB)).data.job_id == JOB


@pytest.mark.parametrize(
    ("server_tls", "right", "wrong", "text"),
    [
        ("server", {"ca": CA}, {}, "TLSConfig(ca=...)"),
        ("server", {"ca": CA}, {"ca": CERTIFICATES.other_ca}, "TLSConfig(ca=...)"),
        ("elsewhere", {"ca": CA, "server_name": ELSEWHERE}, {"ca": CA}, "server_name"),
        ("expired", None, {"ca": CA}, "expired"),
        ("mutual", {"ca": CA, "cert": CERT, "key": KEY}, {"ca": CA}, "TLSConfig(cert="),
    ],
    ids=["no CA", "another CA", "another name", "expired", "no client certificate"],
)
async def test_tls_that_does_not_match_is_named(
    server_tls: str, right: dict[str, Any] | None, wrong: dict[str, Any], text: str
) -> None:
    mutual = server_tls == "mutual"
    tls = getattr(CERTIFICATES, "server" if mutual else server_tls)
    async with FakeMilvus(version="3.0", tls=tls, client_ca=CA if mutual else None) as server:
        async with connect(server.rest_uri, tls=TLSConfig(**wrong) if wrong else None) as client:
            await error_of(client.list_imports(), UnavailableError, re.escape(text))
            if not mutual:  # TLS 1.3 reports a missing certificate after the request
                created = await error_of(client.create_import("books", ["a.json"]))
                assert (text in str(created), created.may_have_run) == (True, False)
        if right is not None:
            async with connect(server.rest_uri, tls=TLSConfig(**right)) as client:
                await client.create_import("books", ["a.json"])


async def test_tls_to_a_server_without_tls(server: web.Web) -> None:
    async with connect(server.uri.replace("http", "https")) as client:
        call = client.get_import_progress(JOB, timeout=0.5)
        assert (await error_of(call, CallError)).transient
    gc.collect()  # a socket that the TLS handshake left open would warn here


async def test_token_is_in_no_error() -> None:
    import aiohttp

    async with connected(web.reply(b"no", 500), token="root:S3cret") as (client, _):
        found = await error_of(client.get_import_progress(JOB), CallError)
    assert "S3cret" not in "".join(frames(found, milvus_import, aiohttp, asyncio))
    error: BaseException | None = found
    while error is not None:
        assert "S3cret" not in repr(error) + str(error) + str(vars(error))
        error = error.__cause__ or error.__context__
