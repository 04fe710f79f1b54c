"""Messages and enums of schema.proto.

Made by scripts/generate.py: do not edit.
"""

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass

from milvus_import_pb._pool import POOL

DESCRIPTOR = POOL.FindFileByName("schema.proto")

DataType = EnumTypeWrapper(DESCRIPTOR.enum_types_by_name["DataType"])
Bool = DataType.Value("Bool")
Int8 = DataType.Value("Int8")
Int16 = DataType.Value("Int16")
Int32 = DataType.Value("Int32")
Int64 = DataType.Value("Int64")
Float = DataType.Value("Float")
Double = DataType.Value("Double")
VarChar = DataType.Value("VarChar")
Array = DataType.Value("Array")
JSON = DataType.Value("JSON")
BinaryVector = DataType.Value("BinaryVector")
FloatVector = DataType.Value("FloatVector")
Float16Vector = DataType.Value("Float16Vector")
BFloat16Vector = DataType.Value("BFloat16Vector")
SparseFloatVector = DataType.Value("SparseFloatVector")

_MESSAGES = DESCRIPTOR.message_types_by_name
CollectionSchema = GetMessageClass(_MESSAGES["CollectionSchema"])
FieldSchema = GetMessageClass(_MESSAGES["FieldSchema"])

for _message in (
    CollectionSchema,
    FieldSchema,
):
    _message.__module__ = __name__
