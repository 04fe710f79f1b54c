"""A web service around one client: POST /imports starts a job, GET /imports/ID/events streams it.

    pip install . starlette uvicorn        # in a clone
    MILVUS_URI=http://localhost:19530 uvicorn --timeout-graceful-shutdown 5 service:app

    curl -d '{"collection": "books", "files": ["books.parquet"]}' localhost:8000/imports
    curl -N localhost:8000/imports/449839014328146739/events

Each request's deadline (X-Timeout-Seconds) and id (X-Request-Id) go with its calls to Milvus.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypedDict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from milvus_import import (
    CallOptions,
    DeadlineExceededError,
    ImportClient,
    JobNotFoundError,
    MilvusImportError,
)


class State(TypedDict):
    """What the requests share."""

    client: ImportClient


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[State, None]:
    """One client for the whole service, closed when it ends."""
    uri, token = os.environ["MILVUS_URI"], os.environ.get("MILVUS_TOKEN")
    async with ImportClient(uri, token=token) as client:
        yield {"client": client}


def call_options(request: Request) -> CallOptions:
    """The deadline and the id of this request."""
    return {
        "timeout": float(request.headers.get("x-timeout-seconds", "10")),
        "metadata": {"client_request_id": request.headers.get("x-request-id") or uuid.uuid4().hex},
    }


async def start(request: Request) -> JSONResponse:
    """Start an import of ``{"collection": ..., "files": [...]}``."""
    match await request.json():
        case {"collection": collection, "files": files}:
            pass
        case _:
            raise ValueError('send {"collection": ..., "files": [...]}')
    client: ImportClient = request.state.client
    job_id = await client.create_import(
        collection,
        files,
        idempotency_key=request.headers.get("idempotency-key"),
        **call_options(request),
    )
    return JSONResponse({"jobId": job_id}, status_code=202)


async def events(request: Request) -> StreamingResponse:
    """Every change of a job as a server-sent event, until it has ended."""
    client: ImportClient = request.state.client
    job_id, options = request.path_params["job_id"], call_options(request)
    # What is wrong from the start gets a status of its own; later faults are borne by the watch.
    await client.get_import_progress(job_id, **options)

    async def stream() -> AsyncGenerator[str, None]:
        try:
            async for progress in client.watch(job_id, call=options):
                yield f"event: progress\ndata: {json.dumps(progress.to_dict())}\n\n"
        except MilvusImportError as error:
            yield f"event: fault\ndata: {json.dumps(str(error))}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


def replying(status: int) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    """A handler that answers with the error's own words."""

    async def handler(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=status)

    return handler


app = Starlette(
    routes=[
        Route("/imports", start, methods=["POST"]),
        Route("/imports/{job_id}/events", events),
    ],
    exception_handlers={
        ValueError: replying(400),  # the client refuses bad arguments before it sends anything
        TypeError: replying(400),
        JobNotFoundError: replying(404),
        MilvusImportError: replying(502),
        DeadlineExceededError: replying(504),
    },
    lifespan=lifespan,
)
