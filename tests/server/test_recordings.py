"""Recorded responses (tests/vectors/README.md), replayed to the client over sockets.

Each response is sent on the service that it was recorded from, and the client's public method must
return or raise what is read from it without the package: by ``expectations.py`` and
``recordings.py``, and by ``oracle.py`` for the older files.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import asdict
from typing import Any

import grpc
import oracle
import pytest
from expectations import (
    CLASSES,
    FAILURES,
    REASONS,
    Expected,
    expected_hint,
    expected_of,
    reason_pattern,
)
from hint_keys import hint_key
from recordings import LEFT_OUT, OLDER, PAGE_404, PREFIX, Recording, load, names
from replay import METHODS, Replay
from stage import Stage, call
from times import GUARD
from web import error_of

from milvus_import import (
    ArgumentError,
    CallError,
    GetImportProgressOption,
    ImportClient,
    ImportFailedError,
    ImportProgressData,
    MilvusImportError,
    MilvusStatusError,
    UnsupportedServerError,
    WaitTimeoutError,
    get_import_progress,
)

pytestmark = pytest.mark.anyio

ALL = load()
RECORDINGS = [recording for recording in ALL if recording.replayed]
FAILED = [recording for recording in RECORDINGS if recording.failure]
SUCCEEDED = [recording for recording in RECORDINGS if not recording.failure]
PROGRESS = [recording for recording in SUCCEEDED if recording.call == "get_import_progress"]


def each(recordings: list[Recording]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("recording", recordings, ids=names(recordings))


@pytest.fixture(scope="module")
async def stage(anyio_backend: str) -> AsyncGenerator[Stage, None]:
    async with Stage() as started:
        yield started


def test_every_entry_is_replayed_or_has_a_reason() -> None:
    counts: dict[str, Counter[str]] = {}
    for r in ALL:
        counts.setdefault(r.version, Counter())[r.service if r.replayed else "left out"] += 1
    assert counts == {
        "2.5.27": {"internal": 39, "public": 35, "rest": 189, "left out": 26},
        "2.6.19": {"internal": 42, "public": 47, "rest": 218, "left out": 30},
        "3.0.0-beta": {"internal": 58, "public": 69, "rest": 260, "left out": 42},
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
        error = await error_of(call(client, recording))
    check_error(error, recording, expected_of(recording))


@each(SUCCEEDED)
async def test_result_of(stage: Stage, recording: Recording) -> None:
    async with stage.client(recording) as client:
        result = await call(client, recording)
        if recording.call == "get_import_progress":
            assert asdict(result) == {"status": 0, "message": "", "data": recording.progress}
            assert result.service == recording.service
            assert result.data.detailed == (recording.service != "public")
            waited = await wait_once(client, recording.job_id, recording.progress)
            assert asdict(waited) == recording.progress
        elif recording.call == "list_imports":
            assert result == recording.jobs
        elif recording.call == "create_import":
            assert result == recording.created
        else:
            assert result is None
    if recording.rest:
        assert stage.last_path() == recording.path


async def wait_once(
    client: ImportClient, job_id: str, expected: dict[str, Any]
) -> ImportProgressData:
    """Poll a job once; return its progress."""
    if expected["state"] == "Completed":
        return await client.wait(job_id, timeout=0, rpc_timeout=GUARD)
    if expected["state"] == "Failed":
        error = await error_of(client.wait(job_id, timeout=0, rpc_timeout=GUARD), ImportFailedError)
        check_failed_job(error, expected["reason"])
    else:
        waiting = client.wait(job_id, timeout=0, rpc_timeout=GUARD)
        error = await error_of(waiting, WaitTimeoutError, expected["state"])
    progress: ImportProgressData = error.progress
    return progress


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
        error = await error_of(call(client, plain), CallError)
    assert (error.transient, hint_key(error)) == (True, "SERVER_STARTING")


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
    check_origin(error, recording)


def check_origin(error: MilvusImportError, recording: Recording) -> None:
    """The error has the Status or the gRPC error that was recorded."""
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
        s = recording.reply.status
        expected = (s.code, s.error_code, s.reason, s.detail, s.retriable, None)
    names = ("code", "error_code", "reason", "detail", "retriable", "http_status")
    assert tuple(getattr(error, name) for name in names) == expected
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
        assert CLASSES[error.code] is type(error)
    assert error.http_status == (int(number) if kind == "http" else None)
    if kind == "http":
        assert failure.text in error.details
        assert error.record is not None
        received = {(name.lower(), value) for name, value in error.record.initial_metadata}
        headers: dict[str, str] = recording.entry["headers"]
        assert {(name.lower(), value) for name, value in headers.items()} <= received
        assert recording.reply is not None or failure.text == PAGE_404


# The older files: calls of get_import_progress, list_imports and create_import over gRPC.

OLDER_RECORDINGS = load(*OLDER)
OLDER_CALLS = [recording for recording in OLDER_RECORDINGS if recording.replayed]


def older_job_id(recording: Recording) -> str:
    request = recording.request
    return str(request.jobID if recording.service == "internal" else request.task)


def older_call(client: ImportClient, recording: Recording) -> Awaitable[Any]:
    """Call the method that sends the recorded request."""
    request, metadata = recording.request, recording.pairs
    if recording.call == "get_import_progress":
        return client.get_import_progress(older_job_id(recording), metadata=metadata)
    if recording.call == "list_imports":
        collection = request.collection_name or None
        every = not collection
        return client.list_imports(collection, db_name=request.db_name, all_databases=every)
    internal = recording.service == "internal"
    return client.create_import(
        request.collection_name,
        [list(f.paths) for f in request.files] if internal else [list(request.files)],
        partition_name=request.partition_name,
        db_name=request.db_name,
        options=[
            (o.key, o.value == "true" if o.key == "auto_commit" else o.value)
            for o in request.options
        ],
        metadata=metadata,
    )


def older_error(recording: Recording) -> type[MilvusImportError] | None:
    if recording.code is not grpc.StatusCode.OK:
        return CLASSES.get(recording.code, CallError)
    return oracle.failure(recording.reply)


def rejected(recording: Recording) -> str:
    """Return the argument that is not valid, so that nothing may be sent; or ""."""
    if recording.call == "get_import_progress":
        job_id = older_job_id(recording)
        return "" if oracle.is_job_id(job_id) else re.escape(f"got {job_id!r}")
    return "files" if recording.call == "create_import" and not recording.request.files else ""


def test_every_older_call_is_replayed_or_of_no_method_of_milvus() -> None:
    assert len(OLDER_RECORDINGS) >= 99
    left_out = [recording for recording in OLDER_RECORDINGS if not recording.replayed]
    assert not [recording.name for recording in left_out if recording.path in METHODS]


@pytest.mark.parametrize("recording", OLDER_CALLS, ids=[r.name for r in OLDER_CALLS])
async def test_older_recording(recording: Recording) -> None:
    database = getattr(recording.request, "db_name", "")
    async with (
        Replay({recording.path: recording.grpc_reply}) as server,
        ImportClient(server.uri, db_name=database) as client,
    ):
        if argument := rejected(recording):
            await error_of(older_call(client, recording), ArgumentError, argument)
            assert not server.received
            return
        calls = [older_call(client, recording)]
        if recording.call == "get_import_progress" and not recording.pairs:
            option = GetImportProgressOption(server.uri, older_job_id(recording), db_name=database)
            calls.append(get_import_progress(option))
        for pending in calls:
            if expected := older_error(recording):
                check_older_error(await error_of(pending), expected, recording)
            else:
                check_older_result(await pending, recording)
        received = [sent for sent in server.received if sent.method == recording.path]
        assert received
        for sent in received:
            assert sent.message() == recording.request
            for key, value in recording.pairs:
                assert sent.values(key) == [value]


def check_older_result(result: Any, recording: Recording) -> None:
    if recording.call == "list_imports":
        assert result == oracle.jobs(recording.reply)
    elif recording.call == "create_import":
        assert result == recording.created
    else:
        data = oracle.progress(recording.reply, str(int(older_job_id(recording))))
        message = recording.reply.status.reason
        assert asdict(result) == {"status": 0, "message": message, "data": data}
        assert result.service == recording.service
        assert result.data.detailed == (recording.service == "internal")


def check_older_error(
    error: MilvusImportError, expected: type[MilvusImportError], recording: Recording
) -> None:
    assert type(error) is expected
    assert error.service == recording.service or expected is UnsupportedServerError
    if recording.call == "get_import_progress":
        assert error.job_id == str(int(older_job_id(recording)))
    if recording.failure is not None:
        assert recording.failure.text in str(error)
        if expected is not UnsupportedServerError:  # which has the texts of both services
            check_origin(error, recording)
    for _, secret in recording.pairs:
        assert secret.removeprefix("Bearer ") not in f"{error} {error!r}"
