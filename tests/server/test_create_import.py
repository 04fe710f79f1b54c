"""create_import over real sockets: what arrives, what is raised, and that nothing is resent.

The validation of each argument is tested in unit/services/test_requests.py, without a server.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import anyio
import grpc
import pytest
from network import Relay, breaking_port, closed_port

from milvus_import import (
    ArgumentError,
    CallError,
    DeadlineExceededError,
    ImportClient,
    JobLimitError,
    MilvusStatusError,
    UnavailableError,
)
from milvus_import._services import _requests
from milvus_import.testing import FakeMilvus, Fault
from milvus_import_pb import common_pb2

pytestmark = pytest.mark.anyio

both_services = pytest.mark.parametrize("client", ["internal", "public"], indirect=True)
only_public = pytest.mark.parametrize("client", ["public"], indirect=True)
IMPORT = {"internal": "ImportV2", "public": "Import"}


@pytest.fixture
async def client(fake: FakeMilvus, request: pytest.FixtureRequest) -> AsyncIterator[ImportClient]:
    """A client of the internal service, or of the service that the test names."""
    public = getattr(request, "param", "internal") == "public"
    async with ImportClient(fake.public_uri if public else fake.internal_uri) as client:
        yield client


def imports(fake: FakeMilvus) -> list[Any]:
    """Return the import requests that arrived."""
    return [r.request for r in fake.received if r.method in IMPORT.values()]


# What is sent.


@both_services
async def test_create_import_sends_every_argument(fake: FakeMilvus, client: ImportClient) -> None:
    job_id = await client.create_import(
        "books",
        [["id.npy", "vector.npy"]],
        partition_name="p1",
        db_name="library",
        options={"timeout": 300, "auto_commit": False},
    )
    *_, received = fake.received
    request = received.request
    assert (request.collection_name, request.partition_name) == ("books", "p1")
    assert request.db_name == "library"
    assert received.values("dbname") == ["library"]
    options = {pair.key: pair.value for pair in request.options}
    assert options == {"timeout": "300s", "auto_commit": "false"}
    files = request.files[0].paths if received.method == "ImportV2" else request.files
    assert list(files) == ["id.npy", "vector.npy"]
    assert fake.jobs[job_id].collection_name == "books"


@both_services
async def test_create_import_sends_the_idempotency_key_as_metadata(
    fake: FakeMilvus, client: ImportClient
) -> None:
    await client.create_import("books", ["a.parquet"], idempotency_key="once", metadata={"a": "b"})
    assert fake.received[-1].values("idempotency-key") == ["once"]
    assert fake.received[-1].values("a") == ["b"]
    await client.create_import("books", ["a.parquet"])
    assert fake.received[-1].values("idempotency-key") == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"files": []}, ArgumentError), ({"files": "a.parquet"}, TypeError)],
)
async def test_create_import_with_a_bad_argument_sends_nothing(
    fake: FakeMilvus, client: ImportClient, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"^files"):
        await client.create_import("books", **arguments)
    assert list(fake.received) == []


async def test_create_import_logs_an_unknown_option_once(
    client: ImportClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_requests, "_WARNED_OPTIONS", set[str]())
    with caplog.at_level(logging.WARNING, "milvus_import"):
        for _ in range(2):
            await client.create_import(
                "books", ["a.parquet"], options={"priority": "hidden", "sep": "|"}
            )
    [record] = caplog.records
    assert "priority" in record.getMessage()
    assert "hidden" not in record.getMessage()


# What is raised. A write is never resent.


@both_services
@pytest.mark.parametrize(
    ("fault", "may_have_run"),
    [
        ("unavailable", True),
        ("deadline", True),
        ("cancelled", True),
        ("aborted", True),
        ("garbage", True),
        ("empty", True),
        ("denied", False),
    ],
)
async def test_create_import_raises_a_grpc_error_after_one_attempt(
    fake: FakeMilvus, client: ImportClient, fault: str, may_have_run: bool
) -> None:
    fake.inject(fault, method=IMPORT[await client.check()])
    with pytest.raises(CallError) as raised:
        await client.create_import("books", ["a.parquet"])
    assert raised.value.may_have_run is may_have_run
    assert len(imports(fake)) == 1


@both_services
@pytest.mark.parametrize(
    ("fault", "error", "hint"),
    [
        ("job-limit", JobLimitError, "Try again when some"),
        ("no-collection", MilvusStatusError, "Check the collection's name"),
        ("not-ready", MilvusStatusError, "Try again in a moment"),
    ],
)
async def test_create_import_raises_a_status_error_after_one_attempt(
    fake: FakeMilvus, client: ImportClient, fault: str, error: type[MilvusStatusError], hint: str
) -> None:
    fake.inject(fault, method=IMPORT[await client.check()])
    with pytest.raises(error) as raised:
        await client.create_import("books", ["a.parquet"])
    assert raised.value.hint.startswith(hint)
    assert not raised.value.may_have_run
    assert len(imports(fake)) == 1


async def test_a_full_queue_of_2_3_raises_job_limit_error() -> None:
    text = (
        "import task queue max size is 3, currently there are 3 tasks is pending. "
        "Not able to execute this request with 1 tasks"
    )
    status = common_pb2.Status(code=65535, error_code=1, reason=text, detail=text)
    async with FakeMilvus(version="2.3") as fake, ImportClient(fake.public_uri) as client:
        fake.inject(Fault(status=status), method="Import")
        with pytest.raises(JobLimitError) as raised:
            await client.create_import("books", ["a.json"])
        assert (raised.value.transient, raised.value.may_have_run) == (True, False)
        await client.create_import("books", ["a.json"])
        assert len(fake.jobs) == 1


async def test_create_import_without_a_server_has_not_run() -> None:
    with closed_port() as port:
        async with ImportClient(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(UnavailableError) as raised:
                await client.create_import("books", ["a.parquet"])
    assert not raised.value.may_have_run


@both_services
async def test_create_import_whose_deadline_expires_may_have_run(
    fake: FakeMilvus, client: ImportClient, scale: float
) -> None:
    service = await client.check()
    fake.inject("hang", method=IMPORT[service])
    with pytest.raises(DeadlineExceededError) as raised:
        await client.create_import("books", ["a.parquet"], timeout=0.5 * scale)
    assert raised.value.may_have_run
    assert len(imports(fake)) == 1
    # Milvus 2.3 looks for a missing collection until the deadline.
    assert ("collection's name and db_name" in raised.value.hint) == (service == "public")


async def test_create_import_whose_connection_breaks_may_have_run(
    fake: FakeMilvus, scale: float
) -> None:
    errors: list[CallError] = []

    async def create(client: ImportClient) -> None:
        try:
            await client.create_import("books", ["a.parquet"], timeout=20 * scale)
        except CallError as error:
            errors.append(error)

    async with Relay(fake.internal_port) as relay, ImportClient(relay.uri) as client:
        await client.check()
        fake.inject("hang", method="ImportV2")
        async with anyio.create_task_group() as group:
            group.start_soon(create, client)
            while not imports(fake):  # noqa: ASYNC110 - what the fake received is a plain list
                await anyio.sleep(0.01)
            relay.reset()
    [error] = errors
    assert isinstance(error, UnavailableError)
    assert error.may_have_run
    assert len(imports(fake)) == 1


async def test_create_import_is_not_retried_after_a_broken_connection() -> None:
    codes: list[grpc.StatusCode] = []
    async with breaking_port() as port, ImportClient(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(UnavailableError) as raised:
            await client.create_import(
                "books", ["a.parquet"], on_finish=lambda record: codes.append(record.code)
            )
    assert raised.value.may_have_run
    assert codes == [grpc.StatusCode.UNAVAILABLE]


@both_services
async def test_create_import_can_be_resent_with_its_idempotency_key(
    fake: FakeMilvus, client: ImportClient
) -> None:
    fake.inject("unavailable", method=IMPORT[await client.check()])
    with pytest.raises(UnavailableError) as caught:
        await client.create_import("books", ["a.parquet"], idempotency_key="request-7")
    assert caught.value.may_have_run
    assert (len(imports(fake)), fake.jobs) == (1, {})
    job_id = await client.create_import("books", ["a.parquet"], idempotency_key="request-7")
    assert list(fake.jobs) == [job_id]
    assert fake.received[-1].values("idempotency-key") == ["request-7"]
