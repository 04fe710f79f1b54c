from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import GenericAlias, ModuleType
from typing import Any

import pytest

import milvus_import
import milvus_import.testing

PACKAGES = [milvus_import, milvus_import.testing]
each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)


def public_names(package: ModuleType) -> set[str]:
    """Return what a user finds: neither private names nor the modules of the package."""
    return {
        name
        for name, value in vars(package).items()
        if not (name.startswith("_") or name in {"annotations", "TYPE_CHECKING"})
        and not isinstance(value, ModuleType)
    }


@each_package
def test_all_lists_every_public_name_in_order(package: ModuleType) -> None:
    assert sorted(package.__all__) == package.__all__
    assert set(package.__all__) == public_names(package)


@each_package
def test_all_is_a_literal(package: ModuleType) -> None:
    """So that type checkers and readers see it too."""
    assert package.__file__ is not None
    tree = ast.parse(Path(package.__file__).read_text("utf-8"))
    assigned = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert assigned == [package.__all__]


@each_package
def test_every_public_name_is_documented(package: ModuleType) -> None:
    undocumented: list[str] = []
    for name in package.__all__:
        value: Any = getattr(package, name)
        if inspect.isclass(value):
            members = {f"{name}.{part}": thing for part, thing in own_members(value).items()}
            undocumented += [part for part, thing in members.items() if not inspect.getdoc(thing)]
        if is_defined(value) and not written_doc(value):
            undocumented.append(name)
    assert not undocumented
    assert package.__doc__


def is_defined(value: Any) -> bool:
    """Return whether it is a class or a function, not another name for a type."""
    return inspect.isfunction(value) or (
        inspect.isclass(value) and not isinstance(value, GenericAlias)
    )


def own_members(kind: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(kind).items()
        if not (name.startswith("_") or name in {"annotations", "TYPE_CHECKING"})
        and (inspect.isroutine(value) or isinstance(value, property))
    }


def written_doc(value: Any) -> str | None:
    """Return the docstring, unless it is the signature that dataclasses write themselves."""
    doc: str | None = value.__doc__
    return None if doc and doc.startswith(f"{value.__name__}(") else doc


def test_public_names_are_defined_in_the_package() -> None:
    for name in milvus_import.__all__:
        value = getattr(milvus_import, name)
        if is_defined(value):
            assert value.__module__.startswith("milvus_import")
