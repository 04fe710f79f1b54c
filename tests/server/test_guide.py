"""The Python blocks of the guide and of the page on services, run one by one."""

from __future__ import annotations

import asyncio

import pytest
from pages import code_blocks, run

from milvus_import import ImportClient
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

REST, CLOUD = 'service="rest"', 'service="cloud"'
BLOCKS = [
    pytest.param(block, id=f"{page.removesuffix('.md')}-{number}{'-rest' if REST in block else ''}")
    for page in ("guide.md", "services.md")
    for number, block in enumerate(code_blocks(page), start=1)
    if "async def" not in block and CLOUD not in block  # test_pages.py runs those
]


@pytest.mark.parametrize("block", BLOCKS)
async def test_the_code_of_the_page_runs(
    fake: FakeMilvus, block: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.import_seconds = fake.commit_seconds = 0
    jobs = [
        fake.add_job(state="Completed", progress=100),
        fake.add_job(state="Failed", reason="no such file", collection_name="films"),
    ]
    uri = fake.internal_uri
    if REST in block:
        fake.version, uri = "3.0", fake.rest_uri
    if "on_retry" in block:
        fake.inject("not-ready")
    source = block.replace("http://localhost:19530", uri)
    async with ImportClient(fake.internal_uri) as client:
        await run(
            source,
            client=client,
            job_id=jobs[0].job_id,
            job_ids=[job.job_id for job in jobs],
            asyncio=asyncio,
            ImportClient=ImportClient,
        )
    assert fake.received
    assert ("on_retry" in block) == ("service not ready" in capsys.readouterr().out)


def test_the_guide_has_a_block_per_subject() -> None:
    guide = "\n".join(code_blocks("guide.md"))
    for name in (
        "commit_import",
        "max_outage=60",
        "rpc_timeout",
        "all_databases",
    ):
        assert name in guide
