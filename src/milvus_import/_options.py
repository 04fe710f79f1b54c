"""Options of the methods: validated, and merged with the client's defaults into settings."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, TypeVar, cast

import grpc

from ._errors import ArgumentError, MilvusImportError, shorten, wrong_type_error
from ._models import ImportState

if TYPE_CHECKING:
    from ._models import CallRecord

_CallbackT = TypeVar("_CallbackT")

DEFAULT_TIMEOUT = 10.0
MAX_TIMEOUT = 1e9
INTERVAL: Final = 2.0
"""Seconds between polls: the interval of the server's own state machine."""
MAX_OUTAGE: Final = 300.0
"""Seconds without a successful response after which a watch gives up by default."""

MetadataValue = str | bytes
_Pairs = tuple[tuple[str, MetadataValue], ...]
Metadata = Mapping[str, MetadataValue | None] | Sequence[tuple[str, MetadataValue | None]]
"""A mapping, or pairs if a key is sent more than once."""
OnRetry = Callable[[MilvusImportError, float], object]
"""Called with an error that is retried, and the seconds of the outage so far. Not awaited."""
Until = Literal["completed", "uncommitted"]
"""The state to wait for; "uncommitted" also accepts a job that waits for its commit."""

# gRPC rejects, replaces or silently drops these.
_RESERVED = frozenset(
    {
        *("connection", "content-length", "content-type", "endpoint-load-metrics-bin", "host"),
        *("lb-cost-bin", "te", "user-agent", "x-envoy-peer-metadata"),
    }
)


class _SharedOptions(TypedDict, total=False):
    metadata: Metadata | None
    """Metadata to send. Keys are lower-cased; values are printable ASCII, or bytes under keys
    that end in ``-bin``. Merged with the client's key by key; ``None`` under a key drops that key.
    ``metadata=None`` drops the client's metadata, but never the token or the database."""

    wait_for_ready: bool | None
    """True waits for a connection until the deadline instead of failing immediately. It hides why
    there is none: a refused connection then ends as a DeadlineExceededError without a cause."""

    compression: grpc.Compression | None
    """``grpc.Compression.Gzip`` compresses the request. Milvus does not accept deflate."""

    call_credentials: grpc.CallCredentials | None
    """Credentials that gRPC requests for each call; only over TLS."""

    on_finish: Callable[[CallRecord], object] | None
    """Called once per RPC when it has ended, also after its caller was cancelled. Example:
    ``on_finish=records.append``. Exceptions that it raises are logged."""


class CallOptions(_SharedOptions, total=False):
    """Options of a method that makes one RPC.

    A missing key means the client's default, ``None`` means off.
    To change one of a set of options: ``**(options | {"timeout": 1})``.
    """

    timeout: float | None
    """Seconds until the method must have ended, a retry included; the server receives this
    deadline. Default: the client's ``rpc_timeout``, 10. Values of 0 or less raise
    DeadlineExceededError, and nothing is sent. inf and None mean no deadline. NaN and values above
    1e9 raise ArgumentError. Use 10 seconds or more with Milvus 2.3 and early 2.4: an expired
    deadline resets the read, which may crash them."""


class RpcOptions(_SharedOptions, total=False):
    """Options of each RPC of a method that makes many RPCs, and the defaults of a client."""

    rpc_timeout: float | None
    """Seconds until each RPC must have ended, default 10; as ``timeout`` of CallOptions. The
    ``timeout`` of ``watch``, ``wait``, ``watch_all`` and ``wait_all`` limits the method."""


class WatchOptions(RpcOptions, total=False):
    """Options of ``watch``, ``wait``, ``watch_all`` and ``wait_all``, with those of each RPC."""

    timeout: float | None
    """Seconds that the method may take, default None: no limit. 0 polls each job once. When it
    expires, WaitTimeoutError is raised; the job itself continues."""

    interval: float
    """Seconds between polls of a job, default 2, the interval of Milvus' own state machine."""

    max_outage: float | None
    """Seconds without a successful response after which the last error is raised. None, the
    default: 300 s once the client has had a successful response. Until then, only errors of a
    reachable server or gateway are retried; a failed connection is raised immediately. A number
    applies from the start, so that a program may start before its server."""

    on_retry: OnRetry | None
    """Called with each error that is retried, and the seconds of the outage so far."""


@dataclass(slots=True, repr=False)
class CallSettings:
    """Call options, validated and merged, in the form that a stub accepts."""

    secure: bool = False
    credentials_metadata: _Pairs | None = None
    """The token and the database: sent with each call unless overridden under their own key."""
    metadata: _Pairs | None = None
    """``credentials_metadata``, overridden by the metadata of the client and the call."""
    timeout: float | None = DEFAULT_TIMEOUT
    wait_for_ready: bool | None = None
    compression: grpc.Compression | None = None
    call_credentials: grpc.CallCredentials | None = None
    on_finish: Callable[[CallRecord], object] | None = None
    validate: Callable[[CallSettings], object] = bool
    """Raises ArgumentError for what the service does not support."""

    def copy(self) -> CallSettings:
        """Return a copy. ``copy.copy`` takes seven times as long."""
        return CallSettings(*_values(self))


_values = attrgetter(*CallSettings.__slots__)


@dataclass(slots=True, repr=False, eq=False)
class WatchSettings:
    """Validated WatchOptions, without those of each RPC."""

    timeout: float
    """Seconds; infinite if there is no limit."""
    interval: float
    max_outage: float | None
    on_retry: OnRetry | None


def merge(
    base: CallSettings,
    options: CallOptions | RpcOptions,
    method: Callable[..., object] | None = None,
    *,
    deadline: str = "timeout",
) -> CallSettings:
    """Return ``base`` overridden by the options of one call, and empty ``options``.

    ``method``: the error of an unknown keyword suggests its own parameters too.
    ``deadline``: the option with the seconds of each RPC.
    The caller's dict is emptied so that no frame holds metadata while the call is awaited: error
    reporters show the local variables of frames.
    Raises TypeError for an unknown key or a wrong type, ArgumentError for a wrong value.
    """
    if not options:
        return base
    given, settings, value = cast("dict[str, Any]", options), base.copy(), None
    while given:
        key, value = given.popitem()
        if key == "metadata":
            _set_metadata(settings, {} if value is None else value, reset=value is None)
        elif key == deadline:
            settings.timeout = validate_timeout(value, name=key)
        elif key == "on_finish":
            settings.on_finish = validate_callback(key, value)
        elif key in _TYPES:
            kind, rule = _TYPES[key]
            if not isinstance(value, (kind, type(None))):
                raise wrong_type_error(key, f"{rule} or None", value, secret=True)
            setattr(settings, key, value)
        else:
            names = {*_TYPES, "metadata", "on_finish", deadline}
            raise unknown_argument_error(key, method, names)
    value = None  # it may hold a secret, and error reporters show the variables of frames
    if settings.compression is grpc.Compression.Deflate:
        raise ArgumentError(
            "compression must be grpc.Compression.Gzip or None: Milvus does not accept deflate"
        )
    if settings.call_credentials is not None and not settings.secure:
        raise ArgumentError(
            "call_credentials must be None without TLS; use an https:// URI or tls=TLSConfig(...)"
        )
    settings.validate(settings)
    return settings


merge_rpc = partial(merge, deadline="rpc_timeout")
"""Return ``base`` overridden by the options of each RPC of a method that makes many."""


def client_settings(
    base: CallSettings, fixed: Mapping[str, str | None], defaults: RpcOptions
) -> CallSettings:
    """Return the settings of a client: its token and database, unless None, and its defaults."""
    known = {key: value for key, value in fixed.items() if value}
    base = merge(base, {"metadata": known})
    base.credentials_metadata = base.metadata
    return merge_rpc(base, defaults)


def parse_watch_options(
    options: WatchOptions, method: Callable[..., object] | None = None
) -> WatchSettings:
    """Remove the options of a watch from ``options``; those of each RPC remain.

    ``method``: the error of an unknown keyword suggests its own parameters too.
    Raises TypeError for an unknown keyword or a wrong type, ArgumentError for a wrong value.
    """
    given = cast("dict[str, Any]", options)
    known = WatchOptions.__optional_keys__
    for name in given.keys() - known:
        raise unknown_argument_error(name, method, known)
    limit = validate_timeout(given.pop("timeout", None))
    interval = _positive("interval", given.pop("interval", INTERVAL))
    if math.isinf(interval):
        raise ArgumentError("interval must be finite, got inf")
    max_outage = given.pop("max_outage", None)
    return WatchSettings(
        math.inf if limit is None else limit,
        interval,
        None if max_outage is None else _positive("max_outage", max_outage, zero=True),
        validate_callback("on_retry", given.pop("on_retry", None)),
    )


def validate_until(until: str) -> None:
    """Raise ArgumentError unless ``until`` is a state to wait for."""
    if until not in {"completed", "uncommitted"}:
        raise ArgumentError(f"until must be 'completed' or 'uncommitted', got {shorten(until)}")


def has_reached(state: ImportState, until: Until) -> bool:
    """Return whether a job in this state has reached ``until``."""
    return state is ImportState.COMPLETED or (
        until == "uncommitted" and state in (ImportState.UNCOMMITTED, ImportState.COMMITTING)
    )


def validate_timeout(value: object, *, name: str = "timeout") -> float | None:
    """Return seconds as a float; None, which may be given, means "no limit"."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong_type_error(name, "seconds, an int or a float", value)
    if isinstance(value, float) and math.isnan(value):
        raise ArgumentError(f"{name} must be seconds, or None for no limit, got NaN")
    if value == math.inf:
        return None
    if value > MAX_TIMEOUT:
        raise ArgumentError(
            f"{name} must be at most 1e9 seconds, or None for no limit, got {shorten(value)}"
        )
    return float(max(value, -MAX_TIMEOUT))  # an int may be too large for a float


def validate_callback(name: str, value: _CallbackT) -> _CallbackT:
    """Return a plain function or None; raise TypeError for what is not callable or is async."""
    if value is not None and not callable(value):
        raise wrong_type_error(name, "a function", value)
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{name} must be a plain function, got an async function")
    return value


def close_awaitable(result: object) -> bool:
    """Return whether a callback returned an awaitable, and close it if it is a coroutine."""
    if inspect.iscoroutine(result):
        result.close()
    return inspect.isawaitable(result)


def reject_awaitable(name: str, result: object) -> None:
    """Raise TypeError if a callback returned an awaitable, which would never be awaited."""
    if close_awaitable(result):
        kind = type(result).__name__
        raise TypeError(f"{name} must be a plain function, got one that returned {kind}")


def unknown_argument_error(
    name: str, method: Callable[..., object] | None, options: Iterable[str]
) -> TypeError:
    """Return the error of an unknown keyword, with the closest of those that are known."""
    import difflib  # noqa: PLC0415 - only for an error

    parameters = inspect.signature(method).parameters.values() if method else ()
    own = [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]
    known = [*own, *sorted(options)]
    other = {"timeout": "rpc_timeout", "rpc_timeout": "timeout"}.get(name)
    close = difflib.get_close_matches(name, known, 1) or [
        parameter for parameter in known if parameter.startswith(f"{name}_")
    ]
    if name == "call":
        hint = "pass the call options directly, such as metadata=..."
    elif name == "on_fault":
        hint = "it is now on_retry="
    elif other in known:
        hint = f"use {other}= for the deadline of each RPC"
    else:
        hint = f"did you mean {close[0]}=?" if close else f"use one of {', '.join(known)}"
    return TypeError(f"unexpected keyword argument {name!r}: {hint}")


def pairs_of(argument: str, value: object) -> Iterable[tuple[object, Any]]:
    """Return the pairs of a mapping or of an iterable of pairs. Errors show no value."""
    if type(value) is dict:  # isinstance of Mapping and Iterable takes as long as all the rest
        return cast("dict[object, object]", value).items()
    if type(value) is not tuple:
        if isinstance(value, Mapping):
            return cast("Mapping[object, object]", value).items()
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            rule = "a mapping or pairs of key and value"
            raise wrong_type_error(argument, rule, value, secret=True)
        value = tuple(cast("Iterable[object]", value))
    pairs = cast("tuple[tuple[object, Any], ...]", value)
    for entry in pairs:
        if not isinstance(entry, (tuple, list)) or len(entry) != 2:
            index = next(index for index, each in enumerate(pairs) if each is entry)
            fault = f"entry {index} is not a pair"
            raise TypeError(f"{argument} must hold pairs of key and value; {fault}")
    return pairs


_TYPES: dict[str, tuple[type, str]] = {
    "wait_for_ready": (bool, "True, False"),
    "compression": (grpc.Compression, "a grpc.Compression"),
    "call_credentials": (grpc.CallCredentials, "a grpc.CallCredentials"),
}


def _set_metadata(settings: CallSettings, added: object, *, reset: bool = False) -> None:
    """Override metadata. gRPC rejects or drops some silently.

    ``reset``: first drop all but the credentials. While a value may be rejected, no frame holds the
    values that are known: error reporters show the variables of frames.
    """
    names: list[str] = []
    pairs: list[tuple[str, MetadataValue]] = []
    for key, value in pairs_of("metadata", added):
        if not isinstance(key, str):
            raise wrong_type_error("a metadata key", "a str", key)
        name, binary = _validate_key(key)
        names.append(name)
        if value is None:
            pairs = [pair for pair in pairs if pair[0] != name]
            continue
        text = not binary and isinstance(value, str) and value.isascii() and value.isprintable()
        if not (text or (binary and isinstance(value, bytes))):
            raise _value_error(name, value, binary=binary)
        pairs.append((name, value))
    known = settings.credentials_metadata if reset else settings.metadata
    kept = [pair for pair in known if pair[0] not in names] if known else []
    settings.metadata = (*kept, *pairs) or None


def _positive(name: str, value: object, *, zero: bool = False) -> float:
    if value is None:
        raise wrong_type_error(name, "seconds, an int or a float", value)
    seconds = validate_timeout(value, name=name)
    if seconds is None:
        return math.inf
    if seconds < 0 or (seconds == 0 and not zero):
        least = "0 or more" if zero else "above 0"
        raise ArgumentError(f"{name} must be {least} seconds, got {shorten(value)}")
    return seconds


@lru_cache(maxsize=128)
def _validate_key(key: str) -> tuple[str, bool]:
    """Return the key as it is sent, and whether its values are bytes. Calls repeat few keys."""
    name = key.lower()
    if not (key.isascii() and re.fullmatch(r"[0-9a-z_.-]+", name)):
        raise ArgumentError(
            f"a metadata key must consist of letters, digits, '_', '.' and '-', got {shorten(key)}"
        )
    if name.startswith("grpc-") or name in _RESERVED:
        raise ArgumentError(f"metadata key {shorten(key)} is reserved for gRPC")
    return name, name.endswith("-bin")


def _value_error(name: str, value: object, *, binary: bool) -> Exception:
    """Return the error of a value, which it never shows: it may be a secret."""
    if binary:
        rule = f"metadata {name!r} ends in -bin: its value"
        return wrong_type_error(rule, "bytes", value, secret=True)
    if not isinstance(value, str):
        rule = "a str (bytes go under a -bin key)"
        return wrong_type_error(f"metadata {name!r}: the value", rule, value, secret=True)
    index = next(i for i, c in enumerate(value) if not " " <= c <= "~")
    return ArgumentError(
        f"metadata {name!r}: the value must be printable ASCII, but its character at index "
        f"{index} is not; encode it, or send bytes under the key {name + '-bin'!r}"
    )
