"""Which metadata passes nginx and HAProxy, in both directions."""

from __future__ import annotations

import pytest
from gateway_process import HAProxy, Nginx

from milvus_import import CallRecord, ImportClient, UnavailableError
from milvus_import._hints import Hint
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


@pytest.mark.parametrize("kind", [Nginx, HAProxy])
async def test_database_reaches_milvus(fake: FakeMilvus, kind: type[Nginx | HAProxy]) -> None:
    fake.add_job(job_id=JOB)
    async with kind(fake) as gateway, ImportClient(gateway.uri, db_name="library") as client:
        await client.get_import_progress(JOB)
    assert fake.received[-1].values("dbname") == ["library"]


@pytest.mark.parametrize("kind", [Nginx, HAProxy])
async def test_response_metadata_passes(fake: FakeMilvus, kind: type[Nginx | HAProxy]) -> None:
    fake.add_job(job_id=JOB)
    fake.metadata = (("x-initial", "a"), ("x-initial_bin-bin", b"\0"))
    fake.trailing_metadata = (("x-trailing", "b"), ("x_trailing", "c"))
    records: list[CallRecord] = []
    async with kind(fake) as gateway, ImportClient(gateway.uri) as client:
        await client.get_import_progress(JOB, on_finish=records.append)
    assert {*fake.metadata} <= {*records[0].initial_metadata}
    assert {*fake.trailing_metadata} <= {*records[0].trailing_metadata}


@pytest.mark.parametrize("kind", [Nginx, HAProxy])
async def test_deadline_reaches_milvus(fake: FakeMilvus, kind: type[Nginx | HAProxy]) -> None:
    fake.add_job(job_id=JOB)
    async with kind(fake) as gateway, ImportClient(gateway.uri) as client:
        await client.get_import_progress(JOB, timeout=1_000)
    remaining = fake.received[-1].time_remaining
    assert remaining is not None
    assert 0 < remaining <= 1_000


@pytest.mark.parametrize(
    ("server", "size"),
    [("", 20_000), ("client_header_buffer_size 1k; large_client_header_buffers 2 2k;", 3_000)],
    ids=["default buffers", "small buffers"],
)
async def test_metadata_larger_than_the_buffers_of_nginx(
    fake: FakeMilvus, server: str, size: int
) -> None:
    async with Nginx(fake, server=server) as gateway, ImportClient(gateway.uri) as client:
        assert await client.check() == "internal"
        with pytest.raises(UnavailableError, match="GOAWAY") as caught:
            await client.check(metadata={"x-large": "a" * size})
        assert await client.check() == "internal"
    assert caught.value.hint == Hint.GATEWAY_METADATA_SIZE.python


async def test_metadata_larger_than_the_buffers_of_haproxy(fake: FakeMilvus) -> None:
    async with HAProxy(fake) as gateway, ImportClient(gateway.uri) as client:
        assert await client.check() == "internal"
        with pytest.raises(UnavailableError, match="GOAWAY") as caught:
            await client.check(metadata={"x-large": "a" * 20_000})
        assert await client.check() == "internal"
    assert caught.value.hint == Hint.GATEWAY_METADATA_SIZE.python
    assert not caught.value.transient
