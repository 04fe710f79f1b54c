"""Messages and enums of internal.proto.

Made by scripts/generate.py: do not edit.
"""

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass

from milvus_import_pb._pool import POOL

DESCRIPTOR = POOL.FindFileByName("internal.proto")

ImportJobState = EnumTypeWrapper(DESCRIPTOR.enum_types_by_name["ImportJobState"])
Pending = ImportJobState.Value("Pending")
PreImporting = ImportJobState.Value("PreImporting")
Importing = ImportJobState.Value("Importing")
Failed = ImportJobState.Value("Failed")
Completed = ImportJobState.Value("Completed")
IndexBuilding = ImportJobState.Value("IndexBuilding")
Sorting = ImportJobState.Value("Sorting")
Uncommitted = ImportJobState.Value("Uncommitted")
Committing = ImportJobState.Value("Committing")

_MESSAGES = DESCRIPTOR.message_types_by_name
GetImportProgressRequest = GetMessageClass(_MESSAGES["GetImportProgressRequest"])
GetImportProgressResponse = GetMessageClass(_MESSAGES["GetImportProgressResponse"])
ImportTaskProgress = GetMessageClass(_MESSAGES["ImportTaskProgress"])
ListImportsRequest = GetMessageClass(_MESSAGES["ListImportsRequest"])
ListImportsResponse = GetMessageClass(_MESSAGES["ListImportsResponse"])
ImportFile = GetMessageClass(_MESSAGES["ImportFile"])
ImportRequest = GetMessageClass(_MESSAGES["ImportRequest"])
ImportResponse = GetMessageClass(_MESSAGES["ImportResponse"])

for _message in (
    GetImportProgressRequest,
    GetImportProgressResponse,
    ImportTaskProgress,
    ListImportsRequest,
    ListImportsResponse,
    ImportFile,
    ImportRequest,
    ImportResponse,
):
    _message.__module__ = __name__
