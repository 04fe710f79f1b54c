"""Parse the JSON of Milvus' REST API, which is untrusted like every reply.

Every reply is an envelope: ``{"code": 0, "data": {...}}``, or ``{"code": 100, "message": "..."}``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, cast

import grpc

from .._failures._context import CallContext, ReplyError
from .._failures._grpc import bad_reply, call_error
from .._failures._http import is_missing_route, missing_route, status_error
from .._failures._milvus import ReturnedStatus
from .._failures._milvus import status_error as returned_status_error
from .._failures._texts import NOT_READY
from .._hints import Hint
from ._replies import COUNTED_FROM, MAX_ENTRIES

if TYPE_CHECKING:
    from .._connection._http import HttpReply
    from .._errors import CallError, MilvusImportError

Code: Final = grpc.StatusCode
Json = dict[str, Any]
"""A JSON object."""

_SUCCESS: Final = frozenset({0, 200})  # 200: Milvus 2.4.0 to 2.4.5
_UNEXPECTED: Final = 65535
_UNAUTHENTICATED: Final = 1800
_NO_PRIVILEGE: Final = frozenset({1400, 1401})
_SERVER_TIMEOUT: Final = frozenset({408, 10001})
_DENIED: Final = "permission deny"
_MAX_MEMBERS: Final = 12
"""Members of one entry at most; Milvus sends 9."""
_NUMBER: Final = r"-?[0-9]{1,19}"
_INT64: Final = range(-(2**63), 2**63)


class _Envelope(NamedTuple):
    code: int
    message: str
    data: object


def read_data(
    reply: HttpReply, *, missing: Hint, entries: int = MAX_ENTRIES, denied: Hint | None = None
) -> Json:
    """Return ``data`` of a successful reply. Raises ReplyError for every other.

    ``missing`` is the hint where the server has no such path, ``denied`` the one where a user
    lacks a privilege that this method alone needs.
    """
    envelope = _parse(reply, entries)
    if envelope is None:
        _raise_without_envelope(reply, missing)
    if envelope.code not in _SUCCESS or not 200 <= reply.status < 300:
        raise ReplyError(lambda context: _error(envelope, reply, context, denied))
    return {} if envelope.data is None else as_object(envelope.data, "data")


def as_object(value: object, name: str) -> Json:
    """Return a JSON object. Raises ReplyError for anything else."""
    if not isinstance(value, dict):
        raise _wrong_type(name, value)
    return cast("Json", value)


def objects(data: Json, name: str, limit: int) -> list[Json]:
    """Return an array of objects; null is empty."""
    value: object = data.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong_type(name, value)
    entries = cast("list[object]", value)
    if len(entries) > limit:
        raise bad_reply(f"the reply has more than {limit:,} entries", Hint.REPLY_OVER_LIMIT)
    return [as_object(entry, name) for entry in entries]


def text(data: Json, name: str) -> str:
    """Return a text; "" if it is missing."""
    value: object = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong_type(name, value)
    if value.isascii():
        return value
    # JSON may name half of a surrogate pair, which no encoding accepts.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def number(data: Json, name: str) -> int:
    """Return an int64, which some servers send as text; 0 if it is missing."""
    value: object = data.get(name)
    if value is None:
        return 0
    if isinstance(value, str) and re.fullmatch(_NUMBER, value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value not in _INT64:
        raise _wrong_type(name, value)
    return value


def identifier(data: Json, name: str) -> str:
    """Return a job id as text; "" if it is missing."""
    value: object = data.get(name)
    return (
        str(value) if isinstance(value, int) and not isinstance(value, bool) else text(data, name)
    )


def _wrong_type(name: str, value: object) -> ReplyError:
    kind = "null" if value is None else type(value).__name__
    return bad_reply(f"the reply is not valid: {name} has the wrong type {kind}")


def _parse(reply: HttpReply, entries: int) -> _Envelope | None:
    """Return the envelope, or None if the body is not one."""
    body = reply.body
    if len(body) > COUNTED_FROM:
        # Each entry is an object with commas between its members. Counting takes 1 ms per MB,
        # parsing two million empty entries 200 MB of memory.
        too_many = body.count(b"{") > entries + 2
        if too_many or body.count(b",") + body.count(b"[") > _MAX_MEMBERS * entries:
            raise bad_reply(f"the reply has more than {entries:,} entries", Hint.REPLY_OVER_LIMIT)
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    members = cast("Json", value)
    code, message = members.get("code"), members.get("message", "")
    if isinstance(code, bool) or not isinstance(code, int) or code not in _INT64:
        return None
    if not isinstance(message, str):
        message = json.dumps(message)
    return _Envelope(code, text({"message": message}, "message"), members.get("data"))


def _raise_without_envelope(reply: HttpReply, missing: Hint) -> NoReturn:
    status, line = reply.status, reply.text
    if is_missing_route(status, reply.body):
        raise missing_route(line, reply.record, missing)
    if not 200 <= status < 300:
        raise ReplyError(lambda context: status_error(status, line, context, reply.record))
    if not reply.body:
        raise bad_reply(f"the HTTP response has no body (HTTP {status})")
    raise bad_reply(f"the response is not JSON from Milvus ({line})")


def _error(
    envelope: _Envelope, reply: HttpReply, context: CallContext, denied: Hint | None
) -> MilvusImportError:
    """Return the error of an envelope that does not report success."""
    code, message, status = envelope.code, envelope.message, reply.status
    http_error = not 200 <= status < 300
    generic = code == _UNEXPECTED or (http_error and (code in _SUCCESS or 400 <= code <= 599))
    generic = generic and not re.search(NOT_READY, message)
    if code == _UNAUTHENTICATED or (generic and status == 401):
        hint = Hint.CHECK_CREDENTIALS if context.authorized else Hint.PASS_TOKEN
        return _call_error(Code.UNAUTHENTICATED, envelope, reply, context, hint)
    if code in _NO_PRIVILEGE or (generic and (status == 403 or _DENIED in message)):
        hint = Hint.GRANT_PRIVILEGE
        if denied is not None and (context.responded or "GetImportProgress" in message):
            hint = denied
        return _call_error(Code.PERMISSION_DENIED, envelope, reply, context, hint)
    if code in _SERVER_TIMEOUT:
        return _call_error(Code.DEADLINE_EXCEEDED, envelope, reply, context, Hint.SERVER_DEADLINE)
    if generic and http_error:
        line = f"HTTP {status}: code {code}: {message}" if message else reply.text
        by_milvus = code == _UNEXPECTED
        return status_error(status, line, context, reply.record, by_milvus=by_milvus)
    return returned_status_error(ReturnedStatus(code, 0, message, "", False, status), context)


def _call_error(
    code: grpc.StatusCode,
    envelope: _Envelope,
    reply: HttpReply,
    context: CallContext,
    hint: Hint | None,
) -> CallError:
    details = f"code {envelope.code}: {envelope.message}"
    error = call_error(code, details, context, reply.record, hint=hint)
    error.http_status = reply.status
    return error
