"""Options of a call, and how they override the client's defaults."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, cast

import grpc

from ._errors import ArgumentError
from ._metadata import Metadata, MetadataValue, validate_metadata
from ._text import shorten

if TYPE_CHECKING:
    from ._models import CallRecord

_CallbackT = TypeVar("_CallbackT")

DEFAULT_TIMEOUT = 10.0
MAX_TIMEOUT = 1e9


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


def _no_metadata() -> dict[str, tuple[MetadataValue, ...]]:
    return {}


@dataclass(slots=True)
class CallSettings:
    """Call options, validated and merged, in the form that a stub accepts."""

    secure: bool = False
    fixed: dict[str, tuple[MetadataValue, ...]] = field(default_factory=_no_metadata, repr=False)
    """The token and the database: sent with each call unless overridden under their own key."""
    sent: dict[str, tuple[MetadataValue, ...]] = field(default_factory=_no_metadata, repr=False)
    """``fixed``, overridden by the metadata of the client and the call; () marks a dropped key."""
    timeout: float | None = DEFAULT_TIMEOUT
    metadata: tuple[tuple[str, MetadataValue], ...] | None = field(default=None, repr=False)
    """``sent`` as pairs."""
    wait_for_ready: bool | None = None
    compression: grpc.Compression | None = None
    call_credentials: grpc.CallCredentials | None = None
    on_finish: Callable[[CallRecord], object] | None = None

    def copy(self) -> CallSettings:
        """Return a copy. copy.copy is several times slower: it works as pickle does."""
        return CallSettings(
            self.secure,
            self.fixed,
            self.sent,
            self.timeout,
            self.metadata,
            self.wait_for_ready,
            self.compression,
            self.call_credentials,
            self.on_finish,
        )


def merge(base: CallSettings, options: CallOptions) -> CallSettings:
    """Return ``base`` overridden by the options of one call, and empty ``options``.

    The caller's dict is emptied so that no frame holds metadata while the call is awaited: error
    reporters show the local variables of frames.
    Raises TypeError for an unknown key or a wrong type, ArgumentError for a wrong value.
    """
    return _merge(base, cast("dict[str, Any]", options), "timeout")


def merge_rpc(base: CallSettings, options: RpcOptions) -> CallSettings:
    """Return ``base`` overridden by the options of each RPC of a method that makes many."""
    return _merge(base, cast("dict[str, Any]", options), "rpc_timeout")


def client_settings(
    *, secure: bool, fixed: Mapping[str, str | None], defaults: RpcOptions
) -> CallSettings:
    """Return the settings of a client: its token and database, unless None, and its defaults."""
    known: dict[str, tuple[MetadataValue, ...]] = {
        key: (value,) for key, value in fixed.items() if value
    }
    base = _with_metadata(CallSettings(secure=secure, fixed=known), known)
    return _merge(base, cast("dict[str, Any]", defaults), "rpc_timeout")


def with_metadata(base: CallSettings, key: str, value: str | None) -> CallSettings:
    """Return ``base`` with one more metadata key; None drops the key."""
    return _with_metadata(base.copy(), base.sent | {key: () if value is None else (value,)})


def validate_timeout(value: object, *, name: str = "timeout") -> float | None:
    """Return seconds as a float; None if the value means "no limit"."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be seconds, an int or a float, got {shorten(value)}")
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
    """Return a plain function; raise TypeError for what is not callable or is async."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {shorten(value)}")
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
        raise TypeError(
            f"{name} must be a plain function, got one that returned {type(result).__name__}"
        )


def unknown_argument(name: str, known: Sequence[str]) -> TypeError:
    """Return the error of an unknown keyword, with the closest known one."""
    if name == "call":
        hint = "pass the call options directly, such as metadata=..."
    elif name == "on_fault":
        hint = "it is now on_retry="
    elif name in {"timeout", "rpc_timeout"}:
        right = "rpc_timeout" if name == "timeout" else "timeout"
        hint = f"use {right}= for the deadline of each RPC"
    else:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}=?" if close else f"use one of {', '.join(known)}"
    return TypeError(f"unexpected keyword argument {name!r}: {hint}")


def _merge(base: CallSettings, options: dict[str, Any], timeout: str) -> CallSettings:
    if not options:
        return base
    settings = base.copy()
    while options:
        key, value = options.popitem()
        if key == "metadata":
            sent = base.fixed if value is None else base.sent | validate_metadata(value)
            _with_metadata(settings, sent)
        elif key == timeout:
            settings.timeout = None if value is None else validate_timeout(value, name=key)
        elif key in _VALIDATORS:
            setattr(settings, key, None if value is None else _VALIDATORS[key](key, value))
        else:
            raise unknown_argument(key, sorted([*_VALIDATORS, "metadata", timeout]))
    if settings.call_credentials is not None and not settings.secure:
        raise ArgumentError(
            "call_credentials must be None without TLS; use an https:// URI or tls=TLSConfig(...)"
        )
    return settings


def _with_metadata(
    settings: CallSettings, sent: dict[str, tuple[MetadataValue, ...]]
) -> CallSettings:
    settings.sent = sent
    settings.metadata = tuple([(k, v) for k in sent for v in sent[k]]) or None
    return settings


def _validate_bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True, False or None, got {shorten(value)}")
    return value


def _validate_compression(name: str, value: object) -> grpc.Compression:
    if not isinstance(value, grpc.Compression):
        raise TypeError(f"{name} must be a grpc.Compression or None, got {shorten(value)}")
    if value == grpc.Compression.Deflate:
        raise ArgumentError(
            f"{name} must be grpc.Compression.Gzip or None: Milvus does not accept deflate"
        )
    return value


def _validate_credentials(name: str, value: object) -> grpc.CallCredentials:
    if not isinstance(value, grpc.CallCredentials):
        kind = type(value).__name__
        raise TypeError(
            f"{name} must be a grpc.CallCredentials, got {kind}; "
            "grpc.metadata_call_credentials makes one"
        )
    return value


_VALIDATORS: dict[str, Callable[[str, object], object]] = {
    "wait_for_ready": _validate_bool,
    "compression": _validate_compression,
    "call_credentials": _validate_credentials,
    "on_finish": validate_callback,
}
