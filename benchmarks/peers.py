"""Measure the client beside other clients of gRPC and HTTP: make bench prints this table.

python benchmarks/peers.py [--quick]    measures only this
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from statistics import median
from typing import Any

import grpc.aio
from measuring import JOB, latency, mapped_reply, reply_of, served, throughput

from milvus_import import ImportClient, Service
from milvus_import_pb import internal_pb2
from milvus_import_pb.proxy_grpc import ProxyStub

# Untyped, and installed only for this.
aiohttp: Any = import_module("aiohttp")
connect: Any = import_module("connectrpc.client")
connect_codec: Any = import_module("connectrpc.compat")
connect_method: Any = import_module("connectrpc.method")
connect_protocol: Any = import_module("connectrpc.protocol")
grpclib: Any = import_module("grpclib.client")
pyqwest: Any = import_module("pyqwest")
requests: Any = import_module("requests")

JOBS = 1_000
"""The length of the listed jobs."""

Peer = Callable[[], Awaitable[object]]
Request = internal_pb2.GetImportProgressRequest
Reply = internal_pb2.GetImportProgressResponse


def rest_reply() -> bytes:
    """Return the reply of REST to the same job as the gRPC reply."""
    file = {
        "fileName": "[data/part-00000.parquet]",
        "fileSize": 1_000_000,
        "progress": 40,
        "completeTime": "",
        "state": "InProgress",
        "importedRows": 400,
        "totalRows": 1_000,
    }
    data = {
        "jobId": JOB,
        "collectionName": "books",
        "state": "Importing",
        "progress": 40,
        "importedRows": 400,
        "totalRows": 1_000,
        "fileSize": 1_000_000,
        "createTime": "2026-01-02T03:04:05Z",
        "details": [file],
    }
    return json.dumps({"code": 0, "data": data}).encode()


def list_replies() -> tuple[bytes, bytes]:
    """Return the replies of gRPC and of REST that list the same jobs."""
    ids = [str(int(JOB) + index) for index in range(JOBS)]
    by_grpc = internal_pb2.ListImportsResponse(
        jobIDs=ids,
        states=[3] * JOBS,
        progresses=[40] * JOBS,
        reasons=[""] * JOBS,
        collection_names=["books"] * JOBS,
    )
    records = [
        {"jobId": job_id, "collectionName": "books", "state": "Importing", "progress": 40}
        for job_id in ids
    ]
    rest = json.dumps({"code": 0, "data": {"records": records}})
    return by_grpc.SerializeToString(), rest.encode()


@asynccontextmanager
async def grpc_peers(port: int) -> AsyncGenerator[dict[str, Peer]]:
    """Open one connection per gRPC client; each peer maps the reply as the client does."""
    method = connect_method.MethodInfo(
        name="GetImportProgress",
        service_name="milvus.proto.proxy.Proxy",
        input=Request,
        output=Reply,
        idempotency_level=connect_method.IdempotencyLevel.NO_SIDE_EFFECTS,
        stream_type=connect_method.StreamType.UNARY,
    )
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        stub = ProxyStub(channel)
        client = await stack.enter_async_context(ImportClient(f"127.0.0.1:{port}"))
        own = grpclib.Channel("127.0.0.1", port)
        stack.callback(own.close)
        call = grpclib.UnaryUnaryMethod(
            own, "/milvus.proto.proxy.Proxy/GetImportProgress", Request, Reply
        )
        transport = pyqwest.HTTPTransport(http_version=pyqwest.HTTPVersion.HTTP2)
        connect_client = connect.ConnectClient(
            f"http://127.0.0.1:{port}",
            protocol=connect_protocol.ProtocolType.GRPC,
            codec=connect_codec.google_protobuf_binary_codec(),
            send_compression=None,
            accept_compression=(),
            http_client=pyqwest.Client(transport),
        )

        async def by_stub() -> object:
            return mapped_reply(await stub.GetImportProgress(Request(jobID=JOB), timeout=10))

        async def by_client() -> object:
            return await client.get_import_progress(JOB)

        async def by_grpclib() -> object:
            return mapped_reply(await call(Request(jobID=JOB), timeout=10))

        async def by_connectrpc() -> object:
            reply = await connect_client.execute_unary(
                request=Request(jobID=JOB), method=method, timeout_ms=10_000
            )
            return mapped_reply(reply)

        peers: dict[str, Peer] = {
            "grpc.aio's stub": by_stub,
            "milvus-import": by_client,
            "connectrpc, its gRPC protocol": by_connectrpc,
            "grpclib": by_grpclib,
        }
        expected = await by_stub()
        for name, peer in peers.items():
            assert await peer() == expected, name
        yield peers


@asynccontextmanager
async def http_peers(port: int) -> AsyncGenerator[dict[str, Peer]]:
    """Open one connection pool per HTTP client. The others only parse the JSON."""
    uri = f"http://127.0.0.1:{port}"
    url = f"{uri}/v2/vectordb/jobs/import/get_progress"
    async with (
        ImportClient(uri, service="rest") as client,
        aiohttp.ClientSession() as session,
    ):

        async def by_client() -> object:
            return (await client.get_import_progress(JOB)).data.progress

        async def by_aiohttp() -> object:
            async with session.post(url, json={"jobId": JOB}) as response:
                return (await response.json())["data"]["progress"]

        async def by_requests() -> object:
            response = requests.post(url, json={"jobId": JOB}, timeout=10)
            return response.json()["data"]["progress"]

        peers: dict[str, Peer] = {
            'milvus-import, service="rest"': by_client,
            "aiohttp, one session": by_aiohttp,
            "requests.post, a connection per call": by_requests,
        }
        for name, peer in peers.items():
            assert await peer() == 40, name
        yield peers


async def compare(peers: dict[str, Peer], rounds: int) -> list[str]:
    """Measure all in turn, so that a drift of the machine affects each, and return rows."""
    times: dict[str, list[float]] = {name: [] for name in peers}
    rates: dict[str, list[float]] = {name: [] for name in peers}
    for index in range(rounds + 1):
        for name in peers if index % 2 else reversed(peers):
            alone = await latency(peers[name], 100)
            # requests blocks its thread
            rate = 1e6 / alone if "requests" in name else await throughput(peers[name], 1_000)
            if index:
                times[name].append(alone)
                rates[name].append(rate)
    return [
        f"| {name} | {median(times[name]):,.0f} | {median(rates[name]):,.0f} |" for name in peers
    ]


async def lists(rounds: int) -> list[str]:
    """Measure one request that lists JOBS jobs, over gRPC and over REST."""
    rows: list[str] = []
    services: tuple[tuple[str, Service, str, bytes], ...]
    by_grpc, rest = list_replies()
    services = (
        ("milvus-import", "internal", "canned_server.py", by_grpc),
        ('milvus-import, service="rest"', "rest", "canned_http.py", rest),
    )
    for name, service, script, reply in services:
        with served(script, reply) as port:
            uri = f"http://127.0.0.1:{port}"
            async with ImportClient(uri, service=service) as client:

                async def listed(client: ImportClient = client) -> None:
                    assert len(await client.list_imports("books")) == JOBS

                await listed()
                found = [await latency(listed, 5) for _ in range(rounds)]
        rows.append(f"| {name} | {median(found) / 1_000:.1f} |")
    return rows


async def tables(rounds: int) -> list[str]:
    """Measure everything and return the lines of both tables."""
    lines = ["| client | one call, us | 64 at once, calls/s |", "| --- | --- | --- |"]
    with served("canned_server.py", reply_of(1).SerializeToString()) as port:
        async with grpc_peers(port) as peers:
            lines += await compare(peers, rounds)
    with served("canned_http.py", rest_reply()) as port:
        async with http_peers(port) as peers:
            lines += await compare(peers, rounds)
    lines += ["", f"| client | list of {JOBS:,} jobs, ms |", "| --- | --- |"]
    return lines + await lists(rounds)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    print("\n".join(asyncio.run(tables(3 if quick else 15))))


if __name__ == "__main__":
    main()
