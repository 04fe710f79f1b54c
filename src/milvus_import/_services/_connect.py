"""Validate the connection arguments of a client and create its services."""

from __future__ import annotations

import logging
from typing import get_args

from .._address import Endpoint, TLSConfig, authorization, parse_uri
from .._connection._channel import (
    LazyChannel,
    channel_arguments,
    validate_channel_options,
    validate_interceptors,
)
from .._errors import ArgumentError
from .._options import CallSettings, RpcOptions, client_settings
from .._text import shorten
from ._arguments import ConnectionArguments
from ._requests import validate_database
from ._select import GrpcServices, ServiceChoice, Services

logger = logging.getLogger("milvus_import")

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

_warned_targets: set[str] = set()


def connect(
    arguments: ConnectionArguments, defaults: RpcOptions
) -> tuple[Services, CallSettings, str]:
    """Return the services, the settings of their calls, and the database. Nothing is sent."""
    if arguments.service not in get_args(ServiceChoice):
        raise ArgumentError(
            "service must be 'auto', 'internal', 'public' or 'rest', "
            f"got {shorten(arguments.service)}"
        )
    tls = arguments.tls
    if tls is not None and not isinstance(tls, TLSConfig):
        raise TypeError(f"tls must be a TLSConfig, got {type(tls).__name__}")
    endpoint = parse_uri(arguments.uri, tls=tls is not None)
    database = _database(arguments.db_name, endpoint)
    services: Services
    if arguments.service == "rest":
        from ._rest import connect_rest  # noqa: PLC0415 - httpx2 is an extra

        services, settings = connect_rest(arguments, endpoint, database, defaults)
    else:
        services, settings = _connect_grpc(arguments, endpoint, database, defaults)
    if arguments.token or arguments.user:
        _warn_of_plaintext(endpoint)
    return services, settings, database


def _connect_grpc(
    arguments: ConnectionArguments, endpoint: Endpoint, database: str, defaults: RpcOptions
) -> tuple[Services, CallSettings]:
    settings = client_settings(
        secure=endpoint.secure,
        fixed={
            "authorization": authorization(arguments.token, arguments.user, arguments.password),
            GrpcServices.database_key: database,
        },
        defaults=defaults,
    )
    tls = arguments.tls or TLSConfig()
    extra = validate_channel_options(arguments.channel_options)
    if tls.server_name:
        extra = [("grpc.ssl_target_name_override", tls.server_name), *extra]
    channel = LazyChannel(
        endpoint,
        channel_arguments(endpoint, arguments.max_receive_bytes, arguments.max_send_bytes, extra),
        tls.credentials() if endpoint.secure else None,
        validate_interceptors(arguments.interceptors),
    )
    return GrpcServices(channel, arguments.service), settings


def _database(db_name: str, endpoint: Endpoint) -> str:
    validate_database(db_name)
    if db_name and endpoint.database not in {"", db_name}:
        raise ArgumentError(
            f"db_name must be {shorten(endpoint.database)}, the database of the URI, "
            f"got {shorten(db_name)}"
        )
    return validate_database(db_name or endpoint.database)


def _warn_of_plaintext(endpoint: Endpoint) -> None:
    """Log once per process and target that a token is sent without TLS."""
    if endpoint.secure or endpoint.loopback or endpoint.target in _warned_targets:
        return
    _warned_targets.add(endpoint.target)
    logger.warning("a token is sent to %s in plain text; use https://", endpoint.target)
