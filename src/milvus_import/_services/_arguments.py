"""The arguments of ImportClient that describe the connection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import grpc.aio

    from .._address import TLSConfig
    from .._connection._channel import ChannelOption
    from ._select import ServiceChoice


class ConnectionArguments(NamedTuple):
    """The arguments, as they were passed. No repr: two of them are secrets."""

    uri: str
    token: str | None
    user: str | None
    password: str | None
    db_name: str
    tls: TLSConfig | None
    service: ServiceChoice
    max_receive_bytes: int
    max_send_bytes: int
    interceptors: Sequence[grpc.aio.ClientInterceptor]
    channel_options: Iterable[ChannelOption]

    def __repr__(self) -> str:
        return "<ConnectionArguments>"
