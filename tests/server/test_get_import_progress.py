"""The function get_import_progress and its GetImportProgressOption."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from milvus_import import (
    ArgumentError,
    GetImportProgressOption,
    ImportClient,
    get_import_progress,
)
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

JOB = "449839014328146739"


def test_a_uri_with_a_password_raises_before_it_can_appear_in_a_repr() -> None:
    with pytest.raises(ArgumentError, match="token=") as caught:
        GetImportProgressOption("http://root:hunter2@milvus", "1")
    assert "hunter2" not in repr(caught.value)


def test_repr_shows_the_arguments_and_no_secret() -> None:
    option = GetImportProgressOption("http://milvus", "7", user="root", password="hunter2")
    assert "http://milvus" in repr(option)
    assert "'7'" in repr(option)
    assert "hunter2" not in repr(option)


@pytest.mark.parametrize("service", ["internal", "public"])
async def test_the_method_and_the_function_return_the_same(fake: FakeMilvus, service: str) -> None:
    fake.add_job(job_id=JOB, state="Importing", progress=40)
    uri = fake.internal_uri if service == "internal" else fake.public_uri
    async with ImportClient(uri) as client:
        response = await client.get_import_progress(JOB)
    assert response == await get_import_progress(GetImportProgressOption(uri, JOB))
    assert (response.service, response.data.state) == (service, "Importing")
    assert (response.data.progress, response.data.detailed) == (40, service == "internal")
    paths = [detail.paths for detail in response.data.details]
    assert paths == ([("a.parquet",)] if service == "internal" else [])


async def test_the_function_sends_its_options(fake: FakeMilvus) -> None:
    fake.add_job(job_id=JOB, db_name="shop")
    option = GetImportProgressOption(fake.public_uri, JOB, token="root:Milvus", db_name="shop")
    await get_import_progress(option, timeout=45, metadata={"x-request-id": "7f3a"})
    for received in (*fake.unimplemented, *fake.received):
        assert received.values("x-request-id") == ["7f3a"]
        assert received.values("dbname") == ["shop"]
        assert received.values("authorization") == [base64.b64encode(b"root:Milvus").decode()]
        assert 20 < (received.time_remaining or 0) < 46


async def test_the_function_rejects_what_is_no_option() -> None:
    with pytest.raises(TypeError, match="option must be a GetImportProgressOption, got str"):
        await get_import_progress("http://localhost")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("keyword", ["rpc_timeout", "meta_data"])
async def test_the_function_names_the_right_keyword(fake: FakeMilvus, keyword: str) -> None:
    option = GetImportProgressOption(fake.internal_uri, JOB)
    right = {"rpc_timeout": "timeout=", "meta_data": "metadata="}[keyword]
    call: Any = get_import_progress
    with pytest.raises(TypeError, match=right):
        await call(option, **{keyword: 3})
    assert list(fake.received) == []
