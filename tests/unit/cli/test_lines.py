"""Lines for output that is not a terminal."""

from __future__ import annotations

import grpc
import pytest

from milvus_import import CallError, CallRecord, MilvusImportError, MilvusStatusError
from milvus_import._cli._lines import LineWriter


def record(code: grpc.StatusCode = grpc.StatusCode.OK) -> CallRecord:
    return CallRecord("internal", "GetImportProgress", code, "", (), (), 0.1)


@pytest.mark.parametrize(
    ("error", "recovered"),
    [
        (CallError("broken", record=record(grpc.StatusCode.UNAVAILABLE)), True),
        (CallError("empty reply", record=None), False),
        (MilvusStatusError("not ready"), False),
    ],
    ids=["broken connection", "reply that is not valid", "Status of Milvus"],
)
def test_successful_rpc_ends_only_an_outage_of_the_connection(
    error: MilvusImportError, recovered: bool
) -> None:
    """A reply may be OK for gRPC and still be the fault."""
    written: list[str] = []
    lines = LineWriter(written.append, written.append)
    lines.on_retry(error, 0.0)
    lines.on_finish(record())
    assert ("reconnected" in written) is recovered


def test_failed_rpc_does_not_end_an_outage() -> None:
    written: list[str] = []
    lines = LineWriter(written.append, written.append)
    lines.on_retry(CallError("broken", record=record(grpc.StatusCode.UNAVAILABLE)), 0.0)
    lines.on_finish(record(grpc.StatusCode.UNAVAILABLE))
    assert "reconnected" not in written


def test_another_cause_is_written_again() -> None:
    written: list[str] = []
    lines = LineWriter(written.append, written.append)
    for text in ("one", "one", "two"):
        lines.on_retry(MilvusStatusError(text), 0.0)
    assert written == ["reconnecting: one", "reconnecting: two"]
