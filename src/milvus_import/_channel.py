"""One channel and its two stubs: opened at the first call, bound to that call's event loop."""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import anyio
import grpc
import grpc.aio

from milvus_import_pb.milvus_grpc import MilvusServiceStub
from milvus_import_pb.proxy_grpc import ProxyStub

from ._endpoint import Endpoint
from ._errors import ClientClosedError

CLOSE_GRACE = 1.0
"""Seconds close() gives the calls in flight."""

ChannelOption = tuple[str, Any]
"""The name and the value of a gRPC channel argument."""
if TYPE_CHECKING:
    RpcOrTask = grpc.aio.UnaryUnaryCall[Any, Any] | asyncio.Task[Any]
    """An RPC, or the task that runs it."""

# gRPC's own retries, for the reads only. Text, because it is constant; json costs 1 ms to import.
_SERVICE_CONFIG = """{
  "loadBalancingConfig": [{"%s": {}}],
  "methodConfig": [{
    "name": [
      {"service": "milvus.proto.proxy.Proxy", "method": "GetImportProgress"},
      {"service": "milvus.proto.proxy.Proxy", "method": "ListImports"},
      {"service": "milvus.proto.milvus.MilvusService", "method": "GetImportState"},
      {"service": "milvus.proto.milvus.MilvusService", "method": "ListImportTasks"}
    ],
    "retryPolicy": {
      "maxAttempts": 3,
      "initialBackoff": "0.1s",
      "maxBackoff": "0.4s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}"""


def channel_arguments(
    endpoint: Endpoint,
    max_receive_bytes: int,
    max_send_bytes: int,
    extra: Sequence[ChannelOption] = (),
) -> list[ChannelOption]:
    """Our channel arguments; those in ``extra`` win over ours of the same name."""
    for name, size in (("receive", max_receive_bytes), ("send", max_send_bytes)):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"max_{name}_bytes is an int, not {size!r}")
        if not 0 < size < 2**31:
            raise ValueError(f"max_{name}_bytes is {size}; it must be 1 to 2**31-1")
    if not isinstance(extra, Iterable):
        raise TypeError(f"channel_options is a sequence of pairs, not {extra!r}")
    for option in extra:
        if not isinstance(option, tuple) or len(option) != 2 or not isinstance(option[0], str):
            raise TypeError("channel_options holds an entry that is no pair of name and value")
    # Calls go round the addresses where there are several.
    balancing = "round_robin" if endpoint.several else "pick_first"
    options: dict[str, Any] = {
        "grpc.max_receive_message_length": max_receive_bytes,
        "grpc.max_send_message_length": max_send_bytes,
        "grpc.service_config": _SERVICE_CONFIG % balancing,
        # Back 0.3-0.7 s after the server; gRPC's own values are up to 19 s late.
        "grpc.initial_reconnect_backoff_ms": 200,
        "grpc.max_reconnect_backoff_ms": 1000,
        # A silently dropped connection is noticed in 25 s instead of never. Milvus takes a ping
        # every 5 s; it is only sent with a call in flight that nothing else has been heard of.
        "grpc.keepalive_time_ms": 10_000,
        "grpc.keepalive_timeout_ms": 15_000,
        "grpc.http2.ping_timeout_ms": 15_000,
    }
    if endpoint.loopback:
        options["grpc.enable_http_proxy"] = 0
    options |= dict(extra)
    return list(options.items())


class InterceptorError(grpc.aio.AioRpcError):
    """What an interceptor raised, in the only form that gRPC 1.66 lets pass without noise."""

    def __init__(self, cause: Exception) -> None:
        nothing = grpc.aio.Metadata()
        super().__init__(grpc.StatusCode.UNKNOWN, nothing, nothing, type(cause).__name__)
        self.cause = cause


class _Outermost(grpc.aio.UnaryUnaryClientInterceptor):
    """Stands before the user's interceptors and wraps what they raise."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        going = continuation(client_call_details, request)
        del client_call_details, request  # they may hold secrets, and errors keep this frame
        try:
            return await going
        except grpc.aio.AioRpcError:
            raise
        except Exception as error:
            raise InterceptorError(error) from error


class Connection:
    """An open channel with its stubs."""

    def __init__(self, channel: grpc.aio.Channel, loop: asyncio.AbstractEventLoop) -> None:
        self.channel = channel
        self.loop = loop
        self.process = os.getpid()
        self.proxy = ProxyStub(channel)
        self.milvus = MilvusServiceStub(channel)
        self.in_flight: dict[RpcOrTask, float] = {}
        """Each RPC that has not ended, abandoned ones too, and when it should (time.monotonic)."""
        self.sweeper: asyncio.TimerHandle | None = None
        self.closing = asyncio.Event()
        """Set when the client is closed."""
        self._late: set[RpcOrTask] = set()
        """Those that were overdue when the sweep last looked."""

    def sweep(self) -> None:
        """Each second while calls are in flight: give up those that gRPC left lying.

        Looks twice, because a blocked loop delays gRPC's own news as well. One timer for all calls
        costs less than one for each.
        """
        now = time.monotonic()
        late = {call for call, due in self.in_flight.items() if due <= now and not call.done()}
        for call in late & self._late:
            del self.in_flight[call]
            call.cancel()
        self._late = late - self._late
        self.sweeper = self.loop.call_later(1.0, self.sweep) if self.in_flight else None


class LazyChannel:
    """Opens the connection when the first call asks for it, and closes it once."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: list[ChannelOption],
        credentials: grpc.ChannelCredentials | None,
        interceptors: Sequence[grpc.aio.ClientInterceptor],
    ) -> None:
        self.endpoint = endpoint
        self.interceptors = tuple(interceptors)
        self.closed = False
        self._options = options
        self._credentials = credentials
        self._connection: Connection | None = None
        self._closing: asyncio.Task[None] | None = None

    async def pause(self, seconds: float) -> None:
        """Sleep between two polls. Raises ClientClosedError when the client is closed meanwhile."""
        if self.closed and seconds == 0:
            return  # the poll itself says so, and what to do
        connection = self._connection
        with anyio.move_on_after(seconds):
            if not self.closed:
                await (anyio.sleep_forever() if connection is None else connection.closing.wait())
            raise ClientClosedError("the client was closed between two polls; the import goes on")

    def connection(self) -> Connection:
        """The open connection of the running loop.

        Raises ClientClosedError after close(), RuntimeError from another loop, another process
        or without asyncio.
        """
        if self.closed:
            raise ClientClosedError("this client is closed; make a new one")
        try:
            loop = asyncio.get_running_loop()  # after a fork this is another one, or none
        except RuntimeError:
            raise RuntimeError(
                "milvus-import works on asyncio (gRPC's Python async API does); "
                "run it with asyncio.run or anyio.run(..., backend='asyncio')"
            ) from None
        connection = self._connection
        if connection is None or connection.loop is not loop:
            if connection is not None:
                _check_rebinding(connection)
            self._connection = connection = self._connect(loop)
        return connection

    def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        _collect_at_exit()
        target, options = self.endpoint.target, self._options
        interceptors = (_Outermost(), *self.interceptors) if self.interceptors else ()
        channel = (
            grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
            if self._credentials is None
            else grpc.aio.secure_channel(
                target, self._credentials, options=options, interceptors=interceptors
            )
        )
        return Connection(channel, loop)

    async def close(self) -> None:
        """Stop new calls, give those in flight up to a second, then cancel them. Idempotent.

        Cancelling the closing only stops waiting for it; it goes on by itself.
        """
        connection = self._connection
        if connection is not None and connection.loop is not asyncio.get_running_loop():
            _check_rebinding(connection)
            self._connection = connection = None  # gRPC frees the channel with the object
        self.closed = True
        if connection is None:
            return
        connection.closing.set()
        with anyio.CancelScope(shield=True):
            while self._connection is not None:
                if self._closing is None or self._closing.cancelled():  # with every task, perhaps
                    self._closing = connection.loop.create_task(self._shut(connection))
                await asyncio.wait((self._closing,))
                if not self._closing.cancelled():
                    self._closing.result()

    async def _shut(self, connection: Connection) -> None:
        await _shut(connection)
        # Whoever keeps the client, as an error does in its frames, does not keep gRPC running.
        self._connection = None


def _check_rebinding(connection: Connection) -> None:
    """Refuse to leave a connection that is still another's."""
    if connection.process != os.getpid():
        raise RuntimeError(
            "this client was used before the process forked; make the client after the fork"
        )
    if not connection.loop.is_closed():
        raise RuntimeError(
            "this client belongs to another event loop that still lives; "
            "make one client for each event loop"
        )


@cache
def _collect_at_exit() -> None:
    """Free abandoned calls, which are reference cycles, while the interpreter is whole.

    Below 1.76 gRPC waits for its own thread when the last of them goes: later than here the
    thread can be dead already, and the process hangs.
    """
    if tuple(map(int, grpc.__version__.split(".")[:2])) < (1, 76):
        atexit.register(gc.collect)


async def _shut(connection: Connection) -> None:
    await _settle(connection, CLOSE_GRACE)
    for call in tuple(connection.in_flight):
        call.cancel()
    await _settle(connection, CLOSE_GRACE)
    if connection.sweeper is not None:
        connection.sweeper.cancel()
    await connection.channel.close()


async def _settle(connection: Connection, seconds: float) -> None:
    """Wait until nothing is in flight, or for so long."""
    end = connection.loop.time() + seconds
    while connection.in_flight and connection.loop.time() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.005)  # a set that empties has no event to wait for
