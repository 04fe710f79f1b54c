"""gRPC: one channel per client, one unary call per request. Only this module calls gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final, cast

import grpc
import grpc.aio

from .._address import TLSConfig
from .._errors import ArgumentError, ClientClosedError, wrong_type_error
from .._failures._statuses import call_error
from . import _process
from ._base import LazyConnection, Request

if TYPE_CHECKING:
    from .._address import Endpoint
    from .._errors import MilvusImportError
    from .._options import CallSettings
    from ._base import Method

Code: Final = grpc.StatusCode

ChannelOption = tuple[str, Any]
"""The name and the value of a gRPC channel argument."""

OVERDUE = 0.2
"""Seconds after its deadline from which a call counts as one that gRPC will not end."""
INTERCEPTED = "an interceptor delayed the call beyond its deadline"
"""gRPC itself ends calls at their deadlines. Tracing libraries add interceptors of their own."""


class GrpcConnection(LazyConnection):
    """A channel, opened at the first call, with its stubs."""

    def __init__(
        self,
        endpoint: Endpoint,
        tls: TLSConfig | None,
        max_receive_bytes: int,
        max_send_bytes: int,
        options: list[ChannelOption],
        *,
        interceptors: tuple[grpc.aio.ClientInterceptor, ...],
    ) -> None:
        """Read the certificates; nothing is sent. Raises ArgumentError for what cannot be used."""
        super().__init__(endpoint)
        tls = tls or TLSConfig()
        self.interceptors = interceptors
        self._credentials = tls.credentials() if endpoint.secure else None
        if tls.server_name:
            options = [("grpc.ssl_target_name_override", tls.server_name), *options]
        self._options = channel_arguments(endpoint, max_receive_bytes, max_send_bytes, options)
        self._channel: grpc.aio.Channel | None = None
        self._stubs: dict[str, grpc.aio.UnaryUnaryMultiCallable[Any, Any]] = {}

    def start(
        self, method: Method[Any, Any], params: Any, settings: CallSettings, timeout: float | None
    ) -> Request:
        """Send the request of a method."""
        stub = self._stubs.get(method.path) or self._stub(method)
        call = stub(
            method.build(params),
            timeout=timeout,
            metadata=settings.metadata,
            credentials=settings.call_credentials,
            wait_for_ready=settings.wait_for_ready,
            compression=settings.compression,
        )
        runner: Any = call
        # A call that never started reports its end only to those who await it: an interceptor may
        # have added metadata that gRPC rejects. A task always ends.
        if timeout is None or self.interceptors:
            runner = asyncio.ensure_future(_await_reply(call))
            runner.add_done_callback(_consume_exception)
        request = _Call(self, method, settings, runner, timeout)
        request.call = call
        return request

    def _stub(self, method: Method[Any, Any]) -> grpc.aio.UnaryUnaryMultiCallable[Any, Any]:
        channel = self._channel
        assert channel is not None, "the connection is open"  # noqa: S101 - for the type checkers
        stub = self._stubs[method.path] = channel.unary_unary(
            f"/{method.path}",
            request_serializer=methodcaller("SerializeToString"),
            # Replies are untrusted: their entries are limited before they are parsed.
            response_deserializer=method.reply_type.FromString if self.interceptors else None,
        )
        return stub

    def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        if _process.forked_with_open_channel:
            raise _process.fork_error(self.fork_consequence)
        target = self.endpoint.target
        how: dict[str, Any] = {"options": self._options, "interceptors": self.interceptors}
        self._channel = (
            grpc.aio.secure_channel(target, self._credentials, **how)
            if self._credentials
            else grpc.aio.insecure_channel(target, **how)
        )
        _process.channel_opened(self._channel)

    async def _disconnect(self) -> None:
        channel = self._channel
        self._forget()
        if channel is not None:
            await channel.close()
            _process.channel_closed(channel)

    def _forget(self) -> None:
        self._channel = None
        self._stubs.clear()


async def _await_reply(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> Any:
    return await call


class _Call(Request):
    """A call of gRPC."""

    __slots__ = ("call",)

    connection: GrpcConnection
    runner: Any
    """The call, or the task that awaits it."""
    call: grpc.aio.UnaryUnaryCall[Any, Any]
    grace = OVERDUE

    async def outcome(self, *, overdue: bool) -> Any:  # noqa: PLR0911 - one for each way to end
        """Return the reply, or the error of a call that failed, was overdue or was cancelled."""
        if overdue:
            return self._overdue_error()
        call = self.call
        try:
            reply = await self.runner  # it has ended: this does not suspend
        except grpc.aio.AioRpcError as error:
            error.__traceback__ = None  # a task keeps the error, and the error keeps this frame
            metadata = error.initial_metadata(), error.trailing_metadata()
            return self._reported_error(error.code(), error.details() or "", *metadata)
        except grpc.aio.BaseError as error:
            error.__traceback__ = None
            return self._not_started_error(error)
        except asyncio.CancelledError:
            if self.runner is call:
                return self._reported_error(Code.CANCELLED, *await _status_details(call))
            text = "cancelled inside gRPC or an interceptor"
            return self._reported_error(Code.CANCELLED, text)
        except Exception as error:  # noqa: BLE001 - an interceptor raised it; re-raised
            key = error.args[0] if isinstance(error, KeyError) and error.args else None
            if isinstance(key, int):  # grpcio below 1.83 has no name for the status code
                return self._reported_error(Code.UNKNOWN, f"status code {key}")
            text = f"an interceptor raised {type(error).__name__}"
            self.report(Code.UNKNOWN, text)
            return _without_own_frames(error)
        if reply is None:
            return self._reported_error(Code.INTERNAL, "the reply could not be parsed")
        if self.on_finish is not None:
            self.report(Code.OK, *await _status_details(call))
        return reply

    def _overdue_error(self) -> MilvusImportError:
        if self.timeout is None or self.connection.closed:
            text = "the client was closed" if self.connection.closed else "ended without its caller"
            return self._reported_error(Code.CANCELLED, text)
        return self._reported_error(Code.DEADLINE_EXCEEDED, INTERCEPTED)

    def _not_started_error(self, error: Exception) -> MilvusImportError:
        if self.connection.closed:
            # Interceptors may have sent requests before they failed.
            ran = bool(self.connection.interceptors)
            text = "the client was closed before the call started"
            return ClientClosedError(text, may_have_run=ran)
        name = type(error).__name__  # its text may quote the request
        return self._reported_error(Code.INTERNAL, f"gRPC did not start the call ({name})")

    def _reported_error(
        self,
        code: grpc.StatusCode,
        details: str,
        initial: grpc.aio.Metadata | None = None,
        trailing: grpc.aio.Metadata | None = None,
    ) -> MilvusImportError:
        """Report the record of a call; return its error."""
        record = self.report(code, details, initial or (), trailing or ())
        return self.closed_error(code) or call_error(code, details, record)


async def _status_details(
    call: grpc.aio.UnaryUnaryCall[Any, Any],
) -> tuple[str, grpc.aio.Metadata, grpc.aio.Metadata]:
    """Return the status text and the metadata of a call that has ended."""
    initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
    return await call.details() or "", initial, trailing


def _without_own_frames(error: Exception) -> Exception:
    """Return the error of an interceptor without the first frames, which hold the call."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return error.with_traceback(frames)


def _consume_exception(task: asyncio.Task[Any]) -> None:
    """Keep asyncio from logging the exception as never retrieved."""
    if not task.cancelled():
        task.exception()


def channel_arguments(
    endpoint: Endpoint,
    max_receive_bytes: int,
    max_send_bytes: int,
    extra: Iterable[ChannelOption] = (),
) -> list[ChannelOption]:
    """Return the channel arguments; those in ``extra`` override others of the same name."""
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
    return list((options | dict(extra)).items())


def validate_message_sizes(max_receive_bytes: int, max_send_bytes: int) -> None:
    """Raise TypeError or ArgumentError unless both are 1 to 2**31-1."""
    for name, size in (("receive", max_receive_bytes), ("send", max_send_bytes)):
        if isinstance(size, bool) or not isinstance(size, int):
            raise wrong_type_error(f"max_{name}_bytes", "an int", size)
        if not 0 < size < 2**31:
            raise ArgumentError(f"max_{name}_bytes must be 1 to 2**31-1, got {size}")


def validate_interceptors(interceptors: object) -> tuple[grpc.aio.ClientInterceptor, ...]:
    """Return the interceptors as a tuple. Raises TypeError for any other object."""
    if not isinstance(interceptors, Iterable):
        raise wrong_type_error("interceptors", "a sequence", interceptors)
    given = tuple(cast("Iterable[grpc.aio.ClientInterceptor]", interceptors))
    for interceptor in given:
        if not isinstance(interceptor, grpc.aio.ClientInterceptor):
            kind = type(interceptor).__name__
            raise TypeError(
                f"interceptors must hold grpc.aio.UnaryUnaryClientInterceptor objects, got {kind}"
            )
    return given


def validate_channel_options(extra: object) -> list[ChannelOption]:
    """Return the pairs. Raises TypeError for anything else."""
    if isinstance(extra, (str, bytes)) or not isinstance(extra, Iterable):
        raise wrong_type_error("channel_options", "a sequence of pairs", extra)
    options = list(cast("Iterable[ChannelOption]", extra))
    for option in options:
        if not isinstance(option, tuple) or len(option) != 2 or not isinstance(option[0], str):
            raise TypeError(
                "channel_options must hold pairs of name and value; one entry is not a pair"
            )
    return options
