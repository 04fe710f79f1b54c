from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, cast

import anyio
import grpc
import grpc.aio
import pytest
import trio
from certificates import make_certificates
from pages import code_blocks, table

import milvus_import
from milvus_import import (
    ImportClient,
    ImportFailedError,
    JobNotFoundError,
    MilvusImportError,
    TLSConfig,
    UnauthenticatedError,
    UnavailableError,
)
from milvus_import.testing import FAULTS, FakeFile, FakeJob, FakeMilvus, Fault, ManualClock
from milvus_import_pb import internal_pb2

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def internal(fake: FakeMilvus) -> AsyncGenerator[ImportClient, None]:
    async with ImportClient(fake.internal_uri) as client:
        yield client


# ---------------------------------------------------------------------------------- jobs


@pytest.mark.parametrize(
    ("seconds", "seen"),
    [
        (0, ("Pending", 0, 0, 0)),
        (59, ("Pending", 9, 0, 0)),
        (60, ("Importing", 10, 0, 2)),
        (240, ("Importing", 40, 1000, 2)),
        (419, ("Importing", 69, 1966, 2)),
        (420, ("Sorting", 70, 2000, 2)),
        (480, ("IndexBuilding", 80, 2000, 2)),
        (599, ("IndexBuilding", 99, 2000, 2)),
        (600, ("Completed", 100, 2000, 2)),
        (6000, ("Completed", 100, 2000, 2)),
    ],
)
async def test_a_job_of_ten_minutes_follows_the_clock(
    fake: FakeMilvus,
    internal: ImportClient,
    clock: ManualClock,
    seconds: float,
    seen: tuple[str, int, int, int],
) -> None:
    fake.clock = clock
    clock.advance(1000)  # a job's time starts when it is added
    job = fake.add_job(seconds=600, files=[FakeFile("a.parquet"), FakeFile("b.parquet")])
    clock.advance(seconds)
    data = (await internal.get_import_progress(job.job_id)).data
    assert (data.state, data.progress, data.imported_rows, len(data.details)) == seen
    assert (data.complete_time != "") is (data.state == "Completed")


async def test_a_wait_of_ten_minutes_takes_no_time(
    fake: FakeMilvus, internal: ImportClient, clock: ManualClock
) -> None:
    fake.clock = clock
    job = fake.add_job(seconds=600)
    final = await internal.wait(job.job_id, interval=0.01, on_progress=lambda _: clock.advance(100))
    assert final.state == "Completed"
    assert clock.now == 700  # seven changes, the last of which was the end
    assert len(fake.received) == 7


async def test_a_job_may_fail_or_stop_before_its_commit(
    fake: FakeMilvus, internal: ImportClient, clock: ManualClock
) -> None:
    fake.clock = clock
    failing = fake.add_job(seconds=600, fails_at=40, reason="bad row")
    without_reason = fake.add_job(seconds=600, fails_at=40)
    held = fake.add_job(seconds=600, auto_commit=False)
    clock.advance(240)
    with pytest.raises(ImportFailedError, match="bad row"):
        await internal.wait(failing.job_id)
    with pytest.raises(ImportFailedError, match="simulated failure"):
        await internal.wait(without_reason.job_id)
    clock.advance(1000)
    waiting = await internal.wait(held.job_id, until="uncommitted")
    assert (waiting.state, waiting.progress) == ("Uncommitted", 99)
    async with ImportClient(fake.public_uri) as public:
        waiting = await public.wait(held.job_id, until="uncommitted")
        assert (waiting.state, waiting.progress) == ("Uncommitted", 99)


async def test_a_script_gives_an_entry_to_each_answer_and_stays_at_its_last(
    fake: FakeMilvus, internal: ImportClient
) -> None:
    job = fake.add_job(script=[("Pending", 0), ("Importing", 40), ("11", 50), ("Completed", 100)])
    seen = [(await internal.get_import_progress(job.job_id)).data for _ in range(5)]
    states = [str(data.state) for data in seen]
    assert states == ["Pending", "Importing", "11", "Completed", "Completed"]
    assert job.answered == 5


async def test_a_job_added_is_the_job_itself(fake: FakeMilvus, internal: ImportClient) -> None:
    job = FakeJob(job_id="7", state="Importing", progress=40)
    assert fake.add_job(job) is job
    job.files[0].reason = "bad row"
    [detail] = (await internal.get_import_progress("7")).data.details
    assert (detail.state, detail.reason) == ("Failed", "bad row")
    del fake.jobs["7"]
    with pytest.raises(JobNotFoundError):
        await internal.get_import_progress("7")


async def test_jobs_get_ascending_ids(fake: FakeMilvus) -> None:
    ids = [int(fake.add_job().job_id) for _ in range(3)]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"job_id": "seven"}, "job_id"),
        ({"state": "Impotring"}, "unknown state 'Impotring'; there are None, Pending"),
        ({"script": [("Pending", 0), ("Done", 100)]}, "unknown state 'Done'"),
    ],
)
async def test_a_job_no_milvus_could_have_is_refused(
    fake: FakeMilvus, fields: dict[str, Any], error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        fake.add_job(**fields)
    assert fake.jobs == {}


async def test_a_job_and_fields_are_one_too_many(fake: FakeMilvus) -> None:
    with pytest.raises(TypeError, match="not both"):
        fake.add_job(FakeJob(), state="Importing")


async def test_create_import_makes_a_job(fake: FakeMilvus, clock: ManualClock) -> None:
    fake.clock = clock
    fake.import_seconds = 60
    async with ImportClient(fake.internal_uri, db_name="shop") as client:
        job_id = await client.create_import(
            "books", ["a.parquet", ["id.npy", "v.npy"]], options={"auto_commit": False}
        )
    job = fake.jobs[job_id]
    assert (job.collection_name, job.db_name, job.seconds) == ("books", "shop", 60)
    assert [file.name for file in job.files] == ["a.parquet", "id.npy v.npy"]
    assert not job.auto_commit


# -------------------------------------------------------------------------------- faults


async def test_the_page_names_each_fault() -> None:
    assert [row[0].strip("`") for row in table("testing.md", "Faults")] == sorted(FAULTS)


@pytest.mark.parametrize("row", table("testing.md", "Faults"), ids=lambda row: row[0].strip("`"))
async def test_a_fault_by_name(
    fake: FakeMilvus, internal: ImportClient, scale: float, row: Sequence[str]
) -> None:
    name, error = row[0].strip("`"), getattr(milvus_import, row[2].strip("`"))
    job = fake.add_job()
    fake.inject(name, times=None)
    timeout = 0.3 if name == "hang" else 30
    with pytest.raises(MilvusImportError) as caught:
        await internal.get_import_progress(job.job_id, timeout=timeout * scale)
    assert type(caught.value) is error
    fake.heal()
    await internal.get_import_progress(job.job_id, timeout=30 * scale)


async def test_faults_come_in_order_as_often_as_asked_for(
    fake: FakeMilvus, internal: ImportClient
) -> None:
    job = fake.add_job()
    fake.inject("denied", times=2)
    fake.inject("rate-limit")
    seen: list[str] = []
    for _ in range(4):
        try:
            await internal.get_import_progress(job.job_id)
            seen.append("OK")
        except MilvusImportError as error:
            seen.append(type(error).__name__)
    assert seen == ["AccessDeniedError", "AccessDeniedError", "RefusedError", "OK"]


async def test_a_fault_of_one_method_leaves_the_others_alone(
    fake: FakeMilvus, internal: ImportClient
) -> None:
    job = fake.add_job()
    fake.inject("denied", method="ListImports")
    await internal.get_import_progress(job.job_id)
    with pytest.raises(MilvusImportError):
        await internal.list_imports()
    await internal.list_imports()


async def test_a_fault_may_be_asked_for_on_a_method_the_port_lacks(fake: FakeMilvus) -> None:
    job = fake.add_job()
    fake.inject("denied", method="GetImportProgress")
    async with ImportClient(fake.public_uri) as client:
        with pytest.raises(MilvusImportError, match="PrivilegeImport"):
            await client.get_import_progress(job.job_id)


async def test_an_unknown_fault_is_refused_with_the_known_ones(fake: FakeMilvus) -> None:
    with pytest.raises(ValueError, match=r"unknown fault 'unavailabel'.*unavailable"):
        fake.inject("unavailabel")


# ------------------------------------------------------------------------ the server itself


async def test_a_restarted_server_has_its_ports_and_its_jobs(fake: FakeMilvus) -> None:
    job = fake.add_job(state="Importing", progress=40)
    uris = (fake.public_uri, fake.internal_uri)
    for _ in range(2):
        await fake.stop()
        async with ImportClient(fake.internal_uri) as client:
            with pytest.raises(UnavailableError):
                await client.get_import_progress(job.job_id)
        await fake.start()
        assert (fake.public_uri, fake.internal_uri) == uris
        async with ImportClient(fake.internal_uri) as client:
            assert (await client.get_import_progress(job.job_id)).data.progress == 40


async def test_stop_with_grace_lets_a_call_end(fake: FakeMilvus, scale: float) -> None:
    job = fake.add_job(state="Importing", progress=40)
    fake.inject(Fault(delay=0.3 * scale))
    async with ImportClient(fake.internal_uri) as client, anyio.create_task_group() as tasks:

        async def ask() -> None:
            assert (await client.get_import_progress(job.job_id)).data.progress == 40

        tasks.start_soon(ask)
        with anyio.fail_after(20 * scale):
            while not fake.received:  # noqa: ASYNC110 - a list has no event to wait for
                await anyio.sleep(0.01)
        await fake.stop(grace=20 * scale)


async def test_a_start_that_fails_leaves_nothing_behind(fake: FakeMilvus) -> None:
    other = FakeMilvus(public_port=fake.public_port)
    with pytest.raises(RuntimeError):
        await other.start()
    assert other.internal_port
    async with FakeMilvus(internal_port=other.internal_port) as third:  # its port is free again
        assert third.internal_port == other.internal_port


def test_a_loop_that_is_not_asyncios_is_refused() -> None:
    async def serve() -> None:
        async with FakeMilvus():
            pass

    with pytest.raises(RuntimeError, match="FakeMilvus works on asyncio"):
        trio.run(serve)


async def test_two_servers_live_side_by_side(fake: FakeMilvus) -> None:
    async with FakeMilvus() as other:
        job = other.add_job()
        assert fake.internal_port != other.internal_port
        async with ImportClient(fake.internal_uri) as client:
            with pytest.raises(JobNotFoundError):
                await client.get_import_progress(job.job_id)


async def test_unknown_calls_are_answered_in_a_real_servers_words(fake: FakeMilvus) -> None:
    said: list[str] = []
    for target, path in (
        (fake.public_port, "/milvus.proto.proxy.Proxy/GetImportProgress"),
        (fake.internal_port, "/milvus.proto.milvus.MilvusService/GetImportState"),
        (fake.internal_port, "/milvus.proto.proxy.Proxy/Nonsense"),
        (fake.internal_port, "/grpc.health.v1.Health/Check"),
    ):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{target}") as channel:
            method: Any = cast("Any", channel).unary_unary(path)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method(b"", timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        said.append(caught.value.details() or "")
    assert said == [
        "unknown service milvus.proto.proxy.Proxy",
        "unknown service milvus.proto.milvus.MilvusService",
        "unknown method Nonsense for service milvus.proto.proxy.Proxy",
        "unknown service grpc.health.v1.Health",
    ]
    assert [received.service for received in fake.refused[:3]] == ["internal", "public", "internal"]
    assert fake.received == []


async def test_received_tells_of_a_reset(fake: FakeMilvus, scale: float) -> None:
    job = fake.add_job()
    fake.inject("hang")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{fake.internal_port}") as channel:
        method: Any = cast("Any", channel).unary_unary(
            "/milvus.proto.proxy.Proxy/GetImportProgress"
        )
        request = internal_pb2.GetImportProgressRequest(jobID=job.job_id)
        call = method(request.SerializeToString(), metadata=(("a", "1"), ("a", "2")))
        with anyio.fail_after(20 * scale):
            while not fake.received:  # noqa: ASYNC110 - a list has no event to wait for
                await anyio.sleep(0.01)
            [received] = fake.received
            assert not received.reset
            call.cancel()
            while not received.reset:  # noqa: ASYNC110
                await anyio.sleep(0.01)
    assert received.request == request
    assert received.values("a") == ["1", "2"]
    assert received.time_remaining is None
    assert "metadata" not in repr(received)


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ({}, "missing authorization in header"),
        ({"authorization": "cm9vdDpXcm9uZw=="}, "auth check failure"),
        ({"authorization": "Bearer cm9vdDpNaWx2dXM="}, "invalid token format"),
    ],
)
async def test_wrong_credentials_are_refused_in_a_real_servers_words(
    fake: FakeMilvus, sent: dict[str, str], text: str
) -> None:
    fake.token = "root:Milvus"
    job = fake.add_job()
    async with ImportClient(fake.public_uri) as client:
        with pytest.raises(UnauthenticatedError, match=text):
            await client.get_import_progress(job.job_id, metadata=sent)
    async with ImportClient(fake.internal_uri) as client:  # which asks for none
        await client.get_import_progress(job.job_id, metadata=sent)


async def test_mutual_tls_demands_a_certificate_of_the_client() -> None:
    certificates = make_certificates()
    key, cert = certificates.client
    async with FakeMilvus(tls=certificates.server, client_ca=certificates.ca) as fake:
        job = fake.add_job()
        assert fake.internal_uri.startswith("https://")
        tls = TLSConfig(ca=certificates.ca, cert=cert, key=key)
        async with ImportClient(fake.internal_uri, tls=tls) as client:
            await client.get_import_progress(job.job_id)
        async with ImportClient(fake.internal_uri, tls=TLSConfig(ca=certificates.ca)) as client:
            with pytest.raises(UnavailableError):
                await client.get_import_progress(job.job_id)


# --------------------------------------------------------------------------- used wrongly


@pytest.mark.parametrize("version", ["2.2", "2.4", "3.0", "", 2.3, None])
async def test_a_version_it_cannot_play_is_refused(fake: FakeMilvus, version: Any) -> None:
    words = re.escape(f"version is '2.3' or '2.6', not {version!r}")
    with pytest.raises(ValueError, match=words):
        FakeMilvus(version=version)
    with pytest.raises(ValueError, match=words):
        fake.version = version


async def test_a_fault_that_would_never_come_is_refused(fake: FakeMilvus) -> None:
    with pytest.raises(ValueError, match="unknown method 'GetImportProgres'; there are GetImport"):
        fake.inject("unavailable", method="GetImportProgres")
    with pytest.raises(
        TypeError, match=r"a Fault or the name of one, not <StatusCode\.UNAVAILABLE"
    ):
        fake.inject(cast("Any", grpc.StatusCode.UNAVAILABLE))


async def test_a_file_that_is_only_a_name_is_refused(fake: FakeMilvus) -> None:
    with pytest.raises(TypeError, match=re.escape("write FakeFile('a.parquet')")):
        fake.add_job(files=["a.parquet"])
    assert not fake.jobs


async def test_a_server_has_no_address_before_it_starts_and_starts_once() -> None:
    fake = FakeMilvus()
    for uri in ("internal_uri", "public_uri"):
        with pytest.raises(RuntimeError, match="no port yet: start it"):
            getattr(fake, uri)
    async with fake:
        with pytest.raises(RuntimeError, match="running already"):
            await fake.start()
        async with ImportClient(fake.internal_uri) as client:
            assert await client.check() == "internal"


# ------------------------------------------------------------------------ as users meet it


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)


def test_the_pages_code_is_a_suite_that_passes(tmp_path: Path) -> None:
    blocks = code_blocks("testing.md")
    for block in blocks:
        name = block.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(block, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", "utf-8")
    done = _run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    count = sum(block.count("def test_") for block in blocks)
    assert f"{count} passed" in done.stdout
    followed = _run(str(tmp_path / "follow.py"))
    assert followed.stdout.endswith("1,000 rows, told by the internal service\n"), followed.stderr


def test_the_kit_itself_needs_no_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; import milvus_import.testing"
    done = _run("-c", code)
    assert done.returncode == 0, done.stderr
