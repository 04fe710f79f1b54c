"""ImportClient as an object: warnings, copies, reprs, the version."""

from __future__ import annotations

import copy
import importlib.metadata
import pickle
import warnings
from collections.abc import Callable

import pytest

import milvus_import
from milvus_import import ImportClient
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
