"""Generate `generated/milvus_import_pb` from the files in `proto/`.

protoc only compiles the descriptors; the Python code around them is written here. The Python code
of protoc registers its files in protobuf's default pool, where pymilvus registers files and
messages of the same names, and it requires one range of protobuf versions. The messages here have
a descriptor pool of their own, run on any protobuf and do not depend on the version of protoc.

    python scripts/generate.py            write the package
    python scripts/generate.py --check    write nothing; exit 1 unless the package is up to date
"""

import keyword
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
PACKAGE = "milvus_import_pb"
TARGET = ROOT / "generated" / PACKAGE
NOTE = "Made by scripts/generate.py: do not edit."

SCALARS = {
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
    FieldDescriptorProto.TYPE_INT32: "int",
    FieldDescriptorProto.TYPE_INT64: "int",
    FieldDescriptorProto.TYPE_STRING: "str",
}

# The imports of the .pyi files, in two groups; `imports` selects those that a file uses.
IMPORTS = (
    (("collections.abc", ("Iterable", "Mapping")), ("typing", ("Any", "ClassVar"))),
    (
        ("google.protobuf.descriptor", ("FileDescriptor",)),
        ("google.protobuf.internal", ("containers",)),
        ("google.protobuf.internal.enum_type_wrapper", ("EnumTypeWrapper",)),
        ("google.protobuf.message", ("Message",)),
    ),
)


def compile_protos() -> list[FileDescriptorProto]:
    """Run protoc and return one descriptor per file, each after those it imports."""
    sources = sorted(path.name for path in PROTO.glob("*.proto"))
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "descriptors")
        options = [f"--proto_path={PROTO}", f"--descriptor_set_out={output}", "--include_imports"]
        command = [sys.executable, "-m", "grpc_tools.protoc", *options, *sources]
        if subprocess.run(command, check=False).returncode:
            sys.exit("protoc failed (it comes with the package grpcio-tools)")
        files = list(FileDescriptorSet.FromString(output.read_bytes()).file)
    for message in (message for file in files for message in file.message_type):
        entries = [nested for nested in message.nested_type if nested.options.map_entry]
        if message.enum_type or message.oneof_decl or len(entries) < len(message.nested_type):
            sys.exit(f"{message.name}: no template for nested types, oneof and optional")
        for field in (field for part in (message, *entries) for field in part.field):
            field.ClearField("json_name")  # protobuf derives it
    return files


def module(file: FileDescriptorProto) -> str:
    """Return the name of the Python module with a file's messages."""
    return file.name.removesuffix(".proto") + "_pb2"


def docstring(text: str) -> str:
    """Return the docstring of a module."""
    return f'"""{text}\n\n{NOTE}\n"""\n'


def enum_values(file: FileDescriptorProto) -> dict[str, list[str]]:
    """Return the values of each enum, without keywords: None is `Enum.Value("None")`."""
    return {
        enum.name: [value.name for value in enum.value if not keyword.iskeyword(value.name)]
        for enum in file.enum_type
    }


def pool(files: list[FileDescriptorProto]) -> str:
    """Return `_pool.py`: the descriptor of every file in a private pool."""
    lines = [
        docstring("A pool with this package's descriptors, apart from protobuf's default one."),
        "from google.protobuf.descriptor_pool import DescriptorPool\n",
        "POOL = DescriptorPool()",
    ]
    for file in files:
        data = file.SerializeToString(deterministic=True)
        chunks = [f"    {data[start : start + 24]!r}" for start in range(0, len(data), 24)]
        lines += [f"\n# {file.name}", "POOL.AddSerializedFile(", *chunks, ")"]
    return "\n".join(lines) + "\n"


def messages(file: FileDescriptorProto) -> str:
    """Return a `_pb2.py`: message classes, enums and their values."""
    lines = [docstring(f"Messages and enums of {file.name}.")]
    if file.enum_type:
        lines += ["from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper"]
    lines += [
        "from google.protobuf.message_factory import GetMessageClass\n",
        f"from {PACKAGE}._pool import POOL\n",
        f'DESCRIPTOR = POOL.FindFileByName("{file.name}")',
    ]
    for enum, values in enum_values(file).items():
        lines += [f'\n{enum} = EnumTypeWrapper(DESCRIPTOR.enum_types_by_name["{enum}"])']
        lines += [f'{value} = {enum}.Value("{value}")' for value in values]
    names = [message.name for message in file.message_type]
    lines += ["\n_MESSAGES = DESCRIPTOR.message_types_by_name"]
    lines += [f'{name} = GetMessageClass(_MESSAGES["{name}"])' for name in names]
    lines += ["\nfor _message in (", *(f"    {name}," for name in names), "):"]
    lines += ["    _message.__module__ = __name__"]
    return "\n".join(lines) + "\n"


def types(file: FileDescriptorProto, names: dict[str, str]) -> str:
    """Return a `_pb2.pyi`: the types of a `_pb2.py`."""
    lines = ["DESCRIPTOR: FileDescriptor"]
    for enum, values in enum_values(file).items():
        lines += [f"\nclass {enum}(int, metaclass=EnumTypeWrapper):"]
        lines += [f"    {value}: ClassVar[{enum}]" for value in values]
        lines += ["", *(f"{value}: {enum}" for value in values)]
    for message in file.message_type:
        lines += [f"\nclass {message.name}(Message):", *members(message, names)]
    body = "\n".join(lines).replace(f"{module(file)}.", "") + "\n"
    return f"# {NOTE}\n\n{imports(body)}\n{body}"


def members(message: DescriptorProto, names: dict[str, str]) -> Iterator[str]:
    """Yield the lines inside a message class."""
    fields = [(field.name, *field_types(message, field, names)) for field in message.field]
    for name, _, _ in fields:
        yield f"    {name.upper()}_FIELD_NUMBER: ClassVar[int]"
    for name, attribute, _ in fields:
        yield f"    {name}: {attribute}"
    if not fields:
        yield "    def __init__(self) -> None: ..."
        return
    yield "    def __init__("
    yield "        self,"
    yield "        *,"
    for name, _, argument in fields:
        yield f"        {name}: {argument} | None = ...,"
    yield "    ) -> None: ..."


def field_types(
    message: DescriptorProto, field: FieldDescriptorProto, names: dict[str, str]
) -> tuple[str, str]:
    """Return a field's type as an attribute, and as an argument of the constructor."""
    for entry in message.nested_type:
        if field.type_name.endswith(f".{message.name}.{entry.name}"):
            key, value = (SCALARS[part.type] for part in entry.field)
            return f"containers.ScalarMap[{key}, {value}]", f"Mapping[{key}, {value}]"
    attribute = names[field.type_name] if field.type_name else SCALARS[field.type]
    argument, kind = attribute, "Scalar"
    if field.type == FieldDescriptorProto.TYPE_ENUM:
        argument = f"{attribute} | int | str"
    elif field.type == FieldDescriptorProto.TYPE_MESSAGE:
        argument, kind = f"{attribute} | Mapping[str, Any]", "Composite"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"containers.Repeated{kind}FieldContainer[{attribute}]", f"Iterable[{argument}]"
    return attribute, argument


def imports(body: str) -> str:
    """Return the import lines of a `.pyi` with this body."""
    words = set(re.findall(r"\w+", body))
    own = sorted(word for word in words if word.endswith("_pb2"))
    lines: list[str] = []
    for group in (*IMPORTS, ((PACKAGE, own),)):
        for source, names in group:
            if used := [name for name in names if name in words]:
                lines += [f"from {source} import {', '.join(used)}"]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def stub(file: FileDescriptorProto, service: ServiceDescriptorProto, names: dict[str, str]) -> str:
    """Return a `_grpc.py`: one typed attribute per method of a service."""
    full_name = f"{file.package}.{service.name}"
    modules: set[str] = set()
    table: list[str] = []
    calls: list[str] = []
    for method in service.method:
        if method.client_streaming or method.server_streaming:
            sys.exit(f"{full_name}.{method.name}: no template for streams")
        request, reply = names[method.input_type], names[method.output_type]
        modules |= {request.split(".")[0], reply.split(".")[0]}
        table += [
            f'        "{method.name}": (',
            f"            {request},",
            f"            {reply},",
            "        ),",
        ]
        calls += [
            f"        self.{method.name}: grpc.aio.UnaryUnaryMultiCallable[",
            f"            {request},",
            f"            {reply},",
            "        ] = channel.unary_unary(",
            f'            "/{full_name}/{method.name}",',
            f"            request_serializer={request}.SerializeToString,",
            f"            response_deserializer={reply}.FromString,",
            "        )",
        ]
    lines = [
        docstring(f"The stub of {full_name}."),
        "from __future__ import annotations\n",
        "from typing import TYPE_CHECKING, Final\n",
        f"from {PACKAGE} import {', '.join(sorted(modules))}\n",
        "if TYPE_CHECKING:",
        "    from collections.abc import Mapping\n",
        "    import grpc.aio",
        "    from google.protobuf.message import Message\n\n",
        f"class {service.name}Stub:",
        f'    """The methods of {full_name} on one channel."""\n',
        f'    SERVICE: Final = "{full_name}"',
        "    METHODS: Final[Mapping[str, tuple[type[Message], type[Message]]]] = {",
        *table,
        "    }\n",
        "    def __init__(self, channel: grpc.aio.Channel) -> None:",
        '        """Make every method a callable attribute."""',
        *calls,
    ]
    return "\n".join(lines) + "\n"


def package() -> dict[str, str]:
    """Return the text of every file of the package, by file name."""
    files = compile_protos()
    names: dict[str, str] = {}  # ".milvus.proto.common.Status" -> "common_pb2.Status"
    for file in files:
        found = [item.name for item in file.message_type] + [item.name for item in file.enum_type]
        names |= {f".{file.package}.{name}": f"{module(file)}.{name}" for name in found}
    texts = {
        "__init__.py": docstring("Milvus' import messages and typed stubs of their services."),
        "_pool.py": pool(files),
        "py.typed": "",
    }
    for file in files:
        if file.message_type:
            texts[f"{module(file)}.py"] = messages(file)
            texts[f"{module(file)}.pyi"] = types(file, names)
        for service in file.service:
            texts[f"{file.name.removesuffix('.proto')}_grpc.py"] = stub(file, service, names)
    return texts


def differences(texts: dict[str, str]) -> dict[str, str]:
    """Return the files that differ on disk: file name -> stale, missing or extra."""
    found = {path.name: path.read_bytes() for path in TARGET.glob("*") if path.is_file()}
    wanted = {name: text.encode() for name, text in texts.items()}
    return {
        name: "extra" if name not in wanted else "stale" if name in found else "missing"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    }


def write(texts: dict[str, str]) -> None:
    """Write the files that differ."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, state in differences(texts).items():
        if state == "extra":
            (TARGET / name).unlink()
        else:
            (TARGET / name).write_bytes(texts[name].encode())


def main() -> int:
    """Run the command and return its exit code."""
    texts = package()
    if "--check" not in sys.argv[1:]:
        write(texts)
        return 0
    differing = differences(texts)
    for name, state in differing.items():
        print(f"{state}: generated/{PACKAGE}/{name}", file=sys.stderr)
    if differing:
        print("generated/ is not up to date with proto/. Run `make proto`.", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
