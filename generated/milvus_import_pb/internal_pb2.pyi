# Made by scripts/generate.py: do not edit.

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.internal import containers
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

from milvus_import_pb import common_pb2

DESCRIPTOR: FileDescriptor

class ImportJobState(int, metaclass=EnumTypeWrapper):
    Pending: ClassVar[ImportJobState]
    PreImporting: ClassVar[ImportJobState]
    Importing: ClassVar[ImportJobState]
    Failed: ClassVar[ImportJobState]
    Completed: ClassVar[ImportJobState]
    IndexBuilding: ClassVar[ImportJobState]
    Sorting: ClassVar[ImportJobState]
    Uncommitted: ClassVar[ImportJobState]
    Committing: ClassVar[ImportJobState]

Pending: ImportJobState
PreImporting: ImportJobState
Importing: ImportJobState
Failed: ImportJobState
Completed: ImportJobState
IndexBuilding: ImportJobState
Sorting: ImportJobState
Uncommitted: ImportJobState
Committing: ImportJobState

class GetImportProgressRequest(Message):
    DB_NAME_FIELD_NUMBER: ClassVar[int]
    JOBID_FIELD_NUMBER: ClassVar[int]
    db_name: str
    jobID: str
    def __init__(
        self,
        *,
        db_name: str | None = ...,
        jobID: str | None = ...,
    ) -> None: ...

class GetImportProgressResponse(Message):
    STATUS_FIELD_NUMBER: ClassVar[int]
    STATE_FIELD_NUMBER: ClassVar[int]
    REASON_FIELD_NUMBER: ClassVar[int]
    PROGRESS_FIELD_NUMBER: ClassVar[int]
    COLLECTION_NAME_FIELD_NUMBER: ClassVar[int]
    COMPLETE_TIME_FIELD_NUMBER: ClassVar[int]
    TASK_PROGRESSES_FIELD_NUMBER: ClassVar[int]
    IMPORTED_ROWS_FIELD_NUMBER: ClassVar[int]
    TOTAL_ROWS_FIELD_NUMBER: ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: ClassVar[int]
    status: common_pb2.Status
    state: ImportJobState
    reason: str
    progress: int
    collection_name: str
    complete_time: str
    task_progresses: containers.RepeatedCompositeFieldContainer[ImportTaskProgress]
    imported_rows: int
    total_rows: int
    create_time: str
    def __init__(
        self,
        *,
        status: common_pb2.Status | Mapping[str, Any] | None = ...,
        state: ImportJobState | int | str | None = ...,
        reason: str | None = ...,
        progress: int | None = ...,
        collection_name: str | None = ...,
        complete_time: str | None = ...,
        task_progresses: Iterable[ImportTaskProgress | Mapping[str, Any]] | None = ...,
        imported_rows: int | None = ...,
        total_rows: int | None = ...,
        create_time: str | None = ...,
    ) -> None: ...

class ImportTaskProgress(Message):
    FILE_NAME_FIELD_NUMBER: ClassVar[int]
    FILE_SIZE_FIELD_NUMBER: ClassVar[int]
    REASON_FIELD_NUMBER: ClassVar[int]
    PROGRESS_FIELD_NUMBER: ClassVar[int]
    COMPLETE_TIME_FIELD_NUMBER: ClassVar[int]
    STATE_FIELD_NUMBER: ClassVar[int]
    IMPORTED_ROWS_FIELD_NUMBER: ClassVar[int]
    TOTAL_ROWS_FIELD_NUMBER: ClassVar[int]
    file_name: str
    file_size: int
    reason: str
    progress: int
    complete_time: str
    state: str
    imported_rows: int
    total_rows: int
    def __init__(
        self,
        *,
        file_name: str | None = ...,
        file_size: int | None = ...,
        reason: str | None = ...,
        progress: int | None = ...,
        complete_time: str | None = ...,
        state: str | None = ...,
        imported_rows: int | None = ...,
        total_rows: int | None = ...,
    ) -> None: ...

class ListImportsRequest(Message):
    DB_NAME_FIELD_NUMBER: ClassVar[int]
    COLLECTION_NAME_FIELD_NUMBER: ClassVar[int]
    db_name: str
    collection_name: str
    def __init__(
        self,
        *,
        db_name: str | None = ...,
        collection_name: str | None = ...,
    ) -> None: ...

class ListImportsResponse(Message):
    STATUS_FIELD_NUMBER: ClassVar[int]
    JOBIDS_FIELD_NUMBER: ClassVar[int]
    STATES_FIELD_NUMBER: ClassVar[int]
    REASONS_FIELD_NUMBER: ClassVar[int]
    PROGRESSES_FIELD_NUMBER: ClassVar[int]
    COLLECTION_NAMES_FIELD_NUMBER: ClassVar[int]
    status: common_pb2.Status
    jobIDs: containers.RepeatedScalarFieldContainer[str]
    states: containers.RepeatedScalarFieldContainer[ImportJobState]
    reasons: containers.RepeatedScalarFieldContainer[str]
    progresses: containers.RepeatedScalarFieldContainer[int]
    collection_names: containers.RepeatedScalarFieldContainer[str]
    def __init__(
        self,
        *,
        status: common_pb2.Status | Mapping[str, Any] | None = ...,
        jobIDs: Iterable[str] | None = ...,
        states: Iterable[ImportJobState | int | str] | None = ...,
        reasons: Iterable[str] | None = ...,
        progresses: Iterable[int] | None = ...,
        collection_names: Iterable[str] | None = ...,
    ) -> None: ...

class ImportFile(Message):
    ID_FIELD_NUMBER: ClassVar[int]
    PATHS_FIELD_NUMBER: ClassVar[int]
    id: int
    paths: containers.RepeatedScalarFieldContainer[str]
    def __init__(
        self,
        *,
        id: int | None = ...,
        paths: Iterable[str] | None = ...,
    ) -> None: ...

class ImportRequest(Message):
    DB_NAME_FIELD_NUMBER: ClassVar[int]
    COLLECTION_NAME_FIELD_NUMBER: ClassVar[int]
    PARTITION_NAME_FIELD_NUMBER: ClassVar[int]
    FILES_FIELD_NUMBER: ClassVar[int]
    OPTIONS_FIELD_NUMBER: ClassVar[int]
    db_name: str
    collection_name: str
    partition_name: str
    files: containers.RepeatedCompositeFieldContainer[ImportFile]
    options: containers.RepeatedCompositeFieldContainer[common_pb2.KeyValuePair]
    def __init__(
        self,
        *,
        db_name: str | None = ...,
        collection_name: str | None = ...,
        partition_name: str | None = ...,
        files: Iterable[ImportFile | Mapping[str, Any]] | None = ...,
        options: Iterable[common_pb2.KeyValuePair | Mapping[str, Any]] | None = ...,
    ) -> None: ...

class ImportResponse(Message):
    STATUS_FIELD_NUMBER: ClassVar[int]
    JOBID_FIELD_NUMBER: ClassVar[int]
    status: common_pb2.Status
    jobID: str
    def __init__(
        self,
        *,
        status: common_pb2.Status | Mapping[str, Any] | None = ...,
        jobID: str | None = ...,
    ) -> None: ...
