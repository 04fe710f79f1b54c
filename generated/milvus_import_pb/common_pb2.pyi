# Made by scripts/generate.py: do not edit.

from collections.abc import Mapping
from typing import ClassVar

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.internal import containers
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

DESCRIPTOR: FileDescriptor

class ErrorCode(int, metaclass=EnumTypeWrapper):
    Success: ClassVar[ErrorCode]
    UnexpectedError: ClassVar[ErrorCode]
    CollectionNotExists: ClassVar[ErrorCode]
    IllegalArgument: ClassVar[ErrorCode]
    MetaFailed: ClassVar[ErrorCode]
    RateLimit: ClassVar[ErrorCode]
    NotReadyServe: ClassVar[ErrorCode]

Success: ErrorCode
UnexpectedError: ErrorCode
CollectionNotExists: ErrorCode
IllegalArgument: ErrorCode
MetaFailed: ErrorCode
RateLimit: ErrorCode
NotReadyServe: ErrorCode

class ImportState(int, metaclass=EnumTypeWrapper):
    ImportPending: ClassVar[ImportState]
    ImportFailed: ClassVar[ImportState]
    ImportStarted: ClassVar[ImportState]
    ImportPersisted: ClassVar[ImportState]
    ImportCompleted: ClassVar[ImportState]
    ImportFailedAndCleaned: ClassVar[ImportState]
    ImportFlushed: ClassVar[ImportState]

ImportPending: ImportState
ImportFailed: ImportState
ImportStarted: ImportState
ImportPersisted: ImportState
ImportCompleted: ImportState
ImportFailedAndCleaned: ImportState
ImportFlushed: ImportState

class Status(Message):
    ERROR_CODE_FIELD_NUMBER: ClassVar[int]
    REASON_FIELD_NUMBER: ClassVar[int]
    CODE_FIELD_NUMBER: ClassVar[int]
    RETRIABLE_FIELD_NUMBER: ClassVar[int]
    DETAIL_FIELD_NUMBER: ClassVar[int]
    EXTRA_INFO_FIELD_NUMBER: ClassVar[int]
    error_code: ErrorCode
    reason: str
    code: int
    retriable: bool
    detail: str
    extra_info: containers.ScalarMap[str, str]
    def __init__(
        self,
        *,
        error_code: ErrorCode | int | str | None = ...,
        reason: str | None = ...,
        code: int | None = ...,
        retriable: bool | None = ...,
        detail: str | None = ...,
        extra_info: Mapping[str, str] | None = ...,
    ) -> None: ...

class KeyValuePair(Message):
    KEY_FIELD_NUMBER: ClassVar[int]
    VALUE_FIELD_NUMBER: ClassVar[int]
    key: str
    value: str
    def __init__(
        self,
        *,
        key: str | None = ...,
        value: str | None = ...,
    ) -> None: ...
