"""The programs of docs/migrating.md: those for pymilvus and their translations, on one server.

python tests/alongside/migration.py

Runs every "Before" and "After" block against the same FakeMilvus. The environment needs the wheel
with the extra `rest`, pymilvus, and the packages that pymilvus.bulk_writer imports.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import logging
import re
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TOKEN = "root:Milvus"
GUARD = 60
BATCHES = [["1.parquet"], ["2.parquet"]]
PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"


def programs(heading: str) -> tuple[str, str]:
    """Return the two programs of a section: before, after."""
    section = PAGE.read_text("utf-8").partition(f"## {heading}")[2].partition("\n## ")[0]
    before = re.search(r"Before:\n\n```text\n(.*?)```", section, re.DOTALL)
    after = re.search(r"After:\n\n```python\n(.*?)```", section, re.DOTALL)
    assert before, heading
    assert after, heading
    return before[1], after[1]


def run_before(code: str, uri: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a program for pymilvus; return its variables."""
    variables = {"time": SimpleNamespace(sleep=float), **names}  # does not sleep
    exec(code.replace("http://localhost:19530", uri), variables)  # noqa: S102 - our own page
    return variables


async def run_after(code: str, uri: str, *arguments: Any) -> None:
    """Run the function that a translation defines."""
    variables = dict(vars(importlib.import_module("milvus_import")))
    exec(code.replace("http://localhost:19530", uri), variables)  # noqa: S102 - our own page
    name = re.findall(r"^async def (\w+)", code, re.MULTILINE)[-1]
    task: Coroutine[Any, Any, None] = variables[name](*arguments)
    await task


async def main() -> None:
    """Run each pair of programs and compare what the server received."""
    logging.disable()  # pymilvus logs each exception
    testing = importlib.import_module("milvus_import.testing")
    pymilvus = importlib.import_module("pymilvus")
    async with testing.FakeMilvus(token=TOKEN) as server:
        server.import_seconds = 0
        before, after = programs("From pymilvus' ORM: `utility.do_bulk_insert`")
        variables = await asyncio.to_thread(run_before, before, server.public_uri, vars(pymilvus))
        await run_after(after, server.public_uri)
        first, second = server.jobs.values()
        assert variables["state"].row_count == 1000
        assert [f.name for f in first.files] == [f.name for f in second.files] == ["books.parquet"]

        server.jobs.clear()
        before, after = programs("From pymilvus' `bulk_writer.bulk_import`")
        names = {**vars(importlib.import_module("pymilvus.bulk_writer"))}
        names["writer"] = SimpleNamespace(batch_files=BATCHES)
        variables = await asyncio.to_thread(run_before, before, server.rest_uri, names)
        await run_after(after, server.rest_uri, BATCHES)
        first, second = server.jobs.values()
        assert variables["data"]["state"] == "Completed"
        assert [f.name for f in first.files] == [f.name for f in second.files]
        assert [f.name for f in first.files] == [names[0] for names in BATCHES]
    print(f"pymilvus {pymilvus.__version__}: 2 programs and their translations agree")


if __name__ == "__main__":
    faulthandler.dump_traceback_later(GUARD, exit=True)
    asyncio.run(main())
