"""A pytest plugin: ``pytest_plugins = ["milvus_import.testing.pytest"]`` in your conftest.py.

The fixture is asynchronous. It runs under anyio's pytest plugin, which is always there (mark the
test with ``pytest.mark.anyio``), and under pytest-asyncio in its auto mode.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from ._server import FakeMilvus


@pytest.fixture
async def fake_milvus() -> AsyncGenerator[FakeMilvus, None]:
    """A started FakeMilvus for one test. Set its ``version``, ``token`` and ``clock`` as needed."""
    async with FakeMilvus() as server:
        yield server
