"""FakeMilvus against recorded replies: the same requests get the same replies."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest
from conformance import as_fake, comparable
from recordings import OLDER, Recording, load
from replay import METHODS, PROXY, PUBLIC

from milvus_import.testing import FAULTS, FakeMilvus

pytestmark = pytest.mark.anyio

VECTORS = {vector.name: vector for vector in load(*OLDER)}
GO, REAL = "grpc-go-2.6.22:", "milvus-2.3.5:"
JOBS_OF_2_3 = [
    vector
    for name, vector in VECTORS.items()
    if name.startswith(REAL)
    and vector.path == PUBLIC + "GetImportState"
    and vector.reply_bytes is not None
    and not vector.reply.status.code
]


async def replayed(server: FakeMilvus, vector: Recording) -> Any:
    """Return the reply of the fake server to a recorded request, or its gRPC status."""
    internal = vector.path.startswith(PROXY)
    uri = server.internal_uri if internal else server.public_uri
    async with grpc.aio.insecure_channel(uri.removeprefix("http://")) as channel:
        request, reply = METHODS.get(vector.path, METHODS[PROXY + "GetImportProgress"])
        call: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
            vector.path,
            request_serializer=request.SerializeToString,
            response_deserializer=reply.FromString,
        )
        try:
            return await call(
                request.FromString(vector.request_bytes), timeout=10, metadata=vector.pairs
            )
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()


def recorded(name: str) -> Any:
    vector = VECTORS[name]
    return vector.grpc_reply[:2] if vector.reply_bytes is None else vector.reply


@pytest.mark.parametrize("vector", JOBS_OF_2_3, ids=[vector.name for vector in JOBS_OF_2_3])
async def test_jobs_of_milvus_2_3_have_the_recorded_replies(vector: Recording) -> None:
    async with FakeMilvus(version="2.3") as server:
        server.add_job(as_fake(vector.reply, rows=vector.reply.row_count))
        reply = await replayed(server, vector)
    assert comparable(reply) == comparable(vector.reply)


@pytest.mark.parametrize(
    ("name", "version", "token"),
    [
        (GO + "unknown-method", "2.6", None),
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


async def test_internal_service_on_the_public_port_has_the_recorded_details(
    fake: FakeMilvus,
) -> None:
    fake.internal_port = fake.public_port
    assert await replayed(fake, VECTORS[GO + "unknown-service"]) == recorded(GO + "unknown-service")


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
