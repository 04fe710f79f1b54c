"""The house: each module stands on a floor and imports only from its own floor or below."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import milvus_import

ROOT = Path(milvus_import.__file__).parent
FLOORS = {
    "__main__": 7,
    "_cli": 7,
    "testing": 7,
    "__init__": 7,
    "_client": 6,
    "_auto": 5,
    "_watch": 5,
    "_watch_many": 5,
    "_internal": 4,
    "_public": 4,
    "_call": 3,
    "_channel": 2,
    "_options": 2,
    "_request": 2,
    "_status": 2,
    "_advice": 2,
    "_endpoint": 1,
    "_errors": 1,
    "_models": 1,
}
FILES = sorted(ROOT.rglob("*.py"))
each_file = pytest.mark.parametrize(
    "file", FILES, ids=[str(file.relative_to(ROOT)) for file in FILES]
)


def module_of(file: Path) -> str:
    """The part of the house a file belongs to: a module, or a whole folder."""
    first = file.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports_of(file: Path, *, at_run_time: bool = False) -> Iterator[str]:
    """The parts of this package that a file imports, wherever in it."""
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
            top, _, rest = name.partition(".")
            if top == "milvus_import":
                part = rest.partition(".")[0]
                yield part if part in FLOORS else "__init__"


class _WithoutTypes(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def test_every_module_has_a_floor() -> None:
    assert {module_of(file) for file in FILES} <= set(FLOORS)


@each_file
def test_imports_go_down_or_along(file: Path) -> None:
    module = module_of(file)
    floor = FLOORS[module]
    upwards = {name for name in imports_of(file) if FLOORS[name] > floor}
    assert not upwards


def test_no_two_modules_import_each_other() -> None:
    seen: dict[str, set[str]] = {}
    for file in FILES:
        seen.setdefault(module_of(file), set()).update(imports_of(file, at_run_time=True))
    order: list[str] = []
    while len(order) < len(seen):
        free = [m for m in seen if m not in order and seen[m] - {m} <= set(order)]
        assert free, f"a circle among {sorted(set(seen) - set(order))}"
        order += free


def test_the_watches_know_neither_a_client_nor_a_channel() -> None:
    watches = [file for file in FILES if file.name.startswith("_watch")]
    assert watches
    for file in watches:
        assert not {"_client", "_channel", "_call"} & set(imports_of(file))


def test_no_module_imports_the_public_package_from_inside() -> None:
    for file in FILES:
        if module_of(file) not in {"__main__", "_cli", "testing", "__init__"}:
            assert "__init__" not in set(imports_of(file))
