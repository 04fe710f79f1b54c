"""Gateways that respond without a gRPC status, as some do for a path that they do not route."""

from __future__ import annotations

from frames import DATA, END_STREAM, HEADERS, frame
from google.protobuf.message import Message
from h2_server import H2Server, Response, http, reply
from network import FrameRelay


class TrailerStrippingRelay(FrameRelay):
    """Forwards a call to the server, and ends the response without its trailers.

    For one call per connection: the trailers that are dropped stay out of HPACK's dynamic table.
    """

    def forwarded(self, head: bytes, body: bytes, *, from_client: bool) -> bytes:
        trailers = head[3] == HEADERS and head[4] & END_STREAM and self.responses
        if from_client or not trailers:
            return head + body
        return frame(DATA, END_STREAM, int.from_bytes(head[5:]))


def scripted_gateway(*script: Message | int | None) -> H2Server:
    """Respond to the requests in turn, and with the last entry of the script from then on.

    None is an empty HTTP 200, a number an HTTP status, a message an OK reply.
    """
    left = list(script)

    def respond(_: object) -> Response:
        entry = left.pop(0) if len(left) > 1 else left[0]
        if entry is None:
            return http(200)
        if isinstance(entry, int):
            return http(entry, b"", ("content-type", "text/html"))
        return reply(entry)

    return H2Server(respond)
