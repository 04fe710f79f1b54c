"""Trace every RPC with OpenTelemetry's own gRPC instrumentation.

    pip install . opentelemetry-instrumentation-grpc opentelemetry-sdk        # in a clone
    python examples/tracing.py http://localhost:19530 449839014328146739

The interceptors create a client span for each RPC and send its ``traceparent``, which Milvus reads:
the spans of the server are then children of yours. On port 19530 the first call has two spans: the
client calls the internal service first, and that port responds UNIMPLEMENTED.
``service="public"`` avoids it.
"""

from __future__ import annotations

import asyncio
import sys

from opentelemetry import trace
from opentelemetry.instrumentation.grpc import (
    aio_client_interceptors,  # pyright: ignore[reportUnknownVariableType]
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from milvus_import import ImportClient, MilvusImportError


async def main(uri: str, job_id: str) -> None:
    """Get the progress of a job within a span of this program."""
    tracer = trace.get_tracer("examples.tracing")
    interceptors = aio_client_interceptors()  # type: ignore[no-untyped-call]
    async with ImportClient(uri, interceptors=interceptors) as client:
        with tracer.start_as_current_span("get the progress"):
            response = await client.get_import_progress(job_id)
    print(response.data.state, f"{response.data.fraction:.0%}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except MilvusImportError as error:
        sys.exit(str(error))
