"""Use milvus_import and pymilvus in one process: one step of `make test-alongside`.

python tests/alongside/both.py milvus_import|pymilvus upb|python

The arguments are the package that is imported first, and protobuf's backend.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import os
import sys
import warnings
from pathlib import Path
from typing import Any

_PACKAGES = ("milvus_import", "pymilvus")
_NO_JOB = "1"
_TIMEOUT = 30.0


async def main() -> None:
    """Each calls the same server at the same time and maps the responses in its own way."""
    from milvus_import.testing import FakeMilvus

    async with FakeMilvus() as server:
        job = server.add_job(state="Importing", progress=40)
        theirs, internal, public = await asyncio.gather(
            asyncio.to_thread(call_pymilvus, server.public_uri, job.job_id),
            call_milvus_import(server.internal_uri, job.job_id),
            call_milvus_import(server.public_uri, job.job_id),
        )
        methods = sorted(call.method for call in server.received)
    assert internal == ["Importing", 40, 500, 2101, "internal"], internal
    assert public == ["Importing", 40, 500, 2101, "public"], public
    assert theirs == ["Started", 40, 500, 2101], theirs
    assert methods == 2 * ["GetImportProgress"] + 4 * ["GetImportState"], methods


async def call_milvus_import(uri: str, job_id: str) -> list[Any]:
    """Return the job as milvus_import maps it, and the code and service of an error."""
    from milvus_import import ImportClient, JobNotFoundError

    async with ImportClient(uri, rpc_timeout=_TIMEOUT) as client:
        data = (await client.get_import_progress(job_id)).data
        try:
            await client.get_import_progress(_NO_JOB)
        except JobNotFoundError as error:
            return [data.state, data.progress, data.imported_rows, error.code, error.service]
    raise AssertionError("milvus_import found a job that does not exist")


def call_pymilvus(uri: str, job_id: str) -> list[Any]:
    """Return the job as pymilvus maps it, and the code of an error."""
    pymilvus: Any = importlib.import_module("pymilvus")
    handlers: Any = importlib.import_module("pymilvus.client.grpc_handler")
    handler = handlers.GrpcHandler(uri=uri)
    try:
        job = handler.get_bulk_insert_state(int(job_id), timeout=_TIMEOUT)
        try:
            handler.get_bulk_insert_state(int(_NO_JOB), timeout=_TIMEOUT)
        except pymilvus.MilvusException as error:
            return [job.state_name, job.progress, job.row_count, error.code]
    finally:
        handler.close()
    raise AssertionError("pymilvus found a job that does not exist")


def import_both(first: str) -> None:
    """Import both packages; a warning from milvus_import is an error."""
    warnings.filterwarnings("error", module=r"milvus_import(_pb)?\b")
    for name in sorted(_PACKAGES, key=first.__ne__):
        module = importlib.import_module(name)
        assert Path(module.__file__ or "").is_relative_to(sys.prefix), module


if __name__ == "__main__":
    _, first, backend = sys.argv
    assert first in _PACKAGES, first
    faulthandler.dump_traceback_later(4 * _TIMEOUT, exit=True)
    os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = backend
    import_both(first)
    used = importlib.import_module("google.protobuf.internal.api_implementation").Type()
    assert used == backend, used
    asyncio.run(main())
