"""README.md's Python, run as it stands: only the servers' addresses are those of the test's."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

from milvus_import.testing import FakeFile, FakeMilvus

pytestmark = pytest.mark.anyio

README = Path(__file__).parents[2] / "README.md"
LOCAL, REMOTE = "http://localhost:19530", "https://milvus.example/"


def snippets() -> Iterator[str]:
    """Each block of Python, behind as many empty lines as it has above it in the file."""
    text = README.read_text()
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield "\n" * text.count("\n", 0, block.start(1)) + block[1]


def snippet(mark: str) -> str:
    """The one block with this in it."""
    (found,) = [block for block in snippets() if mark in block]
    return found


async def run(code: str, addresses: dict[str, str], **names: str) -> None:
    """Run a block that may await, with nothing but these names."""
    for written, real in addresses.items():
        assert written in code
        code = code.replace(written, real)
    compiled = compile(code, str(README), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(compiled, CodeType)
    running = eval(compiled, {"__builtins__": builtins, **names})  # noqa: S307 - our own README
    assert inspect.isawaitable(running)
    await running


async def test_the_first_screen(fake: FakeMilvus, capsys: pytest.CaptureFixture[str]) -> None:
    fake.token, fake.import_seconds = "root:Milvus", 0.0
    await run(snippet("create_import"), {LOCAL: fake.public_uri})
    assert capsys.readouterr().out == "1,000 rows, told by the public service\n"
    (job,) = fake.jobs.values()
    assert (job.collection_name, job.files[0].name) == ("books", "books.parquet")


async def test_asking_once(fake: FakeMilvus, capsys: pytest.CaptureFixture[str]) -> None:
    fake.add_job(job_id="449839014328146739", state="Importing", progress=40)
    await run(snippet("GetImportProgressOption"), {LOCAL: fake.internal_uri}, request_id="r-1")
    assert capsys.readouterr().out == "Importing 40 internal\n"
    assert fake.received[0].values("client_request_id") == ["r-1"]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("Completed", ["Completed 100%", "{job_id} Completed"]),
        (
            "Failed",
            ["Failed 100%", "import job {job_id} failed: no such file []", "{job_id} Failed"],
        ),
    ],
)
async def test_one_client_of_a_service(
    fake: FakeMilvus, capsys: pytest.CaptureFixture[str], state: str, told: list[str]
) -> None:
    reason = "no such file" if state == "Failed" else ""
    job = fake.add_job(state=state, progress=100, reason=reason, files=[FakeFile("books.parquet")])
    token = "root:Milvus"
    await run(
        snippet("client.watch_all"),
        {REMOTE: fake.internal_uri + "/"},
        token=token,
        job_id=job.job_id,
    )
    said = capsys.readouterr().out.splitlines()
    assert said == [line.format(job_id=job.job_id) for line in told]
    assert {call.method for call in fake.received} == {"GetImportProgress", "ListImports"}
    assert all(call.values("dbname") == ["books"] for call in fake.received)


def test_every_snippet_is_run() -> None:
    known = {
        snippet(mark) for mark in ("create_import", "GetImportProgressOption", "client.watch_all")
    }
    assert set(snippets()) == known
