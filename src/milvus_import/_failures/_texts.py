"""The texts of failed RPCs as patterns, one table for errors, hints and retries.

They are those of grpcio 1.83 to 1.85, of grpc-go servers, and of nginx, HAProxy, Envoy and Caddy.
A text that is not listed here is never retried.
"""

from __future__ import annotations

import re
from typing import Final

NOT_READY: Final = r"(?i)proxy is not ready|service not ready"
EMPTY_REPLY: Final = "the reply is empty; the coordinator may be unavailable"
HTTP_STATUS: Final = r"Received http2 header with status: ([0-9]{3})"
# The response ended without trailers: it was empty or a web page.
NO_STATUS: Final = r"No status received|Data frame with END_STREAM flag"
STREAM_REMOVED: Final = r"^Stream removed"
# 4740180 is "HTT" read as the length of a frame: the response came after frames of HTTP/2.
HTTP1_RESPONSE: Final = r"http1\.x|Frame size 4740180 "
CORRUPTED_STREAM: Final = r"Failed parsing HTTP/2|overflows local window"
NO_CONNECTION: Final = (
    r"(?i)failed to connect|connections to all backends failing|name resolution|DNS resolution"
    r"|errors resolving|empty address list"
)
BROKEN_CONNECTION: Final = (
    r"^Stream removed|[Ss]ocket closed|Connection reset|Broken pipe|recvmsg:|sendmsg:|GOAWAY"
    r"|^the connection broke"  # REST
)
# The server reset this call only, or closed the connection because of it. Some versions of grpcio
# begin these texts with "Stream removed" too.
REJECTED_CALL: Final = r"RST_STREAM|END_STREAM|[Ee]rror code: 11\b"
MESSAGE_SIZE: Final = r"message larger than|Received message larger|Sent message larger"
METADATA_SIZE: Final = (
    r"(?i)ENHANCE_YOUR_CALM|error code: 11\b(?!.*too_many_pings)|metadata size exceeds|header list"
)
BACKEND: Final = r"upstream connect error|no healthy upstream"
UPSTREAM_TIMEOUT: Final = r"upstream request timeout"
GATEWAY_RATE_LIMIT: Final = r"local_rate_limited"
DEADLINE_TEXT: Final = "deadline exceeded"
DEADLINE_TEXTS: Final = frozenset({DEADLINE_TEXT, "context deadline exceeded"})


def http_status(details: str) -> int | None:
    """Return the HTTP status of a response that is not gRPC's, or None."""
    found = re.search(HTTP_STATUS, details)
    return int(found[1]) if found else None
