# Made by scripts/generate.py: do not edit.

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.internal import containers
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

from milvus_import_pb import common_pb2

DESCRIPTOR: FileDescriptor

class DataType(int, metaclass=EnumTypeWrapper):
    Bool: ClassVar[DataType]
    Int8: ClassVar[DataType]
    Int16: ClassVar[DataType]
    Int32: ClassVar[DataType]
    Int64: ClassVar[DataType]
    Float: ClassVar[DataType]
    Double: ClassVar[DataType]
    VarChar: ClassVar[DataType]
    Array: ClassVar[DataType]
    JSON: ClassVar[DataType]
    BinaryVector: ClassVar[DataType]
    FloatVector: ClassVar[DataType]
    Float16Vector: ClassVar[DataType]
    BFloat16Vector: ClassVar[DataType]
    SparseFloatVector: ClassVar[DataType]

Bool: DataType
Int8: DataType
Int16: DataType
Int32: DataType
Int64: DataType
Float: DataType
Double: DataType
VarChar: DataType
Array: DataType
JSON: DataType
BinaryVector: DataType
FloatVector: DataType
Float16Vector: DataType
BFloat16Vector: DataType
SparseFloatVector: DataType

class CollectionSchema(Message):
    NAME_FIELD_NUMBER: ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: ClassVar[int]
    FIELDS_FIELD_NUMBER: ClassVar[int]
    ENABLE_DYNAMIC_FIELD_FIELD_NUMBER: ClassVar[int]
    name: str
    description: str
    fields: containers.RepeatedCompositeFieldContainer[FieldSchema]
    enable_dynamic_field: bool
    def __init__(
        self,
        *,
        name: str | None = ...,
        description: str | None = ...,
        fields: Iterable[FieldSchema | Mapping[str, Any]] | None = ...,
        enable_dynamic_field: bool | None = ...,
    ) -> None: ...

class FieldSchema(Message):
    FIELDID_FIELD_NUMBER: ClassVar[int]
    NAME_FIELD_NUMBER: ClassVar[int]
    IS_PRIMARY_KEY_FIELD_NUMBER: ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: ClassVar[int]
    DATA_TYPE_FIELD_NUMBER: ClassVar[int]
    TYPE_PARAMS_FIELD_NUMBER: ClassVar[int]
    AUTOID_FIELD_NUMBER: ClassVar[int]
    fieldID: int
    name: str
    is_primary_key: bool
    description: str
    data_type: DataType
    type_params: containers.RepeatedCompositeFieldContainer[common_pb2.KeyValuePair]
    autoID: bool
    def __init__(
        self,
        *,
        fieldID: int | None = ...,
        name: str | None = ...,
        is_primary_key: bool | None = ...,
        description: str | None = ...,
        data_type: DataType | int | str | None = ...,
        type_params: Iterable[common_pb2.KeyValuePair | Mapping[str, Any]] | None = ...,
        autoID: bool | None = ...,
    ) -> None: ...
