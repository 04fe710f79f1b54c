"""What a call may be told beside its arguments, and how a call's word beats the client's."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypedDict, TypeVar, cast

import grpc

if TYPE_CHECKING:
    from ._models import CallRecord

_CallbackT = TypeVar("_CallbackT")

DEFAULT_TIMEOUT = 10.0
LONGEST_TIMEOUT = 1e9

MetadataValue = str | bytes
Metadata = Mapping[str, MetadataValue | None] | Sequence[tuple[str, MetadataValue | None]]
"""A mapping, or pairs where a key is to be sent more than once."""

_KEY = r"[0-9a-z_.-]+"
# Refused, replaced or silently dropped by gRPC on the way.
_GRPC_OWN = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "endpoint-load-metrics-bin",
        "host",
        "lb-cost-bin",
        "te",
        "user-agent",
        "x-envoy-peer-metadata",
    }
)


class CallOptions(TypedDict, total=False):
    """Options of one RPC. The same keys given to ``ImportClient`` are its defaults.

    A key left out means the client's default, ``None`` means off, a value means that value.
    Keep a set and vary it: ``**(options | {"timeout": 1})``.
    """

    timeout: float | None
    """Seconds until the RPC must have ended, retries included; the server sees this deadline.
    Default 10. 0 and less raise DeadlineExceededError unsent; inf and None mean no deadline;
    NaN and more than 1e9 are a ValueError. Milvus 2.3 and early 2.4 crash when a read is reset
    while they work on it, and a deadline resets it: keep 10 seconds or more with them."""

    metadata: Metadata | None
    """Metadata to send. Keys are lower-cased; values are printable ASCII, or bytes under keys
    that end in ``-bin``. Merged with the client's key by key; ``None`` under a key drops that key.
    ``metadata=None`` drops the client's metadata, but never the token or the database."""

    wait_for_ready: bool | None
    """True waits for a connection until the deadline instead of failing at once. It hides why
    there is none: a refused port then ends as a bare DeadlineExceededError."""

    compression: grpc.Compression | None
    """``grpc.Compression.Gzip`` compresses the request. Milvus does not take deflate."""

    call_credentials: grpc.CallCredentials | None
    """Credentials gRPC asks for at each call; only over TLS."""

    on_finish: Callable[[CallRecord], object] | None
    """Called once when the RPC has ended, also when nobody waits for it any more.
    ``on_finish=records.append`` is the idiom. What it raises is logged."""


def _no_metadata() -> dict[str, tuple[MetadataValue, ...]]:
    return {}


@dataclass(slots=True)
class CallSettings:
    """CallOptions checked and merged, in the form a stub takes."""

    secure: bool = False
    fixed: dict[str, tuple[MetadataValue, ...]] = field(default_factory=_no_metadata, repr=False)
    """The token and the database: sent with each call unless overridden under their own key."""
    sent: dict[str, tuple[MetadataValue, ...]] = field(default_factory=_no_metadata, repr=False)
    """``fixed`` under the metadata of the client and the call; () marks a key that is dropped."""
    timeout: float | None = DEFAULT_TIMEOUT
    metadata: tuple[tuple[str, MetadataValue], ...] | None = field(default=None, repr=False)
    """``sent``, flat."""
    wait_for_ready: bool | None = None
    compression: grpc.Compression | None = None
    call_credentials: grpc.CallCredentials | None = None
    on_finish: Callable[[CallRecord], object] | None = None

    def copy(self) -> CallSettings:
        """A copy, made directly: copy.copy takes pickle's way, several times as long."""
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


def merge(base: CallSettings, call: CallOptions) -> CallSettings:
    """``base`` with the options of ``call`` over it. Pure: neither argument is changed.

    Raises TypeError for an unknown key or a wrong type, ValueError for a wrong value.
    """
    if not call:
        return base
    if not isinstance(call, dict):
        kind = type(call).__name__
        raise TypeError(f"call options are a dict such as {{'timeout': 5}}, not {kind}")
    settings = base.copy()
    for key, value in call.items():
        if key == "metadata":
            sent = base.fixed if value is None else base.sent | _checked(value)
            settings.sent = sent
            settings.metadata = tuple([(k, v) for k in sent for v in sent[k]]) or None
        elif key in _CHECKS:
            setattr(settings, key, None if value is None else _CHECKS[key](value))
        else:
            known = ", ".join(sorted(CallOptions.__optional_keys__))
            raise TypeError(f"unknown call option {key!r}; the options are {known}")
    if settings.call_credentials is not None and not settings.secure:
        raise ValueError("call_credentials need TLS: use an https:// URI or tls=TLSConfig(...)")
    return settings


def client_settings(
    *, secure: bool, fixed: Mapping[str, str | None], defaults: CallOptions
) -> CallSettings:
    """The settings of a client: its token and database (None: not given) and its defaults."""
    known: dict[str, tuple[MetadataValue, ...]] = {
        key: (value,) for key, value in fixed.items() if value
    }
    base = CallSettings(secure=secure, fixed=known, sent=known)
    return merge(base, {"metadata": {}, **defaults})


def check_timeout(value: object, *, name: str = "timeout") -> float | None:
    """Seconds as a float; None where the value means "no limit"."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is seconds, an int or a float, not {value!r}")
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{name} is NaN; pass seconds, or None for no limit")
    if value == math.inf:
        return None
    if value > LONGEST_TIMEOUT:
        raise ValueError(f"{name} {value!r} is above 1e9 seconds; pass None for no limit")
    return float(max(value, -LONGEST_TIMEOUT))  # an int may be too large for a float


def check_callback(name: str, value: _CallbackT) -> _CallbackT:
    """Something to call, and not to await."""
    if not callable(value):
        raise TypeError(f"{name} is a function that is called; {value!r} is not callable")
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{name} is called and not awaited: pass a plain function, no async one")
    return value


def _check_bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"wait_for_ready is True, False or None, not {value!r}")
    return value


def _check_compression(value: object) -> grpc.Compression:
    if not isinstance(value, grpc.Compression):
        raise TypeError(f"compression is grpc.Compression.Gzip or None, not {value!r}")
    if value == grpc.Compression.Deflate:
        raise ValueError("compression: Milvus does not take deflate; use grpc.Compression.Gzip")
    return value


def _check_credentials(value: object) -> grpc.CallCredentials:
    if not isinstance(value, grpc.CallCredentials):
        kind = type(value).__name__
        raise TypeError(
            f"call_credentials is a grpc.CallCredentials, not {kind}; "
            "grpc.metadata_call_credentials makes one"
        )
    return value


def _check_on_finish(value: object) -> object:
    return check_callback("on_finish", value)


_CHECKS: dict[str, Callable[[object], object]] = {
    "timeout": check_timeout,
    "wait_for_ready": _check_bool,
    "compression": _check_compression,
    "call_credentials": _check_credentials,
    "on_finish": _check_on_finish,
}


def _checked(metadata: object) -> dict[str, tuple[MetadataValue, ...]]:
    """The values of each key; an empty tuple marks a key to drop."""
    given: dict[str, tuple[MetadataValue, ...]] = {}
    for index, entry in enumerate(_entries(metadata)):
        if not isinstance(entry, (tuple, list)) or len(entry) != 2:
            raise TypeError(f"metadata entry {index} is no pair of key and value")
        key, value = entry
        if not isinstance(key, str):
            raise TypeError(f"a metadata key is a str, not {key!r}")
        name, binary = _check_key(key)
        if value is None:
            given[name] = ()
            continue
        if binary or not (isinstance(value, str) and value.isascii() and value.isprintable()):
            value = _check_value(name, value)
        given[name] = (*given[name], value) if name in given else (value,)
    return given


def _entries(metadata: object) -> Iterable[tuple[object, object]]:
    """What should be pairs, as far as the whole tells. The usual types first, for they are fast."""
    if not isinstance(metadata, (tuple, list)):
        if isinstance(metadata, (dict, Mapping)):
            return cast("Mapping[object, object]", metadata).items()
        if isinstance(metadata, (str, bytes)) or not isinstance(metadata, Iterable):
            kind = type(metadata).__name__
            raise TypeError(f"metadata is a mapping or pairs of key and value, not {kind}")
    return cast("Iterable[tuple[object, object]]", metadata)


@lru_cache(maxsize=128)
def _check_key(key: str) -> tuple[str, bool]:
    """The key as it is sent, and whether its values are bytes. The same few come with each call."""
    name = key.lower()
    if not (key.isascii() and re.fullmatch(_KEY, name)):
        raise ValueError(f"metadata key {key!r}: gRPC takes only letters, digits and '_', '.', '-'")
    if name.startswith("grpc-") or name in _GRPC_OWN:
        raise ValueError(f"metadata key {key!r} is gRPC's own; it cannot be set here")
    return name, name.endswith("-bin")


def _check_value(name: str, value: object) -> MetadataValue:
    """Never puts the value itself in an error: it may be a secret."""
    if name.endswith("-bin"):
        if not isinstance(value, bytes):
            kind = type(value).__name__
            raise TypeError(f"metadata {name!r} ends in -bin: its value is bytes, not {kind}")
        return value
    if not isinstance(value, str):
        kind = type(value).__name__
        raise TypeError(f"metadata {name!r}: the value is a str (bytes go under -bin), not {kind}")
    if not (value.isascii() and value.isprintable()):
        index = next(i for i, c in enumerate(value) if not (c.isascii() and c.isprintable()))
        raise ValueError(
            f"metadata {name!r}: the character at index {index} of its value is not "
            f"printable ASCII; encode it, or send bytes under the key {name + '-bin'!r}"
        )
    return value
