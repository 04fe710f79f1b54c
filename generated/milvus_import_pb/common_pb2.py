"""Messages and enums of common.proto.

Made by scripts/generate.py: do not edit.
"""

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass

from milvus_import_pb._pool import POOL

DESCRIPTOR = POOL.FindFileByName("common.proto")

ErrorCode = EnumTypeWrapper(DESCRIPTOR.enum_types_by_name["ErrorCode"])
Success = ErrorCode.Value("Success")
UnexpectedError = ErrorCode.Value("UnexpectedError")
CollectionNotExists = ErrorCode.Value("CollectionNotExists")
IllegalArgument = ErrorCode.Value("IllegalArgument")
MetaFailed = ErrorCode.Value("MetaFailed")
RateLimit = ErrorCode.Value("RateLimit")
NotReadyServe = ErrorCode.Value("NotReadyServe")

ImportState = EnumTypeWrapper(DESCRIPTOR.enum_types_by_name["ImportState"])
ImportPending = ImportState.Value("ImportPending")
ImportFailed = ImportState.Value("ImportFailed")
ImportStarted = ImportState.Value("ImportStarted")
ImportPersisted = ImportState.Value("ImportPersisted")
ImportCompleted = ImportState.Value("ImportCompleted")
ImportFailedAndCleaned = ImportState.Value("ImportFailedAndCleaned")
ImportFlushed = ImportState.Value("ImportFlushed")

_MESSAGES = DESCRIPTOR.message_types_by_name
Status = GetMessageClass(_MESSAGES["Status"])
KeyValuePair = GetMessageClass(_MESSAGES["KeyValuePair"])

for _message in (
    Status,
    KeyValuePair,
):
    _message.__module__ = __name__
