"""Which metadata passes nginx and HAProxy, in both directions."""

from __future__ import annotations

from typing import Any

import pytest
from gateway_process import Gateway, HAProxy, Nginx, configured
from hint_keys import hint_key

from milvus_import import CallError, CallRecord, ImportClient
from milvus_import.testing import FakeMilvus

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

JOB = "1"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SENT: dict[str, str | bytes] = {
    "authorization": "Bearer abc",
    "client-request-id": "a",
    "client.request.id": "b",
    "client_request_id": "c",
    "idempotency-key": "d",
    "traceparent": TRACE,
    "x-bin": b"\0\xff\n",
}
DOT, UNDERSCORE = {"client.request.id"}, {"client_request_id"}


@pytest.mark.parametrize(
    ("server", "dropped"),
    [
        ("", DOT | UNDERSCORE),
        ("underscores_in_headers on;", DOT),
        ("ignore_invalid_headers off;", set[str]()),
    ],
    ids=["default", "underscores_in_headers", "ignore_invalid_headers"],
)
async def test_nginx_drops_keys_with_underscores_and_dots(
    fake: FakeMilvus, server: str, dropped: set[str]
) -> None:
    async with Nginx(fake, server=server) as gateway:
        received = await send(gateway.uri, fake)
    assert received == {key: value for key, value in SENT.items() if key not in dropped}


async def test_haproxy_forwards_all_metadata(fake: FakeMilvus) -> None:
    async with HAProxy(fake) as gateway:
        assert await send(gateway.uri, fake) == SENT


async def send(uri: str, fake: FakeMilvus) -> dict[str, str | bytes]:
    """Send the metadata; return which of it Milvus received."""
    fake.add_job(job_id=JOB)
    async with ImportClient(uri) as client:
        await client.get_import_progress(JOB, metadata=SENT)
    return {key: value for key, value in fake.received[-1].metadata if key in SENT}


async def test_deadline_database_and_metadata_of_the_response_pass(
    fake: FakeMilvus, kind: type[Gateway]
) -> None:
    fake.add_job(job_id=JOB)
    fake.metadata = (("x-initial", "a"), ("x-initial_bin-bin", b"\0"))
    fake.trailing_metadata = (("x-trailing", "b"), ("x_trailing", "c"))
    records: list[CallRecord] = []
    async with kind(fake) as gateway, ImportClient(gateway.uri, db_name="library") as client:
        await client.get_import_progress(JOB, timeout=900, on_finish=records.append)
    assert fake.received[-1].values("dbname") == ["library"]
    assert 0 < (fake.received[-1].time_remaining or 0) <= 1_000  # gRPC rounds up
    assert {*fake.metadata} <= {*records[0].initial_metadata}
    assert {*fake.trailing_metadata} <= {*records[0].trailing_metadata}


SMALL = "client_header_buffer_size 1k; large_client_header_buffers 2 2k;"


@pytest.mark.parametrize(
    ("service", "server", "size"),
    [("internal", "", 20_000), ("internal", SMALL, 3_000), ("rest", "", 40_000)],
    ids=["default buffers", "small buffers", "rest"],
)
async def test_metadata_larger_than_the_buffers(
    fake: FakeMilvus, kind: type[Gateway], service: Any, server: str, size: int
) -> None:
    fake.version = "3.0"
    rest = service == "rest"
    nginx = {"server": server, "http2": not rest}
    async with (
        configured(kind, fake, nginx=nginx) as gateway,
        ImportClient(gateway.uri, service=service) as client,
    ):
        assert await client.check() == service
        with pytest.raises(CallError, match="HTTP 400" if rest else "GOAWAY") as caught:
            await client.check(metadata={"x-large": "a" * (size if kind is Nginx else 20_000)})
        assert await client.check() == service
    error = caught.value
    assert (hint_key(error), error.http_status) == (
        "GATEWAY_METADATA_SIZE",
        400 if rest else None,
    )
    assert server or not error.transient  # 3 kB fit into most buffers
