"""Milvus' REST API as a service: which path is called, and which options HTTP rules out."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc

from .._address import credentials_text
from .._connection._channel import (
    validate_channel_options,
    validate_interceptors,
    validate_message_sizes,
)
from .._connection._http import HttpMethod, post
from .._connection._http_channel import HttpCall, HttpChannel
from .._errors import (
    ArgumentError,
    CallError,
    MilvusImportError,
    MilvusStatusError,
    UnsupportedServerError,
)
from .._failures._context import ReplyError
from .._failures._http import MISSING_ROUTE
from .._hints import Hint
from .._options import CallSettings, client_settings
from .._text import shorten
from ._rest_methods import METHODS
from ._select import RETRY_DELAY, Services, may_retry, remaining_timeout, with_job

if TYPE_CHECKING:
    from .._address import Endpoint
    from .._options import RpcOptions
    from ._arguments import ConnectionArguments
    from ._select import Operation

_PREFIX: Final = "/v2/vectordb/jobs/import/"
_REST: Final = "with service='rest'"
# Headers that belong to the connection or to the body, or that the client sets itself.
_RESERVED_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "request-timeout",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_ParamsT = TypeVar("_ParamsT")
_ResultT = TypeVar("_ResultT")
_ErrorT = TypeVar("_ErrorT", bound=MilvusImportError)


def connect_rest(
    arguments: ConnectionArguments, endpoint: Endpoint, database: str, defaults: RpcOptions
) -> tuple[RestServices, CallSettings]:
    """Return the service and the settings of its calls. Nothing is sent.

    Raises ArgumentError for an option that REST does not support, ImportError without the extra.
    """
    validate_message_sizes(arguments.max_receive_bytes, arguments.max_send_bytes)
    if validate_interceptors(arguments.interceptors):
        raise ArgumentError(f"interceptors must be empty {_REST}: they are for gRPC only")
    if validate_channel_options(arguments.channel_options):
        raise ArgumentError(f"channel_options must be empty {_REST}: they are for gRPC only")
    if endpoint.several:
        raise ArgumentError(
            f"uri must name one address {_REST}, got {shorten(arguments.uri)}: only gRPC "
            "balances calls over several addresses"
        )
    settings = client_settings(
        secure=endpoint.secure,
        fixed={
            "authorization": _authorization(arguments),
            RestServices.database_key: database,
        },
        defaults=defaults,
    )
    _validate_settings(settings)
    channel = HttpChannel(
        endpoint, arguments.tls, arguments.max_receive_bytes, arguments.max_send_bytes
    )
    return RestServices(channel), settings


class RestServices(Services):
    """Calls the REST API, and remembers which name of ``describe`` the server supports."""

    database_key = "db-name"

    def __init__(self, channel: HttpChannel) -> None:
        super().__init__(channel)
        self.channel = channel
        self._known: str | None = None
        """The name of ``describe`` that worked last."""

    async def call(
        self,
        operation: Operation[_ParamsT, _ResultT],
        params: _ParamsT,
        settings: CallSettings,
    ) -> _ResultT:
        """Call a method, under its older name if the server does not have the newer one.

        What remains of the timeout is the deadline of the second request. A read is retried
        once if its connection breaks. Raises MilvusStatusError for a status that is not success,
        UnsupportedServerError if the server has no such method, and what ``post`` raises.
        """
        _validate_settings(settings)
        method: HttpMethod[_ParamsT, _ResultT] = METHODS[operation.name]
        names = self._names(method)
        remaining = settings.timeout
        retried = broken = False
        while True:
            if broken:  # outside the except clause: the error must not keep this one
                broken = False
                await self.pauses.sleep(RETRY_DELAY)
            call = _call(method, names[0], params, remaining)
            try:
                reply = await post(self.channel, call, settings)
            except CallError as error:
                with_job(_with_hint_for_write(error, method), params)
                if retried or not may_retry(error, method):
                    raise
                retried = broken = True
                remaining = remaining_timeout(remaining, error, delay=RETRY_DELAY)
                continue
            try:
                result = method.read_reply(reply, params)
            except ReplyError as no_result:
                invalid = no_result.make(call.context(self.channel, settings))
            else:
                self._succeeded(method, names[0])
                return result
            self._failed(method, names[0], invalid, reply.status)
            del reply  # the error below must not keep it alive
            if not (names[1:] and _is_missing_route(invalid)):
                break
            remaining = remaining_timeout(remaining, invalid)
            del names[0]
        try:
            raise with_job(_with_hint_for_write(invalid, method), params)
        finally:
            del invalid

    def _names(self, method: HttpMethod[Any, Any]) -> list[str]:
        """Return the names of a method in the order in which they are called."""
        return sorted(method.names, key=lambda name: name != self._known)

    def _succeeded(self, method: HttpMethod[Any, Any], name: str) -> None:
        self.channel.responded = True
        if len(method.names) > 1:
            self._known = name

    def _failed(
        self, method: HttpMethod[Any, Any], name: str, error: MilvusImportError, status: int
    ) -> None:
        """Record that Milvus responded, and complete the error."""
        if isinstance(error, MilvusStatusError) and not error.transient:
            self._succeeded(method, name)
        if isinstance(error, CallError) and error.http_status is None:
            error.http_status = status


def _call(
    method: HttpMethod[_ParamsT, Any], name: str, params: _ParamsT, remaining: float | None
) -> HttpCall:
    body = json.dumps(method.build(params), separators=(",", ":")).encode()
    return HttpCall(name, _PREFIX + name, method.read, body, remaining)


def _with_hint_for_write(error: _ErrorT, method: HttpMethod[Any, Any]) -> _ErrorT:
    """Give the error of a write that may have run the hint how to repeat it."""
    if isinstance(error, CallError) and error.may_have_run and not method.read:
        created = "create" in method.names
        hint = Hint.REPEAT_WITH_KEY if created else Hint.REST_REPEAT
        error._hint = hint  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return error


def _is_missing_route(error: MilvusImportError) -> bool:
    """Return whether Milvus' router, not a gateway, has no such path."""
    return isinstance(error, UnsupportedServerError) and MISSING_ROUTE in error.details


def _authorization(arguments: ConnectionArguments) -> str | None:
    """Return the header: Bearer, or Basic if the token is not printable ASCII."""
    secret = credentials_text(arguments.token, arguments.user, arguments.password)
    if secret is None:
        return None
    if _is_header_value(secret):
        return f"Bearer {secret}"
    name = "token" if arguments.token else "user or password"
    try:
        encoded = base64.b64encode(secret.encode()).decode("ascii") if ":" in secret else None
    except UnicodeEncodeError:
        encoded = None  # its repr holds the secret, so it must not be the context of the error
    if encoded is None:
        raise ArgumentError(f"{name} must be printable ASCII without spaces at its ends {_REST}")
    return f"Basic {encoded}"


def _validate_settings(settings: CallSettings) -> None:
    """Raise ArgumentError for call options that REST does not support."""
    if settings.wait_for_ready:
        raise ArgumentError(f"wait_for_ready must be False or None {_REST}: it is for gRPC only")
    if settings.compression not in {None, grpc.Compression.NoCompression}:
        raise ArgumentError(f"compression must be None {_REST}: it is for gRPC only")
    if settings.call_credentials is not None:
        raise ArgumentError(f"call_credentials must be None {_REST}: they are for gRPC only")
    for key, value in settings.metadata or ():
        if isinstance(value, bytes):
            raise ArgumentError(
                f"metadata {key!r} must not end in -bin {_REST}: HTTP headers are text"
            )
        if key in _RESERVED_HEADERS:
            hint = "; pass timeout=" if key == "request-timeout" else ""
            raise ArgumentError(f"metadata key {key!r} is reserved {_REST}{hint}")
        if not _is_header_value(value):
            raise ArgumentError(
                f"metadata {key!r} must have no spaces at the ends of its value {_REST}"
            )


def _is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()
