"""Interceptors of the user, and OpenTelemetry."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import grpc
import grpc.aio
import pytest
from interceptors import Around, Pass, Proceed
from opentelemetry.instrumentation import grpc as instrumentation
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from times import GUARD

from milvus_import import (
    CallRecord,
    DeadlineExceededError,
    ImportClient,
    JobNotFoundError,
    UnavailableError,
    UnsupportedServerError,
)
from milvus_import._errors import hint_of
from milvus_import._hints import Hint
from milvus_import.testing import FakeMilvus
from milvus_import_pb import internal_pb2

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "tracing.py"


class Tagging(Pass):
    """Adds its tag to the metadata, and records the calls."""

    def __init__(self, tag: str = "one") -> None:
        self.tag = tag
        self.seen: list[tuple[str, float | None, list[tuple[str, str | bytes]]]] = []
        self.requests: list[Any] = []

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        details: Any = client_call_details  # a tuple
        method, timeout, given, credentials, ready = details
        metadata = grpc.aio.Metadata(*(given or ()))
        self.seen.append((method.decode(), timeout, list(metadata)))
        self.requests.append(request)
        metadata.add("x-tag", self.tag)
        changed = grpc.aio.ClientCallDetails(method, timeout, metadata, credentials, ready)
        return await continuation(changed, request)


class Idle(grpc.aio.UnaryStreamClientInterceptor):
    """For streams; all calls of the client are unary."""

    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        raise AssertionError("called for a unary call")


@pytest.fixture
def job_id(fake: FakeMilvus) -> str:
    return fake.add_job(state="Importing", progress=40).job_id


async def test_an_interceptor_receives_the_call_and_may_change_its_metadata(
    fake: FakeMilvus, job_id: str
) -> None:
    tagging = Tagging()
    async with ImportClient(fake.internal_uri, token="key", interceptors=[tagging]) as client:
        response = await client.get_import_progress(job_id, timeout=45, metadata={"a": "1"})
    assert response.data.progress == 40
    [(method, timeout, metadata)] = tagging.seen
    assert (method, timeout) == ("/milvus.proto.proxy.Proxy/GetImportProgress", 45)
    assert {("a", "1"), ("authorization", "a2V5")} <= set(metadata)
    assert tagging.requests == [internal_pb2.GetImportProgressRequest(jobID=job_id)]
    [received] = fake.received
    assert received.values("x-tag") == ["one"]
    assert received.values("a") == ["1"]
    assert 20 < (received.time_remaining or 0) < 46


async def test_the_first_interceptor_is_the_outermost(fake: FakeMilvus, job_id: str) -> None:
    chain = [Tagging("outer"), Idle(), Tagging("inner")]
    async with ImportClient(fake.internal_uri, interceptors=chain) as client:
        await client.get_import_progress(job_id)
    assert fake.received[0].values("x-tag") == ["outer", "inner"]


async def test_an_interceptor_receives_each_rpc_of_a_call(fake: FakeMilvus, job_id: str) -> None:
    tagging = Tagging()
    records: list[CallRecord] = []
    async with ImportClient(
        fake.public_uri, interceptors=[tagging], on_finish=records.append
    ) as client:
        await client.get_import_progress(job_id)
    methods = [method for method, _, _ in tagging.seen]
    assert methods == [f"/{record.method}" for record in records]
    assert [record.service for record in records] == ["internal", "public"]
    for received in (*fake.unimplemented, *fake.received):
        assert received.values("x-tag") == ["one"]


async def test_errors_and_records_are_the_same_with_interceptors(
    fake: FakeMilvus, job_id: str
) -> None:
    records: list[CallRecord] = []
    fake.trailing_metadata = (("x-cost", "3"),)
    async with ImportClient(
        fake.internal_uri, interceptors=[Tagging()], on_finish=records.append
    ) as client:
        await client.get_import_progress(job_id)
        with pytest.raises(JobNotFoundError):
            await client.get_import_progress("7")
        fake.inject("unavailable", times=None)
        with pytest.raises(UnavailableError, match="the server is going away") as caught:
            await client.get_import_progress(job_id)
    assert [record.code.name for record in records] == ["OK", "OK", "UNAVAILABLE"]
    assert caught.value.record is records[-1]
    for record in records:
        assert ("x-cost", "3") in record.trailing_metadata


# -------------------------------------------------------------------------- OpenTelemetry


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(spans: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider


@pytest.fixture
def interceptors(provider: TracerProvider) -> list[grpc.aio.ClientInterceptor]:
    untyped: Any = instrumentation
    found: list[grpc.aio.ClientInterceptor] = untyped.aio_client_interceptors(
        tracer_provider=provider
    )
    return found


def _traceparent(span: ReadableSpan) -> str:
    """Without the flags at its end."""
    context = span.get_span_context()
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}"


async def test_opentelemetry_traces_each_rpc_and_the_server_receives_the_traceparent(
    fake: FakeMilvus,
    job_id: str,
    spans: InMemorySpanExporter,
    provider: TracerProvider,
    interceptors: list[grpc.aio.ClientInterceptor],
) -> None:
    async with ImportClient(
        fake.public_uri, token="key", interceptors=interceptors, metadata=[("a", "1"), ("a", "2")]
    ) as client:
        with provider.get_tracer("test").start_as_current_span("look") as ours:
            await client.get_import_progress(job_id)
    *ended, outer = spans.get_finished_spans()
    assert outer.name == "look"
    assert [(span.name, (span.attributes or {})["rpc.grpc.status_code"]) for span in ended] == [
        ("/milvus.proto.proxy.Proxy/GetImportProgress", grpc.StatusCode.UNIMPLEMENTED.value[0]),
        ("/milvus.proto.milvus.MilvusService/GetImportState", 0),
    ]
    for span, received in zip(ended, (*fake.unimplemented, *fake.received), strict=True):
        assert span.kind is SpanKind.CLIENT
        assert span.parent is not None
        assert span.parent.span_id == ours.get_span_context().span_id
        [traceparent] = received.values("traceparent")
        assert str(traceparent).rpartition("-")[0] == _traceparent(span)
        assert received.values("a") == ["1", "2"]
        assert received.values("authorization") == ["a2V5"]


async def test_opentelemetry_marks_the_span_of_a_failed_rpc(
    fake: FakeMilvus,
    spans: InMemorySpanExporter,
    interceptors: list[grpc.aio.ClientInterceptor],
) -> None:
    fake.version = "2.3"
    options: Any = {"interceptors": interceptors, "service": "internal"}
    async with ImportClient(fake.internal_uri, **options) as client:
        with pytest.raises(UnsupportedServerError):
            await client.get_import_progress("7")
    [span] = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert "unknown method" in (span.status.description or "")


async def test_opentelemetry_may_also_instrument_grpc_as_a_whole(
    fake: FakeMilvus, job_id: str, spans: InMemorySpanExporter, provider: TracerProvider
) -> None:
    untyped: Any = instrumentation
    instrumentor = untyped.GrpcAioInstrumentorClient()
    instrumentor.instrument(tracer_provider=provider)
    try:
        async with ImportClient(fake.internal_uri) as client:
            await client.get_import_progress(job_id)
    finally:
        instrumentor.uninstrument()
    [span] = spans.get_finished_spans()
    [traceparent] = fake.received[0].values("traceparent")
    assert str(traceparent).rpartition("-")[0] == _traceparent(span)


async def test_the_example_traces_a_call(fake: FakeMilvus, job_id: str) -> None:
    command = [sys.executable, str(EXAMPLE), fake.internal_uri, job_id]
    done = await anyio.run_process(command)
    output = done.stdout.decode()
    assert "Importing 40%" in output
    assert '"name": "/milvus.proto.proxy.Proxy/GetImportProgress"' in output
    [traceparent] = fake.received[0].values("traceparent")
    assert str(traceparent).split("-")[1] in output


# ------------------------------------------------------------------------ slow interceptors


async def raise_after(proceed: Proceed) -> Any:
    await (await proceed())
    raise LookupError


async def test_a_call_whose_interceptor_raises_after_the_response_has_a_record(
    fake: FakeMilvus, job_id: str
) -> None:
    records: list[CallRecord] = []
    uri = fake.internal_uri
    async with ImportClient(
        uri, interceptors=[Around(raise_after)], on_finish=records.append
    ) as client:
        with pytest.raises(LookupError):
            await client.get_import_progress(job_id)
    assert len(fake.received) == 1
    assert [(record.code, record.details) for record in records] == [
        (grpc.StatusCode.UNKNOWN, "an interceptor raised LookupError")
    ]


async def slow_before(proceed: Proceed) -> Any:
    await asyncio.sleep(GUARD)
    return await proceed()


async def slow_after(proceed: Proceed) -> Any:
    call = await proceed()
    await call
    await asyncio.sleep(GUARD)
    return call


@pytest.mark.parametrize("slow", [slow_before, slow_after])
@pytest.mark.parametrize("service", ["auto", "internal", "public"])
@pytest.mark.parametrize("added", ["by the client", "from outside"])
async def test_a_slow_interceptor_is_named_at_the_timeout(
    fake: FakeMilvus, added: str, service: Any, slow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries for tracing replace the functions that create channels."""
    create: Any = grpc.aio.insecure_channel
    options: dict[str, Any] = {"interceptors": [Around(slow)]}
    if added == "from outside":

        def insecure_channel(target: str, **given: Any) -> object:
            return create(target, **(given | {"interceptors": [Around(slow)]}))

        monkeypatch.setattr(grpc.aio, "insecure_channel", insecure_channel)
        options = {}
    uri = fake.public_uri if service == "public" else fake.internal_uri
    records: list[CallRecord] = []
    async with ImportClient(uri, service=service, **options) as client:
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError, match=r"no response within 0\.3 s") as caught:
            await client.get_import_progress("1", timeout=0.3, on_finish=records.append)
        assert time.monotonic() - started < GUARD / 2
    assert hint_of(caught.value) is Hint.INTERCEPTOR_SLOW
    assert len(records) == 1
