"""What each gRPC fault of FakeMilvus means: the faults of a real Milvus as one table."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from milvus_import import (
    AccessDeniedError,
    CallError,
    CallRecord,
    DeadlineExceededError,
    JobLimitError,
    MilvusImportError,
    MilvusStatusError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import._errors import hint_of
from milvus_import._failures._context import CallContext, ReplyError
from milvus_import._failures._grpc import call_error
from milvus_import._hints import Hint
from milvus_import._services import _public
from milvus_import._services._requests import JobParams
from milvus_import.testing._faults import FAULTS
from milvus_import_pb import milvus_pb2

READ = CallContext("GetImportState", "public", True, "milvus:1", False, 10.0, False, False)
WRITE = READ._replace(method="Import", read=False)
Row = tuple[type[MilvusImportError], bool, bool, Hint | None, Hint | None]
TABLE: dict[str, Row] = {
    # class, transient, a write may have run, hint of a read, hint of a write
    "aborted": (CallError, True, True, None, Hint.REPEAT_WITH_KEY),
    "cancelled": (CallError, True, True, None, Hint.REPEAT_WITH_KEY),
    "coordinator-unavailable": (
        MilvusStatusError,
        True,
        False,
        Hint.SERVER_STARTING,
        Hint.SERVER_STARTING,
    ),
    "cross-cluster": (
        CallError,
        False,
        False,
        Hint.DROP_ROUTING_METADATA,
        Hint.DROP_ROUTING_METADATA,
    ),
    "deadline": (DeadlineExceededError, True, True, Hint.SERVER_DEADLINE, Hint.REPEAT_WITH_KEY),
    "denied": (AccessDeniedError, False, False, Hint.GRANT_PRIVILEGE, Hint.GRANT_PRIVILEGE),
    "empty": (CallError, True, True, None, Hint.REPEAT_WITH_KEY),
    "garbage": (CallError, False, True, Hint.CHECK_IS_MILVUS, Hint.CHECK_IS_MILVUS),
    "job-limit": (JobLimitError, True, False, Hint.JOB_LIMIT, Hint.JOB_LIMIT),
    "legacy": (MilvusStatusError, False, True, None, None),
    "no-collection": (
        MilvusStatusError,
        False,
        False,
        Hint.CHECK_COLLECTION,
        Hint.CHECK_COLLECTION,
    ),
    "not-ready": (MilvusStatusError, True, False, Hint.SERVER_STARTING, Hint.SERVER_STARTING),
    "proxy-not-ready": (CallError, True, False, Hint.SERVER_STARTING, Hint.SERVER_STARTING),
    "rate-limit": (MilvusStatusError, True, False, Hint.SERVER_RATE_LIMIT, Hint.SERVER_RATE_LIMIT),
    "too-large": (CallError, False, True, Hint.RAISE_MAX_RECEIVE, Hint.RAISE_MAX_RECEIVE),
    "unavailable": (UnavailableError, True, True, Hint.RECONNECT, Hint.REPEAT_WITH_KEY),
    "unimplemented": (UnsupportedServerError, False, False, None, None),
}


def error_of(name: str, context: CallContext) -> Any:
    fault = FAULTS[name]
    if fault.code is not None:
        record = CallRecord("public", "a.B/C", fault.code, fault.details, (), (), 0.1)
        return call_error(fault.code, fault.details, context, record)
    reply = fault.reply
    if fault.status is not None:
        reply = milvus_pb2.GetImportStateResponse(status=fault.status).SerializeToString()
    with pytest.raises(ReplyError) as caught:
        _public.GET_IMPORT_STATE.read_reply(reply, JobParams("7", ""))
    return caught.value.make(context)


def test_each_grpc_fault_is_in_the_table() -> None:
    hanging = {name for name, fault in FAULTS.items() if fault.delay}
    of_rest = {name for name, fault in FAULTS.items() if fault.http is not None}
    assert TABLE.keys() == FAULTS.keys() - hanging - of_rest


@pytest.mark.parametrize("name", TABLE)
def test_fault_decides_class_transient_may_have_run_and_hint(name: str) -> None:
    kind, transient, may_have_run, read_hint, hint_for_write = TABLE[name]
    read, write = error_of(name, READ), error_of(name, WRITE)
    assert (type(read), type(write)) == (kind, kind)
    assert (read.transient, write.transient) == (transient, transient)
    assert write.may_have_run is may_have_run
    assert (hint_of(read), hint_of(write)) == (read_hint, hint_for_write)
    if isinstance(read, CallError):
        assert isinstance(read.code, grpc.StatusCode)
