"""Hints: two wordings each, in imperative sentences, and each is reached by some error."""

from __future__ import annotations

import re
from typing import Any

import grpc
import pytest

from milvus_import import CallRecord
from milvus_import._address import parse_uri
from milvus_import._connection._channel import LazyChannel
from milvus_import._errors import hint_of
from milvus_import._failures._context import CallContext, ReplyError
from milvus_import._failures._grpc import call_error
from milvus_import._failures._milvus import failed_job_hint
from milvus_import._hints import Hint
from milvus_import._services import _public
from milvus_import._services._replies import MAX_PROGRESS_BYTES
from milvus_import._services._requests import JobParams, ListParams
from milvus_import._services._select import (
    COMMIT_JOB,
    CREATE_JOB_OF_GROUPS,
    GET_PROGRESS,
    GrpcServices,
    ServiceChoice,
)
from milvus_import.testing._faults import FAULTS
from milvus_import_pb import common_pb2, milvus_pb2

Code = grpc.StatusCode
TARGET = "127.0.0.1:19530"
CONTEXT = CallContext("GetImportState", "public", True, TARGET, False, 10.0, False, False)
UNCONNECTED = f"failed to connect to all addresses; last error: UNKNOWN: ipv4:{TARGET}: "
REFUSED = UNCONNECTED + "Failed to connect to remote host: Connection refused"
HTTP1_AS_FRAME = "Failed parsing HTTP/2 (Frame size 4740180 is larger than max frame size 4194304)"

State = milvus_pb2.GetImportStateResponse
JOB = JobParams("7", "")

REACHED_BY_REST = {Hint.USE_HTTPS} | {
    hint for hint in Hint if hint.name.startswith("REST_") and not hint.name.startswith("REST_FOR_")
}
"""The tests of REST reach these."""
VERBS = {
    *(
        "Allow",
        "Call",
        "Check",
        "Configure",
        "Create",
        "Drop",
        "Enable",
        "Free",
        "Grant",
        "Let",
        "Name",
        "Pass",
    ),
    *(
        "Poll",
        "Raise",
        "Renew",
        "Resend",
        "Route",
        "Run",
        "Send",
        "Set",
        "Start",
        "Try",
        "Turn",
        "Unset",
        "Use",
        "Write",
    ),
    *("Behind", "Otherwise", "If", "To", "gRPC", "In"),
}
"""What a sentence of a hint begins with: an imperative verb, or when it applies."""

each_hint = pytest.mark.parametrize("hint", Hint, ids=lambda hint: hint.name)


# ----------------------------------------------------------------------------------- wordings


@each_hint
def test_hint_has_a_wording_for_python_and_one_for_the_command_line(hint: Hint) -> None:
    assert "--" not in hint.python
    for argument in ("=TLSConfig", "token=", "service=", "db_name", "list_imports", "[["):
        assert argument not in hint.cli
    assert not re.search(r"\b(timeout|max_receive_bytes|ca|cert|server_name)=", hint.cli)


@each_hint
def test_hint_is_one_to_three_imperative_sentences(hint: Hint) -> None:
    for wording in (hint.python, hint.cli):
        assert wording.endswith(".")
        assert wording == " ".join(wording.split())
        sentences = re.split(r"(?<=[a-zA-Z)\]])\. (?=[A-Zg])", wording)
        assert 1 <= len(sentences) <= 3
        assert sentences[0].split()[0] in VERBS - {"Behind", "Otherwise", "If", "gRPC", "In", "To"}
        for sentence in sentences:
            assert re.split(r"[ ,]", sentence)[0] in VERBS, sentence
            assert len(sentence.split()) <= 30


def test_no_two_hints_are_the_same() -> None:
    assert len(Hint.__members__) == len(Hint)  # equal values would make an alias


# ------------------------------------------------------------------------------- reachability


def call(code: grpc.StatusCode, details: str, elapsed: float = 0.1, **changed: Any) -> Hint | None:
    """Return the hint of an RPC that did not end with OK."""
    record = CallRecord("public", "a.B/C", code, details, (), (), elapsed)
    return hint_of(call_error(code, details, CONTEXT._replace(**changed), record))


def http(status: int, **changed: Any) -> Hint | None:
    return call(Code.UNKNOWN, f"Received http2 header with status: {status}", **changed)


def unavailable(details: str, **changed: Any) -> Hint | None:
    return call(Code.UNAVAILABLE, details, **changed)


def deadline(details: str = "Deadline Exceeded", **changed: Any) -> Hint | None:
    return call(Code.DEADLINE_EXCEEDED, details, **changed)


def status(code: int, reason: str = "") -> Hint | None:
    """Return the hint of a Status of Milvus."""
    return reply(
        _public.GET_IMPORT_STATE, State(status=common_pb2.Status(code=code, reason=reason))
    )


def reply(method: Any, message: Any, params: Any = JOB) -> Hint | None:
    """Return the hint of a reply that is no result."""
    with pytest.raises(ReplyError) as caught:
        method.read_reply(
            message if isinstance(message, bytes) else message.SerializeToString(), params
        )
    return hint_of(caught.value.make(CONTEXT))


def unsupported(*responses: str, choice: ServiceChoice = "auto") -> Hint | None:
    """Return the hint of a read that no service implements."""
    services = GrpcServices(LazyChannel(parse_uri("http://milvus"), [], None, ()), choice)
    names: list[Any] = ["internal", "public"] if choice == "auto" else [choice]
    errors = [
        call_error(Code.UNIMPLEMENTED, text, CONTEXT._replace(service=name), None)
        for name, text in zip(names, responses, strict=True)
    ]
    return hint_of(services._unsupported(GET_PROGRESS, errors))  # pyright: ignore[reportPrivateUsage]


def fault(name: str) -> Hint | None:
    """Return the hint of a fault of FakeMilvus."""
    found = FAULTS[name]
    if found.code is not None:
        return call(found.code, found.details)
    if found.status is not None:
        return reply(_public.GET_IMPORT_STATE, State(status=found.status))
    assert found.reply is not None
    return reply(_public.GET_IMPORT_STATE, found.reply)


WITHOUT_IDS = milvus_pb2.ListImportTasksResponse(tasks=[State(row_count=1)])
REACHED: list[tuple[Hint, Hint | None]] = [
    # The address and the connection.
    (Hint.CHECK_ADDRESS, unavailable(REFUSED)),
    (Hint.CHECK_HOST_NAME, unavailable("errors resolving nowhere:19530: [Domain name not found]")),
    (Hint.CHECK_SOCKET_PATH, unavailable("connect failed: No such file or directory")),
    (Hint.CHECK_IS_MILVUS, unsupported("unknown service a", "unknown service b")),
    (Hint.CHECK_IS_MILVUS, fault("garbage")),
    (Hint.CHECK_REACHABLE_HTTP, deadline()),
    (Hint.CHECK_REACHABLE_HTTPS, deadline(secure=True)),
    (Hint.RECONNECT, unavailable("Stream removed (Socket closed)", responded=True)),
    (Hint.RESTARTING_OR_HTTPS, unavailable(UNCONNECTED + "Socket closed")),
    (Hint.RESTARTING_OR_CERTIFICATE, unavailable(UNCONNECTED + "Socket closed", secure=True)),
    (Hint.REFUSED_OR_HTTPS, unavailable(REFUSED, target="localhost:19530")),
    (Hint.REFUSED_OR_TLS, unavailable(REFUSED, target="localhost:19530", secure=True)),
    (Hint.UNSET_PROXY, unavailable(REFUSED, target="milvus:443")),
    (Hint.CORRUPTED_STREAM, unavailable("Stream removed (Failed parsing HTTP/2)")),
    (Hint.BROKEN_OR_NOT_GRPC, call(Code.UNKNOWN, "Stream removed")),
    # TLS.
    (Hint.USE_HTTP, unavailable("SSL_ERROR_SSL: WRONG_VERSION_NUMBER", secure=True)),
    (Hint.USE_HTTPS_HTTP1, unavailable(UNCONNECTED + "Trying to connect an http1.x server")),
    (Hint.USE_HTTPS_HTTP1, unavailable(HTTP1_AS_FRAME)),
    (Hint.USE_HTTPS_HTTP1, call(Code.UNKNOWN, HTTP1_AS_FRAME)),
    (Hint.USE_HTTPS_NOT_GRPC, unavailable(UNCONNECTED + "Failed parsing HTTP/2")),
    (Hint.TRUST_CA, unavailable("SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED", secure=True)),
    (
        Hint.RENEW_CERTIFICATE,
        unavailable("CERTIFICATE_VERIFY_FAILED: certificate has expired", secure=True),
    ),
    (Hint.EXPECT_SERVER_NAME, unavailable("Hostname Verification Check failed.", secure=True)),
    (Hint.ENABLE_HTTP2, unavailable("missing selected ALPN property.", secure=True)),
    (Hint.UNKNOWN_VIRTUAL_HOST, unavailable("TLSV1_UNRECOGNIZED_NAME", secure=True)),
    (Hint.PASS_CLIENT_CERTIFICATE, http(400, secure=True)),
    # Gateways and web servers.
    (Hint.GATEWAY_ROUTE, http(404)),
    (Hint.GATEWAY_HTTPS, http(301)),
    (Hint.GATEWAY_REDIRECT, http(301, secure=True)),
    (Hint.GATEWAY_ACCESS, http(403)),
    (Hint.GATEWAY_RBAC, call(Code.PERMISSION_DENIED, "RBAC: access denied")),
    (Hint.GATEWAY_REQUEST_SIZE, http(413)),
    (Hint.GATEWAY_METADATA_SIZE, unavailable("GOAWAY received; Error code: 11; Debug Text: ")),
    (Hint.GATEWAY_RATE_LIMIT, http(429)),
    (Hint.GATEWAY_UNAVAILABLE, http(503)),
    (Hint.GATEWAY_BACKEND, unavailable("no healthy upstream")),
    (Hint.GATEWAY_TIMEOUT, http(504)),
    (Hint.GATEWAY_ERROR, http(500)),
    (Hint.GATEWAY_CLOSED, unavailable("GOAWAY received; Error code: 2; Debug Text: ")),
    (Hint.GATEWAY_NO_TEXT, call(Code.UNKNOWN, "")),
    (Hint.GATEWAY_ROUTE, unsupported("", "")),
    (Hint.RECONNECT, call(Code.INTERNAL, "RST_STREAM (Received RST_STREAM with error code 2)")),
    (
        Hint.PASS_CLIENT_CERTIFICATE,
        unavailable(
            "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:19530: "
            "Unwrap failed (TSI_DATA_CORRUPTED)"
        ),
    ),
    (
        Hint.NO_GRPC_STATUS,
        call(Code.UNKNOWN, "Stream removed (Data frame with END_STREAM flag received)"),
    ),
    (
        Hint.GATEWAY_STRIPS_AUTHORIZATION,
        call(Code.UNAUTHENTICATED, "missing authorization in header", authorized=True),
    ),
    (Hint.NO_GRPC_STATUS, call(Code.UNKNOWN, "No status received")),
    # Credentials.
    (Hint.PASS_TOKEN, call(Code.UNAUTHENTICATED, "missing authorization in header")),
    (Hint.PASS_PLAIN_TOKEN, call(Code.UNAUTHENTICATED, "invalid token format")),
    (Hint.CHECK_CREDENTIALS, call(Code.UNAUTHENTICATED, "auth check failure, please check")),
    (Hint.GRANT_PRIVILEGE, fault("denied")),
    # Sizes and time.
    (Hint.REQUEST_TOO_LARGE, call(Code.RESOURCE_EXHAUSTED, "grpc: received message larger than")),
    (Hint.RAISE_MAX_RECEIVE, fault("too-large")),
    (Hint.RAISE_MAX_SEND, call(Code.RESOURCE_EXHAUSTED, "CLIENT: Sent message larger than max")),
    (Hint.REPLY_OVER_LIMIT, reply(_public.GET_IMPORT_STATE, b"\0" * (MAX_PROGRESS_BYTES + 1))),
    (
        Hint.ALLOW_MORE_TIME,
        hint_of(call_error(Code.DEADLINE_EXCEEDED, "", CONTEXT._replace(timeout=0.0), None)),
    ),
    (Hint.SERVER_SLOW, deadline(responded=True)),
    (Hint.SERVER_DEADLINE, fault("deadline")),
    (Hint.CREATE_DEADLINE, deadline(method="Import", read=False)),
    # The server's state.
    (Hint.SERVER_STARTING, fault("not-ready")),
    (Hint.SERVER_STARTING, fault("proxy-not-ready")),
    (Hint.SERVER_STARTING, fault("coordinator-unavailable")),
    (Hint.SERVER_RATE_LIMIT, fault("rate-limit")),
    (Hint.SERVER_RESOURCES, status(12)),
    (Hint.DROP_ROUTING_METADATA, fault("cross-cluster")),
    # Which service has the method.
    (Hint.USE_PUBLIC_PORT_2_3, unsupported("unknown method A for service B", "unknown service")),
    (Hint.USE_INTERNAL_PORT, unsupported("unknown service a", choice="internal")),
    (Hint.USE_PUBLIC_PORT, unsupported("unknown service b", choice="public")),
    (Hint.REST_FOR_MANY_GROUPS, CREATE_JOB_OF_GROUPS.unsupported_hint),
    (Hint.REST_FOR_JOB_LIST, reply(_public.LIST_IMPORT_TASKS, WITHOUT_IDS, ListParams("", ""))),
    (Hint.REST_FOR_COMMIT, COMMIT_JOB.unsupported_hint),
    # The arguments of a request.
    (Hint.CHECK_COLLECTION, fault("no-collection")),
    (Hint.CHECK_DATABASE, status(800, "database not found[database=x]")),
    (Hint.CHECK_PARTITION, status(200, "partition not found[partition=nopart]")),
    (Hint.CHECK_JOB_ID, status(2100, "import job does not exist, jobID=4, dbID=1")),
    (Hint.JOB_LIMIT, fault("job-limit")),
    (Hint.JOB_LIMIT, status(65535, "import task queue max size is 3, currently there are 3 tasks")),
    (
        Hint.ONE_FILE_PER_GROUP,
        status(65535, "for JSON or parquet file, each task only accepts one file"),
    ),
    (Hint.TOO_MANY_FILES, status(2100, "The max number of import files should not exceed 1024")),
    (Hint.DISK_QUOTA, status(9, "disk quota exceeded")),
    (Hint.REPEAT_WITH_KEY, unavailable("Socket closed", method="ImportV2", read=False)),
    (Hint.INVALID_UTF8, reply(_public.GET_IMPORT_STATE, b"\x2a\x05\x0a\x03k\xff\xfe")),
    # Why a job failed.
    (Hint.JOB_FILE_PATH, failed_job_hint("failed to get file size of 'e1.json', error:stat e1")),
    (Hint.FILE_TYPE, failed_job_hint("unsupported file type: '/demo/files/a.txt'")),
    (Hint.JOB_JSON_LAYOUT, failed_job_hint("the root key should be 'rows'")),
    (Hint.JOB_NPY_NAMES, failed_job_hint("there is no file corresponding to field 'vector'")),
    (Hint.JOB_LARGE_STRINGS, failed_job_hint("expected type string, got large_utf8")),
    (Hint.JOB_RESTARTED, failed_job_hint("task marked failed as service restarted")),
    (Hint.JOB_EMPTY_FILE, failed_job_hint("the file 'a.npy' size is zero")),
]


@pytest.mark.parametrize(
    ("expected", "found"),
    REACHED,
    ids=[f"{index}-{hint.name}" for index, (hint, _) in enumerate(REACHED)],
)
def test_error_gets_its_hint(expected: Hint, found: Hint | None) -> None:
    assert found is expected


def test_each_hint_is_reached_by_some_error() -> None:
    unreached = set(Hint) - {hint for hint, _ in REACHED} - REACHED_BY_REST
    assert not unreached
