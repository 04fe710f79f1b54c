"""ImportClient as an object: warnings, copies, reprs, the version, the modules of a call."""

from __future__ import annotations

import copy
import importlib.metadata
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import milvus_import
from milvus_import import ImportClient, MilvusImportError
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio


async def test_a_client_that_is_closed_or_was_never_used_emits_no_warning(
    fake: FakeMilvus,
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clients = [ImportClient(fake.internal_uri), ImportClient(fake.internal_uri)]
        await clients[0].check()
        await clients[0].close()
        clients.clear()
    assert not [warning for warning in caught if warning.category is ResourceWarning]


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"]
)
def test_copying_or_pickling_a_client_raises_type_error(
    duplicate: Callable[[object], object],
) -> None:
    with pytest.raises(TypeError, match="cannot be copied or pickled: it holds an open connection"):
        duplicate(ImportClient("http://localhost"))


async def test_repr_of_a_client_shows_its_target_and_whether_it_is_closed(
    fake: FakeMilvus,
) -> None:
    client = ImportClient(fake.internal_uri, token="root:S3cret")
    target = f"127.0.0.1:{fake.internal_port}"
    assert repr(client) == f"<ImportClient {target}>"
    await client.close()
    assert repr(client) == f"<ImportClient {target} (closed)>"


def test_version_is_that_of_the_distribution() -> None:
    try:
        expected = importlib.metadata.version("milvus-import")
    except importlib.metadata.PackageNotFoundError:  # run from the sources
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            _ = milvus_import.__version__
    else:
        assert milvus_import.__version__ == expected
    with pytest.raises(AttributeError, match="nonexistent"):
        _ = getattr(milvus_import, "nonexistent")  # noqa: B009 - that is what is tested


# How many modules of the package one call runs through: a measure of how hard it is to follow.

MOST = 7
MOST_OF_A_FAILED_CALL = 11
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
