"""Callers that leave during an RPC, with what instruments grpc.aio from outside.

OpenTelemetry, Sentry and Datadog add interceptors to every channel of the process. Each runs in a
process of its own, so that no other test is instrumented.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import anyio
import pytest
from instrumenting import INSTRUMENTATIONS, installed
from times import GUARD
from watching import both_services

pytestmark = pytest.mark.anyio


def test_every_instrumentation_is_installed() -> None:
    # ddtrace has wheels only for Linux, and not yet for Python 3.15.
    missing = {*INSTRUMENTATIONS} - {*installed()}
    assert missing <= (
        {"ddtrace"} if sys.version_info >= (3, 15) or sys.platform != "linux" else set()
    )


@both_services
@pytest.mark.parametrize("instrumentation", installed())
async def test_a_cancelled_caller_leaves_and_the_server_completes_the_call(
    instrumentation: str, service: str
) -> None:
    """What tests/support/leaving.py prints of callers that leave in every way."""
    command = [sys.executable, "-P", "-m", "leaving", instrumentation, service]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with anyio.fail_after(2 * GUARD):
        done = await anyio.run_process(command, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    assert {name: end for name, end in found["ends"].items() if end != "left"} == {}
    assert len(found["ends"]) == 32
    assert found["resets"] == []
    assert found["held"].keys() <= found["completed"].keys()
    assert all(found["completed"][method] >= count for method, count in found["held"].items())
    assert done.stderr == b""
