"""Writes docs/reference.md from the signatures and docstrings of what the package exports.

python scripts/docs.py reference
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    "For tests: milvus_import.testing": [
        "FakeMilvus",
        "FakeJob",
        "FakeFile",
        "ManualClock",
        "Fault",
        "Received",
    ],
}

_HEAD = """# Reference

All that the package exports, from its docstrings: `help(ImportClient)` says the same. Made by
`make docs ARGS=reference`.
"""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def page() -> str:
    """The whole page."""
    definitions = dict(_definitions())
    parts = [_HEAD]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts += _told(definitions[name])
    return "\n".join(parts)


def write() -> None:
    """Put it in its place."""
    PAGE.write_text(page(), "utf-8")


def _definitions() -> Iterator[tuple[str, Definition]]:
    for file in sorted(SOURCES.rglob("*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, Definition):
                yield node.name, node


def _told(node: Definition) -> Iterator[str]:
    if not isinstance(node, ast.ClassDef):
        yield from _told_of_function(node, "###")
        return
    functions = [
        part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    made = next((function for function in functions if function.name == "__init__"), None)
    is_error = node.name.endswith("Error")  # which nobody makes but the package
    arguments = f"({_arguments(made)})" if made and not is_error else ""
    yield f"### {node.name}\n"
    if arguments and node.name not in {"ImportWatch", "JobsWatch"}:
        yield f"```text\n{node.name}{_wrapped(arguments)}\n```\n"
    yield _text(node)
    if made and not is_error and ast.get_docstring(made):
        yield _text(made)
    fields = list(_fields(node))
    if fields:
        yield "| | | |\n| --- | --- | --- |\n" + "\n".join(fields) + "\n"
    for function in functions:
        if function.name.startswith("_"):
            continue
        if any(isinstance(d, ast.Name) and d.id == "property" for d in function.decorator_list):
            yield (
                f"- `{function.name}`: {ast.unparse(function.returns or ast.Constant(None))}. "
                + (" ".join(_text(function).split()))
            )
        else:
            yield from _told_of_function(function, "####")
    yield ""


def _told_of_function(node: ast.FunctionDef | ast.AsyncFunctionDef, level: str) -> Iterator[str]:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    prefix = "await " if isinstance(node, ast.AsyncFunctionDef) else ""
    yield f"\n{level} {node.name}\n"
    yield f"```text\n{prefix}{node.name}{_wrapped(f'({_arguments(node)})')}{returns}\n```\n"
    yield _text(node)


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return ast.unparse(node.args).removeprefix("self, ").removeprefix("self")


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


def _fields(node: ast.ClassDef) -> Iterator[str]:
    """The annotated attributes and the members, each with the docstring that stands below it."""
    following = [*node.body[1:], None]
    for part, next_part in zip(node.body, following, strict=True):
        text = ""
        if isinstance(next_part, ast.Expr) and isinstance(next_part.value, ast.Constant):
            text = " ".join(str(next_part.value.value).split())
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            name, kind = part.target.id, ast.unparse(part.annotation)
        elif isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name):
            name, kind = part.targets[0].id, ast.unparse(part.value)
        else:
            continue
        if not name.startswith("_"):
            yield f"| `{name}` | `{kind.replace('|', chr(92) + '|')}` | {text} |"


def _text(node: Definition) -> str:
    """The docstring, with a line that tells of an argument as an entry of a list."""
    text = ast.get_docstring(node) or ""
    return re.sub(r"^(?=``\w+``(, ``\w+``)*(:| \())", "- ", text, flags=re.MULTILINE) + "\n"


if __name__ == "__main__":
    write()
    print(f"{Path(PAGE).name} written")
