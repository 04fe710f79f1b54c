"""The lifecycle of a client: created without I/O, used in one event loop, closed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn, Self, Unpack

import grpc.aio

from ._address import TLSConfig
from ._connection._channel import ChannelOption
from ._errors import ClientClosedError
from ._options import RpcOptions, unknown_argument_error
from ._services._arguments import ConnectionArguments
from ._services._connect import MAX_MESSAGE_BYTES, connect
from ._services._select import ServiceChoice

_CONSTRUCTOR_ARGUMENTS = (
    *ConnectionArguments._fields,
    *sorted(RpcOptions.__optional_keys__),
)


class BaseClient:
    """The constructor, the context manager and ``close`` of ImportClient."""

    def __init__(
        self,
        uri: str,
        *,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        db_name: str = "",
        tls: TLSConfig | None = None,
        service: ServiceChoice = "auto",
        max_receive_bytes: int = MAX_MESSAGE_BYTES,
        max_send_bytes: int = MAX_MESSAGE_BYTES,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        channel_options: Sequence[ChannelOption] = (),
        **defaults: Unpack[RpcOptions],
    ) -> None:
        """Validate the arguments; nothing is sent.

        Args:
            uri: ``host``, ``host:port``, ``http://``, ``https://`` (TLS), each optionally with
                ``/database``; ``dns:///``, ``ipv4:a:p,b:p`` (the addresses share the calls),
                ``unix:``. The port defaults to 19530, for https to 443.
            token: ``"user:password"`` or an API key.
            user: The user, with ``password`` instead of ``token``.
            password: The password of ``user``.
            db_name: The database, unless the URI names it.
            tls: Certificates and names; with it a URI without a scheme means TLS.
            service: "internal" (port 19529, Milvus 2.4+), "public" (19530), "auto" (internal, then
                public), or "rest" (19530, Milvus 2.4+, extra ``[rest]``).
            max_receive_bytes: The largest reply, 1 to 2**31-1 bytes, default 64 MiB. Replies of
                GetImportProgress are always limited to 16 MiB.
            max_send_bytes: The largest request, 1 to 2**31-1 bytes, default 64 MiB.
            interceptors: gRPC client interceptors, the first outermost. Every call is unary;
                interceptors for streams are accepted and never called.
            channel_options: gRPC channel arguments; they override this package's of the same name.
            **defaults: RpcOptions for every call: ``rpc_timeout``, ``metadata``, ...

        Raises:
            ArgumentError: A value is wrong; the message names the argument.
            TypeError: An argument has a wrong type or is unknown.
        """
        for name in defaults.keys() - RpcOptions.__optional_keys__:
            raise unknown_argument_error(name, _CONSTRUCTOR_ARGUMENTS)
        arguments = ConnectionArguments(
            *(uri, token, user, password, db_name, tls, service),
            *(max_receive_bytes, max_send_bytes, interceptors, channel_options),
        )
        self._services, self._settings, self._db_name = connect(arguments, defaults)

    def __repr__(self) -> str:
        services = getattr(self, "_services", None)  # missing if __init__ raised
        if services is None:
            return "<ImportClient (not created)>"
        return f"<ImportClient {services.target}{' (closed)' if services.pauses.closed else ''}>"

    def __del__(self) -> None:
        services = getattr(self, "_services", None)
        if services is not None and services.open and not services.pauses.closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an ImportClient cannot be copied or pickled: it holds an open connection; "
            "create one in each process"
        )

    async def __aenter__(self) -> Self:
        if self._services.pauses.closed:
            raise ClientClosedError("this client is closed; create a new client")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Reject new calls, give those in flight up to a second, then cancel them.

        Idempotent. Afterwards the client has no task, call or file descriptor.
        """
        await self._services.close()
