from __future__ import annotations

import pytest

from milvus_import import GetImportProgressOption, ImportClient


def test_a_uri_with_a_password_is_refused_before_it_can_be_shown() -> None:
    with pytest.raises(ValueError, match="credentials do not belong in a URI") as caught:
        GetImportProgressOption("http://root:hunter2@milvus", "1")
    assert "hunter2" not in repr(caught.value)


def test_the_repr_shows_what_is_asked_and_no_secret() -> None:
    option = GetImportProgressOption("http://milvus", "7", user="root", password="hunter2")
    assert "http://milvus" in repr(option)
    assert "'7'" in repr(option)
    assert "hunter2" not in repr(option)


@pytest.mark.anyio
async def test_waiting_for_all_jobs_wants_their_ids() -> None:
    async with ImportClient("http://localhost") as client:
        with pytest.raises(TypeError, match="watch_all"):
            await client.wait_all(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
