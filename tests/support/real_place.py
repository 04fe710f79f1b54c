"""A real Milvus with collections, files, and stubs of gRPC alone."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import anyio
import demo
import grpc.aio
from real_milvus import RealMilvus

from milvus_import import ImportClient
from milvus_import_pb.milvus_grpc import MilvusServiceStub

_names = count(1)


def raw_channel(uri: str) -> grpc.aio.Channel:
    """A channel without any option of the client."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    return grpc.aio.insecure_channel(uri.removeprefix("http://"), options=options)


@dataclass
class Place:
    """Shared by the tests of one server."""

    server: RealMilvus
    client: ImportClient
    stub: MilvusServiceStub
    folder: Path

    async def collection(self) -> str:
        """Create an empty collection."""
        name = f"books_{next(_names)}"
        await demo.create_collection(self.stub, name)
        return name

    async def count_rows(self, collection: str) -> int:
        """Return the server's own count of the rows."""
        return await demo.count_rows(self.stub, collection)

    async def rows_file(self, rows: int) -> str:
        """Write a JSON file of this number of rows."""
        path = self.folder / f"rows-{rows}.json"
        if not path.exists():
            await anyio.to_thread.run_sync(demo.write_rows, path, rows)
        return str(path)

    def file(self, name: str, text: str) -> str:
        """Write a file of this text."""
        path = self.folder / name
        path.write_text(text)
        return str(path)


@asynccontextmanager
async def place_at(server: RealMilvus, *, timeout: float = 30.0) -> AsyncGenerator[Place, None]:
    """Create a client of the server, a stub and a folder, and close and delete them afterwards."""
    with tempfile.TemporaryDirectory(prefix="milvus-import-") as folder:
        async with (
            raw_channel(server.uri) as channel,
            ImportClient(server.uri, rpc_timeout=timeout) as client,
        ):
            yield Place(server, client, MilvusServiceStub(channel), Path(folder))
