"""The context of a call, from which its error is created."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._errors import MilvusImportError
    from .._models import Service


class CallContext(NamedTuple):
    """The call that failed, and the state of its client."""

    method: str
    service: Service
    read: bool
    """Whether the method changes nothing on the server."""
    target: str
    secure: bool
    """Whether the client uses TLS."""
    timeout: float | None
    responded: bool
    """Whether the client has had a successful response: then the address is right."""
    authorized: bool
    """Whether a token was sent."""


class ReplyError(Exception):
    """A reply without a result. ``make`` returns its error in the context of the call."""

    def __init__(self, make: Callable[[CallContext], MilvusImportError]) -> None:
        super().__init__()
        self.make = make
