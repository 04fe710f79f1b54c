"""A web service around one client: POST /imports starts a job, GET /imports/ID/events streams it.

    pip install . starlette uvicorn        # in a clone
    MILVUS_URI=http://localhost:19530 uvicorn --timeout-graceful-shutdown 5 service:app

    curl -d '{"collection": "books", "files": ["books.parquet"]}' localhost:8000/imports
    curl -N localhost:8000/imports/449839014328146739/events

The deadline (X-Timeout-Seconds) and the id (X-Request-Id) of a request are sent with its calls
to Milvus.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypedDict, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from milvus_import import (
    ArgumentError,
    DeadlineExceededError,
    ImportClient,
    JobNotFoundError,
    MilvusImportError,
)


class State(TypedDict):
    """The state that all requests share."""

    client: ImportClient


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncGenerator[State, None]:
    """Create one client for the whole service, and close it at the end."""
    uri, token = os.environ["MILVUS_URI"], os.environ.get("MILVUS_TOKEN")
    async with ImportClient(uri, token=token) as client:
        yield {"client": client}


def deadline(request: Request) -> float:
    """Return the seconds that the sender of the request allows."""
    text = request.headers.get("x-timeout-seconds", "10")
    try:
        return float(text)
    except ValueError:
        raise HTTPException(400, f"X-Timeout-Seconds must be a number, got {text!r}") from None


def metadata(request: Request) -> dict[str, str]:
    """Return the id of the request. Gateways forward this key; some drop keys with "_"."""
    return {"x-request-id": request.headers.get("x-request-id") or uuid.uuid4().hex}


async def start(request: Request) -> JSONResponse:
    """Start an import of ``{"collection": ..., "files": [...]}``."""
    try:
        body = await request.json()
    except ValueError as error:
        raise HTTPException(400, f"the body must be JSON: {error}") from None
    match body:
        case {"collection": str(collection), "files": [*files]} if all(
            isinstance(file, str) for file in files
        ):
            pass
        case _:
            raise HTTPException(400, 'send {"collection": "...", "files": ["...", ...]}')
    client: ImportClient = request.state.client
    job_id = await client.create_import(
        collection,
        files,
        idempotency_key=request.headers.get("idempotency-key"),
        timeout=deadline(request),
        metadata=metadata(request),
    )
    return JSONResponse({"jobId": job_id}, status_code=202)


async def events(request: Request) -> StreamingResponse:
    """Send every change of a job as a server-sent event, until the job has ended."""
    client: ImportClient = request.state.client
    job_id, seconds, sent = request.path_params["job_id"], deadline(request), metadata(request)
    # An error of the first call still has an HTTP status; the watch retries transient errors.
    await client.get_import_progress(job_id, timeout=seconds, metadata=sent)

    async def stream() -> AsyncGenerator[str, None]:
        try:
            async for progress in client.watch(job_id, rpc_timeout=seconds, metadata=sent):
                yield f"event: progress\ndata: {json.dumps(progress.to_dict())}\n\n"
        except MilvusImportError as error:
            yield f"event: error\ndata: {json.dumps(str(error))}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


def http_status(error: MilvusImportError) -> int:
    """Return the HTTP status of an error. Errors of the service itself are 500 as usual."""
    match error:
        case ArgumentError():  # all arguments of the calls above come from the request
            return 400
        case JobNotFoundError():
            return 404
        case DeadlineExceededError():
            return 504
        case _:
            return 503 if error.transient else 502


async def import_error(_: Request, error: Exception) -> JSONResponse:
    """Respond with the error's own text."""
    failure = cast("MilvusImportError", error)
    body = {"error": str(failure), "mayHaveRun": failure.may_have_run}
    return JSONResponse(body, status_code=http_status(failure))


async def http_error(_: Request, error: Exception) -> JSONResponse:
    """Respond to an invalid request."""
    rejected = cast("HTTPException", error)
    return JSONResponse({"error": rejected.detail}, status_code=rejected.status_code)


app = Starlette(
    routes=[
        Route("/imports", start, methods=["POST"]),
        Route("/imports/{job_id}/events", events),
    ],
    exception_handlers={MilvusImportError: import_error, HTTPException: http_error},
    lifespan=lifespan,
)
