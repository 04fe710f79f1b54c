"""The layers of the source: imports go downwards, files stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import milvus_import

ROOT = Path(milvus_import.__file__).parent
LAYERS = (
    {"_hints"},
    {"_errors"},
    {"_models"},
    {"_address"},
    {"_options"},
    {"_failures"},
    {"_connection"},
    {"_services"},
    {"_watch"},
    {"_client"},
    {"_once"},
    {"__init__"},
    {"_cli", "testing"},
    {"__main__", "progress"},
)
"""The modules and folders of the package, the lowest first."""
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
MOST_LINES = 600
MOST_MODULES = 12
MOST_CODE_LINES = 6_700
MOST_FILES = 52
FILES = sorted(ROOT.rglob("*.py"))
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))


def part_of(file: Path) -> str:
    """Return the module or the folder directly in the package that a file belongs to."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def name_of(file: Path) -> str:
    """Return the dotted name of a module below the package; "" for the package itself."""
    return (
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").strip(".")
    )


MODULES = {name_of(file): file for file in FILES}


def imports_of(file: Path, *, at_run_time: bool = False) -> Iterator[str]:
    """Yield the dotted names of this package's modules that a file imports, wherever in it."""
    package = ("milvus_import", *file.relative_to(ROOT).parts[:-1])
    tree = ast.parse(file.read_text("utf-8"))
    if at_run_time:
        tree = _WithoutTypes().visit(tree)
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *([node.module] if node.module else [])))
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            if name.partition(".")[0] == "milvus_import":
                yield _module(name.removeprefix("milvus_import").strip("."))


def _module(name: str) -> str:
    """Return the module of an imported name, which may be a name in a module."""
    while name not in MODULES:
        name = name.rpartition(".")[0]
    return name


class _WithoutTypes(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def parts_imported(file: Path, *, at_run_time: bool = False) -> set[str]:
    names = imports_of(file, at_run_time=at_run_time)
    return {name.partition(".")[0] or "__init__" for name in names}


def test_every_module_has_a_layer() -> None:
    assert {part_of(file) for file in FILES} == set(LEVEL)


@each_file
def test_imports_go_downwards_or_stay_in_the_layer(file: Path) -> None:
    own = part_of(file)
    upwards = {
        part for part in parts_imported(file, at_run_time=True) - {own} if LEVEL[part] >= LEVEL[own]
    }
    assert not upwards


@each_file
def test_imports_for_annotations_go_downwards_between_the_folders(file: Path) -> None:
    """The hints, models and errors may name each other in annotations."""
    own, base = part_of(file), {"_hints", "_models", "_errors"}
    parts = parts_imported(file)
    assert parts <= base if own in base else all(LEVEL[part] <= LEVEL[own] for part in parts)


def test_no_import_forms_a_cycle() -> None:
    imported = {
        name: set(imports_of(file, at_run_time=True)) - {name} for name, file in MODULES.items()
    }
    ordered: set[str] = set()
    while len(ordered) < len(imported):
        free = {
            name for name, below in imported.items() if name not in ordered and below <= ordered
        }
        assert free, f"a cycle among {sorted(set(imported) - ordered)}"
        ordered |= free


def test_watches_import_neither_the_client_nor_a_call() -> None:
    watches = [file for file in FILES if part_of(file) == "_watch"]
    assert watches
    for file in watches:
        imported = set(imports_of(file))
        assert not {"_client", "_connection._grpc"} & imported
        assert not {name for name in imported if name.startswith("_connection._http")}


def test_only_the_programs_import_the_public_package() -> None:
    for file in FILES:
        if LEVEL[part_of(file)] <= LEVEL["__init__"]:
            assert "__init__" not in parts_imported(file)


@each_file
def test_file_has_at_most_600_lines(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) <= MOST_LINES


def test_package_has_at_most_12_modules_beside_its_folders() -> None:
    modules = {file.name for file in FILES if file.parent == ROOT} - {"__init__.py"}
    assert len(modules) <= MOST_MODULES


def code_lines(file: Path) -> int:
    """Return the number of lines without blank lines, comments, docstrings and imports."""
    text = file.read_text("utf-8")
    others: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            others.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    return sum(bool(line) and line[0] != "#" and number not in others for number, line in lines)


def test_the_package_stays_small() -> None:
    assert sum(map(code_lines, FILES)) <= MOST_CODE_LINES
    assert len(FILES) <= MOST_FILES
