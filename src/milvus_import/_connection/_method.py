"""The methods of the gRPC services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from .._failures._context import CallContext
    from .._models import Service
    from .._options import CallSettings
    from ._lazy import LazyConnection

_ParamsT = TypeVar("_ParamsT")
_ResultT = TypeVar("_ResultT")


class Method(Generic[_ParamsT, _ResultT]):
    """One method of one gRPC service: how its request is built and its reply is read."""

    def __init__(
        self,
        service: Service,
        stub: type[Any],
        name: str,
        build: Callable[[_ParamsT], Message],
        read_reply: Callable[[Any, _ParamsT], _ResultT],
        *,
        read: bool = True,
    ) -> None:
        """``stub`` is the generated class of the service; ``read`` is False for a write."""
        types: Mapping[str, tuple[type[Message], type[Message]]] = stub.METHODS
        self.service: Service = service
        self.name = name
        self.path = f"{stub.SERVICE}/{name}"
        self.request_type, self.reply_type = types[name]
        self.build = build
        self.read_reply = read_reply
        self.read = read

    def context(self, channel: LazyConnection[Any], settings: CallSettings) -> CallContext:
        """Return the context of a call of this method, for its errors."""
        return channel.context(self.name, self.service, settings, read=self.read)
