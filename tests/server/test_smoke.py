from __future__ import annotations

import pytest

from milvus_import import GetImportProgressOption, ImportClient, get_import_progress
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio


async def test_internal_service_answers_in_full(fake: FakeMilvus) -> None:
    job = fake.add_job(state="Importing", progress=40)
    async with ImportClient(fake.internal_uri) as client:
        response = await client.get_import_progress(job.job_id)
    assert response.service == "internal"
    assert response.data.state == "Importing"
    assert [detail.paths for detail in response.data.details] == [("a.parquet",)]


async def test_public_service_answers_through_the_same_call(fake: FakeMilvus) -> None:
    job = fake.add_job(state="Importing", progress=40)
    option = GetImportProgressOption(fake.public_uri, job.job_id)
    response = await get_import_progress(option)
    assert response.service == "public"
    assert (response.data.progress, response.data.detailed) == (40, False)
