"""The pytest fixture in every setup of event loops, each in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
from milvus_import import ImportClient, UnavailableError

{mark}

async def use(fake_milvus):
    job = fake_milvus.add_job(state="Importing", progress=40)
    async with ImportClient(fake_milvus.internal_uri, rpc_timeout=20) as client:
        response = await client.get_import_progress(job.job_id)
        assert response.data.job_id == job.job_id
        assert len(fake_milvus.jobs) == 1  # each test has a server of its own
        await fake_milvus.stop()
        with pytest.raises(UnavailableError):
            await client.get_import_progress(job.job_id)
        await fake_milvus.start()
        job.state, job.progress = "Completed", 100
        response = await client.get_import_progress(job.job_id, wait_for_ready=True)
        assert response.data.done


async def test_one(fake_milvus):
    await use(fake_milvus)


class TestInAClass:
    async def test_two(self, fake_milvus):
        await use(fake_milvus)
"""
SYNCHRONOUS = """
import asyncio
from milvus_import import GetImportProgressOption, get_import_progress


def test_one(fake_milvus):
    job = fake_milvus.add_job(state="Importing", progress=40)
    for uri in (fake_milvus.internal_uri, fake_milvus.public_uri):
        option = GetImportProgressOption(uri, job.job_id)
        assert asyncio.run(get_import_progress(option, timeout=20)).data.progress == 40


def test_two(fake_milvus):
    assert fake_milvus.jobs == {}
"""
TEST_CLIENT = """
from contextlib import asynccontextmanager

import pytest
from milvus_import import ImportClient
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient


@pytest.fixture
def app(fake_milvus):
    @asynccontextmanager
    async def lifespan(app):
        async with ImportClient(fake_milvus.internal_uri, rpc_timeout=20) as app.state.client:
            yield

    async def progress(request):
        response = await request.app.state.client.get_import_progress(request.path_params["id"])
        return JSONResponse({"progress": response.data.progress})

    return Starlette(routes=[Route("/{id}", progress)], lifespan=lifespan)


@pytest.mark.parametrize("percent", [10, 20])
def test_service(app, fake_milvus, percent):
    job = fake_milvus.add_job(state="Importing", progress=percent)
    with TestClient(app) as client:
        assert client.get(f"/{job.job_id}").json() == {"progress": percent}
"""
ANYIO, ASYNCIO = "pytestmark = pytest.mark.anyio", "pytestmark = pytest.mark.asyncio"
WITHOUT_ASYNCIO = ("-p", "no:asyncio")


def run(folder: Path, *options: str, tests: str, backend: str = "") -> tuple[int, str]:
    """Run two tests with the fixture; return the exit code and the output."""
    ini = "[pytest]\nfilterwarnings = error\n"
    if "no:asyncio" not in options:
        ini += "asyncio_default_fixture_loop_scope = function\n"
    (folder / "pytest.ini").write_text(ini, "utf-8")
    (folder / "conftest.py").write_text(CONFTEST + backend, "utf-8")
    (folder / "test_it.py").write_text(tests, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def passes(folder: Path, *options: str, tests: str, backend: str = "") -> None:
    code, output = run(folder, *options, tests=tests, backend=backend)
    assert (code, "2 passed" in output) == (0, True), output


def test_anyio(tmp_path: Path) -> None:
    tests = TESTS.format(mark=ANYIO)
    passes(tmp_path, *WITHOUT_ASYNCIO, tests=tests, backend=ANYIO_BACKEND)


def test_anyio_in_auto_mode(tmp_path: Path) -> None:
    tests = TESTS.format(mark="")
    options = (*WITHOUT_ASYNCIO, "-o", "anyio_mode=auto")
    passes(tmp_path, *options, tests=tests, backend=ANYIO_BACKEND)


@pytest.mark.parametrize("scope", ["function", "class", "session"])
def test_anyio_with_a_backend_of_another_scope(tmp_path: Path, scope: str) -> None:
    backend = ANYIO_BACKEND.replace("@pytest.fixture", f"@pytest.fixture(scope={scope!r})")
    passes(tmp_path, *WITHOUT_ASYNCIO, tests=TESTS.format(mark=ANYIO), backend=backend)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_pytest_asyncio(tmp_path: Path, mode: str) -> None:
    mark = ASYNCIO if mode == "strict" else ""
    passes(tmp_path, "-o", f"asyncio_mode={mode}", tests=TESTS.format(mark=mark))


@pytest.mark.parametrize("scope", ["class", "module", "session"])
def test_pytest_asyncio_with_a_loop_of_another_scope(tmp_path: Path, scope: str) -> None:
    mark = f"pytestmark = pytest.mark.asyncio(loop_scope={scope!r})"
    if scope == "class":
        body = TESTS.format(mark="").replace(
            "class Test", '@pytest.mark.asyncio(loop_scope="class")\nclass Test'
        )
        body = body.replace("async def test_one", "@pytest.mark.asyncio\nasync def test_one")
    else:
        body = TESTS.format(mark=mark)
    passes(tmp_path, "-o", "asyncio_mode=strict", tests=body)


def test_mark_of_anyio_in_the_auto_mode_of_pytest_asyncio(tmp_path: Path) -> None:
    tests = TESTS.format(mark=ANYIO)
    passes(tmp_path, "-o", "asyncio_mode=auto", tests=tests, backend=ANYIO_BACKEND)


def test_synchronous_tests(tmp_path: Path) -> None:
    passes(tmp_path, *WITHOUT_ASYNCIO, tests=SYNCHRONOUS)


def test_test_client_of_starlette(tmp_path: Path) -> None:
    passes(tmp_path, *WITHOUT_ASYNCIO, tests=TEST_CLIENT)
