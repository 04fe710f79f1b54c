"""FakeMilvus against recorded replies: it says what the real servers said."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest
from conformance import as_fake, comparable
from replay import METHODS, PROXY, PUBLIC
from vectors import Vector, load

from milvus_import.testing import FAULTS, FakeFile, FakeJob, FakeMilvus
from milvus_import_pb import common_pb2

pytestmark = pytest.mark.anyio

VECTORS = {vector.name: vector for vector in load()}
GO, REAL = "grpc-go-2.6.22:", "milvus-2.3.5:"
JOBS_OF_2_3 = [
    vector
    for name, vector in VECTORS.items()
    if name.startswith(REAL)
    and vector.method == PUBLIC + "GetImportState"
    and vector.reply_bytes is not None
    and not vector.reply.status.code
]


async def asked(server: FakeMilvus, vector: Vector) -> Any:
    """The simulated server's reply to a recorded request, or the status that came instead."""
    internal = vector.method.startswith(PROXY)
    uri = server.internal_uri if internal else server.public_uri
    async with grpc.aio.insecure_channel(uri.removeprefix("http://")) as channel:
        request, reply = METHODS.get(vector.method, METHODS[PROXY + "GetImportProgress"])
        ask: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
            vector.method,
            request_serializer=request.SerializeToString,
            response_deserializer=reply.FromString,
        )
        try:
            return await ask(
                request.FromString(vector.request_bytes), timeout=10, metadata=vector.metadata
            )
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()


def recorded(name: str) -> Any:
    vector = VECTORS[name]
    return vector.reply if vector.reply_bytes is not None else (vector.code, vector.details)


@pytest.mark.parametrize("vector", JOBS_OF_2_3, ids=[vector.name for vector in JOBS_OF_2_3])
async def test_each_reply_of_a_real_2_3_is_said_again(vector: Vector) -> None:
    async with FakeMilvus(version="2.3") as server:
        server.add_job(as_fake(vector.reply, rows=vector.reply.row_count))
        said = await asked(server, vector)
    assert comparable(said) == comparable(vector.reply)


@pytest.mark.parametrize(
    ("name", "version", "token"),
    [
        (GO + "unknown-job", "2.6", None),
        (GO + 'job-id/"9223372036854775807"', "2.6", None),
        (GO + "public/unknown-job", "2.6", None),
        (GO + "public/auth-missing", "2.6", "root:Milvus"),
        (REAL + "auth/none/GetImportState", "2.3", "root:Milvus"),
        (REAL + "auth/wrong-password/GetImportState", "2.3", "root:Milvus"),
        (REAL + "auth/bearer/GetImportState", "2.3", "root:Milvus"),
        (REAL + "fail/unknown-task-12345", "2.3", None),
    ],
)
async def test_what_is_refused_is_refused_in_the_recorded_words(
    name: str, version: Any, token: str | None
) -> None:
    async with FakeMilvus(version=version, token=token) as server:
        assert await asked(server, VECTORS[name]) == recorded(name)


async def test_an_unknown_method_is_refused_in_the_recorded_words() -> None:
    async with FakeMilvus() as server:
        assert await asked(server, VECTORS[GO + "unknown-method"]) == recorded(
            GO + "unknown-method"
        )


async def test_the_internal_service_is_unknown_to_the_public_port_in_the_recorded_words(
    fake: FakeMilvus,
) -> None:
    fake.internal_port = fake.public_port
    assert await asked(fake, VECTORS[GO + "unknown-service"]) == recorded(GO + "unknown-service")


@pytest.mark.parametrize("files", [0, 1, 3, 10])
async def test_a_completed_job_is_told_as_recorded(fake: FakeMilvus, files: int) -> None:
    vector = VECTORS[f"{GO}tasks/{files}"]
    parts = [f"data/part-{index:05}.parquet" for index in range(files)]
    fake.add_job(
        FakeJob(
            job_id=vector.request.jobID,
            state="Completed",
            progress=100,
            files=[
                FakeFile(task.file_name.strip("[]"), task.file_size, task.total_rows)
                for task in vector.reply.task_progresses
            ],
        )
    )
    said, real = await asked(fake, vector), vector.reply
    assert [task.file_name for task in said.task_progresses] == [f"[{part}]" for part in parts]
    for reply in (said, real):
        assert reply.complete_time
        reply.complete_time = ""
        for task in reply.task_progresses:
            assert task.complete_time
            task.complete_time = ""
    assert said == real


@pytest.mark.parametrize("name", ["list/0", "list/1", "list/3"])
async def test_a_job_list_is_told_as_recorded(fake: FakeMilvus, name: str) -> None:
    vector = VECTORS[GO + name]
    asked_for, real = vector.request.collection_name, vector.reply
    real.collection_names[:] = [asked_for] * len(
        real.jobIDs
    )  # the recorder's server made up others
    for job_id, state, progress, collection_name, reason in rows_of(real):
        fake.add_job(
            job_id=job_id,
            state=str(state),
            progress=progress,
            collection_name=collection_name,
            reason=reason,
        )
    said = await asked(fake, vector)
    assert said.status == real.status
    assert sorted(rows_of(said)) == sorted(rows_of(real))


def rows_of(reply: Any) -> list[tuple[Any, ...]]:
    columns = (reply.jobIDs, reply.states, reply.progresses, reply.collection_names, reply.reasons)
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("name", ["public/state-new-shape", "public/state-failed"])
async def test_the_public_service_of_2_4_tells_what_was_recorded(
    fake: FakeMilvus, name: str
) -> None:
    real = recorded(GO + name)
    infos = {info.key: info.value for info in real.infos}
    fake.add_job(
        job_id=str(VECTORS[GO + name].request.task),
        state="Failed" if real.state == common_pb2.ImportFailed else "Completed",
        progress=int(infos["progress_percent"]),
        reason=infos["failed_reason"],
        create_ts=real.create_ts,
        files=[],
    )
    assert await asked(fake, VECTORS[GO + name]) == real


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("not-ready", GO + "status/not-ready"),
        ("rate-limit", GO + "status/rate-limit"),
        ("no-collection", GO + "status/collection-not-found"),
        ("legacy", GO + "special/legacy-status"),
        ("denied", REAL + "auth/rbac/bob-no-role/Import"),
    ],
)
async def test_a_fault_by_name_is_the_one_recorded(fault: str, name: str) -> None:
    vector = VECTORS[name]
    async with FakeMilvus(version="2.6") as server:
        server.inject(fault)
        said = await asked(server, vector)
    real = recorded(name)
    if vector.reply_bytes is None:
        assert said[0] is real[0]
        assert said[1].startswith(real[1])
        return
    for status in (said.status, real.status):
        status.reason = status.reason.partition("[collection=")[0]
        status.detail = status.detail.partition("[collection=")[0]
    assert said == real


def test_each_fault_with_a_status_is_named_here_or_known_only_from_the_source() -> None:
    compared = {"not-ready", "rate-limit", "no-collection", "legacy"}
    read_only = {"coordinator-away", "job-limit"}  # no recorder met them
    assert {name for name, fault in FAULTS.items() if fault.status} == compared | read_only


def test_the_fault_that_ends_the_rpc_as_unknown_service_has_the_recorded_text() -> None:
    assert FAULTS["unimplemented"].code is grpc.StatusCode.UNIMPLEMENTED
    assert FAULTS["unimplemented"].details == recorded(GO + "unknown-service")[1]
