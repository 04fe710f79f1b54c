"""The options of each RPC: what arrives at the server, and how calls override their client."""

from __future__ import annotations

import ast
import base64
import gzip
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import grpc
import pytest
import watching
from certificates import make_certificates
from h2_server import H2Server, Request
from pages import code_blocks, run, table

from milvus_import import (
    ArgumentError,
    CallError,
    CallOptions,
    CallRecord,
    DeadlineExceededError,
    ImportClient,
    JobNotFoundError,
    RpcOptions,
    TLSConfig,
    UnauthenticatedError,
    UnavailableError,
    WatchOptions,
)
from milvus_import.testing import FakeMilvus, Fault
from milvus_import_pb import internal_pb2

pytestmark = pytest.mark.anyio

Gzip = grpc.Compression.Gzip
Call = Callable[[ImportClient, str, CallOptions], Awaitable[object]]


@pytest.fixture
def job_id(fake: FakeMilvus) -> str:
    return fake.add_job(state="Completed", progress=100).job_id


ONE_RPC: dict[str, Call] = {
    "get_import_progress": lambda client, job, o: client.get_import_progress(job, **o),
    "list_imports": lambda client, job, o: client.list_imports("books", **o),
    "create_import": lambda client, job, o: client.create_import("books", ["a.parquet"], **o),
    "check": lambda client, job, o: client.check(**o),
}


@pytest.mark.parametrize("method", [*ONE_RPC, *watching.METHODS])
async def test_a_method_sends_its_options_with_each_rpc(
    fake: FakeMilvus, client: ImportClient, job_id: str, method: str
) -> None:
    records: list[CallRecord] = []
    options: Any = {"metadata": {"x-request-id": "7f3a"}, "on_finish": records.append}
    if method in ONE_RPC:
        await ONE_RPC[method](client, job_id, options | {"timeout": 45})
    else:
        await watching.run(client, method, job_id, timeout=3600, rpc_timeout=45, **options)
    assert fake.received
    assert len(records) == len(fake.received)
    for received in fake.received:
        assert received.values("x-request-id") == ["7f3a"]
        assert 20 < (received.time_remaining or 0) < 46


# ------------------------------------------------------------------------------- timeout


@pytest.mark.parametrize(
    ("defaults", "options", "seconds"),
    [
        ({}, {}, 10),
        ({}, {"timeout": 45}, 45),
        ({"rpc_timeout": 90}, {}, 90),
        ({"rpc_timeout": 90}, {"timeout": 45}, 45),
        ({"rpc_timeout": 90}, {"timeout": None}, None),
        ({"rpc_timeout": None}, {}, None),
        ({"rpc_timeout": None}, {"timeout": 45}, 45),
        ({}, {"timeout": math.inf}, None),
    ],
)
async def test_timeout_reaches_the_server_as_its_deadline(
    fake: FakeMilvus, job_id: str, defaults: Any, options: CallOptions, seconds: float | None
) -> None:
    async with ImportClient(fake.internal_uri, **defaults) as client:
        await client.get_import_progress(job_id, **options)
    remaining = fake.received[0].time_remaining
    assert (remaining is None) == (seconds is None)
    if seconds and remaining:  # gRPC rounds a deadline up by as much as a percent on its way
        assert seconds / 2 < remaining < seconds * 1.02


async def test_an_expired_timeout_raises_deadline_exceeded_error(
    fake: FakeMilvus, client: ImportClient, job_id: str, scale: float
) -> None:
    fake.inject("hang", times=None)
    with pytest.raises(DeadlineExceededError, match=r"no response within 0\.\d+ s") as caught:
        await client.get_import_progress(job_id, timeout=0.2 * scale)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.record is not None


# ------------------------------------------------------------------------------ metadata


@pytest.mark.parametrize(
    ("defaults", "options", "sent"),
    [
        ({"metadata": {"a": "1"}}, {}, {"a": ["1"], "b": []}),
        ({"metadata": {"a": "1"}}, {"metadata": {}}, {"a": ["1"]}),
        ({"metadata": {"a": "1"}}, {"metadata": {"b": "2"}}, {"a": ["1"], "b": ["2"]}),
        ({"metadata": {"a": "1", "b": "1"}}, {"metadata": {"a": "2"}}, {"a": ["2"], "b": ["1"]}),
        ({"metadata": {"a": "1", "b": "1"}}, {"metadata": {"a": None}}, {"a": [], "b": ["1"]}),
        ({"metadata": {"a": "1"}}, {"metadata": None}, {"a": []}),
        ({}, {"metadata": [("a", "1"), ("a", "2")]}, {"a": ["1", "2"]}),
        ({"metadata": [("a", "1"), ("a", "2")]}, {}, {"a": ["1", "2"]}),
        ({"metadata": [("a", "1"), ("a", "2")]}, {"metadata": {"a": "3"}}, {"a": ["3"]}),
        ({"metadata": {"X-Trace": "1"}}, {"metadata": {"x-TRACE": "2"}}, {"x-trace": ["2"]}),
        ({}, {"metadata": {"a-bin": b"\x00\xff"}}, {"a-bin": [b"\x00\xff"]}),
        ({"metadata": {"a-bin": b"\x00"}}, {"metadata": {"a-bin": b""}}, {"a-bin": [b""]}),
        ({"metadata": None}, {"metadata": {"a": "1"}}, {"a": ["1"]}),
    ],
)
async def test_metadata_of_a_call_overrides_the_client_key_by_key(
    fake: FakeMilvus, job_id: str, defaults: Any, options: CallOptions, sent: dict[str, Any]
) -> None:
    uri = f"{fake.internal_uri}/shop"
    async with ImportClient(uri, user="root", password="Milvus", **defaults) as client:
        await client.get_import_progress(job_id, **options)
        await client.get_import_progress(job_id)
    first, second = fake.received
    assert {key: first.values(key) for key in sent} == sent
    # The options of a call end with it; only its own key overrides the token and the database.
    of_client = [pair for pair in second.metadata if pair[0] in {"a", "b", "a-bin", "x-trace"}]
    assert len(of_client) == len(defaults.get("metadata") or ())
    for received in (first, second):
        assert received.values("authorization") == [base64.b64encode(b"root:Milvus").decode()]
        assert received.values("dbname") == ["shop"]


@pytest.mark.parametrize(
    ("metadata", "sent"),
    [
        ({"authorization": "c3Vl"}, ["c3Vl"]),
        ({"Authorization": "c3Vl"}, ["c3Vl"]),
        ({"authorization": None}, []),
    ],
)
async def test_metadata_overrides_the_token_only_under_its_own_key(
    fake: FakeMilvus, job_id: str, metadata: dict[str, str | None], sent: list[str]
) -> None:
    fake.token = "root:Milvus"
    async with ImportClient(fake.public_uri, token="root:Milvus", service="public") as client:
        with pytest.raises(UnauthenticatedError):
            await client.get_import_progress(job_id, metadata=metadata)
        await client.get_import_progress(job_id, metadata=None)
    assert [received.values("authorization") for received in fake.received] == [
        sent,
        [base64.b64encode(b"root:Milvus").decode()],
    ]


@watching.both_services
@pytest.mark.parametrize("method", ["get_import_progress", "list_imports", "create_import"])
async def test_db_name_is_sent_in_the_metadata_and_the_request(
    fake: FakeMilvus, job_id: str, service: str, method: str
) -> None:
    fake.version = "2.3" if service == "public" else "2.6"  # which lists jobs on both
    async with watching.connect(fake, service, db_name="shop") as client:
        await ONE_RPC[method](client, job_id, {})
        if method != "get_import_progress":
            await client.list_imports("books", db_name="other")
            await client.list_imports("books", db_name="")
    assert len(fake.received) == (1 if method == "get_import_progress" else 3)
    for received, name in zip(fake.received, ["shop", "other", ""], strict=False):
        assert received.values("dbname") == ([name] if name else [])
        if "db_name" in received.request.DESCRIPTOR.fields_by_name:
            assert received.request.db_name == name
        else:
            assert received.method == "GetImportState"


async def test_metadata_rejects_reserved_keys(fake: FakeMilvus, client: ImportClient) -> None:
    with pytest.raises(ArgumentError, match="reserved for gRPC"):
        await client.get_import_progress("7", metadata={"content-type": "application/grpc+json"})
    assert fake.received == []


# ------------------------------------------------------------ compression and credentials


@pytest.mark.parametrize(
    ("defaults", "options", "compressed"),
    [
        ({}, {}, False),
        ({}, {"compression": Gzip}, True),
        ({"compression": Gzip}, {}, True),
        ({"compression": Gzip}, {"compression": None}, False),
        ({"compression": Gzip}, {"compression": grpc.Compression.NoCompression}, False),
    ],
)
async def test_compression_compresses_the_request(
    defaults: RpcOptions, options: CallOptions, *, compressed: bool
) -> None:
    files = [f"imports/2026/part-{number}.parquet" for number in range(500)]
    sent: list[bytes] = []

    def hang_up(request: Request) -> None:
        sent.append(request.body)
        request.end()

    async with H2Server(hang_up) as port, ImportClient(port.uri, **defaults) as client:
        with pytest.raises(CallError):
            await client.create_import("books", files, **options)
    assert bool(sent[0][0]) is compressed  # a flag, four bytes of length, the message
    message = gzip.decompress(sent[0][5:]) if compressed else sent[0][5:]
    request = internal_pb2.ImportRequest.FromString(message)
    assert [path for file in request.files for path in file.paths] == files


class Passport(grpc.AuthMetadataPlugin):
    """A new token for each RPC."""

    def __init__(self) -> None:
        self.issued = 0

    def __call__(
        self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback
    ) -> None:
        self.issued += 1
        callback((("x-passport", f"number-{self.issued}"),), None)


async def test_call_credentials_arrive_over_tls() -> None:
    certificates = make_certificates()
    credentials = grpc.metadata_call_credentials(Passport())
    async with FakeMilvus(tls=certificates.server) as fake:
        job_id = fake.add_job().job_id
        async with ImportClient(fake.internal_uri, tls=TLSConfig(ca=certificates.ca)) as client:
            await client.get_import_progress(job_id, call_credentials=credentials)
            await client.get_import_progress(job_id)
            await client.get_import_progress(job_id, call_credentials=credentials)
    passports = [received.values("x-passport") for received in fake.received]
    assert passports == [["number-1"], [], ["number-2"]]


# ------------------------------------------------------------------------ wait_for_ready


async def test_wait_for_ready_waits_for_a_late_server(
    fake: FakeMilvus, job_id: str, scale: float
) -> None:
    await fake.stop()
    async with ImportClient(fake.internal_uri) as client, anyio.create_task_group() as tasks:

        async def start_late() -> None:
            await anyio.sleep(0.5 * scale)
            await fake.start()

        tasks.start_soon(start_late)
        response = await client.get_import_progress(job_id, wait_for_ready=True, timeout=30 * scale)
        assert response.data.state == "Completed"


@pytest.mark.parametrize("options", [{}, {"wait_for_ready": False}, {"wait_for_ready": None}])
async def test_without_wait_for_ready_a_call_fails_immediately(
    fake: FakeMilvus, job_id: str, options: CallOptions
) -> None:
    await fake.stop()
    client_default: RpcOptions = {"wait_for_ready": True} if options else {}
    async with ImportClient(fake.internal_uri, **client_default) as client:
        with pytest.raises(UnavailableError, match="Check host and port"):
            await client.get_import_progress(job_id, **(options | {"timeout": None}))


# ----------------------------------------------------------------------------- on_finish


async def test_on_finish_receives_the_record_of_the_rpc(
    fake: FakeMilvus, client: ImportClient, job_id: str
) -> None:
    fake.metadata = (("x-node", "7"), ("x-node-bin", b"\x07"))
    fake.trailing_metadata = (("x-cost", "3"),)
    records: list[CallRecord] = []
    await client.get_import_progress(job_id, on_finish=records.append)
    [record] = records
    assert record.service == "internal"
    assert record.method == "milvus.proto.proxy.Proxy/GetImportProgress"
    assert (record.code, record.details) == (grpc.StatusCode.OK, "")
    assert set(fake.metadata) <= set(record.initial_metadata)
    assert set(fake.trailing_metadata) <= set(record.trailing_metadata)
    assert 0 < record.elapsed < 10


async def test_on_finish_receives_the_record_of_the_call_error(
    fake: FakeMilvus, client: ImportClient
) -> None:
    fake.trailing_metadata = (("x-cost", "3"),)
    fake.inject("denied")
    records: list[CallRecord] = []
    with pytest.raises(CallError) as caught:
        await client.get_import_progress("7", on_finish=records.append)
    assert records == [caught.value.record]
    assert records[0].code is grpc.StatusCode.PERMISSION_DENIED
    assert "PrivilegeImport" in records[0].details
    assert ("x-cost", "3") in records[0].trailing_metadata


async def test_on_finish_is_called_once_per_rpc(fake: FakeMilvus, job_id: str) -> None:
    records: list[CallRecord] = []
    async with ImportClient(fake.public_uri, on_finish=records.append) as client:
        await client.get_import_progress(job_id)  # calls both services
        fake.inject("unavailable")
        with pytest.raises(UnavailableError):
            await client.get_import_progress(job_id)
        with pytest.raises(JobNotFoundError):
            await client.get_import_progress("7")  # gRPC reports OK
    assert [(record.service, record.code.name) for record in records] == [
        ("internal", "UNIMPLEMENTED"),
        ("public", "OK"),
        ("public", "UNAVAILABLE"),
        ("public", "OK"),
    ]
    assert len(fake.unimplemented) == 1
    assert len(fake.received) == 3


# ------------------------------------------------------------------------------ defaults


async def test_every_option_can_be_a_default_and_be_switched_off() -> None:
    certificates = make_certificates()
    records: list[CallRecord] = []
    defaults: RpcOptions = {
        "rpc_timeout": 45,
        "metadata": {"a": "1"},
        "wait_for_ready": True,
        "compression": Gzip,
        "call_credentials": grpc.metadata_call_credentials(Passport()),
        "on_finish": records.append,
    }
    assert defaults.keys() == RpcOptions.__optional_keys__
    async with FakeMilvus(tls=certificates.server) as fake:
        job_id = fake.add_job().job_id
        await fake.stop()
        tls = TLSConfig(ca=certificates.ca)
        async with (
            ImportClient(fake.internal_uri, tls=tls, **defaults) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(fake.start)
            await client.get_import_progress(job_id)  # which waits for the server
            off: Any = dict.fromkeys(CallOptions.__optional_keys__)
            await client.get_import_progress(job_id, **off)
    by_default, switched_off = fake.received
    assert by_default.values("a") == ["1"]
    assert by_default.values("x-passport") == ["number-1"]
    assert 20 < (by_default.time_remaining or 0) < 46
    assert switched_off.values("a") == switched_off.values("x-passport") == []
    assert switched_off.time_remaining is None
    assert len(records) == 1


# ---------------------------------------------------------------- options of the connection


def _reply_of(size: int) -> Fault:
    reply = internal_pb2.GetImportProgressResponse(collection_name="x" * size)
    return Fault(reply=reply.SerializeToString())


async def test_max_receive_bytes_limits_the_reply(fake: FakeMilvus, job_id: str) -> None:
    fake.inject(_reply_of(5 * 2**20), times=2)
    async with ImportClient(fake.internal_uri) as client:
        response = await client.get_import_progress(job_id)  # above gRPC's own 4 MiB
        assert len(response.data.collection_name) == 5 * 2**20
    async with ImportClient(fake.internal_uri, max_receive_bytes=4 * 2**20) as client:
        with pytest.raises(CallError, match="Raise max_receive_bytes") as caught:
            await client.get_import_progress(job_id)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "max_receive_bytes" in str(caught.value)


async def test_max_send_bytes_limits_the_request(fake: FakeMilvus) -> None:
    files = ["x" * 1000 + ".json", "y" * 1000 + ".json"]
    async with ImportClient(fake.internal_uri, max_send_bytes=1500) as client:
        with pytest.raises(CallError, match="max_send_bytes") as caught:
            await client.create_import("books", files)
        await client.create_import("books", files[:1])
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(fake.received) == 1


async def test_channel_options_override_ours(fake: FakeMilvus, job_id: str) -> None:
    user_agent = ("grpc.primary_user_agent", "bookshop/1.2")
    options = [("grpc.max_receive_message_length", 1000), user_agent]
    fake.inject(_reply_of(2000))
    uri = fake.internal_uri
    async with ImportClient(uri, max_receive_bytes=2**20, channel_options=options) as client:
        with pytest.raises(CallError, match="larger than max"):
            await client.get_import_progress(job_id)
        await client.get_import_progress(job_id)
    for received in fake.received:
        [agent] = received.values("user-agent")
        assert str(agent).startswith("bookshop/1.2 ")


# ------------------------------------------------------------------------- docs/reference

GRPC_GO = """StaticMethod Header Trailer Peer WaitForReady FailFast OnFinish MaxCallRecvMsgSize
MaxCallSendMsgSize PerRPCCredentials UseCompressor CallContentSubtype ForceCodec ForceCodecV2
CallCustomCodec MaxRetryRPCBufferSize"""


def test_the_page_has_each_grpc_go_option_and_a_test_that_exists() -> None:
    rows = table("reference.md", "From grpc-go")
    assert [row[0].strip("`") for row in rows] == GRPC_GO.split()
    module = ast.parse(Path(__file__).read_text("utf-8"))
    tests = {node.name for node in module.body if isinstance(node, ast.AsyncFunctionDef)}
    assert {row[3].strip("`") for row in rows} <= tests | {""}
    for row in rows:  # a row without an equivalent gives the reason
        assert row[1] != "none" or len(row[2]) > 8


def test_the_page_has_each_option() -> None:
    text = "\n".join(code_blocks("reference.md"))
    options = CallOptions.__optional_keys__ | WatchOptions.__optional_keys__
    for option in options - {"call_credentials"}:
        assert option in text


@pytest.mark.parametrize("block", range(len(code_blocks("reference.md"))))
async def test_the_code_of_the_page_runs(
    fake: FakeMilvus, client: ImportClient, job_id: str, block: int
) -> None:
    await run(code_blocks("reference.md")[block], client=client, job_id=job_id)
    assert fake.received
