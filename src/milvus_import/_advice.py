"""What to change: the words of gRPC and of Milvus that are known, and our advice beside them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import grpc

from ._errors import JobLimitError, JobNotFoundError, RefusedError

if TYPE_CHECKING:
    from milvus_import_pb.common_pb2 import Status

Code: Final = grpc.StatusCode

# Where gRPC's words are recognised, ours are put beside them. First match wins.
# gRPC's words are those of grpcio 1.66 to 1.85, which differ.
_TLS_FAULTS: Final = (
    (r"WRONG_VERSION_NUMBER", "the server answers without TLS: write http://, or drop tls="),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "the server's certificate has no trusted CA, or has expired: pass tls=TLSConfig(ca=...)",
    ),
    (
        r"Hostname Verification Check failed|Peer name .* is not in peer certificate",
        "the server's certificate names another host: use that, or TLSConfig(server_name=...)",
    ),
)
_NOT_GRPC: Final = (
    (
        r"http1\.x",
        "an HTTP server answers there, not gRPC: check the port; if it expects TLS, write https://",
    ),
    (
        r"failed to connect.*Failed parsing HTTP/2",
        "what answers there does not speak gRPC: check the port; if it expects TLS, write https://",
    ),
    (
        r"missing selected ALPN",
        "a server with TLS answers there, but not gRPC: check the port",
    ),
)
NO_STATUS: Final = r"Stream removed"
SPOILT: Final = r"Failed parsing HTTP/2|overflows local window"
_SPOILT_MEND: Final = (
    SPOILT,
    "something between here and the server spoils the connection: check it, and try again",
)
_REFUSED: Final = "nothing listens there: check host and port (19530, internal 19529)"
_PROXY: Final = (
    "a proxy variable (grpc_proxy, https_proxy, http_proxy) sends this call to another address: "
    "unset it, or pass channel_options=[('grpc.enable_http_proxy', 0)]"
)
_MENDS: Final[dict[grpc.StatusCode, tuple[tuple[str, str], ...]]] = {
    Code.UNAVAILABLE: (*_TLS_FAULTS, *_NOT_GRPC, _SPOILT_MEND),
    Code.UNAUTHENTICATED: (
        (r"missing authorization", "pass token='user:password', or user= and password="),
        (
            r"invalid token format",
            "pass the plain token as token=, without 'Bearer'; it is encoded here",
        ),
        (
            r"auth check failure",
            "check the user and the password, or the API key",
        ),
    ),
    Code.PERMISSION_DENIED: (
        (r"", "grant the user a role with that privilege, or use another user"),
    ),
    Code.RESOURCE_EXHAUSTED: (
        (
            r"SERVER: Received message larger|grpc: received message larger",
            "the request is larger than the server takes: name fewer files at once",
        ),
        (
            r"Received message larger than max",
            "the reply is above max_receive_bytes: raise it on the client",
        ),
        (
            r"CLIENT: Sent message larger than max",
            "the request is above max_send_bytes: raise it on the client",
        ),
    ),
    Code.UNKNOWN: (
        (
            r"cross cluster routing|node not match",
            "drop the metadata keys 'cluster' and 'serverid': they name another server",
        ),
        (r"[Pp]roxy is not ready", "the server is starting: try again in a moment"),
        _SPOILT_MEND,
        (
            rf"^{NO_STATUS}",
            "the connection broke, or no gRPC server answers there: try again, or check the port",
        ),
    ),
    Code.INTERNAL: (
        _SPOILT_MEND,
        (r"could not be parsed", "is this Milvus? Check the address, and what is in between"),
    ),
}
# An answer of HTTP and not of gRPC, in gRPC's words, and what to do about its status.
_HTTP_ANSWER: Final = r"Received http2 header with status: ([0-9]+)"
_NOT_ADMITTED: Final = "check whom it lets through (credentials, addresses)"
_NO_SERVER: Final = "it may not reach Milvus, which may be restarting: try again"
_HTTP_MENDS: Final = {
    "401": _NOT_ADMITTED,
    "403": _NOT_ADMITTED,
    "413": "the request is larger than it takes: name fewer files at once",
    "429": "it limits how often it is asked: poll less often, or try again later",
    "502": _NO_SERVER,
    "503": _NO_SERVER,
    "504": _NO_SERVER,
}
# What gRPC tried last: an address, or a name that it could not resolve.
_TRIED: Final = (
    r"(?:last error: \w+: ipv[46]:|errors resolving |resolution failed for )(\S+:([0-9]+)): "
)

_STATUS_MENDS: Final = (
    (
        r"collection not found|CollectionNotExists|failed to find collection",
        "check the collection's name and db_name",
    ),
    (r"database not found", "check db_name"),
    (r"partition not found", "check partition_name"),
)
_STARTING: Final = "the server is starting, or a part of it is away: try again in a moment"
_TOO_OFTEN: Final = "the server limits how often it is asked: poll less often, or try again later"
_CODE_MENDS: Final = {
    1: _STARTING,
    2: _STARTING,
    4: _TOO_OFTEN,
    8: _TOO_OFTEN,
    12: "the server is short of memory or disk: try again later",
}
_OLD_CODE_MENDS: Final = {49: _TOO_OFTEN, 56: _STARTING}


def for_call(code: grpc.StatusCode, details: str, target: str, *, secure: bool) -> str:
    """What to do about an RPC that ended so, or ""."""
    if advice := for_http_answer(details):
        return advice
    for pattern, advice in _MENDS.get(code, ()):
        if re.search(pattern, details):
            return advice
    if code is Code.UNAVAILABLE:
        return _unavailable_mend(details, target, secure=secure)
    if code is Code.DEADLINE_EXCEEDED:
        return (
            "check that the address is reachable and speaks gRPC "
            f"{'with' if secure else 'without'} TLS; if the server is only slow, allow more time"
        )
    return ""


def for_http_answer(details: str) -> str:
    """What to do where a gateway answered by itself, or ""."""
    answer = re.search(_HTTP_ANSWER, details)
    if answer is None:
        return ""
    mend = _HTTP_MENDS.get(answer[1], "check host and port, and whether it passes gRPC on")
    return f"a gateway or a web server answered, not Milvus: {mend}"


def _unavailable_mend(details: str, target: str, *, secure: bool) -> str:
    tried = re.search(_TRIED, details)
    if tried and not re.search(rf":{tried[2]}(,|$)", target):
        return _PROXY
    if re.search(r"resol(ution|ving)|Domain name not found", details):
        return "the host name cannot be resolved: check it"
    if "No such file" in details:
        return "there is no such socket: check the path"
    if "Connection refused" in details:
        from urllib.parse import unquote  # noqa: PLC0415 - importing the package need not pay for it

        alone = tried is None or (unquote(tried[1]) in target and "," not in target)
        return _REFUSED if alone else f"{_REFUSED}. {_hidden(secure=secure)}"
    if "failed to connect" not in details:
        return "the connection broke, or the server is going away; it may be restarting: try again"
    return "the server may be restarting; " + (
        "if it wants a client certificate, pass tls=TLSConfig(cert=..., key=...); "
        "if it answers without TLS, write http://"
        if secure
        else "if it expects TLS, write https://"
    )


def _hidden(*, secure: bool) -> str:
    """What a refused address may hide. gRPC tells of one only, and localhost has [::1] too."""
    return "gRPC names one address of several. Should the server be at another: " + (
        "if the server answers without TLS, write http://; if its certificate is not trusted, "
        "TLSConfig(ca=...); if it names another host, TLSConfig(server_name=...); "
        "if it wants the client's, TLSConfig(cert=..., key=...)"
        if secure
        else "if it expects TLS, write https://"
    )


def for_refusal(error_class: type[RefusedError], status: Status) -> str:
    """What to do about a Status that says no, or ""."""
    if error_class is JobNotFoundError:
        return "check the job id and the server; a server forgets an ended job after some hours"
    if error_class is JobLimitError:
        return "try again when some of the server's jobs have ended"
    if status.code in _CODE_MENDS:
        return _CODE_MENDS[status.code]
    if not status.code and status.error_code in _OLD_CODE_MENDS:
        return _OLD_CODE_MENDS[status.error_code]
    text = f"{status.reason}\n{status.detail}"
    return next((mend for pattern, mend in _STATUS_MENDS if re.search(pattern, text)), "")


def sentence(text: str) -> str:
    """With a capital letter."""
    return text[:1].upper() + text[1:]
