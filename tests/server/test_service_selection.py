"""service="auto", "internal" and "public": which service is called, and when it changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import grpc
import pytest
from gateways import TrailerStrippingRelay, scripted_gateway
from network import server_ports
from replay import PROXY, PUBLIC, Replay, Reply, ok
from web import JOB, error_of

from milvus_import import (
    CallError,
    CallRecord,
    DeadlineExceededError,
    ImportClient,
    JobNotFoundError,
    MilvusStatusError,
    ServiceChoice,
    UnauthenticatedError,
    UnsupportedServerError,
)
from milvus_import._services import _select
from milvus_import.testing import FakeJob, FakeMilvus, Fault, Received
from milvus_import_pb import internal_pb2, milvus_pb2

pytestmark = pytest.mark.anyio

GET_PROGRESS = f"{PROXY}GetImportProgress"
GET_STATE = f"{PUBLIC}GetImportState"
INTERNAL_REPLIES = {GET_PROGRESS: ok(internal_pb2.GetImportProgressResponse(state=3))}
PUBLIC_REPLIES = {GET_STATE: ok(milvus_pb2.GetImportStateResponse(state=2))}


@pytest.fixture
def job(fake: FakeMilvus) -> FakeJob:
    return fake.add_job(state="Importing", progress=40)


def _methods(calls: list[Received]) -> list[str]:
    return [received.method for received in calls]


# ------------------------------------------------------------------- which service is called


@pytest.mark.parametrize(
    ("replies", "called", "service"),
    [
        (PUBLIC_REPLIES, [GET_PROGRESS, GET_STATE], "public"),
        (PUBLIC_REPLIES | INTERNAL_REPLIES, [GET_PROGRESS], "internal"),
    ],
    ids=["public", "both"],
)
async def test_auto_calls_the_internal_service_first_and_then_the_public_one(
    replies: dict[str, Reply], called: list[str], service: str
) -> None:
    async with Replay(replies) as server, ImportClient(server.uri) as client:
        response = await client.get_import_progress(JOB)
    assert [received.method for received in server.received] == called
    assert (response.service, response.data.state) == (service, "Importing")


async def test_credentials_are_checked_by_the_service_that_has_the_method(
    fake: FakeMilvus, job: FakeJob
) -> None:
    fake.token = "root:Milvus"
    async with ImportClient(fake.public_uri) as client:
        with pytest.raises(UnauthenticatedError, match="missing authorization"):
            await client.get_import_progress(job.job_id)
    assert (_methods(fake.unimplemented), _methods(fake.received)) == (
        ["GetImportProgress"],
        ["GetImportState"],
    )


@pytest.mark.parametrize(
    ("choice", "method", "hint"),
    [
        ("internal", "GetImportProgress", "Use port 19529"),
        ("public", "GetImportState", "Use port 19530"),
    ],
)
async def test_an_explicit_service_is_the_only_one_that_is_called(
    fake: FakeMilvus, job: FakeJob, choice: ServiceChoice, method: str, hint: str
) -> None:
    right, wrong = fake.internal_uri, fake.public_uri
    if choice == "public":
        right, wrong = wrong, right
    async with ImportClient(wrong, service=choice) as client:
        error = await error_of(client.get_import_progress(job.job_id), UnsupportedServerError)
    assert (_methods(fake.unimplemented), list(fake.received)) == ([method], [])
    assert error.code is grpc.StatusCode.UNIMPLEMENTED
    assert error.hint.startswith(hint)
    assert error.job_id == job.job_id
    async with ImportClient(right, service=choice) as client:
        assert (await client.get_import_progress(job.job_id)).service == choice
    assert _methods(fake.received) == [method]


async def test_auto_does_not_call_the_public_service_after_other_errors(
    fake: FakeMilvus, job: FakeJob
) -> None:
    for fault in ("aborted", "denied", "deadline", "proxy-not-ready", "empty", "not-ready"):
        fake.inject(fault)
        async with ImportClient(fake.internal_uri) as client:
            with pytest.raises((CallError, MilvusStatusError)):
                await client.get_import_progress(job.job_id)
    assert len(fake.received) == 6
    assert list(fake.unimplemented) == []


# ------------------------------------------------------------------------------ one deadline


async def test_timeout_covers_the_calls_of_both_services(
    fake: FakeMilvus, job: FakeJob, scale: float
) -> None:
    delay = 0.4 * scale
    fake.inject(Fault(delay=delay), method="GetImportProgress")
    async with ImportClient(fake.public_uri) as client:
        await client.get_import_progress(job.job_id, timeout=9 * scale)
    [first], [second] = fake.unimplemented, fake.received
    assert first.time_remaining is not None
    assert second.time_remaining is not None
    assert second.time_remaining < first.time_remaining - delay * 0.7


async def test_a_timeout_that_expires_in_the_first_call_prevents_the_second(
    fake: FakeMilvus, job: FakeJob, scale: float
) -> None:
    fake.inject("hang", method="GetImportProgress")
    async with ImportClient(fake.public_uri) as client:
        with pytest.raises(DeadlineExceededError, match=rf"within {0.3 * scale:g} s"):
            await client.get_import_progress(job.job_id, timeout=0.3 * scale)
    assert list(fake.received) == []


async def test_rpc_timeout_none_applies_to_the_calls_of_both_services(
    fake: FakeMilvus, job: FakeJob
) -> None:
    async with ImportClient(fake.public_uri, rpc_timeout=None) as client:
        await client.get_import_progress(job.job_id)
    assert [r.time_remaining for r in (*fake.unimplemented, *fake.received)] == [None, None]


# ------------------------------------------------------------------------ what is remembered


async def test_the_service_that_responded_is_called_first_from_then_on(
    fake: FakeMilvus, job: FakeJob
) -> None:
    async with ImportClient(fake.public_uri) as client:
        await error_of(client.get_import_progress("7"), JobNotFoundError)  # is a response, too
        for _ in range(3):
            await client.get_import_progress(job.job_id)
        await client.create_import("books", ["a.parquet"])
    assert _methods(fake.unimplemented) == ["GetImportProgress"]
    assert _methods(fake.received) == ["GetImportState"] * 4 + ["Import"]


async def test_a_grpc_error_is_no_response_and_nothing_is_remembered(
    fake: FakeMilvus, job: FakeJob
) -> None:
    fake.inject("aborted", method="GetImportState")
    async with ImportClient(fake.public_uri) as client:
        await error_of(client.get_import_progress(job.job_id), CallError)
        await client.get_import_progress(job.job_id)
        await client.get_import_progress(job.job_id)
    assert len(fake.unimplemented) == 2


async def test_auto_notices_another_server_on_the_same_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_select, "RECHECK_INTERVAL", 3600)
    async with FakeMilvus(**server_ports()) as first:
        first.add_job(FakeJob(job_id=JOB))
        port = first.internal_port
        async with ImportClient(f"http://127.0.0.1:{port}") as client:
            assert (await client.get_import_progress(JOB)).service == "internal"
            await first.stop()
            async with FakeMilvus(public_port=port) as second:
                second.add_job(FakeJob(job_id=JOB))
                for _ in range(2):
                    response = await client.get_import_progress(JOB, wait_for_ready=True)
                    assert response.service == "public"
                assert (len(second.unimplemented), len(second.received)) == (1, 2)
            await first.start()
            first.received.clear()
            for _ in range(2):
                response = await client.get_import_progress(JOB, wait_for_ready=True)
                assert response.service == "internal"
            assert (len(first.unimplemented), len(first.received)) == (1, 2)


async def test_auto_notices_an_upgrade_from_2_3_without_a_new_client(
    fake: FakeMilvus, job: FakeJob
) -> None:
    fake.version = "2.3"
    async with ImportClient(fake.internal_uri) as client:
        error = await error_of(client.get_import_progress(job.job_id), UnsupportedServerError)
        assert [received.service for received in fake.unimplemented] == ["internal", "public"]
        fake.version = "2.6"
        assert (await client.get_import_progress(job.job_id)).service == "internal"
    assert error.hint.startswith("Use port 19530: this is the internal port of Milvus 2.3")


@pytest.mark.parametrize("details", ["unknown method", "Received http2 header with status: 404"])
async def test_auto_returns_to_the_internal_service_after_a_passing_unimplemented(
    details: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, routed = 1000.0, True

    def respond(path: str, _: bytes) -> Reply:
        if path == GET_PROGRESS and not routed:
            return Reply(grpc.StatusCode.UNIMPLEMENTED, details)
        return (INTERNAL_REPLIES | PUBLIC_REPLIES)[path]

    monkeypatch.setattr(_select, "time", SimpleNamespace(monotonic=lambda: now))
    services: list[str] = []
    async with Replay(respond) as server, ImportClient(server.uri) as client:
        for routes, seconds in ((True, 0.0), (False, 0.0), (True, 0.5), (True, 1.0), (True, 0.0)):
            routed = routes
            now += seconds * _select.RECHECK_INTERVAL
            services.append((await client.get_import_progress(JOB)).service)
    assert services == ["internal", "public", "public", "internal", "internal"]
    assert [call.method for call in server.received] == [
        *(GET_PROGRESS, GET_PROGRESS, GET_STATE, GET_STATE, GET_PROGRESS, GET_PROGRESS)
    ]


async def test_auto_rechecks_only_a_service_that_has_worked(
    monkeypatch: pytest.MonkeyPatch, fake: FakeMilvus, job: FakeJob
) -> None:
    now = 1000.0
    monkeypatch.setattr(_select, "time", SimpleNamespace(monotonic=lambda: now))
    async with ImportClient(fake.public_uri) as client:
        for _ in range(3):
            await client.get_import_progress(job.job_id)
            now += 2 * _select.RECHECK_INTERVAL
    assert len(fake.unimplemented) == 1


# -------------------------------------------------------- responses without a gRPC status

IMPORTING = milvus_pb2.GetImportStateResponse(state=2)


async def test_a_read_falls_back_to_the_public_service_after_an_empty_http_200() -> None:
    records: list[CallRecord] = []
    async with (
        scripted_gateway(None, IMPORTING) as gateway,
        ImportClient(gateway.uri, on_finish=records.append) as client,
    ):
        response = await client.get_import_progress(JOB)
        await client.get_import_progress(JOB)
    assert (response.service, response.data.state) == ("public", "Importing")
    assert [(record.service, record.code.name) for record in records] == [
        ("internal", "UNKNOWN"),
        ("public", "OK"),
        ("public", "OK"),  # it is remembered
    ]


async def test_create_import_whose_trailers_are_lost_starts_one_job_and_may_have_run() -> None:
    started: list[str] = []

    def run(path: str, _: bytes) -> Reply:
        started.append(path)
        if path == f"{PROXY}ImportV2":
            return ok(internal_pb2.ImportResponse(jobID="7"))
        return ok(milvus_pb2.ImportResponse(tasks=[8]))

    async with (
        Replay(run) as backend,
        TrailerStrippingRelay(backend.port) as relay,
        ImportClient(relay.uri) as client,
    ):
        error = await error_of(client.create_import("books", ["a.parquet"]), CallError)
    assert started == [f"{PROXY}ImportV2"]
    assert error.code is grpc.StatusCode.UNKNOWN
    assert error.may_have_run


# ----------------------------------------------------------------- neither has the method


async def test_a_server_with_neither_service_raises_an_error_that_names_both() -> None:
    records: list[CallRecord] = []
    async with Replay({}) as server, ImportClient(server.uri, on_finish=records.append) as client:
        error = await error_of(client.get_import_progress(JOB), UnsupportedServerError)
    text = str(error)
    for words in (
        f"127.0.0.1:{server.port}",
        "internal service: unknown service milvus.proto.proxy.Proxy",
        "public service: unknown service milvus.proto.milvus.MilvusService",
        "19530",
        "19529",
        "2.4+",
    ):
        assert words in text
    assert error.code is grpc.StatusCode.UNIMPLEMENTED
    assert error.record == records[1]
    assert not error.may_have_run


# ------------------------------------------------------------------------------------ check


async def test_check_returns_the_service_that_responds(fake: FakeMilvus) -> None:
    for version in ("2.6", "2.3"):
        fake.version = version
        async with ImportClient(fake.public_uri) as client:
            assert await client.check() == "public"
    fake.version = "2.6"
    async with ImportClient(fake.internal_uri) as client:
        assert await client.check() == "internal"
        await client.check()
    assert _methods(fake.received)[2:] == ["GetImportProgress"] * 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("not-ready", MilvusStatusError),
        ("coordinator-unavailable", MilvusStatusError),
        ("denied", CallError),
        ("empty", CallError),
    ],
)
async def test_check_raises_if_the_server_is_not_ready(
    fake: FakeMilvus, fault: str, error: type[Exception]
) -> None:
    fake.inject(fault)
    async with ImportClient(fake.internal_uri) as client:
        await error_of(client.check(), error)


# --------------------------------------------------------- what the gRPC services cannot do


@pytest.mark.parametrize("service", ["auto", "internal", "public"])
async def test_commit_and_abort_import_name_the_rest_service(
    fake: FakeMilvus, job: FakeJob, service: ServiceChoice
) -> None:
    async with ImportClient(fake.public_uri, service=service) as client:
        calls: list[Callable[[str], Awaitable[None]]] = [client.commit_import, client.abort_import]
        for call in calls:
            error = await error_of(call(job.job_id), UnsupportedServerError)
            assert error.hint.startswith("Create the client with service='rest'")
            assert (error.transient, error.may_have_run) == (False, False)
            assert str(error).startswith(f"{call.__name__} at 127.0.0.1:")
    assert (list(fake.received), list(fake.unimplemented)) == ([], [])


FILES = ["a.parquet", ["id.npy", "v.npy"]]


@pytest.mark.parametrize("service", ["public", "auto"])
async def test_create_import_of_many_groups_on_the_public_port_creates_nothing(
    fake: FakeMilvus, service: ServiceChoice
) -> None:
    async with ImportClient(fake.public_uri, service=service) as client:
        error = await error_of(client.create_import("books", FILES), UnsupportedServerError)
    assert error.hint.startswith("Create the client with service='rest'")
    assert "[[...]]" in error.hint
    assert not error.may_have_run
    assert (list(fake.received), fake.jobs) == ([], {})
    assert len(fake.unimplemented) == (service == "auto")


async def test_create_import_of_many_groups_on_the_internal_port(fake: FakeMilvus) -> None:
    async with ImportClient(fake.internal_uri) as client:
        job_id = await client.create_import("books", FILES)
    assert [file.name for file in fake.jobs[job_id].files] == ["a.parquet", "id.npy v.npy"]


async def test_create_import_that_no_service_implements_has_not_run() -> None:
    def replies(path: str, _: bytes) -> Reply:
        return Reply(grpc.StatusCode.UNIMPLEMENTED, path)

    async with Replay(replies) as server, ImportClient(server.uri) as client:
        error = await error_of(client.create_import("books", ["a.parquet"]), UnsupportedServerError)
    assert error.details == f"{PROXY}ImportV2 / {PUBLIC}Import"
    assert not error.may_have_run
