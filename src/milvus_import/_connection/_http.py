"""HTTP: one aiohttp session per client, one task per request.

Only this module and ``_failures/_http.py`` use aiohttp. Its timeouts, cookies, redirects and
environment variables are off: the deadline is that of ``InFlight``, the proxy is chosen here.
"""

from __future__ import annotations

import asyncio
import io
import math
import os
import re
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from .._address import validate_roots, validate_text
from .._errors import ArgumentError
from .._failures._http import (
    COMPRESSED,
    response_text,
    transport_error,
    transport_failure,
)
from .._failures._statuses import DEADLINE_TEXT, call_error, http_code
from .._models import CallRecord
from ._base import LazyConnection, Request

if TYPE_CHECKING:
    import aiohttp

    from .._address import Endpoint, TLSConfig
    from .._errors import MilvusImportError
    from .._options import CallSettings
    from ._base import Method

    Headers = tuple[tuple[str, str | bytes], ...]

PREFIX = "/v2/vectordb/jobs/import/"
MAX_CONNECTIONS = 256
"""Requests at the same time; further ones wait for a connection, within their deadline."""
_KEEPALIVE = 30.0
"""Seconds that an idle connection is kept; gateways close theirs after 60 or more."""
NO_TIMEOUT = 2**63 // 10**9
"""The largest ``Request-Timeout``: Milvus multiplies the seconds to nanoseconds in an int64."""
_LARGE = 2**20
"""Bytes from which aiohttp warns of a body of bytes."""
_SECRET_HEADERS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "set-cookie", "set-cookie2"}
)
_PROXY = r"(?:((?i:https?))://)?(?:[^@/\s]*@)?(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?/?"


class HttpReply(NamedTuple):
    """A complete HTTP response."""

    status: int
    reason: str
    headers: Headers
    """The names are in lower case."""
    body: bytes
    record: CallRecord | None = None
    """The record of its call, once that has ended."""

    @property
    def text(self) -> str:
        """Status, reason phrase and the beginning of the body, for messages."""
        content_type = str(dict(self.headers).get("content-type", ""))
        return response_text(self.status, self.reason, content_type, self.body)


_Failure = tuple[grpc.StatusCode, str]
"""The code and the details of a request without a response."""


class HttpConnection(LazyConnection):
    """An aiohttp session, opened at the first call."""

    fork_consequence = "parent and child would use the same connections"

    def __init__(
        self,
        endpoint: Endpoint,
        tls: TLSConfig | None,
        max_receive_bytes: int,
        max_send_bytes: int,
    ) -> None:
        """Read the certificates and the proxy variables; nothing is sent.

        Raises ArgumentError for what cannot be used, ImportError without the extra.
        """
        super().__init__(endpoint)
        self._aiohttp = _load_aiohttp()
        self._max_receive_bytes = max_receive_bytes
        self._max_send_bytes = max_send_bytes
        kind, _, path = endpoint.target.partition(":")
        self._socket = {"unix": path, "unix-abstract": f"\0{path}"}.get(kind)
        if self._socket and endpoint.secure:
            raise ArgumentError(
                "uri must not be a unix socket with TLS if service is 'rest': use tls=None"
            )
        scheme = "https" if endpoint.secure else "http"
        host = "localhost" if self._socket else endpoint.target
        self._url = f"{scheme}://{host}{PREFIX}"
        proxied = not self._socket and not endpoint.loopback
        name, proxy = find_proxy(scheme, host) if proxied else (None, None)
        self._proxy_name = name
        """The variable and the proxy, without a password."""
        self._options: dict[str, Any] = {"allow_redirects": False, "proxy": proxy}
        if endpoint.secure:
            self._options["ssl"] = _tls_context(tls)
            if tls and tls.server_name:
                self._options["server_hostname"] = tls.server_name
        self._session: aiohttp.ClientSession | None = None

    def start(
        self, method: Method[Any, Any], params: Any, settings: CallSettings, timeout: float | None
    ) -> Request:
        """Send the request of a method in its own task."""
        body = method.build(params)
        if len(body) > self._max_send_bytes:
            text = f"CLIENT: Sent message larger than max ({len(body)} vs. {self._max_send_bytes})"
            raise call_error(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        seconds = NO_TIMEOUT if timeout is None else max(1, math.ceil(timeout))
        headers = [("request-timeout", str(seconds)), *(settings.metadata or ())]
        task = asyncio.ensure_future(self._exchange(method.path, body, headers))
        return _HttpRequest(self, method, settings, task, timeout)

    def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        aiohttp = self._aiohttp
        limits = {"limit": MAX_CONNECTIONS, "keepalive_timeout": _KEEPALIVE}
        connector = (
            aiohttp.UnixConnector(self._socket, **limits)
            if self._socket
            else aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), **limits)
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={
                "accept": "application/json",
                "accept-encoding": "identity",
                "content-type": "application/json",
                "user-agent": "milvus-import",
            },
            # No cookies: a gateway's would make one call depend on another.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
            auto_decompress=False,
        )

    async def _disconnect(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _forget(self) -> None:
        session, self._session = self._session, None
        if session is not None:  # its loop is closed: this does not suspend
            closing = session.close()
            with suppress(StopIteration):
                closing.send(None)
            closing.close()

    async def _exchange(
        self, path: str, body: bytes, headers: list[tuple[str, Any]]
    ) -> HttpReply | _Failure:
        """Send the request and read the response. Never raises: an error would hold the token."""
        session = self._session
        assert session is not None, "the connection is open"  # noqa: S101 - for the type checkers
        data = io.BytesIO(body) if len(body) > _LARGE else body
        try:
            async with session.post(
                self._url + path, data=data, headers=headers, **self._options
            ) as response:
                return await self._read(response)
        except Exception as error:  # noqa: BLE001 - an error of a library, classified by its type
            return transport_failure(error, proxy=self._proxy_name)

    async def _read(self, response: aiohttp.ClientResponse) -> HttpReply | _Failure:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            text = f"{COMPRESSED} ({encoding[:20]}), which was not requested"
            return grpc.StatusCode.INTERNAL, text
        limit, size = self._max_receive_bytes, response.content_length or 0
        body = bytearray()
        if size <= limit:
            async for chunk in response.content.iter_any():
                body += chunk
                size = len(body)
                if size > limit:
                    break
        if size > limit:
            response.close()
            text = f"Received message larger than max ({size} vs. {limit})"
            return grpc.StatusCode.RESOURCE_EXHAUSTED, text
        headers = tuple(
            (name.lower(), value)
            for name, value in response.headers.items()
            if name.lower() not in _SECRET_HEADERS
        )
        return HttpReply(response.status, response.reason or "", headers, bytes(body))


class _HttpRequest(Request):
    """A request and its task."""

    __slots__ = ()

    prefix = PREFIX
    runner: asyncio.Task[HttpReply | _Failure]

    async def outcome(self, *, overdue: bool) -> HttpReply | MilvusImportError:
        """Return the response, whatever its status, or the error of a request without one."""
        code, details = grpc.StatusCode.CANCELLED, "the request was cancelled"
        if overdue:
            code, details = grpc.StatusCode.DEADLINE_EXCEEDED, DEADLINE_TEXT
        elif not self.runner.cancelled():
            ended = self.runner.result()
            if isinstance(ended, HttpReply):
                code, details = grpc.StatusCode.OK, ""
                if not 200 <= ended.status < 300:
                    code, details = http_code(ended.status), ended.text
                return ended._replace(record=self.report(code, details, ended.headers))
            code, details = ended
        record = self.report(code, details)
        return self.closed_error(code) or transport_error(code, details, record)


def _load_aiohttp() -> Any:
    try:
        import aiohttp  # noqa: PLC0415 - an extra, and 0.3 s
    except ImportError as error:
        raise ImportError(
            "service='rest' and service='cloud' need aiohttp: pip install 'milvus-import[rest]'",
            name="aiohttp",
        ) from error
    return aiohttp


def _tls_context(tls: TLSConfig | None) -> ssl.SSLContext:
    """Return a context with the CA of the TLSConfig, or with Python's root CAs."""
    if tls is not None and tls.ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        validate_roots("SSL_CERT_FILE")
        folders = os.environ.get("SSL_CERT_DIR", "").split(os.pathsep)
        if any(folders) and not any(map(os.path.isdir, folders)):
            raise ArgumentError(
                f"the environment variable SSL_CERT_DIR names {os.pathsep.join(folders)!r}, "
                "which is not a directory"
            )
        context = ssl.create_default_context()
    if tls is not None:
        tls.add_to(context)
    return context


def find_proxy(scheme: str, host: str) -> tuple[str | None, str | None]:
    """Return the proxy that the environment names for this host: its name and its URL, or None.

    Raises ArgumentError if it cannot be used; the message shows no password.
    """
    import urllib.request  # noqa: PLC0415 - for REST only

    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    cgi = "REQUEST_METHOD" in os.environ  # there HTTP_PROXY is a header of the request
    set_names = [n for n in names if os.environ.get(n) and not (cgi and n == "HTTP_PROXY")]
    bypass: Any = getattr(urllib.request, "proxy_bypass_environment")  # noqa: B009 - no stub
    if not set_names or bypass(host):
        return None, None
    name, url = set_names[0], os.environ[set_names[0]]
    validate_text(f"the environment variable {name}", url, secret=True)
    if url.strip("\"'") != url:
        raise ArgumentError(f"the environment variable {name} must not be in quotes")
    match = re.fullmatch(_PROXY, url)
    if match is None or (match[3] and not 0 < int(match[3]) < 65536):
        kind = re.match(r"\w+(?=://)", url)
        web = kind is None or kind[0].lower() in {"http", "https"}
        found = "" if kind is None or web else f" with the scheme {kind[0]}"
        raise ArgumentError(
            f"the environment variable {name} must be an HTTP proxy such as http://proxy:3128"
            f"{f', got a URL{found}' if found else ''}; unset it, or add {host.rpartition(':')[0]} "
            "to NO_PROXY"
        )
    shown = f"{match[2]}:{match[3]}" if match[3] else match[2]
    return f"{shown} ({name})", url if match[1] else f"http://{url}"
