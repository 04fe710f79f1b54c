"""Settings of the documentation site (Sphinx), built by `make docs`."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.inspect import TypeAliasForwardRef

import milvus_import
import milvus_import.progress
import milvus_import.testing

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

PACKAGES = (milvus_import, milvus_import.progress, milvus_import.testing)
# Pages of the site whose text is a file of the root folder.
ROOT_PAGES = {
    "index": "README.md",
    "changes": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "security": "SECURITY.md",
}

project = "milvus-import"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "milvus-import"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_heading_anchors = 4  # links to headings, as on code hosts
suppress_warnings = ["myst.header"]  # pages may skip a level

napoleon_numpy_docstring = False
autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True

# References to the public names of this package must resolve; others need not.
nitpick_ignore_regex = [(r"py:.*", r"(?!milvus_import\.).*"), (r"py:.*", r".*\._.*")]

# The package exports names of private modules: document them under their public names, with the
# docstrings of constants and attributes, which are found in the private modules only.
autodoc_type_aliases: dict[str, str] = {}
for _package in PACKAGES:
    _public = ModuleAnalyzer.for_module(_package.__name__)
    _public.analyze()
    for _module in [name for name in sys.modules if name.startswith("milvus_import.")]:
        _private = ModuleAnalyzer.for_module(_module)
        _public.attr_docs.update(_private.find_attr_docs())
        _public.tagorder.update(_private.tagorder)
    for _name in _package.__all__:
        _value: Any = getattr(_package, _name)
        if inspect.isclass(_value) or inspect.isfunction(_value):
            _value.__module__ = _package.__name__
        elif not _name.isupper():
            autodoc_type_aliases[_name] = f"{_package.__name__}.{_name}"

# Inside another type, Sphinx shows the representation of an alias.
TypeAliasForwardRef.__repr__ = lambda self: self.name  # type: ignore[method-assign]

# The reference lists the names of a package, which the site replaces by their documentation.
LISTED = re.compile(r"^`(milvus_import[.a-z]*)`: ((?:`\w+`(?:,\s)?)+)$", re.MULTILINE)
DIRECTIVE_OPTIONS = {
    "CallOptions": ":inherited-members: dict",
    "RpcOptions": ":inherited-members: dict",
    "WatchOptions": ":inherited-members: dict",
    "FakeMilvus": ":inherited-members:",
    "FakeJob": ":exclude-members: at, peek, started, reply_count",
    "FAULTS": ":no-value:",
}


def directives_of(listed: re.Match[str]) -> str:
    """Return the directives for a list of names."""
    lines = ["```{eval-rst}", f".. currentmodule:: {listed[1]}"]
    for name in re.findall(r"\w+", listed[2]):
        value: Any = getattr(sys.modules[listed[1]], name)
        kind = "function" if inspect.isfunction(value) else "data"
        if inspect.isclass(value):
            kind = "exception" if issubclass(value, BaseException) else "class"
        lines += [f".. auto{kind}:: {name}", f"   {DIRECTIVE_OPTIONS.get(name, '')}".rstrip()]
    return "\n".join([*filter(None, lines), "```"])


def read_source(_: Sphinx, docname: str, source: list[str]) -> None:
    """Insert the files of the root folder, and make links relative to the site."""
    text = LISTED.sub(directives_of, source[0])
    if docname in ROOT_PAGES:
        page = Path(__file__).parent.parent / ROOT_PAGES[docname]
        directives = re.findall(r"^```{.*?^```$", text, re.MULTILINE | re.DOTALL)
        text = "\n\n".join([page.read_text("utf-8"), *directives])
    for name, file in ROOT_PAGES.items():
        text = re.sub(rf"\]\((\.\./)?{file}", f"]({name}.md", text)
    text = text.replace("](docs/", "](")
    # Other files are not part of the site.
    source[0] = re.sub(
        r"\[([^]]+)\]\((\.\./)*(examples|benchmarks|scripts|tests)[^)]*\)", r"\1", text
    )


_attributes: dict[str, list[str]] = {}


def before_napoleon(_: Sphinx, what: str, name: str, *arguments: Any) -> None:
    """Keep the docstring of an attribute: napoleon turns "text: text" into "type: text"."""
    if what in {"attribute", "data", "property"}:
        _attributes[name] = list(arguments[-1])


def after_napoleon(_: Sphinx, __: str, name: str, *arguments: Any) -> None:
    """Restore the docstring of an attribute."""
    arguments[-1][:] = _attributes.pop(name, arguments[-1])


def check_reference(_: Sphinx, env: BuildEnvironment) -> None:
    """Warn about exported names that the reference does not document."""
    documented = set(env.domains["py"].data["objects"])
    exported = {f"{package.__name__}.{name}" for package in PACKAGES for name in package.__all__}
    for name in sorted(exported - documented):
        logging.getLogger(__name__).warning("docs/reference.md does not document %s", name)


def setup(app: Sphinx) -> None:
    """Register the functions above."""
    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", before_napoleon, priority=100)
    app.connect("autodoc-process-docstring", after_napoleon, priority=900)
    app.connect("env-check-consistency", check_reference)
