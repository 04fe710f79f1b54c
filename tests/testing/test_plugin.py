"""The pytest fixture under anyio's plugin and under pytest-asyncio, each in a pytest of its own."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import anyio.pytest_plugin
import pytest

CONFTEST = """
import pytest

pytest_plugins = ["milvus_import.testing.pytest"]
"""
ANYIO_BACKEND = """

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
TESTS = """
import pytest
from milvus_import import ImportClient

{mark}

async def use(fake_milvus):
    job = fake_milvus.add_job()
    async with ImportClient(fake_milvus.internal_uri, rpc_timeout=20) as client:
        response = await client.get_import_progress(job.job_id)
    assert response.data.job_id == job.job_id
    assert len(fake_milvus.jobs) == 1  # each test has a server of its own


async def test_one(fake_milvus):
    await use(fake_milvus)


class TestInAClass:
    async def test_two(self, fake_milvus):
        await use(fake_milvus)
"""
ANYIO, ASYNCIO = "pytestmark = pytest.mark.anyio", "pytestmark = pytest.mark.asyncio"
WITHOUT_ASYNCIO = ("-p", "no:asyncio")

needs_pytest_asyncio = pytest.mark.skipif(
    importlib.util.find_spec("pytest_asyncio") is None, reason="pytest-asyncio is not installed"
)


def run(folder: Path, *options: str, mark: str) -> tuple[int, str]:
    """Run two tests with the fixture; return the exit code and the output."""
    ini = "[pytest]\nfilterwarnings = error\n"
    if "no:asyncio" not in options:
        ini += "asyncio_default_fixture_loop_scope = function\n"
    (folder / "pytest.ini").write_text(ini, "utf-8")
    by_anyio = mark == ANYIO or "anyio_mode=auto" in options
    (folder / "conftest.py").write_text(CONFTEST + (ANYIO_BACKEND if by_anyio else ""), "utf-8")
    (folder / "test_it.py").write_text(TESTS.format(mark=mark), "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_anyio(tmp_path: Path) -> None:
    code, output = run(tmp_path, *WITHOUT_ASYNCIO, mark=ANYIO)
    assert (code, "2 passed" in output) == (0, True), output


@pytest.mark.skipif(
    "anyio_mode" not in inspect.getsource(anyio.pytest_plugin),
    reason="this version of anyio has no anyio_mode, as the lowest supported one",
)
def test_anyio_in_auto_mode(tmp_path: Path) -> None:
    code, output = run(tmp_path, *WITHOUT_ASYNCIO, "-o", "anyio_mode=auto", mark="")
    assert (code, "2 passed" in output) == (0, True), output


@needs_pytest_asyncio
@pytest.mark.parametrize("mark", [ANYIO, ASYNCIO])
def test_pytest_asyncio_in_strict_mode(tmp_path: Path, mark: str) -> None:
    code, output = run(tmp_path, "-o", "asyncio_mode=strict", mark=mark)
    assert (code, "2 passed" in output) == (0, True), output


@needs_pytest_asyncio
@pytest.mark.parametrize("mark", ["", ASYNCIO])
def test_pytest_asyncio_in_auto_mode(tmp_path: Path, mark: str) -> None:
    code, output = run(tmp_path, "-o", "asyncio_mode=auto", mark=mark)
    assert (code, "2 passed" in output) == (0, True), output


@needs_pytest_asyncio
def test_mark_of_anyio_in_the_auto_mode_of_pytest_asyncio(tmp_path: Path) -> None:
    code, output = run(tmp_path, "-o", "asyncio_mode=auto", mark=ANYIO)
    assert code == 1
    assert "Remove pytest.mark.anyio, or set asyncio_mode = strict." in output


def test_without_a_plugin_that_runs_the_test(tmp_path: Path) -> None:
    code, output = run(tmp_path, *WITHOUT_ASYNCIO, mark="")
    assert code == 1
    assert "Mark the test with pytest.mark.anyio, or install pytest-asyncio." in output
