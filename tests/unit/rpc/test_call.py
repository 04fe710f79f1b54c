"""One RPC that gRPC or an interceptor does not end, or that closing the client ends."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from milvus_import import ClientClosedError, DeadlineExceededError
from milvus_import._address import parse_uri
from milvus_import._connection import _call, _channel
from milvus_import._connection._call import unary
from milvus_import._connection._channel import Connection, LazyChannel
from milvus_import._options import CallSettings
from milvus_import._services._internal import GET_IMPORT_PROGRESS
from milvus_import_pb import internal_pb2

pytestmark = pytest.mark.anyio

REQUEST = internal_pb2.GetImportProgressRequest(jobID="7")


@pytest.mark.real_delays
async def test_limits_are_the_documented_ones() -> None:
    assert _call.OVERDUE == 1.0
    assert _call.DETACHED_LIFETIME == 30.0
    assert _channel.SWEEP_INTERVAL == 1.0
    assert _channel.CLOSE_GRACE == 1.0


class Hold(grpc.aio.UnaryUnaryClientInterceptor):
    """Holds each call until it is cancelled."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        self.reached.set()
        await asyncio.Event().wait()


def lazy_channel(*interceptors: grpc.aio.ClientInterceptor) -> LazyChannel:
    return LazyChannel(parse_uri("http://127.0.0.1:1"), [], None, interceptors)


async def call(channel: LazyChannel, timeout: float | None = 10.0) -> Any:
    settings = CallSettings(timeout=timeout)
    return await unary(channel, GET_IMPORT_PROGRESS, REQUEST, settings, timeout)


async def test_call_that_an_interceptor_holds_is_given_up_after_two_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_call, "OVERDUE", 0.2)
    channel = lazy_channel(Hold())
    started = time.monotonic()
    with pytest.raises(DeadlineExceededError, match="an interceptor delayed the call") as caught:
        await call(channel, 0.05)
    # Twice, because a blocked event loop delays the call as well as the timer.
    assert time.monotonic() - started >= 0.05 + 0.2 + 0.2
    assert caught.value.may_have_run
    await channel.close()


async def test_call_in_flight_may_have_run_when_the_client_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_channel, "CLOSE_GRACE", 0.05)
    hold = Hold()
    channel = lazy_channel(hold)
    running = asyncio.ensure_future(call(channel))
    await hold.reached.wait()
    connection = channel.connection()
    await channel.close()
    assert not connection.in_flight
    with pytest.raises(ClientClosedError, match="the client was closed during the call") as caught:
        await running
    error = caught.value
    assert error.may_have_run
    assert (error.method, error.service) == ("GetImportProgress", "internal")
    assert error.target == "127.0.0.1:1"


@pytest.mark.parametrize("intercepted", [False, True])
async def test_call_that_did_not_start_may_have_run_only_if_there_are_interceptors(
    intercepted: bool,
) -> None:
    """Interceptors may have sent requests of their own before gRPC found the channel closed."""
    channel, absent = lazy_channel(*[Hold()] * intercepted), cast("Any", None)
    channel.pauses.close()
    ended = _call._InFlightCall(  # pyright: ignore[reportPrivateUsage]
        channel, GET_IMPORT_PROGRESS, CallSettings(), absent, absent, None, 0.0
    )
    error = ended._not_started(grpc.aio.UsageError())  # pyright: ignore[reportPrivateUsage]
    assert isinstance(error, ClientClosedError)
    assert "the client was closed before the call started" in str(error)
    assert error.may_have_run is intercepted


class Stuck:
    """A call that gRPC never ends."""

    cancelled = False

    def done(self) -> bool:
        return False

    def cancel(self) -> None:
        self.cancelled = True


async def test_sweep_gives_up_a_call_that_is_overdue_twice_in_a_row() -> None:
    channel: Any = None
    connection = Connection(channel, asyncio.get_running_loop(), parse=False)
    overdue: Any = Stuck()
    in_time: Any = Stuck()
    now = time.monotonic()
    connection.in_flight |= {overdue: now - 1, in_time: now + 3600}
    sweeps: list[tuple[bool, bool]] = []
    for _ in range(2):
        connection.sweep()
        assert connection.sweeper is not None
        connection.sweeper.cancel()
        sweeps.append((overdue.cancelled, overdue in connection.in_flight))
    assert sweeps == [(False, True), (True, False)]
    assert not in_time.cancelled
    assert list(connection.in_flight) == [in_time]


async def test_sweep_stops_when_no_call_is_in_flight() -> None:
    channel: Any = None
    connection = Connection(channel, asyncio.get_running_loop(), parse=False)
    connection.sweep()
    assert connection.sweeper is None
