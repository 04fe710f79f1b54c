"""Messages and enums of milvus.proto.

Made by scripts/generate.py: do not edit.
"""

from google.protobuf.message_factory import GetMessageClass

from milvus_import_pb._pool import POOL

DESCRIPTOR = POOL.FindFileByName("milvus.proto")

_MESSAGES = DESCRIPTOR.message_types_by_name
ImportRequest = GetMessageClass(_MESSAGES["ImportRequest"])
ImportResponse = GetMessageClass(_MESSAGES["ImportResponse"])
GetImportStateRequest = GetMessageClass(_MESSAGES["GetImportStateRequest"])
GetImportStateResponse = GetMessageClass(_MESSAGES["GetImportStateResponse"])
ListImportTasksRequest = GetMessageClass(_MESSAGES["ListImportTasksRequest"])
ListImportTasksResponse = GetMessageClass(_MESSAGES["ListImportTasksResponse"])
CreateCollectionRequest = GetMessageClass(_MESSAGES["CreateCollectionRequest"])
GetCollectionStatisticsRequest = GetMessageClass(_MESSAGES["GetCollectionStatisticsRequest"])
GetCollectionStatisticsResponse = GetMessageClass(_MESSAGES["GetCollectionStatisticsResponse"])

for _message in (
    ImportRequest,
    ImportResponse,
    GetImportStateRequest,
    GetImportStateResponse,
    ListImportTasksRequest,
    ListImportTasksResponse,
    CreateCollectionRequest,
    GetCollectionStatisticsRequest,
    GetCollectionStatisticsResponse,
):
    _message.__module__ = __name__
