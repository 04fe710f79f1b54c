"""What a Status of Milvus means: error class, hint, retry decisions, for each code and text."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from tables import rows

from milvus_import import CallRecord, JobNotFoundError, MilvusStatusError
from milvus_import._errors import hint_of
from milvus_import._failures._statuses import (
    ReturnedStatus,
    failed_job_hint,
    returned_error,
    status_error,
)
from milvus_import._hints import Hint
from milvus_import._services._replies import parse
from milvus_import_pb import common_pb2, internal_pb2

NO_JOB = "import job does not exist, jobID=7: importing data failed"
TOO_MANY = "The number of jobs has reached the limit, please try again later"
FULL_QUEUE = (
    "import task queue max size is 3, currently there are 3 tasks is pending. "
    "Not able to execute this request with 1 tasks"
)


def error_of(**status: Any) -> MilvusStatusError:
    """Return the error of a Status, by way of the message that a service sends."""
    return returned_error(common_pb2.Status(**status))


def test_status_without_a_code_is_success() -> None:
    done = common_pb2.Status(reason="done", detail="all of it", retriable=True)
    reply = internal_pb2.ImportResponse(status=done, jobID="7")
    assert parse(internal_pb2.ImportResponse, reply.SerializeToString()) == (reply, "done")


@pytest.mark.parametrize(("code", "error_code", "kind", "reason"), rows("classes_of_statuses"))
def test_code_and_text_decide_the_class(code: str, error_code: str, kind: str, reason: str) -> None:
    error = error_of(code=int(code or 0), error_code=int(error_code or 0), reason=reason)
    assert type(error).__name__ == kind


def test_detail_decides_the_class_too() -> None:
    assert type(error_of(code=2100, reason="inner", detail=NO_JOB)) is JobNotFoundError


def test_error_keeps_every_field_of_the_status() -> None:
    error = error_of(
        code=100,
        error_code=4,
        reason="collection not found[collection=books]",
        detail="a chain\ngoroutine 1 [running]",
        retriable=True,
    )
    assert (error.code, error.error_code, error.retriable) == (100, 4, True)
    assert error.reason == "collection not found[collection=books]"
    assert error.detail == "a chain\ngoroutine 1 [running]"
    assert error.http_status is None
    assert error.message == (
        "Milvus returned the status code 100: collection not found[collection=books]"
    )
    assert "goroutine" not in str(error)


def test_status_of_rest_keeps_its_http_status_and_retry_after() -> None:
    headers = (("retry-after", "8"),)
    record = CallRecord("rest", "list", grpc.StatusCode.OK, "", headers, (), 0.1)
    status = ReturnedStatus(1807, 0, "slow", "", retriable=False, http_status=200, record=record)
    error = status_error(status)
    assert (error.http_status, error.retry_after, error.rate_limited) == (200, 8.0, True)


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        ({"error_code": 5}, "Milvus returned the status error_code 5: no reason given"),
        ({"code": 5}, "Milvus returned the status code 5: no reason given"),
        ({"code": 5, "detail": "only the detail"}, "status code 5: only the detail"),
        ({"code": 5, "reason": "a\nb"}, "status code 5: a b"),
    ],
)
def test_message_names_the_code_and_the_reason(status: dict[str, Any], ending: str) -> None:
    assert error_of(**status).message.endswith(ending)


# ------------------------------------------------------------------------------------ codes

CODES = {
    # transient, may_have_run, hint of a text that is not known
    1: (True, False, Hint.SERVER_STARTING),
    2: (True, False, Hint.SERVER_STARTING),
    3: (False, True, None),
    4: (True, False, Hint.SERVER_RATE_LIMIT),
    8: (True, False, Hint.SERVER_RATE_LIMIT),
    9: (False, False, None),
    12: (True, True, Hint.SERVER_RESOURCES),
    49: (False, True, None),  # of the old numbering
    56: (False, True, None),
    100: (False, False, None),
    200: (False, False, Hint.CHECK_PARTITION),
    800: (False, False, None),
    1099: (False, True, None),
    1100: (False, False, None),
    1101: (False, False, None),
    1199: (False, False, None),
    1200: (False, True, None),
    1400: (False, False, None),
    1401: (False, False, None),
    1800: (False, False, None),
    1801: (False, False, None),
    1802: (False, False, None),
    1807: (True, False, Hint.SERVER_RATE_LIMIT),
    2100: (False, False, None),
    2101: (False, True, None),
    10000: (False, True, None),
    10001: (False, True, None),
    65535: (False, True, None),
}


@pytest.mark.parametrize("code", CODES)
def test_code_decides_hint_transient_and_may_have_run(code: int) -> None:
    error = error_of(code=code, reason="no known text")
    assert (error.transient, error.may_have_run, hint_of(error)) == CODES[code]
    assert error.rate_limited is (code in {4, 8, 1807})


@pytest.mark.parametrize("code", [1100, 1101, 2100, 65535])
def test_job_may_exist_although_adding_it_failed(code: int) -> None:
    assert error_of(code=code, reason="add import job failed: etcd").may_have_run


# What a proxy returns while a coordinator or the store is away.
ABSENT = (
    "find no available mixcoord, check mixcoord state",
    "find no available datacoord, check datacoord state",
    "DataCoord is not ready",
    "service is not serving",
    "node is not healthy",
    "empty grpc client: failed to connect",
    "rpc error: code = Unavailable desc = error reading from server: EOF",
    "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
    "rpc error: code = Canceled desc = grpc: the client connection is closing",
    "dial tcp 10.0.0.1:13333: connect: connection refused",
    "node not found[node=7]",
    "etcdserver: request timed out",
    "etcdserver: leader changed",
    "etcdserver: no leader",
    "etcdserver: too many requests",
)


@pytest.mark.parametrize("reason", ABSENT)
@pytest.mark.parametrize("code", [{"code": 65535}, {"code": 2100}, {"error_code": 1}])
def test_absent_coordinator_is_transient_with_every_code(reason: str, code: dict[str, int]) -> None:
    error = error_of(**code, reason="attempt #1", detail=reason)
    assert (error.transient, hint_of(error)) == (True, Hint.SERVER_STARTING)
    assert error.may_have_run  # the request may have been passed on before
    assert not error_of(code=100, reason=reason).transient  # a final code


@pytest.mark.parametrize(
    ("status", "transient"),
    [
        *[({"error_code": code}, True) for code in (49, 56)],
        *[({"error_code": code}, False) for code in (1, 2, 4, 8, 12)],
        ({"code": 8, "error_code": 1}, True),
        ({"code": 65535, "error_code": 49}, False),  # the new code decides
        ({"code": 65535, "retriable": True}, False),  # the flag alone is unreliable
        ({"code": 65535, "reason": "service not ready[proxy=1]: Initializing"}, True),
        ({"error_code": 1, "reason": "rate limit exceeded[rate=12.5]"}, True),
        ({"code": 65535, "reason": "request is rejected by limiter"}, True),
        ({"code": 2100, "reason": TOO_MANY}, True),
        ({"code": 65535, "reason": FULL_QUEUE}, True),
        ({"code": 2100, "reason": NO_JOB}, False),
    ],
)
def test_old_codes_and_texts_decide_transient(status: dict[str, Any], transient: bool) -> None:
    assert error_of(**status).transient is transient


@pytest.mark.parametrize(
    ("status", "may_have_run"),
    [
        ({"error_code": 49}, False),
        ({"error_code": 56}, False),
        ({"error_code": 1}, True),
        ({"code": 65535, "error_code": 49}, True),
        ({"code": 65535, "reason": "context deadline exceeded"}, True),
        ({"code": 65535, "reason": FULL_QUEUE}, False),
        ({"code": 2101, "reason": TOO_MANY}, False),
        ({"code": 2101, "reason": NO_JOB}, False),  # of commit and abort
        ({"code": 65535, "reason": "node not match[expectedNodeID=9]"}, False),
        ({"code": 65535, "reason": "collection not found[collection=x]"}, False),
        ({"code": 65535, "reason": "unexpected file type, files:[a.txt]"}, False),
    ],
)
def test_old_codes_and_texts_decide_whether_a_write_may_have_run(
    status: dict[str, Any], may_have_run: bool
) -> None:
    assert error_of(**status).may_have_run is may_have_run


# ------------------------------------------------------------------------------------ hints


@pytest.mark.parametrize(("code", "error_code", "hint", "reason"), rows("hints_of_statuses"))
def test_code_or_text_decides_the_hint(code: str, error_code: str, hint: str, reason: str) -> None:
    error = error_of(code=int(code or 0), error_code=int(error_code or 0), reason=reason)
    assert hint_of(error) is (Hint[hint] if hint else None)


@pytest.mark.parametrize(("hint", "reason"), rows("reasons_of_jobs"))
def test_reason_of_a_failed_job_decides_its_hint(hint: str, reason: str) -> None:
    assert failed_job_hint(reason) is (Hint[hint] if hint else None)
    assert failed_job_hint(" " * 9000 + reason) is None  # only the first 8 kB are searched


def test_only_the_first_8_kb_of_reason_and_detail_are_searched() -> None:
    assert type(error_of(code=2100, reason=" " * 8000 + NO_JOB)) is JobNotFoundError
    late = error_of(code=2100, reason=" " * 9000 + NO_JOB, detail=" " * 9000 + TOO_MANY)
    assert type(late) is MilvusStatusError
    assert late.reason.endswith(NO_JOB)
    assert len(late.message) < 800
