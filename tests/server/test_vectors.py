"""Recorded calls of real servers, replayed to the client through its public methods.

What must come out is worked out from the recorded reply (oracle.py), apart from the package.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, Literal

import grpc
import oracle
import pytest
from google.protobuf import text_format
from replay import METHODS, PROXY, PUBLIC, Replay
from vectors import Vector, load, matches

from milvus_import import (
    AccessDeniedError,
    CallError,
    DeadlineExceededError,
    GetImportProgressOption,
    ImportClient,
    ImportFailedError,
    ImportProgressData,
    MilvusImportError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
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
    asked = vector.request
    return str(asked.jobID) if service_of(vector) == "internal" else str(asked.task)


def failure_of(vector: Vector) -> type[MilvusImportError] | None:
    if vector.code is not grpc.StatusCode.OK:
        return CALL_ERRORS.get(vector.code, CallError)
    return oracle.failure(vector.reply)


def unused(vector: Vector) -> str:
    """Why a vector is replayed by no test, or ""."""
    return "" if vector.method in METHODS else f"{vector.method} is no method of Milvus"


def each(vectors: list[Vector]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[vector.name for vector in vectors])


def of_methods(*methods: str) -> list[Vector]:
    return [vector for vector in VECTORS if vector.method in methods]


VECTORS = load()
STATES = of_methods(PROXY + "GetImportProgress", PUBLIC + "GetImportState")
LISTS = of_methods(PROXY + "ListImports", PUBLIC + "ListImportTasks")
ORDERS = of_methods(PROXY + "ImportV2", PUBLIC + "Import")
ASKABLE = [vector for vector in STATES if oracle.is_job_id(job_id_of(vector))]
REPLIES = [vector for vector in of_methods(*METHODS) if vector.reply_bytes is not None]

auto_and_explicit = pytest.mark.parametrize("auto", [True, False], ids=["auto", "explicit"])


def test_every_vector_is_replayed_or_has_a_reason() -> None:
    replayed = {vector.name for vector in (*STATES, *LISTS, *ORDERS)}
    reasons = {vector.name: unused(vector) for vector in VECTORS if vector.name not in replayed}
    assert len(replayed) + len(reasons) == len(VECTORS) >= 99
    assert all(reasons.values()), reasons


@each(REPLIES)
def test_our_messages_read_what_the_recorder_read(vector: Vector) -> None:
    assert vector.reply_fields is not None or vector.reply_text
    if vector.reply_fields is not None:
        assert matches(vector.reply, vector.reply_fields)
    if vector.reply_text:
        assert text_format.Parse(vector.reply_text, METHODS[vector.method][1]()) == vector.reply


@each([vector for vector in STATES if vector not in ASKABLE])
async def test_a_bad_job_id_is_not_sent(vector: Vector) -> None:
    job_id = job_id_of(vector)
    async with (
        Replay({vector.method: vector.answer}) as server,
        ImportClient(server.uri) as client,
    ):
        with pytest.raises(ValueError, match=re.escape(f"{job_id!r} is no job id")):
            await client.get_import_progress(job_id)
        assert not server.received


@each(ASKABLE)
@auto_and_explicit
async def test_progress(vector: Vector, auto: bool) -> None:
    job_id = job_id_of(vector)
    async with (
        Replay({vector.method: vector.answer}) as server,
        ImportClient(
            server.uri,
            service="auto" if auto else service_of(vector),
            db_name=getattr(vector.request, "db_name", ""),
        ) as client,
    ):
        if failure := failure_of(vector):
            with pytest.raises(failure) as caught:
                await client.get_import_progress(job_id, metadata=vector.metadata)
            check_error(caught.value, failure, vector)
        else:
            response = await client.get_import_progress(job_id, metadata=vector.metadata)
            assert asdict(response) == {
                "status": 0,
                "message": vector.reply.status.reason,
                "data": oracle.progress(vector.reply, job_id),
            }
            assert response.service == service_of(vector)
            assert response.data.detailed == (service_of(vector) == "internal")
        check_request(server, vector)


@each([vector for vector in STATES if not vector.metadata])
async def test_the_function_form_gives_the_same(vector: Vector) -> None:
    job_id = job_id_of(vector)
    outcomes: list[Any] = []
    async with (
        Replay({vector.method: vector.answer}) as server,
        ImportClient(server.uri) as client,
    ):
        option = GetImportProgressOption(server.uri, job_id)
        for asking in (get_import_progress(option), client.get_import_progress(job_id)):
            try:
                outcomes.append(await asking)
            except (MilvusImportError, ValueError) as error:
                outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


@each([vector for vector in ASKABLE if not failure_of(vector)])
async def test_only_completed_is_returned_and_only_failed_raised(vector: Vector) -> None:
    job_id = job_id_of(vector)
    progress: ImportProgressData | None
    expected = oracle.progress(vector.reply, job_id)
    async with (
        Replay({vector.method: vector.answer}) as server,
        ImportClient(server.uri, service=service_of(vector)) as client,
    ):
        if expected["state"] == "Completed":
            progress = await client.wait(job_id, timeout=0)
        elif expected["state"] == "Failed":
            with pytest.raises(ImportFailedError) as failed:
                await client.wait(job_id, timeout=0)
            assert " ".join(expected["reason"].split()) in str(failed.value)
            progress = failed.value.progress
        else:
            with pytest.raises(WaitTimeoutError, match=expected["state"]) as ran_out:
                await client.wait(job_id, timeout=0)
            progress = ran_out.value.progress
    assert progress is not None
    assert asdict(progress) == expected


@each(LISTS)
@auto_and_explicit
async def test_job_list(vector: Vector, auto: bool) -> None:
    asked = vector.request
    arguments = {"collection_name": asked.collection_name or None, "db_name": asked.db_name}
    async with (
        Replay({vector.method: vector.answer}) as server,
        ImportClient(server.uri, service="auto" if auto else service_of(vector)) as client,
    ):
        if failure := failure_of(vector):
            with pytest.raises(failure) as caught:
                await client.list_imports(**arguments)
            check_error(caught.value, failure, vector)
        else:
            assert await client.list_imports(**arguments) == oracle.jobs(vector.reply)
        check_request(server, vector)


@each(ORDERS)
@auto_and_explicit
async def test_order(vector: Vector, auto: bool) -> None:
    asked = vector.request
    internal = service_of(vector) == "internal"
    groups = [list(f.paths) for f in asked.files] if internal else [list(asked.files)]
    arguments: dict[str, Any] = {
        "partition_name": asked.partition_name,
        "db_name": asked.db_name,
        "options": [(option.key, option_value(option)) for option in asked.options],
        "metadata": vector.metadata,
    }
    async with (
        Replay({vector.method: vector.answer}) as server,
        ImportClient(server.uri, service="auto" if auto else service_of(vector)) as client,
    ):
        if not groups or not all(groups):
            with pytest.raises(ValueError, match="files"):
                await client.create_import(asked.collection_name, groups, **arguments)
            assert not server.received
            return
        if failure := failure_of(vector):
            with pytest.raises(failure) as caught:
                await client.create_import(asked.collection_name, groups, **arguments)
            check_error(caught.value, failure, vector)
        else:
            job_id = await client.create_import(asked.collection_name, groups, **arguments)
            assert job_id == (vector.reply.jobID if internal else str(vector.reply.tasks[0]))
        check_request(server, vector)


def option_value(option: Any) -> str | bool:
    return option.value == "true" if option.key == "auto_commit" else str(option.value)


def check_error(
    error: MilvusImportError, expected: type[MilvusImportError], vector: Vector
) -> None:
    assert type(error) is expected
    if isinstance(error, RefusedError):
        status = vector.reply.status
        assert (error.code, error.error_code) == (status.code, status.error_code)
        assert (error.reason, error.detail) == (status.reason, status.detail)
        assert (error.retriable, error.service) == (status.retriable, service_of(vector))
        assert status.reason in str(error)
    elif isinstance(error, CallError) and vector.code is not grpc.StatusCode.OK:
        assert (error.code, error.record and error.record.code) == (vector.code, vector.code)
        assert vector.details in error.details
        assert vector.details in str(error)
    for _, secret in vector.metadata:
        assert secret.removeprefix("Bearer ") not in f"{error} {error!r}"


def check_request(server: Replay, vector: Vector) -> None:
    """The client asked as the recorder did."""
    received = [call for call in server.received if call.method == vector.method]
    assert received
    for call in received:
        assert call.message() == vector.request
        for key, value in vector.metadata:
            assert call.values(key) == [value]
