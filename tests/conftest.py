"""Shared by all tests: the event loop, a fake Milvus, short delays, and the scale of all times."""

from __future__ import annotations

import gc
import importlib.util
import os
import re
import signal
from collections.abc import AsyncGenerator

import hypothesis
import older_grpc
import pytest
from certificates import Certificates, make_certificates
from network import server_ports
from times import GUARD, SCALE

from milvus_import._connection import _base
from milvus_import.testing import FakeMilvus, ManualClock

# gRPC logs each GOAWAY to stderr; the tests cause hundreds.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

# A shell without job control starts background programs with SIGINT ignored, and the programs
# that the tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

hypothesis.settings.register_profile(
    "default",
    deadline=None,  # no test depends on the speed of the machine
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=True,
    print_blob=True,
)
hypothesis.settings.load_profile("default")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_delays: the delay of close() is measured, not patched")
    for line in older_grpc.filters():
        config.addinivalue_line("filterwarnings", line)
    older_grpc.ignore_spurious_wake_ups()
    config.addinivalue_line(
        "markers", "rest: needs the extra `rest`; also set by the name of a test"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in older_grpc.report():
        terminalreporter.write_line(line)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of REST, deselect what cannot hold here, and scale the timeouts."""
    older_grpc.deselect(config, items)
    for item in items:
        if re.search(r"(?<![a-z])rest(?![a-z])", item.nodeid):
            item.add_marker("rest")
    rest = [item for item in items if item.get_closest_marker("rest")]
    if rest and importlib.util.find_spec("aiohttp") is None:
        items[:] = [item for item in items if item not in {*rest}]
        config.hook.pytest_deselected(items=rest)
    if SCALE == 1:
        return
    default = float(config.getini("timeout"))
    for item in items:
        own = item.get_closest_marker("timeout")
        item.add_marker(
            pytest.mark.timeout((own.args[0] if own else default) * SCALE), append=False
        )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Exclude all that exists now from the garbage collections of the leak checks."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def scale() -> float:
    return SCALE


@pytest.fixture(scope="session")
def guard() -> float:
    """Seconds after which a test fails that waits for something that must happen."""
    return GUARD


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    return make_certificates()


@pytest.fixture(autouse=True)
def short_delays(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the grace of close(), except where it is measured."""
    if request.node.get_closest_marker("real_delays"):
        return
    monkeypatch.setattr(_base, "CLOSE_GRACE", 0.2 * SCALE)


@pytest.fixture
async def fake() -> AsyncGenerator[FakeMilvus, None]:
    async with FakeMilvus(**server_ports()) as server:
        yield server


@pytest.fixture
def clock(fake: FakeMilvus) -> ManualClock:
    """The clock of the server."""
    fake.clock = clock = ManualClock()
    return clock
