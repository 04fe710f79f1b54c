"""Fixtures of all tests: the event loop, a fake Milvus, and the factor that scales all times."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import AsyncGenerator

import hypothesis
import pytest
from times import SCALE

from milvus_import.testing import FakeMilvus

# gRPC logs each GOAWAY to stderr; the tests cause hundreds.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

# A shell without job control starts background processes with SIGINT ignored, and the programs that
# the tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile(
    "default",
    deadline=None,  # no test depends on the speed of the machine
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=True,
    print_blob=True,
)
hypothesis.settings.load_profile("default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Scale the time limits of the tests too."""
    if SCALE == 1:
        return
    usual = float(config.getini("timeout"))
    for item in items:
        own = item.get_closest_marker("timeout")
        item.add_marker(pytest.mark.timeout((own.args[0] if own else usual) * SCALE), append=False)


def pytest_collection_finish() -> None:
    """Exclude everything collected so far from later collections: many tests call gc.collect()."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def scale() -> float:
    return SCALE


@pytest.fixture
async def fake() -> AsyncGenerator[FakeMilvus, None]:
    async with FakeMilvus() as server:
        yield server
