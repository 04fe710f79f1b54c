"""FakeMilvus against recorded replies: the same requests get the same replies."""

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


async def replayed(server: FakeMilvus, vector: Vector) -> Any:
    """Return the reply of the fake server to a recorded request, or its gRPC status."""
    internal = vector.method.startswith(PROXY)
    uri = server.internal_uri if internal else server.public_uri
    async with grpc.aio.insecure_channel(uri.removeprefix("http://")) as channel:
        request, reply = METHODS.get(vector.method, METHODS[PROXY + "GetImportProgress"])
        call: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
            vector.method,
            request_serializer=request.SerializeToString,
            response_deserializer=reply.FromString,
        )
        try:
            return await call(
                request.FromString(vector.request_bytes), timeout=10, metadata=vector.metadata
            )
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()


def recorded(name: str) -> Any:
    vector = VECTORS[name]
    return vector.reply if vector.reply_bytes is not None else (vector.code, vector.details)


@pytest.mark.parametrize("vector", JOBS_OF_2_3, ids=[vector.name for vector in JOBS_OF_2_3])
async def test_jobs_of_milvus_2_3_have_the_recorded_replies(vector: Vector) -> None:
    async with FakeMilvus(version="2.3") as server:
        server.add_job(as_fake(vector.reply, rows=vector.reply.row_count))
        reply = await replayed(server, vector)
    assert comparable(reply) == comparable(vector.reply)


@pytest.mark.parametrize(
    ("name", "version", "token"),
    [
        (GO + "public/auth-missing", "2.6", "root:Milvus"),
        (REAL + "auth/none/GetImportState", "2.3", "root:Milvus"),
        (REAL + "auth/wrong-password/GetImportState", "2.3", "root:Milvus"),
        (REAL + "auth/bearer/GetImportState", "2.3", "root:Milvus"),
        (REAL + "fail/unknown-task-12345", "2.3", None),
    ],
)
async def test_errors_have_the_recorded_status(name: str, version: Any, token: str | None) -> None:
    async with FakeMilvus(version=version, token=token) as server:
        assert await replayed(server, VECTORS[name]) == recorded(name)


async def test_unknown_method_has_the_recorded_details() -> None:
    async with FakeMilvus() as server:
        assert await replayed(server, VECTORS[GO + "unknown-method"]) == recorded(
            GO + "unknown-method"
        )


async def test_internal_service_on_the_public_port_has_the_recorded_details(
    fake: FakeMilvus,
) -> None:
    fake.internal_port = fake.public_port
    assert await replayed(fake, VECTORS[GO + "unknown-service"]) == recorded(GO + "unknown-service")


@pytest.mark.parametrize("files", [0, 1, 3, 10])
async def test_completed_job_has_the_recorded_reply(fake: FakeMilvus, files: int) -> None:
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
    fake_reply, real = await replayed(fake, vector), vector.reply
    assert [task.file_name for task in fake_reply.task_progresses] == [
        f"[{part}]" for part in parts
    ]
    for reply in (fake_reply, real):
        assert reply.complete_time
        reply.complete_time = ""
        for task in reply.task_progresses:
            assert task.complete_time
            task.complete_time = ""
    assert fake_reply == real


@pytest.mark.parametrize("name", ["list/0", "list/1", "list/3"])
async def test_job_list_has_the_recorded_rows(fake: FakeMilvus, name: str) -> None:
    vector = VECTORS[GO + name]
    requested, real = vector.request.collection_name, vector.reply
    # The recorded server made up other names.
    real.collection_names[:] = [requested] * len(real.jobIDs)
    for job_id, state, progress, collection_name, reason in rows_of(real):
        fake.add_job(
            job_id=job_id,
            state=str(state),
            progress=progress,
            collection_name=collection_name,
            reason=reason,
        )
    reply = await replayed(fake, vector)
    assert reply.status == real.status
    assert sorted(rows_of(reply)) == sorted(rows_of(real))


def rows_of(reply: Any) -> list[tuple[Any, ...]]:
    columns = (reply.jobIDs, reply.states, reply.progresses, reply.collection_names, reply.reasons)
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("name", ["public/state-new-shape", "public/state-failed"])
async def test_public_service_of_2_4_has_the_recorded_replies(fake: FakeMilvus, name: str) -> None:
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
    assert await replayed(fake, VECTORS[GO + name]) == real


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("rate-limit", GO + "status/rate-limit"),
        ("no-collection", GO + "status/collection-not-found"),
        ("legacy", GO + "special/legacy-status"),
        ("denied", REAL + "auth/rbac/bob-no-role/Import"),
    ],
)
async def test_fault_by_name_is_the_recorded_one(fault: str, name: str) -> None:
    vector = VECTORS[name]
    async with FakeMilvus(version="2.6") as server:
        server.inject(fault)
        reply = await replayed(server, vector)
    real = recorded(name)
    if vector.reply_bytes is None:
        assert reply[0] is real[0]
        assert reply[1].startswith(real[1])
        return
    for status in (reply.status, real.status):
        status.reason = status.reason.partition("[collection=")[0]
        status.detail = status.detail.partition("[collection=")[0]
    assert reply == real


def test_every_fault_with_a_status_is_compared_or_known_from_source() -> None:
    compared = {"rate-limit", "no-collection", "legacy"}
    elsewhere = {"not-ready"}  # in test_fake_recorded.py
    read_only = {"coordinator-unavailable", "job-limit"}  # not recorded as a status of their own
    assert {name for name, fault in FAULTS.items() if fault.status} == (
        compared | elsewhere | read_only
    )


def test_unimplemented_has_the_recorded_details() -> None:
    assert FAULTS["unimplemented"].code is grpc.StatusCode.UNIMPLEMENTED
    assert FAULTS["unimplemented"].details == recorded(GO + "unknown-service")[1]
