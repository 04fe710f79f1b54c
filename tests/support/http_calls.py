"""Call the REST API of a FakeMilvus with the standard library."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

PREFIX = "/v2/vectordb/jobs/import/"


@dataclass
class Response:
    status: int
    headers: Message
    body: bytes

    @property
    def envelope(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        assert self.status == 200, self.body
        assert self.envelope["code"] in {0, 200}, self.body
        return self.envelope["data"]

    @property
    def error(self) -> tuple[int, str]:
        """The code and the message of an error."""
        assert "data" not in self.envelope
        return self.envelope["code"], self.envelope["message"]


async def send(uri: str, path: str, body: bytes = b"", **options: Any) -> Response:
    """Send one request on a connection of its own; the options are those of ``_send``."""
    return await asyncio.to_thread(_send, uri, path, body, **options)


async def post(uri: str, method: str, body: object = None, **headers: str) -> Response:
    """Call a method of the import API; header names are written with underscores."""
    content = json.dumps({} if body is None else body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await send(uri, PREFIX + method, content, headers=named)


def _send(
    uri: str,
    path: str,
    body: bytes,
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> Response:
    parts = urlsplit(uri)
    assert parts.hostname is not None
    connection = (
        http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
        if context is None
        else http.client.HTTPSConnection(parts.hostname, parts.port, timeout=20, context=context)
    )
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Response(response.status, response.headers, response.read())
    finally:
        connection.close()
