"""What each gRPC fault of FakeMilvus means, over the public service."""

from __future__ import annotations

import pytest

from milvus_import import (
    AccessDeniedError,
    CallError,
    DeadlineExceededError,
    ImportClient,
    JobLimitError,
    MilvusImportError,
    MilvusStatusError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import._hints import Hint
from milvus_import.testing import FakeMilvus
from milvus_import.testing._faults import FAULTS

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
    "unimplemented": (
        UnsupportedServerError,
        False,
        False,
        Hint.USE_PUBLIC_PORT,
        Hint.USE_PUBLIC_PORT,
    ),
}


def test_each_grpc_fault_is_in_the_table() -> None:
    hanging = {name for name, fault in FAULTS.items() if fault.delay}
    of_rest = {name for name, fault in FAULTS.items() if fault.http is not None}
    assert TABLE.keys() == FAULTS.keys() - hanging - of_rest


@pytest.mark.anyio
@pytest.mark.parametrize("name", TABLE)
async def test_fault_decides_class_transient_may_have_run_and_hint(name: str) -> None:
    kind, transient, may_have_run, read_hint, write_hint = TABLE[name]
    async with FakeMilvus() as server:
        server.inject(name, times=None)
        async with ImportClient(server.public_uri, service="public") as client:
            with pytest.raises(MilvusImportError) as read:
                await client.get_import_progress("7")
            with pytest.raises(MilvusImportError) as write:
                await client.create_import("books", ["a.parquet"])
    assert (type(read.value), type(write.value)) == (kind, kind)
    assert (read.value.transient, write.value.transient) == (transient, transient)
    assert write.value.may_have_run is may_have_run
    for error, hint in ((read.value, read_hint), (write.value, write_hint)):
        assert error.hint == ("" if hint is None else hint.python)
