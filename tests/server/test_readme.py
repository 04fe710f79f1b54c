"""The Python of README.md, run as it is: only the addresses are those of the test's servers."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

README = Path(__file__).parents[2] / "README.md"
LOCAL, REMOTE = "http://localhost:19530", "https://milvus.example/"
MARKS = ("books.parquet", "GetImportProgressOption", "client.watch_all", "commit_import")


def snippets() -> Iterator[str]:
    """Yield each block of Python, after as many empty lines as precede it in the file."""
    text = README.read_text()
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield "\n" * text.count("\n", 0, block.start(1)) + block[1]


def snippet(mark: str) -> str:
    """Return the one block that contains a text."""
    [found] = [block for block in snippets() if mark in block]
    return found


async def run(code: str, addresses: dict[str, str], **names: str) -> None:
    """Run a block that may await, with only these names."""
    for written, real in addresses.items():
        assert written in code
        code = code.replace(written, real)
    compiled = compile(code, str(README), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(compiled, CodeType)
    running = eval(compiled, {"__builtins__": builtins, **names})  # noqa: S307 - our own README
    assert inspect.isawaitable(running)
    await running


async def test_the_first_snippet(fake: FakeMilvus, capsys: pytest.CaptureFixture[str]) -> None:
    fake.token, fake.import_seconds = "root:Milvus", 0.0
    await run(snippet("books.parquet"), {LOCAL: fake.public_uri})
    assert capsys.readouterr().out == "1,000 rows, reported by the public service\n"
    [job] = fake.jobs.values()
    assert (job.collection_name, job.files[0].name) == ("books", "books.parquet")


async def test_one_call(fake: FakeMilvus, capsys: pytest.CaptureFixture[str]) -> None:
    fake.add_job(job_id="449839014328146739", state="Importing", progress=40)
    await run(snippet("GetImportProgressOption"), {LOCAL: fake.internal_uri})
    assert capsys.readouterr().out == "Importing 40 internal\n"


@pytest.mark.parametrize(
    ("reason", "lines"),
    [
        (None, ["Completed 100%", "{job_id} Completed"]),
        (
            "no such file or directory",
            [
                "Failed 0%",
                (
                    "import job {job_id} failed: no such file or directory. Pass a path on the "
                    "server's disk, or a key of Milvus' bucket without the bucket's name: "
                    "Milvus reads the files, not the client. []"
                ),
                "{job_id} Failed",
            ],
        ),
    ],
)
async def test_a_service_with_one_client(
    fake: FakeMilvus, capsys: pytest.CaptureFixture[str], reason: str | None, lines: list[str]
) -> None:
    fake.import_seconds, fake.fail_imports = 0.0, reason
    await run(
        snippet("client.watch_all"),
        {REMOTE: fake.internal_uri + "/"},
        token="root:Milvus",
        request_id="r-1",
    )
    [job_id] = fake.jobs
    output = capsys.readouterr().out.splitlines()
    assert output == [line.format(job_id=job_id) for line in lines]
    with_id = [call.method for call in fake.received if call.values("x-request-id") == ["r-1"]]
    assert with_id == ["ImportV2"]
    assert {call.method for call in fake.received} == {
        "ImportV2",
        "GetImportProgress",
        "ListImports",
    }
    assert all(call.values("dbname") == ["books"] for call in fake.received)


async def test_rest(fake: FakeMilvus) -> None:
    fake.version, fake.import_seconds = "3.0", 0.0
    await run(snippet("commit_import"), {LOCAL: fake.rest_uri}, token="root:Milvus")
    [job] = fake.jobs.values()
    assert [file.name for file in job.files] == ["a.parquet", "b.parquet"]
    assert [call.method for call in fake.received][-1] == "commit"


def test_every_snippet_is_run() -> None:
    assert set(snippets()) == {snippet(mark) for mark in MARKS}
