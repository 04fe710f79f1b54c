"""A web service around one client: POST /imports starts a job, GET /imports/ID/events streams it.

    pip install . starlette uvicorn        # in a clone
    MILVUS_URI=http://localhost:19530 uvicorn --timeout-graceful-shutdown 5 service:app

    curl -d '{"collection": "books", "files": ["books.parquet"]}' localhost:8000/imports
    curl -N localhost:8000/imports/449839014328146739/events

The events are "progress", one per change, and one "end", after which the page must close its
EventSource, or the browser connects again. A comment every 15 seconds keeps proxies from closing
an idle stream (nginx does so after 60 s).

The deadline (X-Timeout-Seconds) and the id (X-Request-Id) of a request are sent with its own call
to Milvus. The watch has none of them, so that all streams of a job share its polls.
"""

from __future__ import annotations

import asyncio
import json
import math
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

HEARTBEAT = 15.0
"""Seconds without an event after which a comment is sent."""


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


def event(name: str, data: object) -> str:
    """Return a server-sent event. A name "error" would collide with EventSource's own."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def follow(client: ImportClient, job_id: str) -> AsyncGenerator[str, None]:
    """Yield each change of a job, comments while there is none, and one event at the end."""
    watch = client.watch(job_id)
    change = asyncio.ensure_future(anext(watch, None))
    last: str | None = None
    try:
        while True:
            done, _ = await asyncio.wait({change}, timeout=HEARTBEAT)
            if not done:
                yield ": no change\n\n"
                continue
            progress = change.result()
            if progress is None:
                break
            last = progress.state
            yield event("progress", progress.to_dict())
            change = asyncio.ensure_future(anext(watch, None))
        yield event("end", {"state": last, "error": None})
    except MilvusImportError as error:
        yield event("end", {"state": last, "error": str(error)})
    finally:
        change.cancel()


async def events(request: Request) -> StreamingResponse:
    """Send every change of a job as a server-sent event, until the job has ended."""
    client: ImportClient = request.state.client
    job_id = request.path_params["job_id"]
    # An error of the first call still has an HTTP status; the watch retries transient errors.
    await client.get_import_progress(job_id, timeout=deadline(request), metadata=metadata(request))
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # nginx must not buffer
    return StreamingResponse(
        follow(client, job_id), media_type="text/event-stream", headers=headers
    )


def http_status(error: MilvusImportError) -> int:
    """Return the HTTP status of an error. Errors of the service itself are 500 as usual."""
    match error:
        case ArgumentError():  # all arguments of the calls above come from the request
            return 400
        case JobNotFoundError():
            return 404
        case DeadlineExceededError():
            return 504
        case _ if error.rate_limited:
            return 429
        case _:
            return 503 if error.transient else 502


async def import_error(_: Request, error: Exception) -> JSONResponse:
    """Respond with the error's own text."""
    failure = cast("MilvusImportError", error)
    body = {"error": str(failure), "mayHaveRun": failure.may_have_run}
    wait = failure.retry_after
    headers = {} if wait is None else {"Retry-After": str(math.ceil(wait))}
    return JSONResponse(body, status_code=http_status(failure), headers=headers)


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
