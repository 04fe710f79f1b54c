"""The Python of README.md and of the pages of docs/, run against FakeMilvus.

Only the addresses are changed. test_fake_milvus.py runs testing.md.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import anyio
import prometheus_client
import pytest
from pages import README, code_block, code_blocks, replace, run

from milvus_import import ImportClient, MilvusImportError
from milvus_import.testing import FakeMilvus

pytestmark = pytest.mark.anyio

Output = pytest.CaptureFixture[str]

LOCAL, REMOTE = "http://localhost:19530", "https://milvus.example/"
BATCHES = [["1.parquet"], ["2.parquet"]]


@pytest.fixture(autouse=True)
def immediate(fake: FakeMilvus) -> None:
    fake.import_seconds = fake.commit_seconds = 0.0
    fake.version = "3.0"


async def run_block(page: str, mark: str, uri: str = "", **names: Any) -> dict[str, Any]:
    """Run the block of a page that contains a text, with the address of the fake server."""
    changes = {LOCAL: uri} if uri else {}
    return await run(replace(code_block(page, mark), changes), **names)


# ------------------------------------------------------------------------------- README.md

MARKS = ("books.parquet", "GetImportProgressOption", "client.watch_all", "commit_import")


async def test_every_snippet_of_the_readme_is_run() -> None:
    assert {*code_blocks(README)} == {code_block(README, mark) for mark in MARKS}


async def test_the_first_snippet(fake: FakeMilvus, capsys: Output) -> None:
    fake.token = "root:Milvus"
    await run_block(README, "books.parquet", fake.public_uri)
    assert capsys.readouterr().out == "1,000 rows, reported by the public service\n"
    [job] = fake.jobs.values()
    assert (job.collection_name, job.files[0].name) == ("books", "books.parquet")


async def test_one_call(fake: FakeMilvus, capsys: Output) -> None:
    fake.add_job(job_id="449839014328146739", state="Importing", progress=40)
    await run_block(README, "GetImportProgressOption", fake.internal_uri)
    assert capsys.readouterr().out == "Importing 40 internal\n"


NO_FILE = (
    "import job {job_id} failed: no such file or directory. Pass a path on the "
    "server's disk, or a key of Milvus' bucket without the bucket's name: "
    "Milvus reads the files, not the client. []"
)


@pytest.mark.parametrize(
    ("reason", "lines"),
    [
        (None, ["Completed 100%", "{job_id} Completed"]),
        ("no such file or directory", ["Failed 0%", NO_FILE, "{job_id} Failed"]),
    ],
)
async def test_a_service_with_one_client(
    fake: FakeMilvus, capsys: Output, reason: str | None, lines: list[str]
) -> None:
    fake.fail_imports = reason
    code = replace(code_block(README, "client.watch_all"), {REMOTE: f"{fake.internal_uri}/"})
    await run(code, token="root:Milvus", request_id="r-1")
    [job_id] = fake.jobs
    output = capsys.readouterr().out.splitlines()
    assert output == [line.format(job_id=job_id) for line in lines]
    with_id = [call.method for call in fake.received if call.values("x-request-id") == ["r-1"]]
    assert with_id == ["ImportV2"]
    methods = {call.method for call in fake.received}
    assert methods == {"ImportV2", "GetImportProgress", "ListImports"}
    assert all(call.values("dbname") == ["sales"] for call in fake.received)


async def test_rest(fake: FakeMilvus) -> None:
    await run_block(README, "commit_import", fake.rest_uri, token="root:Milvus")
    [job] = fake.jobs.values()
    assert [file.name for file in job.files] == ["a.parquet", "b.parquet"]
    assert [call.method for call in fake.received][-1] == "commit"


# ---------------------------------------------------- all blocks of guide.md and services.md

REST, CLOUD = 'service="rest"', 'service="cloud"'
BLOCKS = [
    pytest.param(block, id=f"{page.removesuffix('.md')}-{number}{'-rest' if REST in block else ''}")
    for page in ("guide.md", "services.md")
    for number, block in enumerate(code_blocks(page), start=1)
    if "async def" not in block and CLOUD not in block  # these have tests of their own
]


@pytest.mark.parametrize("block", BLOCKS)
async def test_the_code_of_the_page_runs(fake: FakeMilvus, block: str, capsys: Output) -> None:
    fake.version = "3.0" if REST in block else "2.6"
    jobs = [
        fake.add_job(state="Completed", progress=100),
        fake.add_job(state="Failed", reason="no such file", collection_name="films"),
    ]
    if "on_retry" in block:
        fake.inject("not-ready")
    async with ImportClient(fake.internal_uri) as client:
        await run(
            block.replace(LOCAL, fake.rest_uri if REST in block else fake.internal_uri),
            client=client,
            job_id=jobs[0].job_id,
            job_ids=[job.job_id for job in jobs],
            asyncio=asyncio,
            ImportClient=ImportClient,
        )
    assert fake.received
    assert ("on_retry" in block) == ("service not ready" in capsys.readouterr().out)


async def test_the_guide_has_a_block_per_subject() -> None:
    guide = "\n".join(code_blocks("guide.md"))
    for name in ("commit_import", "max_outage=60", "rpc_timeout", "all_databases"):
        assert name in guide


# ----------------------------------------------------------------- blocks of the other pages


async def test_a_synchronous_program_imports(fake: FakeMilvus) -> None:
    code = replace(code_block("recipes.md", "rows = "), {LOCAL: fake.public_uri})
    names: dict[str, Any] = {}
    await asyncio.to_thread(exec, code, names)
    assert names["rows"] == 1000


async def test_metrics_count_the_rpcs_of_a_wait(fake: FakeMilvus) -> None:
    names = await run_block("recipes.md", "def observe(", fake.internal_uri)
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
        await run_block("services.md", "one .npy file per field", client=client)
    groups = [[file.name for file in job.files] for job in fake.jobs.values()]
    assert groups == [["a.parquet"], ["id.npy vector.npy"], ["a.parquet", "b.parquet"]]


async def test_zilliz_cloud_rest(fake: FakeMilvus) -> None:
    fake.token, fake.cloud.clusters = "key", {"in01-0123abc"}
    source = code_block("services.md", CLOUD)
    source = source.replace("https://api.cloud.zilliz.com", fake.cloud_uri)
    await run(source, api_key="key", access_key="a", secret_key="s")
    (job,) = fake.jobs.values()
    assert job.peek().state == "Completed"
    assert job.files[0].name.endswith("/my-bucket/books.parquet")


async def test_translation_of_an_orm_program(fake: FakeMilvus, capsys: Output) -> None:
    await (await run_block("migrating.md", "def main(", fake.public_uri))["main"]()
    assert capsys.readouterr().out == "1000\n"


async def test_translation_of_a_bulk_writer_program_rest(fake: FakeMilvus, capsys: Output) -> None:
    names = await run_block("migrating.md", "def run_import(", fake.rest_uri)
    await names["run_import"](BATCHES)
    assert capsys.readouterr().out == "[1.parquet] 1000\n[2.parquet] 1000\n"


async def test_a_rate_limit_is_429(fake: FakeMilvus) -> None:
    names = await run_block("recipes.md", "def response(")
    statuses = list[int]()
    async with ImportClient(fake.public_uri, service="public") as client:
        for fault in ("rate-limit", "not-ready", "denied"):
            fake.inject(fault)
            with pytest.raises(MilvusImportError) as caught:
                await client.create_import("books", ["a.parquet"])
            statuses.append(names["response"](caught.value).status_code)
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
    program = [sys.executable, "-c", before + code_block("recipes.md", name) + follow]
    with anyio.fail_after(guard):
        done = await anyio.run_process(program, env=environment, stderr=None)
    assert done.stdout.decode().split() == ["False", "Completed"]
