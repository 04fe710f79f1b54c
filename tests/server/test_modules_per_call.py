"""How many modules of the package one call runs through: a measure of how hard it is to follow."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import pytest

import milvus_import
from milvus_import import ImportClient, MilvusImportError
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

MOST = 8
MOST_OF_A_FAILED_CALL = 14
PACKAGE = Path(milvus_import.__file__).parent


async def modules_of_one_call(client: ImportClient, job_id: str) -> set[str]:
    """Return the modules whose functions run during a call, the fake's excluded."""
    modules: set[str] = set()

    def record(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            modules.add(path.relative_to(PACKAGE).as_posix())

    previous = sys.getprofile()
    sys.setprofile(record)
    try:
        await client.get_import_progress(job_id)
    except MilvusImportError as error:
        str(error)
    finally:
        sys.setprofile(previous)
    return {module for module in modules if not module.startswith("testing/")}


@pytest.mark.parametrize("service", ["internal", "public", "rest"])
@pytest.mark.parametrize(
    ("failure", "module", "most"),
    [
        ("", "_client.py", MOST),
        ("job unknown", "_errors.py", MOST_OF_A_FAILED_CALL),
        ("rate limit", "_errors.py", MOST_OF_A_FAILED_CALL),
    ],
)
async def test_a_warm_call_runs_through_few_modules(
    fake: FakeMilvus, client: ImportClient, failure: str, module: str, most: int
) -> None:
    job = fake.add_job(state="Importing", progress=40)
    await client.get_import_progress(job.job_id)
    if failure == "rate limit":
        fake.inject("rate-limit")
    modules = await modules_of_one_call(client, "1" if failure == "job unknown" else job.job_id)
    assert module in modules
    assert len(modules) <= most, sorted(modules)
