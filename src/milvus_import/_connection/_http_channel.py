"""One HTTP client: opened at the first call, bound to that call's event loop.

Only this module and ``_http_errors.py`` use httpx2.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from .._failures._http import COMPRESSED, failure
from . import _process
from ._lazy import CLOSE_GRACE, LazyConnection

if TYPE_CHECKING:
    import httpx2

    from .._address import Endpoint, TLSConfig
    from .._failures._context import CallContext
    from .._options import CallSettings

MAX_CONNECTIONS = 256
"""Requests at the same time; further ones wait for a connection, within their deadline."""
_KEPT_CONNECTIONS = 10
"""Idle connections that are kept; httpx2 checks each of them at each request."""
_KEEPALIVE = 30.0
"""Seconds that an idle connection is kept; gateways close theirs after 60 or more."""
NO_TIMEOUT = 2**63 // 10**9
"""The largest ``Request-Timeout``: Milvus multiplies the seconds to nanoseconds in an int64."""
_SECRET_HEADERS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "set-cookie", "set-cookie2"}
)
_CONNECTED = frozenset(
    {"connection.connect_tcp.complete", "connection.connect_unix_socket.complete"}
)


class HttpResponse(NamedTuple):
    """A complete HTTP response; the names of the headers are in lower case."""

    status: int
    reason: str
    headers: tuple[tuple[str, str | bytes], ...]
    body: bytes


class HttpFailure(NamedTuple):
    """Why there is no response."""

    code: grpc.StatusCode
    details: str


Outcome = HttpResponse | HttpFailure
RequestTask = asyncio.Task[Outcome]


@dataclass(slots=True, frozen=True)
class HttpCall:
    """One request of a method."""

    name: str
    """The last part of the path, which errors show."""
    path: str
    read: bool
    body: bytes = field(repr=False)
    """May hold a secret import option, and error reporters show the variables of frames."""
    timeout: float | None
    """What remains of ``settings.timeout``."""

    def context(self, channel: HttpChannel, settings: CallSettings) -> CallContext:
        """Return the context of this call, for its errors."""
        return channel.context(self.name, "rest", settings, read=self.read)


def load_httpx2() -> Any:
    """Return the module. Raises ImportError that names the extra."""
    try:
        import httpx2  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError(
            "service='rest' needs httpx2: pip install 'milvus-import[rest]'", name="httpx2"
        ) from error
    return httpx2


@dataclass(slots=True, eq=False)
class HttpConnection:
    """An open HTTP client with the requests in flight."""

    client: httpx2.AsyncClient
    loop: asyncio.AbstractEventLoop
    process: int = field(default_factory=os.getpid)
    in_flight: set[RequestTask] = field(default_factory=set[RequestTask])


class HttpChannel(LazyConnection[HttpConnection]):
    """Opens the HTTP client at the first call, and closes it once."""

    def __init__(
        self,
        endpoint: Endpoint,
        tls: TLSConfig | None,
        max_receive_bytes: int,
        max_send_bytes: int,
    ) -> None:
        """Read the certificates; nothing is sent. Raises ImportError without the extra."""
        super().__init__(endpoint)
        self.max_receive_bytes = max_receive_bytes
        self.max_send_bytes = max_send_bytes
        self._httpx2 = load_httpx2()
        self._context = self._tls_context(tls)
        self._extensions = {"sni_hostname": tls.server_name} if tls and tls.server_name else {}
        scheme = "https" if endpoint.secure else "http"
        self._socket: str | None = None
        host = endpoint.target
        kind, _, path = endpoint.target.partition(":")
        if kind in {"unix", "unix-abstract"}:
            self._socket = path if kind == "unix" else f"\0{path}"
            host = "localhost"
        self._url = f"{scheme}://{host}"

    def _tls_context(self, tls: TLSConfig | None) -> ssl.SSLContext:
        # An empty context without TLS: loading the CA certificates takes 10 ms.
        own = tls is not None and tls.ca is not None
        context: ssl.SSLContext = (
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if own or not self.endpoint.secure
            else self._httpx2.create_ssl_context()
        )
        if tls is not None:
            tls.add_to(context)
        return context

    def _open(self, loop: asyncio.AbstractEventLoop) -> HttpConnection:
        httpx2 = self._httpx2
        limits = httpx2.Limits(
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=_KEPT_CONNECTIONS,
            keepalive_expiry=_KEEPALIVE,
        )
        local = self.endpoint.loopback
        client = httpx2.AsyncClient(
            headers={
                "accept": "application/json",
                "accept-encoding": "identity",
                "content-type": "application/json",
                "user-agent": "milvus-import",
            },
            # No cookies: a gateway's would make one call depend on another.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            timeout=None,
            follow_redirects=False,
            trust_env=not local,
            verify=self._context,
            limits=limits,
            transport=None
            if self._socket is None
            else httpx2.AsyncHTTPTransport(
                uds=self._socket, verify=self._context, limits=limits, trust_env=False
            ),
        )
        return HttpConnection(client, loop)

    def start(
        self, connection: HttpConnection, call: HttpCall, settings: CallSettings
    ) -> RequestTask:
        """Start the request in its own task."""
        seconds = NO_TIMEOUT if call.timeout is None else max(1, -int(-call.timeout // 1))
        request = connection.client.build_request(
            "POST",
            self._url + call.path,
            content=call.body,
            headers=[("request-timeout", str(seconds)), *_headers(settings)],
            extensions=self._extensions,
        )
        task = connection.loop.create_task(
            _exchange(connection.client, request, self.max_receive_bytes)
        )
        connection.in_flight.add(task)
        task.add_done_callback(connection.in_flight.discard)
        return task

    async def _shut_down(self, connection: HttpConnection) -> None:
        if connection.in_flight:
            await asyncio.wait(connection.in_flight, timeout=CLOSE_GRACE)
        for task in connection.in_flight:
            task.cancel()
        if connection.in_flight:
            await asyncio.wait(connection.in_flight, timeout=CLOSE_GRACE)
        await connection.client.aclose()

    def _fork_error(self) -> RuntimeError:
        return _process.fork_error("parent and child would use the same connections")


async def _exchange(client: httpx2.AsyncClient, request: httpx2.Request, limit: int) -> Outcome:
    """Send the request and read the response. Nothing is raised: an error would hold the token."""
    opened: list[Any] = []

    async def trace(event: str, info: dict[str, Any]) -> None:
        if event in _CONNECTED:
            opened.append(info["return_value"])

    request.extensions = {**request.extensions, "trace": trace}
    try:
        response = await client.send(request, stream=True, auth=None)
        try:
            return await _read(response, limit)
        finally:
            await response.aclose()
    except asyncio.CancelledError:
        for stream in opened:  # httpx2 leaves it open during the TLS handshake
            await stream.aclose()
        raise
    except Exception as error:  # noqa: BLE001 - an error of a library, classified by its type
        return HttpFailure(*failure(error))


async def _read(response: httpx2.Response, limit: int) -> Outcome:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        text = f"{COMPRESSED} ({encoding[:20]}), which was not requested"
        return HttpFailure(grpc.StatusCode.INTERNAL, text)
    length = response.headers.get("content-length", "")
    size = int(length) if length.isdecimal() and len(length) < 20 else 0
    chunks: list[bytes] = []
    if size <= limit:
        size = 0
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > limit:
                break
            chunks.append(chunk)
    if size > limit:
        text = f"Received message larger than max ({size} vs. {limit})"
        return HttpFailure(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
    headers = tuple(
        (name.lower(), value)
        for name, value in response.headers.multi_items()
        if name.lower() not in _SECRET_HEADERS
    )
    return HttpResponse(response.status_code, response.reason_phrase, headers, b"".join(chunks))


def _headers(settings: CallSettings) -> tuple[tuple[str, str], ...]:
    """Return the headers of the settings, which are validated: no value is bytes."""
    return tuple((key, str(value)) for key, value in settings.metadata or ())
