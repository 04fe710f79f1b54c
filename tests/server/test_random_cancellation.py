"""Cancellation at random moments; benchmarks/cancellation.py does the same with larger numbers."""

from __future__ import annotations

import asyncio
import importlib.util
import sys

import pytest
from random_cancellation import METHODS, WAYS, cancel_at_random

pytestmark = pytest.mark.anyio

LOOPS = ["asyncio", "asyncio, eager tasks"] if sys.version_info >= (3, 12) else ["asyncio"]
if importlib.util.find_spec("uvloop"):  # made for Linux and macOS
    LOOPS.append("uvloop")


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": getattr(request, "param", "") == "uvloop"}


@pytest.fixture
async def eager(request: pytest.FixtureRequest) -> None:
    if sys.version_info >= (3, 12) and "eager" in request.node.name:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)


@pytest.mark.parametrize("anyio_backend", LOOPS, indirect=True)
@pytest.mark.parametrize("service", ["internal", "public"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("eager")
async def test_cancellation_at_a_random_moment_always_ends_the_method(
    method: str, service: str, guard: float
) -> None:
    result = await cancel_at_random(method, 20 * WAYS, service=service, guard=guard)
    assert result.lost == []
    assert result.foreign == []
    assert sum(result.ended.values()) == 20 * WAYS
    assert len(result.ended) == WAYS
