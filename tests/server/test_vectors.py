"""Recorded calls, replayed to the client through its public methods.

The replies are those of a real Milvus 2.3.5 and of a grpc-go server built on Milvus' published Go
message types (tests/vectors/README.md). The expected result is computed from the recorded reply by
oracle.py, independently of the package.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, Literal

import grpc
import oracle
import pytest
from replay import METHODS, PROXY, PUBLIC, Replay
from vectors import Vector, load

from milvus_import import (
    AccessDeniedError,
    ArgumentError,
    CallError,
    DeadlineExceededError,
    GetImportProgressOption,
    ImportClient,
    MilvusImportError,
    MilvusStatusError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
    get_import_progress,
)

pytestmark = pytest.mark.anyio

Service = Literal["internal", "public"]

CALL_ERRORS = {
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.PERMISSION_DENIED: AccessDeniedError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedServerError,
}


def service_of(vector: Vector) -> Service:
    return "internal" if vector.method.startswith(PROXY) else "public"


def job_id_of(vector: Vector) -> str:
    request = vector.request
    return str(request.jobID) if service_of(vector) == "internal" else str(request.task)


def expected_error(vector: Vector) -> type[MilvusImportError] | None:
    if vector.code is not grpc.StatusCode.OK:
        return CALL_ERRORS.get(vector.code, CallError)
    return oracle.failure(vector.reply)


def unused(vector: Vector) -> str:
    """Return why a vector is replayed by no test, or ""."""
    return "" if vector.method in METHODS else f"{vector.method} is no method of Milvus"


def each(vectors: list[Vector]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[vector.name for vector in vectors])


def of_methods(*methods: str) -> list[Vector]:
    return [vector for vector in VECTORS if vector.method in methods]


VECTORS = load()
PROGRESS = of_methods(PROXY + "GetImportProgress", PUBLIC + "GetImportState")
LISTS = of_methods(PROXY + "ListImports", PUBLIC + "ListImportTasks")
IMPORTS = of_methods(PROXY + "ImportV2", PUBLIC + "Import")
WITH_JOB_ID = [vector for vector in PROGRESS if oracle.is_job_id(job_id_of(vector))]


def first(vectors: list[Vector], *, fails: bool) -> Vector:
    return next(vector for vector in vectors if bool(expected_error(vector)) == fails)


def test_every_vector_is_replayed_or_has_a_reason() -> None:
    replayed = {vector.name for vector in (*PROGRESS, *LISTS, *IMPORTS)}
    reasons = {vector.name: unused(vector) for vector in VECTORS if vector.name not in replayed}
    assert len(replayed) + len(reasons) == len(VECTORS) >= 99
    assert all(reasons.values()), reasons


@each([vector for vector in PROGRESS if vector not in WITH_JOB_ID])
async def test_get_import_progress_does_not_send_an_invalid_job_id(vector: Vector) -> None:
    job_id = job_id_of(vector)
    async with (
        Replay({vector.method: vector.recorded}) as server,
        ImportClient(server.uri) as client,
    ):
        with pytest.raises(ArgumentError, match=re.escape(f"got {job_id!r}")):
            await client.get_import_progress(job_id)
        assert not server.received


@each(WITH_JOB_ID)
async def test_get_import_progress_of_a_recorded(vector: Vector) -> None:
    job_id = job_id_of(vector)
    async with (
        Replay({vector.method: vector.recorded}) as server,
        ImportClient(server.uri, db_name=getattr(vector.request, "db_name", "")) as client,
    ):
        if error_class := expected_error(vector):
            with pytest.raises(error_class) as caught:
                await client.get_import_progress(job_id, metadata=vector.metadata)
            check_error(caught.value, error_class, vector)
            assert caught.value.job_id == str(int(job_id))
        else:
            response = await client.get_import_progress(job_id, metadata=vector.metadata)
            assert asdict(response) == {
                "status": 0,
                "message": vector.reply.status.reason,
                "data": oracle.progress(vector.reply, str(int(job_id))),
            }
            assert response.service == service_of(vector)
            assert response.data.detailed == (service_of(vector) == "internal")
        check_request(server, vector)


@each(
    [
        first([v for v in WITH_JOB_ID if not v.metadata], fails=False),
        first([v for v in WITH_JOB_ID if not v.metadata], fails=True),
    ]
)
async def test_the_function_get_import_progress_gives_the_same_as_the_method(
    vector: Vector,
) -> None:
    job_id = job_id_of(vector)
    outcomes: list[Any] = []
    async with (
        Replay({vector.method: vector.recorded}) as server,
        ImportClient(server.uri) as client,
    ):
        option = GetImportProgressOption(server.uri, job_id)
        for call in (get_import_progress(option), client.get_import_progress(job_id)):
            try:
                outcomes.append(await call)
            except MilvusImportError as error:
                outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


@each(LISTS)
async def test_list_imports_of_a_recorded(vector: Vector) -> None:
    request = vector.request
    arguments: dict[str, Any] = {
        "collection_name": request.collection_name or None,
        "db_name": request.db_name,
        "all_databases": not request.collection_name,
    }
    async with (
        Replay({vector.method: vector.recorded}) as server,
        ImportClient(server.uri) as client,
    ):
        if error_class := expected_error(vector):
            with pytest.raises(error_class) as caught:
                await client.list_imports(**arguments)
            check_error(caught.value, error_class, vector)
        else:
            assert await client.list_imports(**arguments) == oracle.jobs(vector.reply)
        check_request(server, vector)


@each(IMPORTS)
async def test_create_import_of_a_recorded(vector: Vector) -> None:
    request = vector.request
    internal = service_of(vector) == "internal"
    groups = [list(f.paths) for f in request.files] if internal else [list(request.files)]
    arguments: dict[str, Any] = {
        "partition_name": request.partition_name,
        "db_name": request.db_name,
        "options": [(option.key, option_value(option)) for option in request.options],
        "metadata": vector.metadata,
    }
    async with (
        Replay({vector.method: vector.recorded}) as server,
        ImportClient(server.uri) as client,
    ):
        if not groups or not all(groups):
            with pytest.raises(ArgumentError, match="files"):
                await client.create_import(request.collection_name, groups, **arguments)
            assert not server.received
            return
        if error_class := expected_error(vector):
            with pytest.raises(error_class) as caught:
                await client.create_import(request.collection_name, groups, **arguments)
            check_error(caught.value, error_class, vector)
        else:
            job_id = await client.create_import(request.collection_name, groups, **arguments)
            assert job_id == (vector.reply.jobID if internal else str(vector.reply.tasks[0]))
        check_request(server, vector)


def option_value(option: Any) -> str | bool:
    return option.value == "true" if option.key == "auto_commit" else str(option.value)


def check_error(
    error: MilvusImportError, expected: type[MilvusImportError], vector: Vector
) -> None:
    assert type(error) is expected
    assert error.service == service_of(vector) or isinstance(error, UnsupportedServerError)
    if isinstance(error, MilvusStatusError):
        status = vector.reply.status
        assert (error.code, error.error_code) == (status.code, status.error_code)
        assert (error.reason, error.detail) == (status.reason, status.detail)
        assert error.retriable == status.retriable
        assert status.reason in str(error)
    elif isinstance(error, CallError) and vector.code is not grpc.StatusCode.OK:
        assert (error.code, error.record and error.record.code) == (vector.code, vector.code)
        assert vector.details in error.details
        assert vector.details in str(error)
    for _, secret in vector.metadata:
        assert secret.removeprefix("Bearer ") not in f"{error} {error!r}"


def check_request(server: Replay, vector: Vector) -> None:
    """The client sent what the recorder sent."""
    received = [call for call in server.received if call.method == vector.method]
    assert received
    for call in received:
        assert call.message() == vector.request
        for key, value in vector.metadata:
            assert call.values(key) == [value]
