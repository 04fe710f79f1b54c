from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
import pytest
from network import dead_port
from replay import PROXY, PUBLIC, Answer, Replay, ok

from milvus_import import (
    CallError,
    CallRecord,
    DeadlineExceededError,
    ImportClient,
    JobNotFoundError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import._auto import ServiceChoice
from milvus_import.testing import FakeJob, FakeMilvus, Fault, Received
from milvus_import_pb import internal_pb2, milvus_pb2

pytestmark = pytest.mark.anyio

ASKS_INTERNAL = f"{PROXY}GetImportProgress"
ASKS_PUBLIC = f"{PUBLIC}GetImportState"
INTERNAL_ANSWERS = {ASKS_INTERNAL: ok(internal_pb2.GetImportProgressResponse(state=3))}
PUBLIC_ANSWERS = {ASKS_PUBLIC: ok(milvus_pb2.GetImportStateResponse(state=2))}
JOB = "450000000000000001"


@pytest.fixture
def job(fake: FakeMilvus) -> FakeJob:
    return fake.add_job(state="Importing", progress=40)


def _methods(calls: list[Received]) -> list[str]:
    return [received.method for received in calls]


# ------------------------------------------------------------------------ who is asked when


async def test_auto_asks_the_internal_service_first_and_then_the_public_one() -> None:
    async with Replay(PUBLIC_ANSWERS) as server, ImportClient(server.uri) as client:
        response = await client.get_import_progress(JOB)
    assert [received.method for received in server.received] == [ASKS_INTERNAL, ASKS_PUBLIC]
    assert (response.service, response.data.state) == ("public", "Importing")


async def test_where_both_answer_auto_takes_the_internal_service() -> None:
    answers = PUBLIC_ANSWERS | INTERNAL_ANSWERS
    async with Replay(answers) as server, ImportClient(server.uri) as client:
        response = await client.get_import_progress(JOB)
    assert [received.method for received in server.received] == [ASKS_INTERNAL]
    assert response.service == "internal"


async def test_credentials_are_judged_by_the_service_that_knows_the_call(
    fake: FakeMilvus, job: FakeJob
) -> None:
    fake.token = "root:Milvus"
    async with ImportClient(fake.public_uri) as client:
        with pytest.raises(UnauthenticatedError, match="missing authorization"):
            await client.get_import_progress(job.job_id)
    assert (_methods(fake.refused), _methods(fake.received)) == (
        ["GetImportProgress"],
        ["GetImportState"],
    )


@pytest.mark.parametrize(
    ("choice", "method", "advice"),
    [("internal", "GetImportProgress", "19529"), ("public", "GetImportState", "19530")],
)
async def test_a_chosen_service_is_the_only_one_asked(
    fake: FakeMilvus, job: FakeJob, choice: ServiceChoice, method: str, advice: str
) -> None:
    right, wrong = fake.internal_uri, fake.public_uri
    if choice == "public":
        right, wrong = wrong, right
    async with ImportClient(wrong, service=choice) as client:
        with pytest.raises(UnsupportedServerError, match=advice) as caught:
            await client.get_import_progress(job.job_id)
    assert (_methods(fake.refused), fake.received) == ([method], [])
    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED
    async with ImportClient(right, service=choice) as client:
        assert (await client.get_import_progress(job.job_id)).service == choice
    assert _methods(fake.received) == [method]


async def test_only_unimplemented_leads_to_the_other_service(
    fake: FakeMilvus, job: FakeJob
) -> None:
    for fault in ("aborted", "denied", "deadline", "proxy-not-ready", "empty", "not-ready"):
        fake.inject(fault)
        async with ImportClient(fake.internal_uri) as client:
            with pytest.raises((CallError, RefusedError)):
                await client.get_import_progress(job.job_id)
    assert len(fake.received) == 6
    assert fake.refused == []


# --------------------------------------------------------------------------- one deadline


async def test_one_deadline_covers_both_rpcs(fake: FakeMilvus, job: FakeJob, scale: float) -> None:
    delay = 0.4 * scale
    fake.inject(Fault(delay=delay), method="GetImportProgress")
    async with ImportClient(fake.public_uri) as client:
        await client.get_import_progress(job.job_id, timeout=9 * scale)
    [probe], [answer] = fake.refused, fake.received
    assert probe.time_remaining is not None
    assert answer.time_remaining is not None
    assert answer.time_remaining < probe.time_remaining - delay * 0.7


async def test_a_deadline_that_the_first_rpc_uses_up_sends_no_second(
    fake: FakeMilvus, job: FakeJob, scale: float
) -> None:
    fake.inject("hang", method="GetImportProgress")
    async with ImportClient(fake.public_uri) as client:
        with pytest.raises(DeadlineExceededError, match=rf"within {0.3 * scale:g} s"):
            await client.get_import_progress(job.job_id, timeout=0.3 * scale)
    assert fake.received == []


async def test_without_a_deadline_both_rpcs_have_none(fake: FakeMilvus, job: FakeJob) -> None:
    async with ImportClient(fake.public_uri, timeout=None) as client:
        await client.get_import_progress(job.job_id)
    assert [r.time_remaining for r in (*fake.refused, *fake.received)] == [None, None]


# ------------------------------------------------------------------------- what is remembered


async def test_the_service_that_answered_is_asked_first_from_then_on(
    fake: FakeMilvus, job: FakeJob
) -> None:
    async with ImportClient(fake.public_uri) as client:
        for _ in range(3):
            await client.get_import_progress(job.job_id)
        with pytest.raises(JobNotFoundError):
            await client.get_import_progress("7")
        await client.create_import("books", ["a.parquet"])
    assert _methods(fake.refused) == ["GetImportProgress"]
    assert _methods(fake.received) == ["GetImportState"] * 4 + ["Import"]


async def test_a_refusal_is_an_answer_too(fake: FakeMilvus) -> None:
    async with ImportClient(fake.public_uri) as client:
        for _ in range(2):
            with pytest.raises(JobNotFoundError):
                await client.get_import_progress("7")
    assert len(fake.refused) == 1


async def test_a_fault_is_no_answer_and_nothing_is_remembered(
    fake: FakeMilvus, job: FakeJob
) -> None:
    fake.inject("aborted", method="GetImportState")
    async with ImportClient(fake.public_uri) as client:
        with pytest.raises(CallError):
            await client.get_import_progress(job.job_id)
        await client.get_import_progress(job.job_id)
        await client.get_import_progress(job.job_id)
    assert len(fake.refused) == 2


async def test_another_server_on_the_same_port_is_found_out_and_remembered() -> None:
    async with FakeMilvus() as first:
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
                assert (len(second.refused), len(second.received)) == (1, 2)
            await first.start()
            first.received.clear()
            for _ in range(2):
                response = await client.get_import_progress(JOB, wait_for_ready=True)
                assert response.service == "internal"
            assert (len(first.refused), len(first.received)) == (1, 2)


async def test_an_upgrade_from_2_3_is_noticed_without_a_new_client(
    fake: FakeMilvus, job: FakeJob
) -> None:
    fake.version = "2.3"
    async with ImportClient(fake.internal_uri) as client:
        with pytest.raises(UnsupportedServerError):
            await client.get_import_progress(job.job_id)
        fake.version = "2.6"
        assert (await client.get_import_progress(job.job_id)).service == "internal"


# ------------------------------------------------------------------------- nobody knows it


async def test_a_server_that_knows_neither_service_is_told_apart() -> None:
    records: list[CallRecord] = []
    async with Replay({}) as server, ImportClient(server.uri, on_finish=records.append) as client:
        with pytest.raises(UnsupportedServerError) as caught:
            await client.get_import_progress(JOB)
    text = str(caught.value)
    for words in (
        f"127.0.0.1:{server.port}",
        "internal service: unknown service milvus.proto.proxy.Proxy",
        "public service: unknown service milvus.proto.milvus.MilvusService",
        "19530",
        "19529",
        "2.4+",
    ):
        assert words in text
    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.record == records[1]
    assert not caught.value.may_have_run


async def test_the_internal_port_of_2_3_is_named_as_such(fake: FakeMilvus) -> None:
    fake.version = "2.3"
    async with ImportClient(fake.internal_uri) as client:
        with pytest.raises(UnsupportedServerError, match=r"internal port of Milvus 2\.3.*19530"):
            await client.get_import_progress(JOB)
    assert [received.service for received in fake.refused] == ["internal", "public"]


# ---------------------------------------------------------------------------------- check


async def test_check_tells_which_service_answers(fake: FakeMilvus) -> None:
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
        ("not-ready", RefusedError),
        ("coordinator-away", RefusedError),
        ("denied", CallError),
        ("empty", CallError),
    ],
)
async def test_check_raises_where_the_server_is_not_well(
    fake: FakeMilvus, fault: str, error: type[Exception]
) -> None:
    fake.inject(fault)
    async with ImportClient(fake.internal_uri) as client:
        with pytest.raises(error):
            await client.check()


async def test_check_raises_where_nobody_is() -> None:
    with dead_port() as port:
        async with ImportClient(f"127.0.0.1:{port}") as client:
            with pytest.raises(UnavailableError, match="Nothing listens there"):
                await client.check()


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_a_refusal_says_which_service_refused(fake: FakeMilvus, service: str) -> None:
    uri = fake.internal_uri if service == "internal" else fake.public_uri
    async with ImportClient(uri) as client:
        with pytest.raises(JobNotFoundError, match="import job does not exist") as missing:
            await client.get_import_progress("7")
        fake.inject("rate-limit")
        with pytest.raises(RefusedError) as limited:
            await client.get_import_progress("7")
    assert (missing.value.service, missing.value.code) == (service, 2100)
    assert (limited.value.service, limited.value.code, limited.value.retriable) == (
        service,
        8,
        True,
    )


# --------------------------------------------------------------------------- Milvus 2.3


@pytest.mark.parametrize(
    ("state", "progress", "seen"),
    [
        ("Pending", 0, ("Pending", 0, 0)),
        ("Importing", 0, ("Importing", 0, 0)),
        ("Importing", 56, ("Importing", 56, 0)),
        ("Importing", 90, ("Importing", 90, 0)),
        ("IndexBuilding", 90, ("Importing", 90, 1000)),  # ImportPersisted: written, not yet final
        ("Completed", 100, ("Completed", 100, 1000)),
        ("Failed", 18, ("Failed", 18, 0)),
    ],
)
async def test_2_3_tells_more_about_a_job(
    fake: FakeMilvus, state: str, progress: int, seen: tuple[str, int, int]
) -> None:
    fake.version = "2.3"
    reason = "the file 'a.json' size is zero" if state == "Failed" else ""
    job = fake.add_job(state=state, progress=progress, reason=reason)
    async with ImportClient(fake.public_uri) as client:
        data = (await client.get_import_progress(job.job_id)).data
    assert (data.state, data.progress, data.imported_rows) == seen
    assert (data.collection_name, data.reason, data.service) == ("books", reason, "public")
    assert data.created_at is not None


async def test_2_3_does_not_know_a_job_in_its_own_words(fake: FakeMilvus) -> None:
    fake.version = "2.3"
    async with ImportClient(fake.public_uri) as client:
        with pytest.raises(JobNotFoundError, match="key not found") as caught:
            await client.get_import_progress("7")
    assert (caught.value.code, caught.value.error_code) == (1000, 1)


async def test_2_3_lists_jobs_on_its_public_port_and_later_versions_say_where(
    fake: FakeMilvus,
) -> None:
    fake.version = "2.3"
    jobs = [fake.add_job(collection_name=name) for name in ("books", "articles", "books")]
    async with ImportClient(fake.public_uri) as client:
        listed = await client.list_imports("books")
        assert [job.job_id for job in listed] == [jobs[0].job_id, jobs[2].job_id]
        fake.version = "2.6"
        with pytest.raises(UnsupportedServerError, match="internal port 19529"):
            await client.list_imports("books")


# -------------------------------------------------------------------------- gRPC's retries

READS: dict[str, Callable[[ImportClient, str], Awaitable[object]]] = {
    "get_import_progress": lambda client, job: client.get_import_progress(job),
    "list_imports": lambda client, job: client.list_imports("books"),
}


@pytest.mark.parametrize("service", ["internal", "public"])
@pytest.mark.parametrize("read", READS)
async def test_reads_survive_one_unavailable_answer(
    fake: FakeMilvus, job: FakeJob, service: ServiceChoice, read: str
) -> None:
    fake.version = "2.3" if service == "public" else "2.6"
    uri = fake.internal_uri if service == "internal" else fake.public_uri
    fake.inject("unavailable")
    async with ImportClient(uri, service=service) as client:
        await READS[read](client, job.job_id)
    assert len(fake.received) == 2


async def test_reads_give_up_after_three_attempts(fake: FakeMilvus, job: FakeJob) -> None:
    fake.inject("unavailable", times=None)
    async with ImportClient(fake.internal_uri) as client:
        with pytest.raises(UnavailableError, match="the server is going away"):
            await client.get_import_progress(job.job_id)
    assert len(fake.received) == 3


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_create_import_is_sent_once_and_may_have_run(fake: FakeMilvus, service: str) -> None:
    uri = fake.internal_uri if service == "internal" else fake.public_uri
    fake.inject("unavailable")
    async with ImportClient(uri) as client:
        with pytest.raises(UnavailableError) as caught:
            await client.create_import("books", ["a.parquet"])
        assert caught.value.may_have_run
        assert len(fake.received) == 1
        assert fake.jobs == {}
        job_id = await client.create_import("books", ["a.parquet"], idempotency_key="order-7")
    assert list(fake.jobs) == [job_id]
    assert fake.received[-1].values("idempotency-key") == ["order-7"]


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_create_import_that_never_left_cannot_have_run(
    fake: FakeMilvus, service: ServiceChoice
) -> None:
    uri = fake.internal_uri if service == "internal" else fake.public_uri
    await fake.stop()
    async with ImportClient(uri, service=service) as client:
        with pytest.raises(UnavailableError) as caught:
            await client.create_import("books", ["a.parquet"])
    assert not caught.value.may_have_run


async def test_many_file_groups_need_the_internal_service(fake: FakeMilvus) -> None:
    files = ["a.parquet", ["id.npy", "v.npy"]]
    async with ImportClient(fake.internal_uri) as client:
        job_id = await client.create_import("books", files)
    assert [file.name for file in fake.jobs[job_id].files] == ["a.parquet", "id.npy v.npy"]
    async with ImportClient(fake.public_uri) as client:
        with pytest.raises(ValueError, match="start a job for each"):
            await client.create_import("books", files)
    assert len(fake.jobs) == 1


async def test_create_import_that_nobody_knows_has_not_run() -> None:
    def answers(path: str, _: bytes) -> Answer:
        return Answer(grpc.StatusCode.UNIMPLEMENTED, path)

    async with Replay(answers) as server, ImportClient(server.uri) as client:
        with pytest.raises(UnsupportedServerError) as caught:
            await client.create_import("books", ["a.parquet"])
    assert caught.value.details == f"{PROXY}ImportV2 / {PUBLIC}Import"
    assert not caught.value.may_have_run
