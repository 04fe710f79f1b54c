"""One setting for every interval, timeout and guard of the tests."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

SCALE = float(os.environ.get("MILVUS_IMPORT_TEST_SCALE", "1"))
"""The factor that they are multiplied by."""
GUARD = 20.0 * SCALE
"""Seconds after which a test fails that waits for something that must happen."""
TICK = 0.02
"""The polling interval of a test that only needs the next poll soon."""


async def until(condition: Callable[[], bool], seconds: float = GUARD) -> None:
    """Wait for a condition that must become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        await asyncio.sleep(0.005)
