"""create_import over real sockets: what arrives, what is raised, and that nothing is resent.

The validation of the arguments is tested in test_arguments.py and unit/services/test_requests.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from network import closed_port

from milvus_import import (
    CallError,
    DeadlineExceededError,
    ImportClient,
    JobLimitError,
    MilvusImportError,
    MilvusStatusError,
    UnavailableError,
)
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

both_services = pytest.mark.parametrize("client", ["internal", "public"], indirect=True)
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
    key = "".join(map(chr, range(0x20, 0x7F))) + "k" * 161
    await client.create_import("books", ["a.parquet"])
    assert fake.received[-1].values("idempotency-key") == []
    job_id = await client.create_import(
        "books",
        [["id.npy", "vector.npy"]],
        partition_name="p1",
        db_name="library",
        options={"timeout": 300, "auto_commit": False},
        idempotency_key=key,
        metadata={"x-id": "1"},
    )
    *_, received = fake.received
    request = received.request
    assert (request.collection_name, request.partition_name) == ("books", "p1")
    assert request.db_name == "library"
    assert received.values("dbname") == ["library"]
    assert received.values("idempotency-key") == [key]
    assert received.values("x-id") == ["1"]
    options = {pair.key: pair.value for pair in request.options}
    assert options == {"timeout": "300s", "auto_commit": "false"}
    files = request.files[0].paths if received.method == "ImportV2" else request.files
    assert list(files) == ["id.npy", "vector.npy"]
    assert fake.jobs[job_id].collection_name == "books"


# What is raised. A write is never resent.


@both_services
@pytest.mark.parametrize(
    ("fault", "error", "may_have_run", "hint"),
    [
        ("unavailable", CallError, True, ""),
        ("deadline", CallError, True, ""),
        ("cancelled", CallError, True, ""),
        ("aborted", CallError, True, ""),
        ("garbage", CallError, True, ""),
        ("empty", CallError, True, ""),
        ("denied", CallError, False, ""),
        ("job-limit", JobLimitError, False, "Try again when some"),
        ("no-collection", MilvusStatusError, False, "Check the collection's name"),
        ("not-ready", MilvusStatusError, False, "Try again in a moment"),
    ],
)
async def test_create_import_raises_after_one_attempt(
    fake: FakeMilvus,
    client: ImportClient,
    fault: str,
    error: type[MilvusImportError],
    *,
    may_have_run: bool,
    hint: str,
) -> None:
    fake.inject(fault, method=IMPORT[await client.check()])
    with pytest.raises(error) as raised:
        await client.create_import("books", ["a.parquet"])
    assert raised.value.hint.startswith(hint)
    assert raised.value.may_have_run is may_have_run
    assert len(imports(fake)) == 1


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
