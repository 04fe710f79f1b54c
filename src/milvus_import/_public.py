"""The public service, ``milvus.proto.milvus.MilvusService`` on port 19530.

Its GetImportState is coarser, and on 2.4+ it calls every state it has no word for Failed: a job
that waits for its commit is told apart here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import grpc

from milvus_import_pb import common_pb2, milvus_pb2

from ._call import Rpc, unary
from ._errors import UnsupportedServerError
from ._models import ImportJob, ImportProgressData, ImportState
from ._status import EMPTY_REPLY, bad_reply, raise_for_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._channel import LazyChannel
    from ._options import CallSettings
    from ._request import ImportJobRequest

STATES: Final[dict[int, ImportState]] = {
    common_pb2.ImportPending: ImportState.PENDING,
    common_pb2.ImportFailed: ImportState.FAILED,
    common_pb2.ImportStarted: ImportState.IMPORTING,
    common_pb2.ImportPersisted: ImportState.IMPORTING,  # 2.3: written, not yet final
    common_pb2.ImportCompleted: ImportState.COMPLETED,
    common_pb2.ImportFailedAndCleaned: ImportState.FAILED,
    common_pb2.ImportFlushed: ImportState.IMPORTING,
}
_COMMIT_PERCENT: Final = "99"
_PERCENT: Final = re.compile(r"-?[0-9]{1,19}")  # an int64

GET_IMPORT_STATE: Final = Rpc(
    "public",
    "milvus.proto.milvus.MilvusService/GetImportState",
    lambda connection: connection.milvus.GetImportState,
)
LIST_IMPORT_TASKS: Final = Rpc(
    "public",
    "milvus.proto.milvus.MilvusService/ListImportTasks",
    lambda connection: connection.milvus.ListImportTasks,
)
IMPORT: Final = Rpc(
    "public",
    "milvus.proto.milvus.MilvusService/Import",
    lambda connection: connection.milvus.Import,
)


class PublicService:
    """The requests and the mapping of the public service."""

    service: Literal["public"] = "public"

    def __init__(self, channel: LazyChannel) -> None:
        self._channel = channel

    async def get_import_progress(
        self, job_id: str, db_name: str, settings: CallSettings, timeout: float | None
    ) -> tuple[str, ImportProgressData]:
        """The job's progress as far as this service tells it. The job id alone finds the job."""
        del db_name
        request = milvus_pb2.GetImportStateRequest(task=int(job_id))
        reply = await unary(self._channel, GET_IMPORT_STATE, request, settings, timeout)
        status = reply.status
        self._check(GET_IMPORT_STATE.name, status, empty=not (reply.state or reply.ByteSize()))
        return status.reason, decode_progress(reply, job_id)

    async def list_imports(
        self, collection_name: str, db_name: str, settings: CallSettings, timeout: float | None
    ) -> list[ImportJob]:
        """The jobs by id. Only Milvus 2.2 and 2.3 name them: UnsupportedServerError on 2.4+."""
        request = milvus_pb2.ListImportTasksRequest(
            collection_name=collection_name, db_name=db_name
        )
        reply = await unary(self._channel, LIST_IMPORT_TASKS, request, settings, timeout)
        self._check(
            LIST_IMPORT_TASKS.name, reply.status, empty=not (reply.tasks or reply.ByteSize())
        )
        if any(not task.id for task in reply.tasks):
            raise UnsupportedServerError(
                f"{LIST_IMPORT_TASKS.name} at {self._channel.endpoint.target}: Milvus 2.4+ lists "
                "jobs without their ids on this port. Use the internal port 19529, or ask for "
                "known job ids",
                code=grpc.StatusCode.FAILED_PRECONDITION,
                details="the listed tasks have no ids",
            )
        jobs = sorted(reply.tasks, key=lambda task: task.id)
        return [decode_progress(task, str(task.id)).job for task in jobs]

    async def create_import(
        self, order: ImportJobRequest, settings: CallSettings, timeout: float | None
    ) -> str:
        """Order an import of one file group; returns the job id."""
        if len(order.groups) != 1:
            raise ValueError(
                f"files has {len(order.groups)} groups, but the public service takes one group a "
                "job: call create_import once for each, or use the internal port 19529"
            )
        request = milvus_pb2.ImportRequest(
            collection_name=order.collection_name,
            partition_name=order.partition_name,
            files=order.groups[0],
            options=[common_pb2.KeyValuePair(key=k, value=v) for k, v in order.options],
            db_name=order.db_name,
        )
        reply = await unary(self._channel, IMPORT, request, settings, timeout)
        self._check(IMPORT.name, reply.status, empty=not reply.tasks)
        return str(reply.tasks[0])

    def _check(self, method: str, status: common_pb2.Status, *, empty: bool) -> None:
        target = self._channel.endpoint.target
        raise_for_status(status, method, target, self.service)
        if empty:
            raise bad_reply(EMPTY_REPLY, method=method, target=target)


def decode_progress(reply: milvus_pb2.GetImportStateResponse, job_id: str) -> ImportProgressData:
    """Map the reply onto the same dataclass; what this service does not tell stays empty."""
    infos = {info.key: info.value for info in reply.infos}
    state = _state(reply.state, infos)
    return ImportProgressData(
        infos.get("collection", ""),
        job_id,
        "",
        state,
        _percent(infos.get("progress_percent"), state),
        reply.row_count,
        0,
        infos.get("failed_reason", ""),
        0,
        [],
        _rfc3339(reply.create_ts),
        "public",
    )


def _state(number: int, infos: Mapping[str, str]) -> ImportState:
    """2.4+ sends Failed, at 99 and without a reason, for a job that waits for its commit."""
    if (
        number == common_pb2.ImportFailed
        and not infos.get("failed_reason")
        and infos.get("progress_percent") == _COMMIT_PERCENT
    ):
        return ImportState.UNCOMMITTED
    return STATES.get(number) or ImportState(str(number))


def _percent(text: str | None, state: ImportState) -> int:
    if text is None:
        return 100 if state is ImportState.COMPLETED else 0
    return int(text) if _PERCENT.fullmatch(text) else 0


def _rfc3339(seconds: int) -> str:
    if not seconds:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""
