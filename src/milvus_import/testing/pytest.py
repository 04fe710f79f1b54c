"""A pytest plugin: ``pytest_plugins = ["milvus_import.testing.pytest"]`` in your conftest.py.

The fixture ``fake_milvus`` works under anyio's pytest plugin, which is installed with anyio (mark
the test with ``pytest.mark.anyio``), and under pytest-asyncio in strict and in auto mode.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import pytest

from ._server import FakeMilvus


def _asyncio_fixture(function: Callable[[], AsyncGenerator[FakeMilvus, None]]) -> object:
    """Let pytest-asyncio run a fixture, also in its strict mode."""
    try:
        import pytest_asyncio  # noqa: PLC0415 - optional
    except ImportError:
        return function
    return pytest_asyncio.fixture(function)


@pytest.fixture
async def _fake_milvus_anyio() -> AsyncGenerator[FakeMilvus, None]:
    async with FakeMilvus() as server:
        yield server


@_asyncio_fixture
async def _fake_milvus_asyncio() -> AsyncGenerator[FakeMilvus, None]:
    async with FakeMilvus() as server:
        yield server


@pytest.fixture
def fake_milvus(request: pytest.FixtureRequest) -> FakeMilvus:
    """A started FakeMilvus for one test. Set its ``version``, ``token`` and ``clock`` as needed."""
    # The plugin that runs the test must also run the fixture: FakeMilvus needs its event loop.
    if "anyio_backend" in request.fixturenames:
        if request.node.get_closest_marker("asyncio") is not None:
            pytest.fail(
                "fake_milvus cannot serve a test that both anyio and pytest-asyncio run. Remove "
                "pytest.mark.anyio, or set asyncio_mode = strict."
            )
        name = "_fake_milvus_anyio"
    elif request.config.pluginmanager.hasplugin("asyncio"):
        name = "_fake_milvus_asyncio"
    else:
        pytest.fail(
            "fake_milvus needs a plugin that runs the test. Mark the test with pytest.mark.anyio, "
            "or install pytest-asyncio."
        )
    server: FakeMilvus = request.getfixturevalue(name)
    return server
