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
ANYIO = TESTS.format(mark="pytestmark = pytest.mark.anyio")
UNMARKED = TESTS.format(mark="")
STRICT, AUTO = ("-o", "asyncio_mode=strict"), ("-o", "asyncio_mode=auto")
WITHOUT_ASYNCIO = ("-p", "no:asyncio")


def asyncio(arguments: str = "") -> str:
    return TESTS.format(mark=f"pytestmark = pytest.mark.asyncio{arguments}")


def backend(scope: str) -> str:
    return ANYIO_BACKEND.replace("@pytest.fixture", f"@pytest.fixture(scope={scope!r})")


LOOP_OF_A_CLASS = UNMARKED.replace(
    "class Test", '@pytest.mark.asyncio(loop_scope="class")\nclass Test'
).replace("async def test_one", "@pytest.mark.asyncio\nasync def test_one")
SETUPS = {
    "anyio": (WITHOUT_ASYNCIO, ANYIO, ANYIO_BACKEND),
    "anyio in auto mode": ((*WITHOUT_ASYNCIO, "-o", "anyio_mode=auto"), UNMARKED, ANYIO_BACKEND),
    "anyio with a backend of a function": (WITHOUT_ASYNCIO, ANYIO, backend("function")),
    "anyio with a backend of a class": (WITHOUT_ASYNCIO, ANYIO, backend("class")),
    "anyio with a backend of the session": (WITHOUT_ASYNCIO, ANYIO, backend("session")),
    "pytest-asyncio": (STRICT, asyncio(), ""),
    "pytest-asyncio in auto mode": (AUTO, UNMARKED, ""),
    "pytest-asyncio with the loop of a class": (STRICT, LOOP_OF_A_CLASS, ""),
    "pytest-asyncio with the loop of a module": (STRICT, asyncio("(loop_scope='module')"), ""),
    "pytest-asyncio with the loop of the session": (STRICT, asyncio("(loop_scope='session')"), ""),
    "mark of anyio in the auto mode of pytest-asyncio": (AUTO, ANYIO, ANYIO_BACKEND),
    "synchronous tests": (WITHOUT_ASYNCIO, SYNCHRONOUS, ""),
    "test client of Starlette": (WITHOUT_ASYNCIO, TEST_CLIENT, ""),
}


@pytest.mark.parametrize("setup", SETUPS)
def test_two_tests_with_the_fixture_pass(setup: str, tmp_path: Path) -> None:
    options, tests, more = SETUPS[setup]
    ini = "[pytest]\nfilterwarnings = error\n"
    if "no:asyncio" not in options:
        ini += "asyncio_default_fixture_loop_scope = function\n"
    (tmp_path / "pytest.ini").write_text(ini, "utf-8")
    (tmp_path / "conftest.py").write_text(CONFTEST + more, "utf-8")
    (tmp_path / "test_it.py").write_text(tests, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert (done.returncode, "2 passed" in output) == (0, True), output
