# Made by scripts/generate.py: do not edit.

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.internal import containers
from google.protobuf.message import Message

from milvus_import_pb import common_pb2

DESCRIPTOR: FileDescriptor

class ImportRequest(Message):
    COLLECTION_NAME_FIELD_NUMBER: ClassVar[int]
    PARTITION_NAME_FIELD_NUMBER: ClassVar[int]
    CHANNEL_NAMES_FIELD_NUMBER: ClassVar[int]
    ROW_BASED_FIELD_NUMBER: ClassVar[int]
    FILES_FIELD_NUMBER: ClassVar[int]
    OPTIONS_FIELD_NUMBER: ClassVar[int]
    DB_NAME_FIELD_NUMBER: ClassVar[int]
    collection_name: str
    partition_name: str
    channel_names: containers.RepeatedScalarFieldContainer[str]
    row_based: bool
    files: containers.RepeatedScalarFieldContainer[str]
    options: containers.RepeatedCompositeFieldContainer[common_pb2.KeyValuePair]
    db_name: str
    def __init__(
        self,
        *,
        collection_name: str | None = ...,
        partition_name: str | None = ...,
        channel_names: Iterable[str] | None = ...,
        row_based: bool | None = ...,
        files: Iterable[str] | None = ...,
        options: Iterable[common_pb2.KeyValuePair | Mapping[str, Any]] | None = ...,
        db_name: str | None = ...,
    ) -> None: ...

class ImportResponse(Message):
    STATUS_FIELD_NUMBER: ClassVar[int]
    TASKS_FIELD_NUMBER: ClassVar[int]
    status: common_pb2.Status
    tasks: containers.RepeatedScalarFieldContainer[int]
    def __init__(
        self,
        *,
        status: common_pb2.Status | Mapping[str, Any] | None = ...,
        tasks: Iterable[int] | None = ...,
    ) -> None: ...

class GetImportStateRequest(Message):
    TASK_FIELD_NUMBER: ClassVar[int]
    task: int
    def __init__(
        self,
        *,
        task: int | None = ...,
    ) -> None: ...

class GetImportStateResponse(Message):
    STATUS_FIELD_NUMBER: ClassVar[int]
    STATE_FIELD_NUMBER: ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: ClassVar[int]
    ID_LIST_FIELD_NUMBER: ClassVar[int]
    INFOS_FIELD_NUMBER: ClassVar[int]
    ID_FIELD_NUMBER: ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: ClassVar[int]
    SEGMENT_IDS_FIELD_NUMBER: ClassVar[int]
    CREATE_TS_FIELD_NUMBER: ClassVar[int]
    status: common_pb2.Status
    state: common_pb2.ImportState
    row_count: int
    id_list: containers.RepeatedScalarFieldContainer[int]
    infos: containers.RepeatedCompositeFieldContainer[common_pb2.KeyValuePair]
    id: int
    collection_id: int
    segment_ids: containers.RepeatedScalarFieldContainer[int]
    create_ts: int
    def __init__(
        self,
        *,
        status: common_pb2.Status | Mapping[str, Any] | None = ...,
        state: common_pb2.ImportState | int | str | None = ...,
        row_count: int | None = ...,
        id_list: Iterable[int] | None = ...,
        infos: Iterable[common_pb2.KeyValuePair | Mapping[str, Any]] | None = ...,
        id: int | None = ...,
        collection_id: int | None = ...,
        segment_ids: Iterable[int] | None = ...,
        create_ts: int | None = ...,
    ) -> None: ...

class ListImportTasksRequest(Message):
    COLLECTION_NAME_FIELD_NUMBER: ClassVar[int]
    LIMIT_FIELD_NUMBER: ClassVar[int]
    DB_NAME_FIELD_NUMBER: ClassVar[int]
    collection_name: str
    limit: int
    db_name: str
    def __init__(
        self,
        *,
        collection_name: str | None = ...,
        limit: int | None = ...,
        db_name: str | None = ...,
    ) -> None: ...

class ListImportTasksResponse(Message):
    STATUS_FIELD_NUMBER: ClassVar[int]
    TASKS_FIELD_NUMBER: ClassVar[int]
    status: common_pb2.Status
    tasks: containers.RepeatedCompositeFieldContainer[GetImportStateResponse]
    def __init__(
        self,
        *,
        status: common_pb2.Status | Mapping[str, Any] | None = ...,
        tasks: Iterable[GetImportStateResponse | Mapping[str, Any]] | None = ...,
    ) -> None: ...

class CreateCollectionRequest(Message):
    DB_NAME_FIELD_NUMBER: ClassVar[int]
    COLLECTION_NAME_FIELD_NUMBER: ClassVar[int]
    SCHEMA_FIELD_NUMBER: ClassVar[int]
    SHARDS_NUM_FIELD_NUMBER: ClassVar[int]
    db_name: str
    collection_name: str
    schema: bytes
    shards_num: int
    def __init__(
        self,
        *,
        db_name: str | None = ...,
        collection_name: str | None = ...,
        schema: bytes | None = ...,
        shards_num: int | None = ...,
    ) -> None: ...

class GetCollectionStatisticsRequest(Message):
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

class GetCollectionStatisticsResponse(Message):
    STATUS_FIELD_NUMBER: ClassVar[int]
    STATS_FIELD_NUMBER: ClassVar[int]
    status: common_pb2.Status
    stats: containers.RepeatedCompositeFieldContainer[common_pb2.KeyValuePair]
    def __init__(
        self,
        *,
        status: common_pb2.Status | Mapping[str, Any] | None = ...,
        stats: Iterable[common_pb2.KeyValuePair | Mapping[str, Any]] | None = ...,
    ) -> None: ...
