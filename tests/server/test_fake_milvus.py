from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest
import trio
from certificates import make_certificates
from command_line import until
from pages import code_blocks, table
from web import error_of

import milvus_import
from milvus_import import (
    GetImportProgressOption,
    ImportClient,
    ImportFailedError,
    JobNotFoundError,
    MilvusImportError,
    TLSConfig,
    UnavailableError,
    get_import_progress,
)
from milvus_import.testing import FAULTS, FakeFile, FakeJob, FakeMilvus, Fault, ManualClock
from milvus_import_pb import internal_pb2

pytestmark = pytest.mark.anyio


# ---------------------------------------------------------------------------------- jobs


@pytest.mark.parametrize(
    ("seconds", "seen"),
    [
        *[(0, ("Pending", 0, 0, 0)), (59, ("Pending", 9, 0, 0))],
        *[(60, ("Importing", 10, 0, 2)), (240, ("Importing", 40, 1000, 2))],
        *[(419, ("Importing", 69, 1966, 2)), (420, ("Sorting", 70, 2000, 2))],
        *((at, ("IndexBuilding", at // 6, 2000, 2)) for at in (480, 599)),
        *((at, ("Completed", 100, 2000, 2)) for at in (600, 6000)),
    ],
)
async def test_job_with_seconds_follows_the_clock(
    fake: FakeMilvus, client: ImportClient, clock: ManualClock, seconds: float, seen: Any
) -> None:
    clock.advance(1000)  # a job's time starts when it is added
    job = fake.add_job(seconds=600, files=[FakeFile("a.parquet"), FakeFile("b.parquet")])
    clock.advance(seconds)
    data = (await client.get_import_progress(job.job_id)).data
    assert (data.state, data.progress, data.imported_rows, len(data.details)) == seen
    assert (data.complete_time != "") is (data.state == "Completed")


async def test_manual_clock_shortens_a_wait(
    fake: FakeMilvus, client: ImportClient, clock: ManualClock
) -> None:
    job = fake.add_job(seconds=600)
    final = await client.wait(job.job_id, interval=0.01, on_progress=lambda _: clock.advance(100))
    assert final.state == "Completed"
    assert clock.now == 700  # seven changes, the last of which was the end
    assert len(fake.received) == 7


async def test_job_with_seconds_may_fail_or_stop_at_uncommitted(
    fake: FakeMilvus, client: ImportClient, clock: ManualClock
) -> None:
    failing = fake.add_job(seconds=600, fails_at=40, reason="bad row")
    without_reason = fake.add_job(seconds=600, fails_at=40)
    held = fake.add_job(seconds=600, auto_commit=False)
    clock.advance(240)
    await error_of(client.wait(failing.job_id), ImportFailedError, "bad row")
    await error_of(client.wait(without_reason.job_id), ImportFailedError, "simulated failure")
    clock.advance(1000)
    waiting = await client.wait(held.job_id, until="uncommitted")
    assert (waiting.state, waiting.progress) == ("Uncommitted", 99)
    async with ImportClient(fake.public_uri) as public:
        waiting = await public.wait(held.job_id, until="uncommitted")
        assert (waiting.state, waiting.progress) == ("Uncommitted", 99)


async def test_script_has_one_entry_per_reply_and_repeats_the_last(
    fake: FakeMilvus, client: ImportClient
) -> None:
    job = fake.add_job(script=[("Pending", 0), ("Importing", 40), ("11", 50), ("Completed", 100)])
    seen = [(await client.get_import_progress(job.job_id)).data for _ in range(5)]
    states = [str(data.state) for data in seen]
    assert states == ["Pending", "Importing", "11", "Completed", "Completed"]
    assert job.reply_count == 5


async def test_add_job_keeps_the_object(fake: FakeMilvus, client: ImportClient) -> None:
    job = FakeJob(job_id="7", state="Importing", progress=40)
    assert fake.add_job(job) is job
    job.files[0].reason = "bad row"
    [detail] = (await client.get_import_progress("7")).data.details
    assert (detail.state, detail.reason) == ("Failed", "bad row")
    del fake.jobs["7"]
    await error_of(client.get_import_progress("7"), JobNotFoundError)


async def test_job_ids_ascend_and_skip_existing_ones(fake: FakeMilvus) -> None:
    first = int(fake.add_job().job_id)
    fake.add_job(job_id=str(first + 2))
    ids = [int(fake.add_job().job_id) for _ in range(3)]
    assert ids == [first + 1, first + 3, first + 4]


@pytest.mark.parametrize(
    ("arguments", "fields", "error", "text"),
    [
        ((), {"job_id": "seven"}, ValueError, "job_id"),
        ((), {"job_id": "7"}, ValueError, "job_id must be new, got '7'"),
        ((FakeJob("7"),), {}, ValueError, "job_id must be new, got '7'"),
        ((), {"state": "Impotring"}, ValueError, "state must be one of None, P.*got 'Impotring'"),
        ((), {"script": [("Pending", 0), ("Done", 100)]}, ValueError, "got 'Done'"),
        ((), {"files": ["a.parquet"]}, TypeError, "files must contain FakeFile objects, got"),
        ((FakeJob(),), {"state": "Importing"}, TypeError, "not both"),
        (("books",), {}, TypeError, r"got 'books'\. Pass the collection as collection_name="),
    ],
)
async def test_invalid_job_is_an_error(
    fake: FakeMilvus, arguments: Any, fields: Any, error: type[Exception], text: str
) -> None:
    job = fake.add_job(job_id="7")
    with pytest.raises(error, match=text):
        fake.add_job(*arguments, **fields)
    assert fake.jobs == {"7": job}
    del fake.jobs["7"]
    fake.add_job(job_id="7")


async def test_create_import_adds_a_job(fake: FakeMilvus, clock: ManualClock) -> None:
    fake.version = "3.0"
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


async def test_docs_list_every_fault() -> None:
    names = [row[0].strip("`") for row in table("testing.md", "Faults")]
    names += [row[0].strip("`") for row in table("testing.md", "HTTP faults")]
    assert sorted(names) == sorted(FAULTS)


@pytest.mark.parametrize("row", table("testing.md", "Faults"), ids=lambda row: row[0].strip("`"))
async def test_fault_by_name(
    fake: FakeMilvus, client: ImportClient, scale: float, row: Sequence[str]
) -> None:
    name, error = row[0].strip("`"), getattr(milvus_import, row[2].strip("`"))
    job = fake.add_job()
    fake.inject(name, times=None)
    timeout = 0.3 if name == "hang" else 30
    found = await error_of(client.get_import_progress(job.job_id, timeout=timeout * scale))
    assert type(found) is error
    fake.clear_faults()
    await client.get_import_progress(job.job_id, timeout=30 * scale)


async def test_faults_apply_in_order_and_count_calls(
    fake: FakeMilvus, client: ImportClient
) -> None:
    job = fake.add_job()
    fake.inject("denied", times=2)
    fake.inject("rate-limit")
    seen: list[str] = []
    for _ in range(4):
        try:
            await client.get_import_progress(job.job_id)
            seen.append("OK")
        except MilvusImportError as error:
            seen.append(type(error).__name__)
    assert seen == ["AccessDeniedError", "AccessDeniedError", "MilvusStatusError", "OK"]


async def test_fault_of_a_method_that_the_port_does_not_have(fake: FakeMilvus) -> None:
    job = fake.add_job()
    fake.inject("denied", method="GetImportProgress")
    async with ImportClient(fake.public_uri) as client:
        await error_of(client.get_import_progress(job.job_id), match="PrivilegeImport")


# ------------------------------------------------------------------------ the server itself


async def test_restarted_server_keeps_ports_and_jobs(fake: FakeMilvus, job: FakeJob) -> None:
    ports = (fake.public_port, fake.internal_port, fake.rest_port, fake.cloud_port)
    for _ in range(2):
        await fake.stop()
        async with ImportClient(fake.internal_uri) as client:
            await error_of(client.get_import_progress(job.job_id), UnavailableError)
        await fake.start()
        now = (fake.public_port, fake.internal_port, fake.rest_port, fake.cloud_port)
        assert now == ports
        async with ImportClient(fake.internal_uri) as client:
            # gRPC shares the back-off of an address between channels.
            response = await client.get_import_progress(job.job_id, wait_for_ready=True)
            assert response.data.progress == 40


async def test_stop_with_grace_waits_for_calls(
    fake: FakeMilvus, client: ImportClient, job: FakeJob, scale: float
) -> None:
    fake.inject(Fault(delay=0.3 * scale))
    call = asyncio.create_task(client.get_import_progress(job.job_id))
    await until(lambda: bool(fake.received))
    await fake.stop(grace=20 * scale)
    assert (await call).data.progress == 40


async def test_failed_start_closes_its_ports(fake: FakeMilvus) -> None:
    other = FakeMilvus(public_port=fake.public_port)
    with pytest.raises(RuntimeError):
        await other.start()
    assert other.internal_port
    async with FakeMilvus(internal_port=other.internal_port) as third:  # its port is free again
        assert third.internal_port == other.internal_port


def test_start_needs_asyncio() -> None:
    async def serve() -> None:
        async with FakeMilvus():
            pass

    with pytest.raises(RuntimeError, match="FakeMilvus needs asyncio"):
        trio.run(serve)


async def test_received_records_a_reset(fake: FakeMilvus) -> None:
    job = fake.add_job()
    fake.inject("hang")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{fake.internal_port}") as channel:
        method: Any = cast("Any", channel).unary_unary(
            "/milvus.proto.proxy.Proxy/GetImportProgress"
        )
        request = internal_pb2.GetImportProgressRequest(jobID=job.job_id)
        call = method(request.SerializeToString(), metadata=(("a", "1"), ("a", "2")))
        await until(lambda: bool(fake.received))
        [received] = fake.received
        assert not received.reset
        call.cancel()
        await until(lambda: received.reset)
    assert received.request == request
    assert received.values("a") == ["1", "2"]
    assert received.time_remaining is None
    assert "metadata" not in repr(received)
    assert job.job_id not in repr(received)


async def test_mutual_tls_requires_a_client_certificate() -> None:
    certificates = make_certificates()
    key, cert = certificates.client
    async with FakeMilvus(tls=certificates.server, client_ca=certificates.ca) as fake:
        job = fake.add_job()
        assert fake.internal_uri.startswith("https://")
        tls = TLSConfig(ca=certificates.ca, cert=cert, key=key)
        async with ImportClient(fake.internal_uri, tls=tls) as client:
            await client.get_import_progress(job.job_id)
        async with ImportClient(fake.internal_uri, tls=TLSConfig(ca=certificates.ca)) as client:
            await error_of(client.get_import_progress(job.job_id), UnavailableError)


def test_server_in_a_thread_serves_synchronous_code() -> None:
    fake, threads = FakeMilvus(), set(threading.enumerate())
    for _ in range(2):  # it may be entered again
        with fake:
            job = fake.add_job(state="Importing", progress=40)
            option = GetImportProgressOption(fake.internal_uri, job.job_id)
            for _ in range(2):  # in one loop after the other
                response = asyncio.run(get_import_progress(option, timeout=30))
                assert response.data.progress == 40
            with pytest.raises(RuntimeError, match="already running"), fake:
                pass
            asyncio.run(fake.stop())
            asyncio.run(fake.start())
        assert set(threading.enumerate()) <= threads


async def test_failed_start_in_a_thread_ends_the_thread(fake: FakeMilvus) -> None:
    threads = set(threading.enumerate())
    other = FakeMilvus(public_port=fake.public_port)
    with pytest.raises(RuntimeError, match="Failed to bind"), other:
        pass
    assert set(threading.enumerate()) <= threads


async def test_without_aiohttp_the_grpc_ports_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    async with FakeMilvus() as fake:
        for uri in (fake.internal_uri, fake.public_uri):
            async with ImportClient(uri) as client:
                await client.check()
        for face in ("rest", "cloud"):
            text = rf"needs aiohttp for its {face} port: pip install 'milvus-import\[rest\]'"
            with pytest.raises(RuntimeError, match=text):
                getattr(fake, f"{face}_uri")


def test_thread_with_an_old_grpcio_fails_with_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc, "__version__", "1.79.9")
    text = r"needs grpcio 1\.80 or newer, got 1\.79\.9"
    with pytest.raises(RuntimeError, match=text), FakeMilvus():
        pass


# ----------------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize("version", ["2.2", "3.1", "", 2.3, None])
async def test_unknown_version_is_a_value_error(fake: FakeMilvus, version: Any) -> None:
    text = re.escape(f"version must be one of '2.3', '2.4', '2.5', '2.6', '3.0', got {version!r}")
    with pytest.raises(ValueError, match=text):
        FakeMilvus(version=version)
    with pytest.raises(ValueError, match=text):
        fake.version = version


@pytest.mark.parametrize(
    ("fault", "more", "error", "text"),
    [
        ("unavailabel", {}, ValueError, "must be one of.*unavailable.*got 'unavailabel'"),
        ("unavailable", {"method": "GetImport"}, ValueError, "one of GetImport.*got 'GetImport'"),
        (grpc.StatusCode.UNAVAILABLE, {}, TypeError, "a Fault or a name in FAULTS, got <Status"),
        ("http-500", {"method": "ListImports"}, ValueError, "REST method for an HTTP fault, got"),
        ("hang", {"times": 0}, ValueError, "times must be at least 1"),
    ],
)
async def test_fault_that_could_never_apply_is_an_error(
    fake: FakeMilvus, fault: Any, more: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        fake.inject(fault, **more)


async def test_server_has_no_uri_before_start_and_starts_once() -> None:
    fake = FakeMilvus()
    for uri in ("internal_uri", "public_uri", "rest_uri", "cloud_uri"):
        with pytest.raises(RuntimeError, match="no port before it is started"):
            getattr(fake, uri)
    async with fake:
        with pytest.raises(RuntimeError, match="already running"):
            await fake.start()
        async with ImportClient(fake.internal_uri) as client:
            assert await client.check() == "internal"


# ---------------------------------------------------------------------------------- docs


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)


def test_code_blocks_of_the_docs_pass(tmp_path: Path) -> None:
    blocks = code_blocks("testing.md")
    for block in blocks:
        name = block.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(block, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", "utf-8")
    done = _run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    count = sum(block.count("def test_") for block in blocks)
    assert f"{count} passed" in done.stdout
    output = _run(str(tmp_path / "follow.py"))
    assert output.stdout.endswith("1,000 rows, from the internal service\n"), output.stderr


def test_package_does_not_import_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; import milvus_import.testing"
    done = _run("-c", code)
    assert done.returncode == 0, done.stderr
