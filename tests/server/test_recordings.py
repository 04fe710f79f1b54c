"""Recorded responses of Milvus 2.5.27, 2.6.19 and 3.0.0-beta, replayed to the client.

Each response is sent over a socket, on the service that it was recorded from, and the client's
public method must return or raise what ``expectations.py`` and ``recordings.py`` read from it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Any

import grpc
import pytest
from expectations import FAILURES, REASONS, Expected, expected_hint, expected_of, reason_pattern
from hint_keys import hint_key
from recordings import LEFT_OUT, PAGE_404, PREFIX, Recording, load, names
from stage import Stage, call
from times import GUARD

from milvus_import import (
    AccessDeniedError,
    CallError,
    DeadlineExceededError,
    ImportClient,
    ImportFailedError,
    ImportProgressData,
    MilvusImportError,
    MilvusStatusError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
    WaitTimeoutError,
)

pytestmark = pytest.mark.anyio

ALL = load()
RECORDINGS = [recording for recording in ALL if recording.replayed]
FAILED = [recording for recording in RECORDINGS if recording.failure]
SUCCEEDED = [recording for recording in RECORDINGS if not recording.failure]
PROGRESS = [recording for recording in SUCCEEDED if recording.call == "get_import_progress"]

CODES: dict[type[MilvusImportError], grpc.StatusCode] = {
    AccessDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    UnsupportedServerError: grpc.StatusCode.UNIMPLEMENTED,
}


def each(recordings: list[Recording]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("recording", recordings, ids=names(recordings))


@pytest.fixture(scope="module")
async def stage(anyio_backend: str) -> AsyncGenerator[Stage, None]:
    async with Stage() as started:
        yield started


def test_every_entry_is_replayed_or_has_a_reason() -> None:
    counts = Counter((r.version, r.service if r.replayed else "left out") for r in ALL)
    assert counts == {
        ("2.5.27", "internal"): 39,
        ("2.5.27", "public"): 35,
        ("2.5.27", "rest"): 189,
        ("2.5.27", "left out"): 26,
        ("2.6.19", "internal"): 42,
        ("2.6.19", "public"): 47,
        ("2.6.19", "rest"): 218,
        ("2.6.19", "left out"): 30,
        ("3.0.0-beta", "internal"): 58,
        ("3.0.0-beta", "public"): 69,
        ("3.0.0-beta", "rest"): 260,
        ("3.0.0-beta", "left out"): 42,
    }
    assert {recording.path for recording in ALL if not recording.replayed} == set(LEFT_OUT)
    assert all(LEFT_OUT.values())
    replayed = {(r.version, r.number) for r in (*FAILED, *SUCCEEDED)}
    assert len(replayed) == len(FAILED) + len(SUCCEEDED) == len(RECORDINGS)


def test_every_row_is_about_a_recorded_response() -> None:
    used = {expected_of(recording) for recording in FAILED}
    assert used == set(FAILURES)
    reasons = {r for recording in ALL if recording.replayed for r in all_reasons(recording)}
    assert {reason_pattern(reason) for reason in reasons} == set(REASONS)


@each(FAILED)
async def test_error_of(stage: Stage, recording: Recording) -> None:
    async with stage.client(recording) as client:
        with pytest.raises(MilvusImportError) as caught:
            await call(client, recording)
    check_error(caught.value, recording, expected_of(recording))


@each(SUCCEEDED)
async def test_result_of(stage: Stage, recording: Recording) -> None:
    async with stage.client(recording) as client:
        result = await call(client, recording)
        if recording.call == "get_import_progress":
            assert asdict(result) == {"status": 0, "message": "", "data": recording.progress}
            assert result.service == recording.service
            assert result.data.detailed == (recording.service != "public")
        elif recording.call == "list_imports":
            assert result == recording.jobs
        elif recording.call == "create_import":
            assert result == recording.created
        else:
            assert result is None
    if recording.rest:
        assert stage.paths()[-1] == recording.path


@each(PROGRESS)
async def test_wait_for_the_job_of(stage: Stage, recording: Recording) -> None:
    expected = recording.progress
    async with stage.client(recording) as client:
        progress = await wait_once(client, recording.job_id, expected)
    assert progress is not None
    assert asdict(progress) == expected


async def wait_once(
    client: ImportClient, job_id: str, expected: dict[str, Any]
) -> ImportProgressData | None:
    """Poll a job once; return its progress."""
    if expected["state"] == "Completed":
        return await client.wait(job_id, timeout=0, rpc_timeout=GUARD)
    if expected["state"] == "Failed":
        with pytest.raises(ImportFailedError) as failed:
            await client.wait(job_id, timeout=0, rpc_timeout=GUARD)
        check_failed_job(failed.value, expected["reason"])
        return failed.value.progress
    with pytest.raises(WaitTimeoutError, match=expected["state"]) as timed_out:
        await client.wait(job_id, timeout=0, rpc_timeout=GUARD)
    return timed_out.value.progress


def all_reasons(recording: Recording) -> set[str]:
    """Return why the jobs of a response failed."""
    if recording.call == "list_imports":
        return recording.listed_reasons
    if recording in PROGRESS and recording.progress["reason"]:
        return {recording.progress["reason"]}
    return set()


def listed_only() -> dict[str, tuple[str, str]]:
    """Return a version and a reason of every kind that only lists have, by a name for it."""
    polled = {(r.version, reason_pattern(s)) for r in PROGRESS for s in all_reasons(r)}
    found: dict[str, tuple[str, str]] = {}
    for recording in RECORDINGS:
        if recording.call != "list_imports":
            continue
        for reason in recording.listed_reasons:
            pattern = reason_pattern(reason)
            words = re.findall(r"[a-z0-9]+", re.sub(r"[0-9]{6,}|/\S+", "", reason.lower()))
            if (recording.version, pattern) not in polled or len(reason) > 1_000:
                found["-".join([recording.version, "rest", *words[:8]])] = (
                    recording.version,
                    reason,
                )
    return found


LISTED_ONLY = listed_only()


@pytest.mark.parametrize(("version", "reason"), LISTED_ONLY.values(), ids=list(LISTED_ONLY))
async def test_hint_of_a_reason_that_only_a_list_has(
    stage: Stage, version: str, reason: str
) -> None:
    """The recorded reason, in a recorded response about another job that failed."""
    failed = next(
        r
        for r in PROGRESS
        if (r.version, r.path) == (version, PREFIX + "describe") and r.progress["reason"]
    )
    body = failed.reply | {"data": failed.reply["data"] | {"reason": reason}}
    changed = Recording(version, failed.number, failed.entry | {"body": json.dumps(body)})
    async with stage.client(changed) as client:
        await wait_once(client, changed.job_id, changed.progress)


@each([r for r in FAILED if r.metadata and "node not match" in r.entry["details"]])
async def test_node_not_match_without_routing_metadata_is_a_restart(
    stage: Stage, recording: Recording
) -> None:
    """A coordinator that restarts behind a proxy causes the same text."""
    plain = Recording(recording.version, recording.number, recording.entry | {"metadata": []})
    async with stage.client(plain) as client:
        with pytest.raises(CallError) as caught:
            await call(client, plain)
    assert (caught.value.transient, hint_key(caught.value)) == (True, "SERVER_STARTING")


def check_failed_job(error: ImportFailedError, reason: str) -> None:
    assert " ".join(reason[:50].split()) in str(error)
    assert kind_of(error) == {
        "error": "ImportFailedError",
        "hint": expected_hint(reason),
        "transient": False,
        "may_have_run": False,
    }


def kind_of(error: MilvusImportError) -> dict[str, object]:
    return {
        "error": type(error).__name__,
        "hint": hint_key(error),
        "transient": error.transient,
        "may_have_run": error.may_have_run,
    }


def check_error(error: MilvusImportError, recording: Recording, expected: Expected) -> None:
    failure = recording.failure
    assert failure is not None
    assert kind_of(error) == {
        "error": expected.error.__name__,
        "hint": expected.hint,
        "transient": expected.transient,
        "may_have_run": expected.may_have_run,
    }
    assert error.service == recording.service
    assert error.job_id == (
        None if recording.call in {"list_imports", "create_import"} else recording.job_id
    )
    assert error.method
    assert (error.target or "").startswith("127.0.0.1:")
    if isinstance(error, MilvusStatusError):
        check_status(error, recording)
    else:
        assert isinstance(error, CallError)
        check_call_error(error, recording)


def check_status(error: MilvusStatusError, recording: Recording) -> None:
    if recording.rest:
        envelope = recording.reply
        expected: tuple[object, ...] = (envelope["code"], 0, envelope["message"], "", False, 200)
    else:
        status = recording.reply.status
        expected = (
            status.code,
            status.error_code,
            status.reason,
            status.detail,
            status.retriable,
            None,
        )
    assert (
        error.code,
        error.error_code,
        error.reason,
        error.detail,
        error.retriable,
        error.http_status,
    ) == expected
    assert " ".join(error.reason[:60].split()) in str(error)


def check_call_error(error: CallError, recording: Recording) -> None:
    failure = recording.failure
    assert failure is not None
    kind, _, number = failure.kind.rpartition(" ")
    if kind == "grpc":
        assert (error.code, error.details) == (grpc.StatusCode[number], failure.text)
        assert error.record is not None
        assert (error.record.code, error.record.details) == (error.code, failure.text)
    elif failure.kind == "no ids":
        assert error.record is None  # gRPC reported OK
    else:
        assert error.code == CODES[type(error)]
    assert error.http_status == (int(number) if kind == "http" else None)
    if kind == "http":
        assert failure.text in error.details
        assert error.record is not None
        received = {(name.lower(), value) for name, value in error.record.initial_metadata}
        headers: dict[str, str] = recording.entry["headers"]
        assert {(name.lower(), value) for name, value in headers.items()} <= received
        assert recording.reply is not None or failure.text == PAGE_404
