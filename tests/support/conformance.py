"""Compare the replies of a simulated server with those of a real one."""

from __future__ import annotations

from milvus_import.testing import FakeFile, FakeJob
from milvus_import_pb import common_pb2, milvus_pb2

State = milvus_pb2.GetImportStateResponse

_STATES = {
    common_pb2.ImportPending: "Pending",
    common_pb2.ImportPersisted: "IndexBuilding",
    common_pb2.ImportCompleted: "Completed",
    common_pb2.ImportFailed: "Failed",
}


def as_fake(real: State, rows: int) -> FakeJob:
    """Return a simulated job in the state that a real Milvus 2.3 reported."""
    infos = {info.key: info.value for info in real.infos}
    return FakeJob(
        job_id=str(real.id),
        collection_name=infos["collection"],
        state=_STATES.get(real.state, "Importing"),
        progress=int(infos.get("progress_percent", "0")),
        reason=infos["failed_reason"],
        files=[FakeFile(name=infos["files"], rows=rows)],
        create_ts=real.create_ts,
    )


def comparable(reply: State) -> State:
    """Return a reply without the fields that need stored rows."""
    copy = State()
    copy.CopyFrom(reply)
    copy.collection_id = 0
    del copy.id_list[:]
    del copy.segment_ids[:]
    for info in copy.infos:
        if info.key == "persist_cost":
            info.value = ""
    return copy
