"""The methods of the services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from .._models import Service

ParamsT = TypeVar("ParamsT")
ResultT = TypeVar("ResultT")


class NextPage:
    """The parameters of a further request, which the result needs: a reply was one of its pages."""

    __slots__ = ()


@dataclass(slots=True, repr=False, eq=False)
class Method(Generic[ParamsT, ResultT]):
    """One method of one service: how its request is built and its reply is read."""

    service: Service
    name: str
    """The name that errors show, such as GetImportProgress."""
    path: str
    build: Callable[[ParamsT], Any]
    """Returns the request: a message of gRPC, or the body of an HTTP request."""
    read: Callable[[Any, ParamsT], ResultT | NextPage]
    """Returns the result of a reply: bytes or a message of gRPC, or an HttpReply."""
    is_read: bool = True
    """Whether the method changes nothing on the server."""
    reply_type: Any = None
    """The message type of a gRPC reply, for clients with interceptors."""
