"""The tests of this folder run against a real Milvus 2.3.5, where it can run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import pytest
from real_milvus import RealMilvus, why_not
from real_place import Place, place_at

_REASON = why_not()
if _REASON is not None:
    collect_ignore_glob = ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _REASON is not None:
        terminalreporter.write_line(f"tests/real was left out: {_REASON}")


@pytest.fixture(scope="session")
def shared_server() -> Generator[RealMilvus, None, None]:
    """One server for the whole session; a test that may kill its server starts another one."""
    with RealMilvus() as server:
        yield server


@pytest.fixture
async def place(shared_server: RealMilvus, scale: float) -> AsyncGenerator[Place, None]:
    async with place_at(shared_server, timeout=30.0 * scale) as here:
        yield here
