"""A pytest plugin: ``pytest_plugins = ["milvus_import.testing.pytest"]`` in your conftest.py.

The fixture ``fake_milvus`` works in every test: synchronous, under anyio's pytest plugin, and under
pytest-asyncio with any scope of its event loop. The server has a thread of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ._server import FakeMilvus


@pytest.fixture
def fake_milvus() -> Iterator[FakeMilvus]:
    """A started FakeMilvus for one test. Set its ``version``, ``token`` and ``clock`` as needed."""
    with FakeMilvus() as server:
        yield server
