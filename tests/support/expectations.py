"""What the client must make of each recorded failure, written down from the recordings.

The tables are not made from what the client does. They are read from the responses of the servers
(tests/vectors) and from the rules of docs/errors.md.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from recordings import Recording

from milvus_import import (
    AccessDeniedError,
    CallError,
    DeadlineExceededError,
    JobLimitError,
    JobNotFoundError,
    MilvusImportError,
    MilvusStatusError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedServerError,
)


class Expected(NamedTuple):
    """The error of the failures of one ``kind`` whose text has the pattern ``text``."""

    kind: str
    text: str
    error: type[MilvusImportError]
    hint: str | None
    transient: bool = False
    may_have_run: bool = False
    calls: str = ""
    """A pattern of "SERVICE METHOD"."""
    authorized: bool | None = None
    """Whether the request had credentials; None for both."""

    def matches(self, recording: Recording) -> bool:
        failure = recording.failure
        assert failure is not None
        return (
            failure.kind == self.kind
            and re.search(self.text, failure.text) is not None
            and re.search(self.calls, f"{recording.service} {recording.call}") is not None
            and self.authorized in {None, recording.authorized}
        )


STARTING = "SERVER_STARTING"
READS = "get_import_progress|list_imports"
WRITES = "commit_import|abort_import"

FAILURES = (
    # Statuses of Milvus, over gRPC and as the envelope of REST. None of these requests was
    # executed.
    Expected("status 1", r"service not ready", MilvusStatusError, STARTING, transient=True),
    Expected(
        "status 8", r"rate limit exceeded", MilvusStatusError, "SERVER_RATE_LIMIT", transient=True
    ),
    Expected("status 9", r"config force deny writing", MilvusStatusError, None),
    Expected("status 100", r"^collection not found", MilvusStatusError, "CHECK_COLLECTION"),
    Expected("status 200", r"^partition not found", MilvusStatusError, "CHECK_PARTITION"),
    Expected("status 800", r"^database not found", MilvusStatusError, "CHECK_DATABASE"),
    Expected("status 1100", r"^import request is empty", MilvusStatusError, None),
    Expected("status 1100", r"^partition not specified", MilvusStatusError, None),
    Expected("status 1101", r"^partition not specified", MilvusStatusError, None),
    Expected("status 1100", r"^parse job id failed", MilvusStatusError, None),
    Expected("status 1100", r"^strconv.ParseInt", MilvusStatusError, None, calls=WRITES),
    Expected("status 1100", r"^Request-Timeout parse failed", MilvusStatusError, None),
    Expected("status 1801", r"^can only accept json format request", MilvusStatusError, None),
    Expected("status 1802", r"^missing required parameters", MilvusStatusError, None),
    Expected("status 2100", r"^parse job id failed", MilvusStatusError, None),
    Expected("status 2100", r"^parse timeout failed", MilvusStatusError, None),
    Expected("status 2100", r"^unexpected file type", MilvusStatusError, "FILE_TYPE"),
    Expected("status 2100", r"accepts only one file", MilvusStatusError, "ONE_FILE_PER_GROUP"),
    Expected(
        "status 2100", r"^inconsistency in file types", MilvusStatusError, "ONE_FILE_PER_GROUP"
    ),
    Expected(
        "status 2100", r"max number of import files", MilvusStatusError, "TOO_MANY_FILES"
    ),
    Expected("status 2100", r"expected Uncommitted", MilvusStatusError, None, calls="commit"),
    Expected("status 2100", r" state \w+, abort not", MilvusStatusError, None, calls="abort"),
    Expected("status 2100", r"is auto-commit", MilvusStatusError, None, calls="abort"),
    Expected("status 2100", r"^import job does not exist", JobNotFoundError, "CHECK_JOB_ID"),
    Expected("status 2101", r"^import job does not exist", JobNotFoundError, "CHECK_JOB_ID"),
    Expected("status 2101", r"^job 42 not found", JobNotFoundError, "CHECK_JOB_ID", calls=WRITES),
    Expected(
        "status 2101", r"number of jobs has reached the limit", JobLimitError, "JOB_LIMIT",
        transient=True,
    ),
    # REST, by the HTTP status.
    Expected("http 401", r"hasn't authenticated", UnauthenticatedError, "PASS_TOKEN",
             authorized=False),
    Expected("http 401", r"hasn't authenticated", UnauthenticatedError,
             "CHECK_OR_FORWARD_CREDENTIALS", authorized=True),
    Expected("http 403", r"PrivilegeImport: permission deny", AccessDeniedError,
             "GRANT_PRIVILEGE"),
    # Milvus 2.5 grants these two to administrators only.
    Expected("http 403", r"PrivilegeGetImportProgress: permission deny", AccessDeniedError,
             "REST_NEEDS_ADMIN", calls=READS),
    Expected("http 403", r"PrivilegeListImport: permission deny", AccessDeniedError,
             "REST_NEEDS_ADMIN", calls=READS),
    Expected("http 404", r"^404 page not found$", UnsupportedServerError, "REST_NEEDS_2_4",
             calls=READS),
    Expected("http 404", r"^404 page not found$", UnsupportedServerError, "REST_NEEDS_3_0",
             calls=WRITES),
    Expected("http 408", r"^request timeout$", DeadlineExceededError, "SERVER_DEADLINE",
             transient=True, may_have_run=True, calls=READS),
    Expected("http 408", r"^request timeout$", DeadlineExceededError, "REPEAT_WITH_KEY",
             transient=True, may_have_run=True, calls="create"),
    # gRPC, by the status code.
    Expected("grpc UNAUTHENTICATED", r"^missing authorization", UnauthenticatedError, "PASS_TOKEN",
             authorized=False),
    Expected("grpc UNAUTHENTICATED", r"^invalid token format", UnauthenticatedError,
             "PASS_PLAIN_TOKEN", authorized=True),
    Expected("grpc UNAUTHENTICATED", r"^auth check failure", UnauthenticatedError,
             "CHECK_CREDENTIALS", authorized=True),
    Expected("grpc PERMISSION_DENIED", r"^PrivilegeImport: permission deny", AccessDeniedError,
             "GRANT_PRIVILEGE"),
    Expected("grpc UNIMPLEMENTED", r"^unknown service milvus.proto.proxy.Proxy$",
             UnsupportedServerError, "USE_INTERNAL_PORT"),
    Expected("grpc UNIMPLEMENTED", r"^unknown service milvus.proto.milvus.MilvusService$",
             UnsupportedServerError, "USE_PUBLIC_PORT"),
    Expected("grpc UNKNOWN", r"^cross cluster routing", CallError, "DROP_ROUTING_METADATA"),
    Expected("grpc UNKNOWN", r"^node not match", CallError, "DROP_ROUTING_METADATA"),
    Expected("grpc UNKNOWN", r"Milvus Proxy is not ready yet", CallError, STARTING,
             transient=True),
    # The server could not read the request, so it did not execute it.
    Expected("grpc INTERNAL", r"^grpc: error unmarshalling request", CallError, None),
    # A reply that reports success, and lacks what the client needs.
    Expected("no ids", r"", UnsupportedServerError, "REST_FOR_JOB_LIST"),
    # No response.
    Expected("refused", r"", UnavailableError, "CHECK_ADDRESS", transient=True,
             calls="internal|public"),
    Expected("refused", r"", UnavailableError, "REST_CHECK_ADDRESS", transient=True,
             calls="rest"),
    Expected("reset", r"", UnavailableError, "REST_CHECK_PORT", transient=True,
             may_have_run=True, calls="rest"),
    Expected("silent", r"", DeadlineExceededError, "CHECK_REACHABLE_HTTP", transient=True,
             may_have_run=True, calls="public"),
    Expected("silent", r"", DeadlineExceededError, "REST_CHECK_REACHABLE", transient=True,
             may_have_run=True, calls="rest"),
)  # fmt: skip

REASONS: tuple[tuple[str, str | None], ...] = (
    # The file does not exist; the path of a directory is not the path of a file either.
    (r"key not found\[key=", "JOB_FILE_PATH"),
    (r"failed to decode JSON\b.*is a directory", "JOB_FILE_PATH"),
    # Empty or cut off.
    (r"failed to decode JSON, error: EOF", "JOB_EMPTY_FILE"),
    (r"failed to (parse|decode) row, error: unexpected EOF", "JOB_EMPTY_FILE"),
    (r"failed to read csv header, error: EOF", "JOB_EMPTY_FILE"),
    (r"parquet: file too small", "JOB_EMPTY_FILE"),
    # Another layout.
    (r"failed to decode JSON, error: invalid character", "JOB_JSON_LAYOUT"),
    (r"the root key should be 'rows'", "JOB_JSON_LAYOUT"),
    (r"no file for field: ", "JOB_NPY_NAMES"),
    (r"'large_utf8'", "JOB_LARGE_STRINGS"),
    # The server ended the job.
    (r"^import timeout$", "JOB_TIMEOUT"),
    (r"^collection [0-9]+ dropped$", "JOB_COLLECTION_DROPPED"),
    # No hint: the reason names the field and what is wrong with it, or what the user did.
    (r"expected dim '4' for field 'v'", None),
    (r"expected type 'Int64' for field 'id'", None),
    (r"the field 'zz' is not defined in schema", None),
    (r"value of field 'v' is missed", "JOB_MISSING_COLUMN"),
    (r"value of field is missed: '(id|v)'", "JOB_MISSING_COLUMN"),
    (r"imported rows are not aligned", None),
    (r"field 'v' not in arrow schema", "JOB_MISSING_COLUMN"),
    (r"^aborted by user$", None),
)
"""The hint of a failed job, by a pattern of its reason."""


def expected_of(recording: Recording) -> Expected:
    """Return the row of a recorded failure. Exactly one must match."""
    rows = [row for row in FAILURES if row.matches(recording)]
    assert len(rows) == 1, (recording.failure, rows)
    return rows[0]


def reason_pattern(reason: str) -> str:
    """Return the pattern of a failed job's reason. Exactly one must match."""
    patterns = [pattern for pattern, _ in REASONS if re.search(pattern, reason)]
    assert len(patterns) == 1, (reason, patterns)
    return patterns[0]


def expected_hint(reason: str) -> str | None:
    """Return the key of the hint of a failed job, or None if it has none."""
    return dict(REASONS)[reason_pattern(reason)]
