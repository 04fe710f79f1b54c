"""One gRPC channel: opened at the first call, bound to that call's event loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio

from .._address import Endpoint
from .._errors import ArgumentError
from .._text import shorten
from . import _process
from ._lazy import CLOSE_GRACE, LazyConnection

if TYPE_CHECKING:
    from ._method import Method

    CallOrTask = grpc.aio.UnaryUnaryCall[Any, Any] | asyncio.Task[Any]
    """A call, or the task that awaits it."""

SWEEP_INTERVAL = 1.0
"""Seconds between two sweeps of the calls in flight."""

ChannelOption = tuple[str, Any]
"""The name and the value of a gRPC channel argument."""


def channel_arguments(
    endpoint: Endpoint,
    max_receive_bytes: int,
    max_send_bytes: int,
    extra: Iterable[ChannelOption] = (),
) -> list[ChannelOption]:
    """Return the channel arguments; those in ``extra`` override others of the same name."""
    validate_message_sizes(max_receive_bytes, max_send_bytes)
    options: dict[str, Any] = {
        "grpc.max_receive_message_length": max_receive_bytes,
        "grpc.max_send_message_length": max_send_bytes,
        "grpc.lb_policy_name": "round_robin" if endpoint.several else "pick_first",
        # Reconnects 0.3-0.7 s after the server is back; with gRPC's defaults, up to 19 s.
        "grpc.initial_reconnect_backoff_ms": 200,
        "grpc.max_reconnect_backoff_ms": 1000,
        # A silently dropped connection is detected in 25 s instead of never. Milvus accepts a ping
        # every 5 s; one is only sent with a call in flight and nothing received since.
        "grpc.keepalive_time_ms": 10_000,
        "grpc.keepalive_timeout_ms": 15_000,
        "grpc.http2.ping_timeout_ms": 15_000,
    }
    if endpoint.loopback:
        options["grpc.enable_http_proxy"] = 0
    return list((options | dict(validate_channel_options(extra))).items())


def validate_message_sizes(max_receive_bytes: int, max_send_bytes: int) -> None:
    """Raise TypeError or ArgumentError unless both are 1 to 2**31-1."""
    for name, size in (("receive", max_receive_bytes), ("send", max_send_bytes)):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"max_{name}_bytes must be an int, got {shorten(size)}")
        if not 0 < size < 2**31:
            raise ArgumentError(f"max_{name}_bytes must be 1 to 2**31-1, got {size}")


def validate_interceptors(interceptors: object) -> tuple[grpc.aio.ClientInterceptor, ...]:
    """Return the interceptors as a tuple. Raises TypeError for any other object."""
    if not isinstance(interceptors, Iterable):
        raise TypeError(f"interceptors must be a sequence, got {shorten(interceptors)}")
    validated: list[grpc.aio.ClientInterceptor] = []
    for interceptor in cast("Iterable[object]", interceptors):
        if not isinstance(interceptor, grpc.aio.ClientInterceptor):
            kind = type(interceptor).__name__
            raise TypeError(
                f"interceptors must hold grpc.aio.UnaryUnaryClientInterceptor objects, got {kind}"
            )
        validated.append(interceptor)
    return tuple(validated)


class Connection:
    """An open channel with its stubs and the calls in flight."""

    def __init__(
        self, channel: grpc.aio.Channel, loop: asyncio.AbstractEventLoop, *, parse: bool
    ) -> None:
        """``parse``: let gRPC parse the replies, because interceptors expect messages."""
        self.channel = channel
        self.loop = loop
        self.process = os.getpid()
        self.in_flight: dict[CallOrTask, float] = {}
        """Each call that has not ended, detached ones too, and when it should (time.monotonic)."""
        self.sweeper: asyncio.TimerHandle | None = None
        self._parse = parse
        self._stubs: dict[str, grpc.aio.UnaryUnaryMultiCallable[Any, Any]] = {}
        self._overdue: set[CallOrTask] = set()
        """The calls that were overdue at the last sweep."""

    def stub(self, method: Method[Any, Any]) -> grpc.aio.UnaryUnaryMultiCallable[Any, Any]:
        """Return the stub of a method."""
        stub = self._stubs.get(method.path)
        if stub is None:
            stub = self._stubs[method.path] = self.channel.unary_unary(
                f"/{method.path}",
                request_serializer=method.request_type.SerializeToString,
                # Replies are untrusted: their entries are limited before they are parsed.
                response_deserializer=method.reply_type.FromString if self._parse else None,
            )
        return stub

    def sweep(self) -> None:
        """Cancel overdue calls that gRPC did not end. Repeats while calls are in flight.

        A call must be overdue twice, because a blocked event loop delays gRPC's own events as
        well. One timer for all calls costs less than one per call.
        """
        now = time.monotonic()
        overdue = {call for call, due in self.in_flight.items() if due <= now and not call.done()}
        for call in overdue & self._overdue:
            del self.in_flight[call]
            call.cancel()
        self._overdue = overdue - self._overdue
        self.sweeper = None
        if self.in_flight:  # an empty context: the timer must not keep the first caller's alive
            self.sweeper = self.loop.call_later(SWEEP_INTERVAL, self.sweep, context=Context())


class LazyChannel(LazyConnection[Connection]):
    """Opens the channel at the first call, and closes it once."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: list[ChannelOption],
        credentials: grpc.ChannelCredentials | None,
        interceptors: Sequence[grpc.aio.ClientInterceptor],
    ) -> None:
        super().__init__(endpoint)
        self.interceptors = tuple(interceptors)
        self._options = options
        self._credentials = credentials

    def _open(self, loop: asyncio.AbstractEventLoop) -> Connection:
        if _process.forked_with_open_channel:
            raise self._fork_error()
        target, options = self.endpoint.target, self._options
        channel = (
            grpc.aio.insecure_channel(target, options=options, interceptors=self.interceptors)
            if self._credentials is None
            else grpc.aio.secure_channel(
                target, self._credentials, options=options, interceptors=self.interceptors
            )
        )
        connection = Connection(channel, loop, parse=bool(self.interceptors))
        _process.channel_opened(connection)
        return connection

    async def _shut_down(self, connection: Connection) -> None:
        await _wait_until_idle(connection, CLOSE_GRACE)
        for call in tuple(connection.in_flight):
            call.cancel()
        await _wait_until_idle(connection, CLOSE_GRACE)
        if connection.sweeper is not None:
            connection.sweeper.cancel()
        await connection.channel.close()
        _process.channel_closed(connection)


def validate_channel_options(extra: object) -> list[ChannelOption]:
    """Return the pairs. Raises TypeError for anything else."""
    if isinstance(extra, (str, bytes)) or not isinstance(extra, Iterable):
        raise TypeError(f"channel_options must be a sequence of pairs, got {shorten(extra)}")
    options: list[ChannelOption] = []
    for option in cast("Iterable[object]", extra):
        pair = cast("ChannelOption", option)
        if not isinstance(option, tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise TypeError(
                "channel_options must hold pairs of name and value; one entry is not a pair"
            )
        options.append(pair)
    return options


async def _wait_until_idle(connection: Connection, seconds: float) -> None:
    """Wait until no call is in flight, for at most ``seconds``."""
    end = connection.loop.time() + seconds
    while connection.in_flight and connection.loop.time() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.005)  # a dict that empties has no event to wait for
