"""The type checkers are in the environment of the full check, not in those of the versions."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("mypy") and find_spec("pyright") else ["test_typing.py"]
