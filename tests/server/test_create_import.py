from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import anyio
import pytest
from network import dead_port
from network import Relay

from milvus_import import (
    CallError,
    DeadlineExceededError,
    ImportClient,
    JobLimitError,
    RefusedError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

both_services = pytest.mark.parametrize("client", ["internal", "public"], indirect=True)
IMPORT = {"internal": "ImportV2", "public": "Import"}
only_public = pytest.mark.parametrize("client", ["public"], indirect=True)


@pytest.fixture
async def client(fake: FakeMilvus, request: pytest.FixtureRequest) -> AsyncIterator[ImportClient]:
    """A client of the internal service, or as the test says."""
    public = getattr(request, "param", "internal") == "public"
    async with ImportClient(fake.public_uri if public else fake.internal_uri) as client:
        yield client


def imports(fake: FakeMilvus) -> list[Any]:
    """The requests for an import that arrived."""
    return [r.request for r in fake.received if r.method in IMPORT.values()]


def options_of(request: Any) -> dict[str, str]:
    return {pair.key: pair.value for pair in request.options}


# What is sent.


@both_services
async def test_the_whole_order_arrives(fake: FakeMilvus, client: ImportClient) -> None:
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
    assert options_of(request) == {"timeout": "300s", "auto_commit": "false"}
    files = request.files[0].paths if received.method == "ImportV2" else request.files
    assert list(files) == ["id.npy", "vector.npy"]
    assert fake.jobs[job_id].collection_name == "books"


async def test_a_path_is_a_group_and_a_list_is_one(fake: FakeMilvus, client: ImportClient) -> None:
    await client.create_import("books", ["a.parquet", ["x.npy", "y.npy"], ("z.json",)])
    [request] = imports(fake)
    assert [list(group.paths) for group in request.files] == [
        ["a.parquet"],
        ["x.npy", "y.npy"],
        ["z.json"],
    ]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (None, {}),
        ({}, {}),
        ({"timeout": 300}, {"timeout": "300s"}),
        ({"timeout": 0.5}, {"timeout": "0.5s"}),
        ({"timeout": timedelta(minutes=2)}, {"timeout": "120s"}),
        ({"timeout": "5m"}, {"timeout": "5m"}),
        ({"auto_commit": True}, {"auto_commit": "true"}),
        (
            {"skip_disk_quota_check": True, "sep": "|"},
            {"skip_disk_quota_check": "true", "sep": "|"},
        ),
        ([("start_ts", 7), ("end_ts", 9)], {"start_ts": "7", "end_ts": "9"}),
    ],
)
async def test_options_arrive_as_the_strings_milvus_reads(
    fake: FakeMilvus, client: ImportClient, options: Any, sent: dict[str, str]
) -> None:
    await client.create_import("books", ["a.parquet"], options=options)
    [request] = imports(fake)
    assert options_of(request) == sent


@both_services
async def test_the_idempotency_key_is_metadata(fake: FakeMilvus, client: ImportClient) -> None:
    await client.create_import("books", ["a.parquet"], idempotency_key="once", metadata={"a": "b"})
    assert fake.received[-1].values("idempotency-key") == ["once"]
    assert fake.received[-1].values("a") == ["b"]
    await client.create_import("books", ["a.parquet"])
    assert fake.received[-1].values("idempotency-key") == []


MISUSES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"files": "a.parquet"}, TypeError, r"write files=\['a\.parquet'\]"),
    ({"files": []}, ValueError, "files is empty"),
    ({"files": [[]]}, ValueError, r"files\[0\] is an empty group"),
    ({"files": ["a", ""]}, ValueError, r"files\[1\] holds an empty path"),
    ({"files": ["a", 7]}, TypeError, r"files\[1\] is 7"),
    ({"files": [["a", 7]]}, TypeError, r"files\[0\] holds 7"),
    ({"files": [b"a"]}, TypeError, r"files\[0\]"),
    ({"files": ["\ud800"]}, ValueError, "lone surrogate"),
    ({"collection_name": ""}, ValueError, "collection_name is empty"),
    ({"collection_name": None}, TypeError, "collection_name"),
    ({"partition_name": 1}, TypeError, "partition_name"),
    ({"db_name": "Bücher"}, ValueError, "db_name"),
    ({"options": {"timeout": 0}}, ValueError, "'timeout'"),
    ({"options": {"timeout": True}}, TypeError, "'timeout'"),
    ({"options": {"timeout": float("nan")}}, ValueError, "'timeout'"),
    ({"options": {"auto_commit": "false"}}, TypeError, "'auto_commit' is True or False"),
    ({"options": {"sep": 1.5}}, TypeError, "'sep'"),
    ({"options": {"ezk": b"secret"}}, TypeError, "^((?!secret).)*$"),
    ({"options": [("sep", "a"), ("Sep", "b")]}, ValueError, "given twice"),
    ({"options": ["sep"]}, TypeError, "no pair"),
    ({"options": "sep=a"}, TypeError, "options"),
    ({"options": {"": "a"}}, TypeError, "name"),
    ({"idempotency_key": ""}, ValueError, "idempotency_key"),
    ({"idempotency_key": "a" * 257}, ValueError, "idempotency_key"),
    ({"idempotency_key": "schlüssel"}, ValueError, "idempotency_key"),
    ({"idempotency_key": 1}, TypeError, "idempotency_key"),
    ({"time_out": 1}, TypeError, "unknown call option"),
]


@pytest.mark.parametrize(("arguments", "error", "text"), MISUSES)
async def test_misuse_is_refused_before_anything_is_sent(
    fake: FakeMilvus,
    client: ImportClient,
    arguments: dict[str, Any],
    error: type[Exception],
    text: str,
) -> None:
    order: dict[str, Any] = {"collection_name": "books", "files": ["a.parquet"]} | arguments
    with pytest.raises(error, match=text):
        await client.create_import(**order)
    assert fake.received == []


@only_public
async def test_many_groups_on_the_public_service_are_refused(
    fake: FakeMilvus, client: ImportClient
) -> None:
    with pytest.raises(ValueError, match=r"2 groups.*one a job.*19529"):
        await client.create_import("books", ["a.parquet", "b.parquet"])
    assert imports(fake) == []


# What may go wrong. An import is never resent.


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
async def test_a_fault_is_raised_after_one_attempt(
    fake: FakeMilvus, client: ImportClient, fault: str, may_have_run: bool
) -> None:
    fake.inject(fault, method=IMPORT[await client.check()])
    with pytest.raises(CallError) as raised:
        await client.create_import("books", ["a.parquet"])
    assert raised.value.may_have_run is may_have_run
    assert len(imports(fake)) == 1


@both_services
@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        ("job-limit", JobLimitError, "try again when some"),
        ("no-collection", RefusedError, "check the collection's name"),
        ("not-ready", RefusedError, "service not ready"),
    ],
)
async def test_a_refusal_is_raised_after_one_attempt(
    fake: FakeMilvus, client: ImportClient, fault: str, error: type[RefusedError], text: str
) -> None:
    fake.inject(fault, method=IMPORT[await client.check()])
    with pytest.raises(error, match=f"(?i){text}"):
        await client.create_import("books", ["a.parquet"])
    assert len(imports(fake)) == 1


async def test_a_server_that_is_not_there_has_not_run_it() -> None:
    with dead_port() as port:
        async with ImportClient(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(UnavailableError) as raised:
                await client.create_import("books", ["a.parquet"])
    assert not raised.value.may_have_run


@both_services
async def test_a_call_that_takes_too_long_may_have_run(
    fake: FakeMilvus, client: ImportClient, scale: float
) -> None:
    fake.inject("hang", method=IMPORT[await client.check()])
    with pytest.raises(DeadlineExceededError) as raised:
        await client.create_import("books", ["a.parquet"], timeout=0.5 * scale)
    assert raised.value.may_have_run
    assert len(imports(fake)) == 1


async def test_a_connection_that_breaks_under_the_call_may_have_run(
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


# The list.


async def test_the_list_is_sorted_by_id(fake: FakeMilvus, client: ImportClient) -> None:
    for job_id in ("100", "9", "20"):
        fake.add_job(job_id=job_id, state="Failed", reason=f"bad {job_id}", progress=3)
    fake.add_job(job_id="30", collection_name="films")
    jobs = await client.list_imports()
    assert [job.job_id for job in jobs] == ["9", "20", "30", "100"]
    assert (jobs[0].state, jobs[0].progress, jobs[0].reason) == ("Failed", 3, "bad 9")
    assert [job.job_id for job in await client.list_imports("films")] == ["30"]
    assert await client.list_imports("nothing") == []


async def test_the_database_of_a_list_is_sent(fake: FakeMilvus, client: ImportClient) -> None:
    await client.list_imports("books", db_name="library")
    assert fake.received[-1].request.db_name == "library"


async def test_an_unknown_collection_has_no_list(fake: FakeMilvus, client: ImportClient) -> None:
    fake.inject("no-collection", method="ListImports")
    with pytest.raises(RefusedError, match="Check the collection's name"):
        await client.list_imports("nosuch")


async def test_an_old_server_lists_on_the_public_port() -> None:
    async with FakeMilvus(version="2.3") as fake:
        for job_id in ("100", "9", "20"):
            fake.add_job(job_id=job_id, state="Importing", progress=40)
        async with ImportClient(fake.public_uri) as client:
            jobs = await client.list_imports("books")
    assert [job.job_id for job in jobs] == ["9", "20", "100"]


@only_public
async def test_a_list_without_ids_is_an_error(fake: FakeMilvus, client: ImportClient) -> None:
    assert await client.list_imports() == []
    fake.add_job()
    with pytest.raises(UnsupportedServerError, match=r"without their ids.*19529"):
        await client.list_imports()
