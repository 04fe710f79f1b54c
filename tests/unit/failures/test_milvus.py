"""What a Status of Milvus means: error class, hint, retry decisions, for each code and text."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from milvus_import import CallRecord, JobLimitError, JobNotFoundError, MilvusStatusError
from milvus_import._errors import hint_of
from milvus_import._failures._milvus import (
    ReturnedStatus,
    check_status,
    failed_job_hint,
    status_error,
)
from milvus_import._hints import Hint
from milvus_import_pb import common_pb2

NO_JOB = "import job does not exist, jobID=7: importing data failed"
NO_KEY = "key not found[key=by-dev/meta/importtask/7]"
TOO_MANY = "The number of jobs has reached the limit, please try again later"
FULL_QUEUE = (
    "import task queue max size is 3, currently there are 3 tasks is pending. "
    "Not able to execute this request with 1 tasks"
)
PARTITION_KEY = "not allow to set partition name for collection with partition key"
ONE_FILE = Hint.ONE_FILE_PER_GROUP
EOF = "init failed, failed to decode JSON, error: EOF: importing data failed"
JUNK = "init failed, failed to decode JSON, error: invalid character 'h' looking for beginning"
NO_COLUMN = "schema not equal, err=field 'v' not in arrow schema: importing data failed"
QUOTA = "quota exceeded[reason=disk quota exceeded, please allocate more resources]"


def error_of(**status: Any) -> MilvusStatusError:
    """Return the error of a Status, by way of the message that a service sends."""
    with pytest.raises(MilvusStatusError) as caught:
        check_status(common_pb2.Status(**status))
    return caught.value


def test_status_without_a_code_is_success() -> None:
    assert check_status(common_pb2.Status()) == ""
    done = common_pb2.Status(reason="done", detail="all of it", retriable=True)
    assert check_status(done) == "done"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"code": 1}, MilvusStatusError),
        ({"code": -1}, MilvusStatusError),
        ({"error_code": 1}, MilvusStatusError),
        ({"error_code": 12345}, MilvusStatusError),
        ({"code": 2100, "reason": NO_JOB}, JobNotFoundError),
        ({"code": 2101, "reason": "job 42 not found: importing data failed"}, JobNotFoundError),
        ({"code": 2100, "reason": "job 42 not found: importing data failed"}, JobNotFoundError),
        ({"code": 65535, "reason": "job 42 not found"}, MilvusStatusError),
        ({"code": 2101, "reason": NO_JOB}, JobNotFoundError),
        ({"code": 2100, "reason": "inner", "detail": NO_JOB}, JobNotFoundError),
        ({"error_code": 1, "reason": NO_JOB}, JobNotFoundError),
        ({"code": 2100, "reason": "parse job id failed"}, MilvusStatusError),
        ({"code": 100, "reason": NO_JOB}, MilvusStatusError),
        ({"code": 1, "reason": NO_JOB}, MilvusStatusError),
        ({"code": 1000, "error_code": 1, "reason": NO_KEY}, JobNotFoundError),
        ({"code": 1000, "reason": "key not found[key=by-dev/meta/co/7]"}, MilvusStatusError),
        ({"code": 2100, "reason": TOO_MANY}, JobLimitError),
        ({"code": 2101, "reason": TOO_MANY.upper()}, JobLimitError),
        ({"code": 9, "reason": TOO_MANY}, MilvusStatusError),
        # Milvus 2.2 and 2.3 put everything under 65535, or under error_code 1.
        ({"code": 65535, "reason": FULL_QUEUE}, JobLimitError),
        ({"error_code": 1, "reason": FULL_QUEUE}, JobLimitError),
        ({"code": 100, "reason": FULL_QUEUE}, MilvusStatusError),
        ({"error_code": 1, "reason": NO_KEY}, JobNotFoundError),
        # Another database: field report 5.
        ({"code": 2100, "reason": "import job does not exist, jobID=4, dbID=1"}, JobNotFoundError),
    ],
)
def test_code_and_text_decide_the_class(
    status: dict[str, Any], expected: type[MilvusStatusError]
) -> None:
    assert type(error_of(**status)) is expected


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


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        ({"code": 65535, "reason": "attempt #9: collection not found[c=x]"}, Hint.CHECK_COLLECTION),
        ({"code": 100, "reason": "collection not found[c=x]"}, Hint.CHECK_COLLECTION),
        (
            {"error_code": 1, "reason": "can't find collection: CollectionNotExists"},
            Hint.CHECK_COLLECTION,
        ),
        ({"error_code": 1, "reason": "failed to find collection books"}, Hint.CHECK_COLLECTION),
        ({"code": 800, "reason": "database not found[database=x]"}, Hint.CHECK_DATABASE),
        ({"code": 200, "reason": "partition not found[partition=x]"}, Hint.CHECK_PARTITION),
        ({"code": 2100, "reason": NO_JOB}, Hint.CHECK_JOB_ID),
        ({"code": 2100, "reason": TOO_MANY}, Hint.JOB_LIMIT),
        ({"code": 65535, "reason": FULL_QUEUE}, Hint.JOB_LIMIT),
        ({"error_code": 49, "reason": "slow down"}, Hint.SERVER_RATE_LIMIT),
        ({"error_code": 56, "reason": "later"}, Hint.SERVER_STARTING),
        ({"code": 65535, "reason": "service not ready[proxy=1]"}, Hint.SERVER_STARTING),
        (
            {
                "code": 65535,
                "reason": "for JSON or parquet file, each task only accepts one file, not allowed "
                "to input multiple files",
            },
            Hint.ONE_FILE_PER_GROUP,
        ),
        (
            {
                "code": 2100,
                "reason": "The max number of import files should not exceed 1024, but got 1025",
            },
            Hint.TOO_MANY_FILES,
        ),
        ({"code": 2100, "reason": "for JSON import, accepts only one file"}, ONE_FILE),
        ({"code": 2100, "reason": "for Parquet import, accepts only one file"}, ONE_FILE),
        ({"code": 1100, "reason": PARTITION_KEY}, Hint.LEAVE_OUT_PARTITION),
        ({"code": 2100, "reason": "parse timeout failed: time: missing unit"}, None),
        ({"code": 2100, "reason": "job 7 is in state Failed, expected Uncommitted"}, None),
        ({"code": 2100, "reason": "unexpected file type, files=[a.txt]"}, Hint.FILE_TYPE),
        ({"code": 65535, "reason": "unsupported file type: .txt"}, Hint.FILE_TYPE),
        ({"code": 9, "reason": "quota exceeded[reason=disk quota exceeded]"}, Hint.DISK_QUOTA),
        ({"code": 65535, "reason": "something else"}, None),
    ],
)
def test_code_or_text_decides_the_hint(status: dict[str, Any], hint: Hint | None) -> None:
    assert hint_of(error_of(**status)) is hint


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        # A path that only the client can see: local disk, MinIO, S3; Milvus 2.3 to 2.6.
        ("open /home/me/a.parquet: no such file or directory", Hint.JOB_FILE_PATH),
        ("failed to get file size of 'e1.json', error:stat e1.json: x", Hint.JOB_FILE_PATH),
        ("NoSuchKey(key=a.parquet)", Hint.JOB_FILE_PATH),
        ("The specified key does not exist.", Hint.JOB_FILE_PATH),
        ("the file does not exist: a.npy", Hint.JOB_FILE_PATH),
        ("file not found: a.npy", Hint.JOB_FILE_PATH),
        ("The specified bucket does not exist", Hint.JOB_FILE_PATH),
        ("unsupported file type: '/a.txt': importing data failed", Hint.FILE_TYPE),
        ("unexpected file type, files=[a.txt]", Hint.FILE_TYPE),
        ("there is no file corresponding to field 'vector', please ensure...", Hint.JOB_NPY_NAMES),
        ("no file for field: pk, files: [a.npy]", Hint.JOB_NPY_NAMES),
        ("expected type string, but got large_utf8", Hint.JOB_LARGE_STRINGS),
        ("the root key should be 'rows', but get 'data'", Hint.JOB_JSON_LAYOUT),
        ("failed to decode the JSON file", Hint.JOB_JSON_LAYOUT),
        ("invalid JSON format, each row should be a key-value map", Hint.JOB_JSON_LAYOUT),
        ("task marked failed as service restarted", Hint.JOB_RESTARTED),
        ("the file 'a.npy' size is zero", Hint.JOB_EMPTY_FILE),
        ("parquet: file is smaller than indicated metadata size", Hint.JOB_EMPTY_FILE),
        ("failed to decode row, error: unexpected EOF", Hint.JOB_EMPTY_FILE),
        # The texts of 2.5.27, 2.6.19 and 3.0.0-beta.
        ("read json file failed, path=/a.json: key not found[key=/a.json]", Hint.JOB_FILE_PATH),
        ("read /data/adir.json: is a directory", Hint.JOB_FILE_PATH),
        (EOF, Hint.JOB_EMPTY_FILE),
        ("parquet: file too small (size=0)", Hint.JOB_EMPTY_FILE),
        ("failed to read csv header, error: EOF", Hint.JOB_EMPTY_FILE),
        (JUNK, Hint.JOB_JSON_LAYOUT),
        (NO_COLUMN, Hint.JOB_MISSING_COLUMN),
        ("value of field 'v' is missed", Hint.JOB_MISSING_COLUMN),
        ("value of field is missed: 'v', file: id:7", Hint.JOB_MISSING_COLUMN),
        ("no file for field: $meta, files: [id.npy]", Hint.JOB_META_FIELD),
        (QUOTA, Hint.DISK_QUOTA),
        ("import timeout", Hint.JOB_TIMEOUT),
        ("collection 4503 dropped", Hint.JOB_COLLECTION_DROPPED),
        ("import file size 99 exceeds maxSize 9", Hint.JOB_FILE_SIZE),
        (PARTITION_KEY, Hint.LEAVE_OUT_PARTITION),
        ("l0 import of a loaded collection is not allowed", Hint.JOB_RELEASE_COLLECTION),
        ("collection books is loaded, release it for L0 import", Hint.JOB_RELEASE_COLLECTION),
        ("Access Denied.", Hint.JOB_BUCKET_KEYS),
        ("AccessDenied: not authorized", Hint.JOB_BUCKET_KEYS),
        ("imported rows are not aligned, field 'id' with '50' rows", None),
        ("expected dim '4' for field 'v' with type 'FloatVector', got dim '3'", None),
        ("aborted by user", None),
        ("", None),
        ("the dim 4 is not equal to schema dim 8", None),
    ],
)  # fmt: skip
def test_reason_of_a_failed_job_decides_its_hint(reason: str, hint: Hint | None) -> None:
    assert failed_job_hint(reason) is hint
    assert failed_job_hint(" " * 9000 + reason) is None  # only the first 8 kB are searched


def test_only_the_first_8_kb_of_reason_and_detail_are_searched() -> None:
    assert type(error_of(code=2100, reason=" " * 8000 + NO_JOB)) is JobNotFoundError
    late = error_of(code=2100, reason=" " * 9000 + NO_JOB, detail=" " * 9000 + TOO_MANY)
    assert type(late) is MilvusStatusError
    assert late.reason.endswith(NO_JOB)
    assert len(late.message) < 800
