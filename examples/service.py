"""A web service around one client: POST /imports starts a job, GET /imports/ID/events streams it.

Run it with: MILVUS_URI=http://localhost:19530 uvicorn service:app
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from milvus_import import CallOptions, ImportClient, JobNotFoundError, MilvusImportError


class State(TypedDict):
    """What the requests share."""

    client: ImportClient


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[State, None]:
    """One client for the whole service, closed when it ends."""
    async with ImportClient(
        os.environ["MILVUS_URI"], token=os.environ.get("MILVUS_TOKEN")
    ) as client:
        yield {"client": client}


def call_options(request: Request) -> CallOptions:
    """Each request's own deadline and id go with its calls to Milvus."""
    return {
        "timeout": float(request.headers.get("x-timeout-seconds", "10")),
        "metadata": {"client_request_id": request.headers.get("x-request-id", uuid.uuid4().hex)},
    }


async def start(request: Request) -> JSONResponse:
    """Start an import of ``{"collection": ..., "files": [...]}``."""
    client: ImportClient = request.state.client
    order = await request.json()
    job_id = await client.create_import(
        order["collection"],
        order["files"],
        idempotency_key=request.headers.get("idempotency-key"),
        **call_options(request),
    )
    return JSONResponse({"jobId": job_id}, status_code=202)


async def events(request: Request) -> StreamingResponse:
    """Every change of a job as a server-sent event, until it has ended."""
    client: ImportClient = request.state.client
    job_id = request.path_params["job_id"]

    async def stream() -> AsyncIterator[str]:
        try:
            async for progress in client.watch(job_id, call=call_options(request)):
                yield f"event: progress\ndata: {json.dumps(progress.to_dict())}\n\n"
        except MilvusImportError as error:
            yield f"event: error\ndata: {json.dumps(str(error))}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


async def unknown_job(_: Request, error: Exception) -> JSONResponse:
    """No such job."""
    return JSONResponse({"error": str(error)}, status_code=404)


async def milvus_error(_: Request, error: Exception) -> JSONResponse:
    """Milvus is out of reach or refuses; its own words tell which."""
    return JSONResponse({"error": str(error)}, status_code=502)


async def bad_request(_: Request, error: Exception) -> JSONResponse:
    """The client refused the arguments before it sent anything."""
    return JSONResponse({"error": str(error)}, status_code=400)


app = Starlette(
    routes=[
        Route("/imports", start, methods=["POST"]),
        Route("/imports/{job_id}/events", events),
    ],
    exception_handlers={
        JobNotFoundError: unknown_job,
        MilvusImportError: milvus_error,
        ValueError: bad_request,
        TypeError: bad_request,
    },
    lifespan=lifespan,
)
