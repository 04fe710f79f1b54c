"""The messages in which the two gRPC services report a job."""

from __future__ import annotations

from typing import Final

from milvus_import_pb import common_pb2, internal_pb2, milvus_pb2

from ._jobs import FakeFile, JobSnapshot, state_number

# The states of GetImportState on Milvus 2.4+. Every other state is reported as ImportFailed.
_PUBLIC_STATES: Final = {
    "Pending": common_pb2.ImportPending,
    "PreImporting": common_pb2.ImportStarted,
    "Importing": common_pb2.ImportStarted,
    "Sorting": common_pb2.ImportStarted,
    "IndexBuilding": common_pb2.ImportStarted,
    "Completed": common_pb2.ImportCompleted,
}
_PERSISTED_FROM: Final = 90
"""The percentage from which Milvus 2.3 reports ImportPersisted."""
_COMPLETE_TIME: Final = "2026-01-02T03:14:05Z"
_FILE_COMPLETE_TIME: Final = "2026-01-02T03:13:05Z"


def progress_reply(job: JobSnapshot) -> internal_pb2.GetImportProgressResponse:
    """Return the reply of GetImportProgress."""
    return internal_pb2.GetImportProgressResponse(
        status=common_pb2.Status(),
        state=state_number(job.state),
        reason=job.failed_reason,
        progress=job.progress,
        collection_name=job.job.collection_name,
        complete_time=_COMPLETE_TIME if job.state == "Completed" else "",
        task_progresses=_file_progresses(job),
        imported_rows=job.imported_rows,
        total_rows=job.rows if job.is_started else 0,
        create_time=job.job.create_time,
    )


def _file_progresses(job: JobSnapshot) -> list[internal_pb2.ImportTaskProgress]:
    if not job.is_started:
        return []
    percent = min(max(job.progress - 10, 0) * 100 // 60, 100)
    return [_file_progress(file, percent) for file in job.job.files]


def _file_progress(file: FakeFile, percent: int) -> internal_pb2.ImportTaskProgress:
    state = "Completed" if percent == 100 else "InProgress" if percent else "Pending"
    return internal_pb2.ImportTaskProgress(
        file_name=f"[{file.name}]",
        file_size=file.size,
        reason=file.reason,
        progress=percent,
        complete_time=_FILE_COMPLETE_TIME if percent == 100 else "",
        state="Failed" if file.reason else state,
        imported_rows=file.rows * percent // 100,
        total_rows=file.rows,
    )


def list_reply(jobs: list[JobSnapshot]) -> internal_pb2.ListImportsResponse:
    """Return the reply of ListImports."""
    return internal_pb2.ListImportsResponse(
        status=common_pb2.Status(),
        jobIDs=[job.job.job_id for job in jobs],
        states=[state_number(job.state) for job in jobs],
        reasons=[job.failed_reason for job in jobs],
        progresses=[job.progress for job in jobs],
        collection_names=[job.job.collection_name for job in jobs],
    )


def state_reply(job: JobSnapshot) -> milvus_pb2.GetImportStateResponse:
    """Return the reply of GetImportState, Milvus 2.4+."""
    reply = task_reply(job)
    reply.row_count, reply.create_ts = job.imported_rows, job.job.create_ts
    return reply


def task_reply(job: JobSnapshot) -> milvus_pb2.GetImportStateResponse:
    """Return an entry of ListImportTasks, Milvus 2.4+."""
    waits_for_commit = job.state in {"Uncommitted", "Committing"}
    return milvus_pb2.GetImportStateResponse(
        status=common_pb2.Status(),
        state=_PUBLIC_STATES.get(job.state, common_pb2.ImportFailed),
        infos=[
            _pair("failed_reason", job.failed_reason),
            _pair("progress_percent", "99" if waits_for_commit else str(job.progress)),
        ],
    )


def old_state_reply(job: JobSnapshot) -> milvus_pb2.GetImportStateResponse:
    """Return the reply of GetImportState, Milvus 2.3: with the id, and with more infos."""
    state = _old_state(job)
    infos = [
        _pair("files", ",".join(file.name for file in job.job.files)),
        _pair("collection", job.job.collection_name),
        _pair("partition", "_default"),
        _pair("failed_reason", job.failed_reason),
    ]
    if job.progress or job.state == "Failed":
        infos.append(_pair("progress_percent", str(job.progress)))
    is_written = state in {common_pb2.ImportPersisted, common_pb2.ImportCompleted}
    if is_written:
        infos.append(_pair("persist_cost", "0.65"))
    return milvus_pb2.GetImportStateResponse(
        status=common_pb2.Status(),
        state=state,
        row_count=job.imported_rows if is_written else 0,
        infos=infos,
        id=int(job.job.job_id),
        create_ts=job.job.create_ts,
    )


def _old_state(job: JobSnapshot) -> common_pb2.ImportState:
    if job.state == "Failed":
        return common_pb2.ImportFailed
    if job.state == "IndexBuilding" and job.progress >= _PERSISTED_FROM:
        return common_pb2.ImportPersisted
    return _PUBLIC_STATES.get(job.state, common_pb2.ImportStarted)


def _pair(key: str, value: str) -> common_pb2.KeyValuePair:
    return common_pb2.KeyValuePair(key=key, value=value)
