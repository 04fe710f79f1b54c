"""Forked and spawned processes, prefork servers, and processes patched by gevent."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import STDOUT, CompletedProcess

import anyio
import anyio.to_thread
import pytest
from network import closed_port
from processes import FakeProcess

pytestmark = pytest.mark.anyio

SHARED = r"""
import asyncio, concurrent.futures, multiprocessing, os, sys, time
from milvus_import import ImportClient, MilvusImportError

URI = sys.argv[1]

async def progress(client):
    return (await client.get_import_progress("7", timeout=10)).data.progress

async def new_client():
    async with ImportClient(URI) as client:
        return await progress(client)

def call(_=None):
    started = time.monotonic()
    try:
        result = asyncio.run(new_client())
    except RuntimeError as error:
        result = str(error)
    os.write(1, f"{result} | {time.monotonic() - started:.2f}\n".encode())  # as one piece
    return result

def fork(child):
    pid = os.fork()
    if pid == 0:
        child()
        os._exit(0)
    return pid

def wait(pids):
    for pid in pids:
        os.write(1, f"exit {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
"""

FORKS = {
    "an open client": """
async def main():
    async with ImportClient(URI) as client:
        await progress(client)
        wait([fork(call) for _ in range(4)])
        print("parent", await progress(client))
asyncio.run(main())
""",
    "an open client of an event loop that has ended": """
client = ImportClient(URI)
asyncio.run(progress(client))
wait([fork(call) for _ in range(4)])
""",
    "a closed client": """
call()
wait([fork(call) for _ in range(4)])
""",
    "a client that was closed after it was used in two event loops": """
client = ImportClient(URI)
asyncio.run(progress(client))
asyncio.run(progress(client))
asyncio.run(client.close())
wait([fork(call) for _ in range(4)])
""",
    "a client that was never used": """
client = ImportClient(URI)
wait([fork(call) for _ in range(4)])
""",
    "no client, and the child of a child": """
wait([fork(lambda: wait([fork(call)]))])
""",
}
REMEDY = "Close the client before the fork, or start the process with spawn or forkserver"


@pytest.fixture
def uri(process: FakeProcess) -> str:
    return process.internal_uri


async def run_script(
    folder: Path, source: str, *arguments: str, guard: float
) -> CompletedProcess[bytes]:
    script = folder / "program.py"
    script.write_text(SHARED + source, encoding="utf-8")
    paths = os.pathsep.join([str(folder), *filter(None, sys.path)])
    with anyio.fail_after(guard):
        return await anyio.run_process(
            [sys.executable, str(script), *arguments],
            check=False,
            stderr=STDOUT,
            env=os.environ | {"PYTHONPATH": paths, "GRPC_VERBOSITY": "NONE"},
        )


@pytest.mark.parametrize("parent", FORKS)
async def test_a_forked_child_beside_an_open_client_raises_runtime_error_immediately(
    parent: str, uri: str, tmp_path: Path, scale: float, guard: float
) -> None:
    """Beside an open client gRPC hangs or crashes in the child; otherwise the child works."""
    done = await run_script(tmp_path, FORKS[parent], uri, guard=guard)
    output = done.stdout.decode()
    assert done.returncode == 0, output
    calls = re.findall(r"^(.*) \| ([0-9.]+)$", output, re.MULTILINE)
    children = calls[1:] if parent == "a closed client" else calls
    assert len(children) == (1 if parent.startswith("no client") else 4), output
    assert set(re.findall(r"^exit (.*)$", output, re.MULTILINE)) == {"0"}, output
    for result, seconds in children:
        if parent.startswith("an open client"):
            assert REMEDY in result
            assert float(seconds) < 2 * scale
        else:
            assert result == "40"
    assert ("parent 40" in output) == (parent == "an open client")


POOLS = {
    "multiprocessing": "multiprocessing.get_context(method).Pool(2)",
    "ProcessPoolExecutor": (
        "concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method))"
    ),
}


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("pool", POOLS)
async def test_worker_processes_work_unless_they_are_forked_beside_an_open_client(
    pool: str, method: str, uri: str, tmp_path: Path, guard: float
) -> None:
    source = f"""
if __name__ == "__main__":
    method = sys.argv[2]
    client = ImportClient(URI)
    async def open_client():
        await progress(client)
    asyncio.run(open_client())
    with {POOLS[pool]} as pool:
        results = list(pool.map(call, range(4)))
    print("results", [str(result)[-40:] for result in results], flush=True)
"""
    done = await run_script(tmp_path, source, uri, method, guard=guard)
    output = done.stdout.decode()
    [results] = re.findall(r"^results (.*)$", output, re.MULTILINE) or [output]
    if method == "fork":
        assert results.count("spawn or forkserver") == 4
    else:
        assert results == str(["40"] * 4)


GEVENT_CALL = """
try:
    print(asyncio.run(new_client()))
except RuntimeError as error:
    print(error)
"""


@pytest.fixture
def stub_gevent(tmp_path: Path) -> None:
    """The two names of gevent that show whether a process is patched."""
    package = tmp_path / "gevent"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "monkey.py").write_text(
        "patched = False\n"
        "def patch_all():\n    global patched\n    patched = True\n"
        "def is_module_patched(name):\n    return patched\n"
    )


GEVENT = ["stub", "gevent"] if importlib.util.find_spec("gevent") else ["stub"]


@pytest.mark.parametrize("patched", [True, False])
@pytest.mark.parametrize("package", GEVENT)
async def test_a_call_in_a_process_patched_by_gevent_is_a_runtime_error(
    package: str, patched: bool, tmp_path: Path, request: pytest.FixtureRequest, scale: float
) -> None:
    if package == "stub":
        request.getfixturevalue("stub_gevent")
    source = ("monkey.patch_all()\n" if patched else "") + GEVENT_CALL
    with closed_port() as port:
        started = time.monotonic()
        done = await run_script(
            tmp_path,
            "from gevent import monkey\n" + source.replace("RuntimeError", "Exception"),
            f"http://127.0.0.1:{port}",
            guard=20 * scale,
        )
    output = done.stdout.decode()
    assert ("patched by gevent" in output) == patched, output
    assert time.monotonic() - started < 5 + 5 * scale


APP = """
import contextlib, os
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from milvus_import import ImportClient

@contextlib.asynccontextmanager
async def lifespan(app):
    async with ImportClient(os.environ["MILVUS_URI"]) as client:
        app.state.client = client
        yield

async def progress(request):
    response = await request.app.state.client.get_import_progress("7")
    return PlainTextResponse(f"{os.getpid()} {response.data.progress}")

app = Starlette(routes=[Route("/", progress)], lifespan=lifespan)
"""


@asynccontextmanager
async def server_process(
    command: list[str], folder: Path, uri: str
) -> AsyncGenerator[anyio.abc.Process, None]:
    (folder / "app.py").write_text(APP, encoding="utf-8")
    paths = os.pathsep.join([str(folder), *filter(None, sys.path)])
    async with await anyio.open_process(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "MILVUS_URI": uri},
        stdout=None,
        stderr=None,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture
def port() -> Generator[int, None, None]:
    with closed_port() as port:
        free = port
    yield free  # noqa: PT022 - the socket must be closed before the server binds the port


SERVERS = {"uvicorn": ["uvicorn", "app:app", "--workers", "2", "--port", "{port}"]}
if importlib.util.find_spec("gunicorn") and importlib.util.find_spec("uvicorn_worker"):
    SERVERS["gunicorn"] = [
        *("gunicorn", "app:app", "--preload", "--workers", "2", "--bind", "127.0.0.1:{port}"),
        *("--worker-class", "uvicorn_worker.UvicornWorker"),
    ]


@pytest.mark.parametrize("name", SERVERS)
async def test_each_worker_of_a_server_has_its_own_client(
    name: str, uri: str, tmp_path: Path, port: int, guard: float
) -> None:
    """The client is created in the lifespan of each worker, as the guide shows."""
    command = [part.format(port=port) for part in SERVERS[name]]
    bodies: set[str] = set()

    def get() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
                return str(response.read().decode())
        except urllib.error.HTTPError:
            raise
        except OSError:
            return ""  # it does not listen yet

    async with server_process(command, tmp_path, uri):
        with anyio.fail_after(guard):
            while len(bodies) < 2:
                bodies |= {await anyio.to_thread.run_sync(get)} - {""}
                await anyio.sleep(0.02)
    assert {body.split()[1] for body in bodies} == {"40"}
