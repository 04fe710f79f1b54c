"""The Python blocks of the pages that show whole functions, run against FakeMilvus."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import anyio
import prometheus_client
import pytest
from pages import code_blocks, run

from milvus_import import ImportClient, MilvusImportError
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

BATCHES = [["1.parquet"], ["2.parquet"]]


@pytest.fixture(autouse=True)
def immediate(fake: FakeMilvus) -> None:
    fake.import_seconds, fake.version = 0, "3.0"


def block(page: str, name: str, uri: str) -> str:
    """Return the block of a page that contains a name, with the address of the fake server."""
    (found,) = [code for code in code_blocks(page) if name in code]
    return found.replace("http://localhost:19530", uri)


def define(page: str, name: str, uri: str) -> Any:
    """Return a function that a block of a page defines."""
    names: dict[str, Any] = {}
    exec(block(page, f"def {name}(", uri), names)  # noqa: S102 - our own pages
    return names[name]


async def test_a_synchronous_program_imports(fake: FakeMilvus) -> None:
    names: dict[str, Any] = {}
    await asyncio.to_thread(exec, block("recipes.md", "rows = ", fake.public_uri), names)
    assert names["rows"] == 1000


async def test_metrics_count_the_rpcs_of_a_wait(fake: FakeMilvus) -> None:
    names: dict[str, Any] = {}
    exec(block("recipes.md", "def observe(", fake.internal_uri), names)  # noqa: S102
    try:
        async with names["client"] as client:
            await client.wait(fake.add_job(state="Completed", progress=100).job_id)
        labels = {"method": "GetImportProgress", "code": "OK"}
        registry = prometheus_client.REGISTRY
        assert registry.get_sample_value("milvus_import_rpc_seconds_count", labels) == 1
    finally:
        prometheus_client.REGISTRY.unregister(names["rpcs"])


async def test_file_groups(fake: FakeMilvus) -> None:
    async with ImportClient(fake.internal_uri) as client:
        await run(block("services.md", "one .npy file per field", ""), client=client)
    groups = [[file.name for file in job.files] for job in fake.jobs.values()]
    assert groups == [["a.parquet"], ["id.npy vector.npy"], ["a.parquet", "b.parquet"]]


async def test_zilliz_cloud_rest(fake: FakeMilvus) -> None:
    fake.token, fake.cloud.clusters = "key", {"in01-0123abc"}
    source = block("services.md", 'service="cloud"', "")
    source = source.replace("https://api.cloud.zilliz.com", fake.cloud_uri)
    await run(source, api_key="key", access_key="a", secret_key="s")
    (job,) = fake.jobs.values()
    assert job.peek().state == "Completed"
    assert job.files[0].name.endswith("/my-bucket/books.parquet")


async def test_translation_of_an_orm_program(
    fake: FakeMilvus, capsys: pytest.CaptureFixture[str]
) -> None:
    await define("migrating.md", "main", fake.public_uri)()
    assert capsys.readouterr().out == "1000\n"


async def test_translation_of_a_bulk_writer_program_rest(
    fake: FakeMilvus, capsys: pytest.CaptureFixture[str]
) -> None:
    await define("migrating.md", "run_import", fake.rest_uri)(BATCHES)
    assert capsys.readouterr().out == "[1.parquet] 1000\n[2.parquet] 1000\n"


async def test_a_rate_limit_is_429(fake: FakeMilvus) -> None:
    response = define("recipes.md", "response", "")
    statuses = list[int]()
    async with ImportClient(fake.public_uri, service="public") as client:
        for fault in ("rate-limit", "not-ready", "denied"):
            fake.inject(fault)
            with pytest.raises(MilvusImportError) as caught:
                await client.create_import("books", ["a.parquet"])
            statuses.append(response(caught.value).status_code)
    assert statuses == [429, 503, 502]


@pytest.mark.parametrize("name", ["GrpcAioInstrumentorClient", "GRPCIntegration"])
async def test_instrumented_from_outside(fake: FakeMilvus, guard: float, name: str) -> None:
    job = fake.add_job(state="Completed", progress=100)
    follow = f"""
import asyncio
from milvus_import import ImportClient

async def follow():
    async with ImportClient({fake.public_uri!r}) as client:
        print((await client.wait({job.job_id!r})).state)

print(grpc.aio.insecure_channel is original)
asyncio.run(follow())
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    before = "import grpc.aio; original = grpc.aio.insecure_channel\n"
    program = [sys.executable, "-c", before + block("recipes.md", name, "") + follow]
    with anyio.fail_after(guard):
        done = await anyio.run_process(program, env=environment, stderr=None)
    assert done.stdout.decode().split() == ["False", "Completed"]
