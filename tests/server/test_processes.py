"""Forked and spawned processes, prefork servers, processes patched by gevent, and their ends."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from subprocess import STDOUT

import anyio
import anyio.to_thread
import pytest
from network import closed_port
from processes import FakeProcess
from times import GUARD, SCALE

from milvus_import.testing import FakeMilvus

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


async def run_script(folder: Path, source: str, *arguments: str) -> str:
    """Run a program that must exit with 0; return what it prints."""
    script = folder / "program.py"
    script.write_text(source, encoding="utf-8")
    paths = os.pathsep.join([str(folder), *filter(None, sys.path)])
    with anyio.fail_after(GUARD):
        done = await anyio.run_process(
            [sys.executable, str(script), *arguments],
            check=False,
            stderr=STDOUT,
            env=os.environ | {"PYTHONPATH": paths, "GRPC_VERBOSITY": "NONE"},
        )
    output = done.stdout.decode()
    assert done.returncode == 0, output
    return output


@pytest.mark.parametrize("parent", FORKS)
async def test_a_forked_child_beside_an_open_client_raises_runtime_error_immediately(
    parent: str, uri: str, tmp_path: Path
) -> None:
    """Beside an open client gRPC hangs or crashes in the child; otherwise the child works."""
    output = await run_script(tmp_path, SHARED + FORKS[parent], uri)
    calls = re.findall(r"^(.*) \| ([0-9.]+)$", output, re.MULTILINE)
    children = calls[1:] if parent == "a closed client" else calls
    assert len(children) == (1 if parent.startswith("no client") else 4), output
    assert set(re.findall(r"^exit (.*)$", output, re.MULTILINE)) == {"0"}, output
    for result, seconds in children:
        if parent.startswith("an open client"):
            assert REMEDY in result
            assert float(seconds) < 2 * SCALE
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
    pool: str, method: str, uri: str, tmp_path: Path
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
    output = await run_script(tmp_path, SHARED + source, uri, method)
    [results] = re.findall(r"^results (.*)$", output, re.MULTILINE) or [output]
    if method == "fork":
        assert results.count("spawn or forkserver") == 4
    else:
        assert results == str(["40"] * 4)


GEVENT_CALL = """
try:
    print(asyncio.run(new_client()))
except Exception as error:
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
    package: str, patched: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if package == "stub":
        request.getfixturevalue("stub_gevent")
    patch = "from gevent import monkey\n" + "monkey.patch_all()\n" * patched
    with closed_port() as port:
        started = time.monotonic()
        output = await run_script(tmp_path, patch + SHARED + GEVENT_CALL, f"127.0.0.1:{port}")
    assert ("patched by gevent" in output) == patched, output
    assert time.monotonic() - started < 5 + 5 * SCALE


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


SERVERS = {"uvicorn": ["uvicorn", "app:app", "--workers", "2", "--port", "{port}"]}
if importlib.util.find_spec("gunicorn") and importlib.util.find_spec("uvicorn_worker"):
    SERVERS["gunicorn"] = [
        *("gunicorn", "app:app", "--preload", "--workers", "2", "--bind", "127.0.0.1:{port}"),
        *("--worker-class", "uvicorn_worker.UvicornWorker"),
    ]


@pytest.mark.parametrize("name", SERVERS)
async def test_each_worker_of_a_server_has_its_own_client(
    name: str, uri: str, tmp_path: Path
) -> None:
    """The client is created in the lifespan of each worker, as the guide shows."""
    with closed_port() as port:
        command = [part.format(port=port) for part in SERVERS[name]]
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": paths, "MILVUS_URI": uri}
    bodies: set[str] = set()

    def get() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
                return str(response.read().decode())
        except urllib.error.HTTPError:
            raise
        except OSError:
            return ""  # it does not listen yet

    async with await anyio.open_process(
        [sys.executable, "-m", *command], cwd=tmp_path, env=environment, stdout=None, stderr=None
    ) as process:
        try:
            with anyio.fail_after(GUARD):
                while len(bodies) < 2:
                    bodies |= {await anyio.to_thread.run_sync(get)} - {""}
                    await anyio.sleep(0.02)
        finally:
            process.terminate()
    assert {body.split()[1] for body in bodies} == {"40"}


# The end of a process.

ENDING = """
import asyncio, atexit, gc, sys
import grpc.aio
from milvus_import import ImportClient, ImportFailedError

@atexit.register
def report():  # registered first, called last
    gc.collect()  # up to grpcio 1.83 an ended call is a reference cycle
    kinds = (grpc.aio.Call, grpc.aio.Channel)
    print([type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, kinds)])

async def main(uri, job_id):
    async with ImportClient(uri) as client:
        return (await client.wait(job_id)).state

gc.disable()
try:
    print(asyncio.run(main(*sys.argv[1:])))
except ImportFailedError as error:
    kept = error
    print(kept)
"""


@pytest.mark.parametrize(
    ("state", "printed"), [("Completed", "Completed"), ("Failed", "import job 7 failed: no rows")]
)
async def test_a_process_that_ends_has_freed_its_calls_and_its_channel(
    fake: FakeMilvus, state: str, printed: str, tmp_path: Path
) -> None:
    fake.add_job(job_id="7", state=state, reason="no rows")
    output = await run_script(tmp_path, ENDING, fake.public_uri, "7")
    assert output.splitlines() == [printed, "[]"]
