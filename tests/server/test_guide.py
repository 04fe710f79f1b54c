"""The Python blocks of the guide and of the page on services, run one after the other."""

from __future__ import annotations

import pytest
from pages import code_blocks, run

from milvus_import import ImportClient
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

BLOCKS = [
    pytest.param(block, id=f"{page.removesuffix('.md')}-{number}")
    for page in ("guide.md", "services.md")
    for number, block in enumerate(code_blocks(page), start=1)
]


@pytest.mark.parametrize("block", BLOCKS)
async def test_block(fake: FakeMilvus, block: str, capsys: pytest.CaptureFixture[str]) -> None:
    fake.import_seconds = 0
    jobs = [
        fake.add_job(state="Completed", progress=100),
        fake.add_job(state="Failed", reason="no such file", collection_name="films"),
    ]
    if "on_fault" in block:
        fake.inject("not-ready")
    source = block.replace("http://localhost:19530", fake.internal_uri)
    async with ImportClient(fake.internal_uri) as client:
        await run(
            source, client=client, job_id=jobs[0].job_id, job_ids=[job.job_id for job in jobs]
        )
    assert fake.received
    assert ("on_fault" in block) == ("service not ready" in capsys.readouterr().out)
