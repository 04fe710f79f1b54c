"""Writes docs/reference.md from the signatures and docstrings of what the package exports.

python scripts/docs.py reference
"""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import zip_longest
from typing import TYPE_CHECKING

import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCES = environment.ROOT / "src" / "milvus_import"
PAGE = environment.ROOT / "docs" / "reference.md"

# What stands together, in the order a reader meets it.
SECTIONS = {
    "The client": ["ImportClient", "TLSConfig", "CallOptions"],
    "One question": ["get_import_progress", "GetImportProgressOption"],
    "Answers": [
        "GetImportProgressResponse",
        "ImportProgressData",
        "ImportProgressDetail",
        "ImportJob",
        "ImportState",
        "CallRecord",
    ],
    "Watches": ["ImportWatch", "JobsWatch"],
    "Errors": [
        "MilvusImportError",
        "CallError",
        "DeadlineExceededError",
        "UnavailableError",
        "UnauthenticatedError",
        "AccessDeniedError",
        "UnsupportedServerError",
        "RefusedError",
        "JobNotFoundError",
        "JobLimitError",
        "ImportFailedError",
        "WaitTimeoutError",
        "ClientClosedError",
    ],
    "Types in these signatures": [
        "Service",
        "ServiceChoice",
        "Until",
        "OnFault",
        "Outcome",
        "Metadata",
        "Files",
        "ImportOptions",
        "ChannelOption",
    ],
    "For tests: milvus_import.testing": [
        "FakeMilvus",
        "FakeJob",
        "FakeFile",
        "ManualClock",
        "FAULTS",
        "Fault",
        "Received",
    ],
}

# Public to the package's other modules only.
_INTERNAL = {
    "answers",
    "authenticate",
    "take_fault",
    "at",
    "internal_reply",
    "public_reply",
    "old_public_reply",
    "started",
    "answered",
    "not_ended",
    "credentials",
}
# Of these nobody but the package makes one.
_MADE_HERE = {"ImportWatch", "JobsWatch", "CallRecord", "Received"}

_HEAD = """# Reference

All that the package exports, from its docstrings: `help(ImportClient)` says the same. Made by
`make docs ARGS=reference`.
"""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.ClassDef | Function | ast.Assign | ast.AnnAssign


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts += _told(name)
        parts.append("")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def write() -> None:
    """Put it in its place."""
    PAGE.write_text(page(), "utf-8")


@cache
def _modules() -> dict[Path, ast.Module]:
    files = sorted(SOURCES.glob("*.py")) + sorted((SOURCES / "testing").glob("*.py"))
    return {file: ast.parse(file.read_text("utf-8")) for file in files}


def _found(name: str) -> tuple[Definition, str, ast.Module]:
    """The definition of a name, the docstring below it, and its module."""
    for module in _modules().values():
        for node, following in zip_longest(module.body, module.body[1:]):
            if isinstance(node, ast.ClassDef | Function) and node.name == name:
                return node, ast.get_docstring(node) or "", module
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            target = node.target if isinstance(node, ast.AnnAssign) else target
            if isinstance(node, ast.Assign | ast.AnnAssign) and _name(target) == name:
                return node, _string(following), module
    raise environment.SetupError(f"nothing is called {name}")


def _told(name: str) -> Iterator[str]:
    node, text, module = _found(name)
    if isinstance(node, ast.ClassDef):
        yield from _told_of_class(node, module)
    elif isinstance(node, Function):
        yield from _told_of_function(node, module, "###")
    elif name.isupper():
        yield f"### {name}\n\n{_listed(text)}\n"
    else:
        value = ast.unparse(node.value) if node.value else ""
        yield f"- `{name}` = `{value}`" + (f": {' '.join(text.split())}" if text else "")


def _told_of_class(node: ast.ClassDef, module: ast.Module) -> Iterator[str]:
    bases = [base for base in map(ast.unparse, node.bases) if not base.startswith("AsyncIterator")]
    functions = {part.name: part for part in node.body if isinstance(part, Function)}
    made = (
        None
        if node.name.endswith("Error") or node.name in _MADE_HERE
        else functions.get("__init__")
    )
    yield f"### {node.name}\n"
    if bases:
        yield f"A `{'`, `'.join(bases)}`.\n"
    if made:
        yield f"```text\n{node.name}{_wrapped(_arguments(made, module))}\n```\n"
    yield _listed(ast.get_docstring(node) or "") + "\n"
    if made and (text := ast.get_docstring(made)):
        yield _listed(text) + "\n"
    if rows := list(_attributes(node, functions.get("__init__"))):
        yield "| | type | default | |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    public = [
        f for f in functions.values() if not f.name.startswith("_") and f.name not in _INTERNAL
    ]
    for function in public:
        if _is_property(function):
            kind = ast.unparse(function.returns) if function.returns else ""
            text = " ".join((ast.get_docstring(function) or "").split())
            yield f"- `{function.name}`, `{kind}`: {text}"
    yield ""
    if "__anext__" in functions:
        yield f"Each step gives: {ast.get_docstring(functions['__anext__'])}\n"
    for function in public:
        if not _is_property(function):
            yield from _told_of_function(function, module, "####")


def _told_of_function(node: Function, module: ast.Module, level: str) -> Iterator[str]:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    prefix = "await " if isinstance(node, ast.AsyncFunctionDef) else ""
    yield f"\n{level} {node.name}\n"
    yield f"```text\n{prefix}{node.name}{_wrapped(_arguments(node, module))}{returns}\n```\n"
    yield _listed(ast.get_docstring(node) or "") + "\n"


def _attributes(node: ast.ClassDef, made: Function | None) -> Iterator[str]:
    """Those of the class, then those its constructor sets and tells of."""
    told: set[str] = set()
    for name, kind, default, text in _annotated(node.body):
        told.add(name)
        yield f"| `{name}` | {kind} | {default} | {text} |"
    arguments = {argument.arg for argument in made.args.kwonlyargs} if made else set[str]()
    for name, kind, _, text in _annotated(made.body if made else []):
        if name not in told and (text or name in arguments):
            yield f"| `{name}` | {kind} | | {text} |"


def _annotated(body: list[ast.stmt]) -> Iterator[tuple[str, str, str, str]]:
    for part, following in zip_longest(body, body[1:]):
        if not isinstance(part, ast.AnnAssign | ast.Assign):
            continue
        name = _name(part.target if isinstance(part, ast.AnnAssign) else part.targets[0])
        if not name or name.startswith("_") or name in _INTERNAL:
            continue
        value = ast.unparse(part.value) if part.value else ""
        given = re.search(r"default=([^,)]*)", value)
        plain = "" if value.startswith("field(") else value
        default = "made anew" if "default_factory" in value else given[1] if given else plain
        kind = ast.unparse(part.annotation) if isinstance(part, ast.AnnAssign) else ""
        yield name, _code(kind), _code(default), " ".join(_string(following).split())


def _name(target: ast.expr | None) -> str:
    """The plain name, or the attribute of self."""
    if isinstance(target, ast.Attribute):
        return target.attr
    return target.id if isinstance(target, ast.Name) else ""


def _string(node: ast.stmt | None) -> str:
    value = node.value if isinstance(node, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`" if text else ""


def _is_property(node: Function) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)


def _arguments(node: Function, module: ast.Module) -> str:
    """As they stand in the source, but for the names of constants: these have their values."""
    text = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    return (
        "("
        + re.sub(r"(?<=[\w\]])=(\w*)", lambda default: f" = {_value(default[1], module)}", text)
        + ")"
    )


def _value(name: str, module: ast.Module) -> str:
    """A constant's value, where it is one: of the module itself, or imported into it."""
    for known in (module, *_modules().values()):
        for node in known.body:
            if isinstance(node, ast.Assign) and _name(node.targets[0]) == name:
                return ast.unparse(node.value)
    return name


def _wrapped(arguments: str) -> str:
    """A line for each argument where they are too many for one."""
    if len(arguments) <= 80:
        return arguments
    parts: list[str] = [""]
    depth = 0
    for character in arguments[1:-1]:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return "(\n" + "".join(f"    {part.strip()},\n" for part in parts) + ")"


def _listed(text: str) -> str:
    """A docstring, with a line that tells of an argument as an entry of a list."""
    return re.sub(r"^(?=``\w+``(, ``\w+``)*(:| \())", "- ", text, flags=re.MULTILINE)
