"""The internal service, ``milvus.proto.proxy.Proxy`` on port 19529 (Milvus 2.4+)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from milvus_import_pb import common_pb2, internal_pb2

from ._call import Rpc, unary
from ._models import ImportJob, ImportProgressData, ImportProgressDetail, ImportState
from ._status import EMPTY_REPLY, bad_reply, raise_for_status

if TYPE_CHECKING:
    from ._channel import LazyChannel
    from ._options import CallSettings
    from ._request import ImportJobRequest

JobRow = tuple[str, int, int, str]
"""One job of a list, undecoded: collection name, state number, progress, reason."""

STATES: Final[dict[int, ImportState]] = {
    number: ImportState(name) for name, number in internal_pb2.ImportJobState.items()
}

GET_IMPORT_PROGRESS: Final = Rpc(
    "internal",
    "milvus.proto.proxy.Proxy/GetImportProgress",
    lambda connection: connection.proxy.GetImportProgress,
)
LIST_IMPORTS: Final = Rpc(
    "internal",
    "milvus.proto.proxy.Proxy/ListImports",
    lambda connection: connection.proxy.ListImports,
)
IMPORT_V2: Final = Rpc(
    "internal",
    "milvus.proto.proxy.Proxy/ImportV2",
    lambda connection: connection.proxy.ImportV2,
)


class InternalService:
    """The requests and the mapping of the internal service."""

    service: Literal["internal"] = "internal"

    def __init__(self, channel: LazyChannel) -> None:
        self._channel = channel

    async def get_import_progress(
        self, job_id: str, db_name: str, settings: CallSettings, timeout: float | None
    ) -> tuple[str, ImportProgressData]:
        """The job's progress, with the Status' word beside its 0."""
        request = internal_pb2.GetImportProgressRequest(db_name=db_name, jobID=job_id)
        reply = await unary(self._channel, GET_IMPORT_PROGRESS, request, settings, timeout)
        status = reply.status
        self._check(GET_IMPORT_PROGRESS.name, status, empty=not (reply.state or reply.ByteSize()))
        return status.reason, decode_progress(reply, job_id)

    async def list_imports(
        self, collection_name: str, db_name: str, settings: CallSettings, timeout: float | None
    ) -> list[ImportJob]:
        """The jobs of a collection, or of every database where the name is "", by id."""
        rows = await self.list_rows(collection_name, db_name, settings, timeout)
        return [decode_job(job_id, rows[job_id]) for job_id in sorted(rows, key=_numeric)]

    async def list_rows(
        self, collection_name: str, db_name: str, settings: CallSettings, timeout: float | None
    ) -> dict[str, JobRow]:
        """The same list by job id, undecoded and in the server's random order."""
        request = internal_pb2.ListImportsRequest(db_name=db_name, collection_name=collection_name)
        reply = await unary(self._channel, LIST_IMPORTS, request, settings, timeout)
        self._check(LIST_IMPORTS.name, reply.status, empty=not (reply.jobIDs or reply.ByteSize()))
        columns = (reply.collection_names, reply.states, reply.progresses, reply.reasons)
        if any(len(column) != len(reply.jobIDs) for column in columns):
            raise bad_reply(
                "the reply's columns differ in length",
                method=LIST_IMPORTS.name,
                target=self._channel.endpoint.target,
            )
        return dict(zip(reply.jobIDs, zip(*columns, strict=True), strict=True))

    async def create_import(
        self, order: ImportJobRequest, settings: CallSettings, timeout: float | None
    ) -> str:
        """Order an import of any number of file groups; returns the job id."""
        request = internal_pb2.ImportRequest(
            db_name=order.db_name,
            collection_name=order.collection_name,
            partition_name=order.partition_name,
            files=[internal_pb2.ImportFile(paths=paths) for paths in order.groups],
            options=[common_pb2.KeyValuePair(key=k, value=v) for k, v in order.options],
        )
        reply = await unary(self._channel, IMPORT_V2, request, settings, timeout)
        self._check(IMPORT_V2.name, reply.status, empty=not reply.jobID)
        return reply.jobID

    def _check(self, method: str, status: common_pb2.Status, *, empty: bool) -> None:
        target = self._channel.endpoint.target
        raise_for_status(status, method, target, self.service)
        if empty:
            raise bad_reply(EMPTY_REPLY, method=method, target=target)


def decode_progress(
    reply: internal_pb2.GetImportProgressResponse, job_id: str
) -> ImportProgressData:
    """Map the reply onto the dataclasses; values stay raw."""
    details = [
        ImportProgressDetail(
            task.file_name,
            task.file_size,
            task.progress,
            task.complete_time,
            task.state,
            task.imported_rows,
            task.total_rows,
            task.reason,
        )
        for task in reply.task_progresses
    ]
    return ImportProgressData(
        reply.collection_name,
        job_id,
        reply.complete_time,
        state_of(reply.state),
        reply.progress,
        reply.imported_rows,
        reply.total_rows,
        reply.reason,
        sum([detail.file_size for detail in details]),
        details,
        reply.create_time,
        "internal",
    )


def decode_job(job_id: str, row: JobRow) -> ImportJob:
    """One line of the list."""
    collection_name, state, progress, reason = row
    return ImportJob(job_id, collection_name, state_of(state), progress, reason)


def state_of(number: int) -> ImportState:
    """A state by its number; a newer server's number is kept."""
    return STATES.get(number) or ImportState(str(number))


def _numeric(job_id: str) -> tuple[int, str]:
    """Sorts ids as numbers without trusting them to be any."""
    return len(job_id), job_id
