"""The options of the commands, and the client that they configure."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, get_args

import click
from click.core import ParameterSource

from .. import BucketCredentials, ImportClient, TLSConfig, Until, Volume
from ._output import error_text

_SERVICES = ("auto", "internal", "public", "rest", "cloud")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PART = rf"({_NUMBER})(ms|[smhd])"
_MAX_SECONDS = 1e9
_TLS = ("ca", "cert", "key", "server_name")
_CLIENT = (
    *("token", "user", "password", "db_name", "service", "rpc_timeout"),
    *("cluster_id", "project_id", "region_id"),
)
_CLOUD = frozenset({"cluster_id", "project_id", "region_id"})
_BUCKET_KEYS = ("access_key", "secret_key", "session_token")


def parse_duration(value: str) -> float:
    """Return the seconds of ``90``, ``500ms``, ``10m`` or ``1h30m``. Raises BadParameter."""
    text = value.strip()
    if not re.fullmatch(rf"{_NUMBER}|(?:{_PART})+", text):
        raise click.BadParameter(f"{text!r} is not a duration such as 90, 500ms, 10m or 1h30m")
    parts = re.findall(_PART, text) or [(text, "s")]
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _MAX_SECONDS:
        raise click.BadParameter(f"{text!r} must be at most 1e9 seconds")
    return seconds


def _positive(value: str) -> float:
    seconds = parse_duration(value)
    if not seconds:
        raise click.BadParameter(f"{value!r} must be above 0 seconds")
    return seconds


def _option(name: str, text: str, variable: str | None = None, **more: Any) -> click.Option:
    shown = variable is not None
    return click.Option(name.split(), help=text, envvar=variable, show_envvar=shown, **more)


def _file(name: str, text: str, variable: str) -> click.Option:
    # It completes file names; the library reports a file that is missing.
    return _option(name, text, variable, type=click.Path(), metavar="FILE")


_secret: dict[str, Any] = {"hide_input": True}  # these are not repeated in messages
CONNECTION = (
    _option("--uri", "The address of Milvus.", "MILVUS_URI", default="http://localhost:19530",
            show_default=True),
    _option("--token", "user:password or an API key; the variable is safer than the option.",
            "MILVUS_TOKEN", **_secret),
    _option("--ask-token", "Prompt for the token.", is_flag=True),
    _option("--user", "The user, with --password instead of --token.", "MILVUS_USER"),
    _option("--password", "The password of the user.", "MILVUS_PASSWORD", **_secret),
    _option("--db db_name", "The database.", "MILVUS_DB", metavar="NAME"),
    _option("--service", "The service of Milvus to call.", "MILVUS_SERVICE", default="auto",
            type=click.Choice(_SERVICES), show_default=True),
    _option("--cluster-id", "The cluster on Zilliz Cloud.", "MILVUS_CLUSTER_ID", metavar="ID"),
    _option("--project-id", "The project on Zilliz Cloud, with --region-id.",
            "MILVUS_PROJECT_ID", metavar="ID"),
    _option("--region-id", "The region on Zilliz Cloud.", "MILVUS_REGION_ID", metavar="ID"),
    _file("--ca", "PEM file of the CAs to trust.", "MILVUS_CA"),
    _file("--cert", "PEM file of the client's certificate.", "MILVUS_CERT"),
    _file("--key", "PEM file of the client's key.", "MILVUS_KEY"),
    _option("--server-name", "The name in the server's certificate.", "MILVUS_SERVER_NAME",
            metavar="NAME"),
    _option("--timeout", "Time limit of the whole command, such as 90, 10m or 1h30m; 0 polls once.",
            type=parse_duration, metavar="DURATION"),
    _option("--rpc-timeout", "Time limit of each request.", "MILVUS_RPC_TIMEOUT", type=_positive,
            default="10s", show_default=True, metavar="DURATION"),
    _option("--metadata", "Metadata of each request; may be repeated.", multiple=True,
            metavar="KEY=VALUE", **_secret),
    _option("--json as_json", "Print one JSON object per line.", is_flag=True),
    _option("--no-warnings", "Print no warnings, such as the one about a token sent without TLS.",
            "MILVUS_NO_WARNINGS", is_flag=True),
    _option("--debug", "Show the traceback of errors.", is_flag=True),
)  # fmt: skip
FOLLOW = (
    _option("--interval", "Polling interval.", type=_positive, default="2s", show_default=True,
            metavar="DURATION"),
    _option("--until", "The state to wait for.", type=click.Choice(get_args(Until)),
            default="completed", show_default=True),
    _option("--max-outage", "The longest outage to retry, also before the first response. "
            "Default: 5m, but only once a response has arrived.", type=parse_duration,
            metavar="DURATION"),
)  # fmt: skip
TARGETS = (
    _option("--collection collection_name", "The jobs of a collection.", metavar="NAME"),
    _option("--all-databases", "The jobs of every database.", is_flag=True),
)
CREATE = (
    _option("--partition partition_name", "The partition to import into.", default="",
            metavar="NAME"),
    _option("--together", "All files are one group, such as one .npy file per field.",
            is_flag=True),
    _option("--option", "A Milvus import option, such as timeout=300 or auto_commit=false.",
            multiple=True, metavar="KEY=VALUE"),
    _option("--idempotency-key", "Makes resending safe (Milvus 2.6.24, 3.0.2 and newer).",
            metavar="KEY"),
    _option("--access-key", "The key of your bucket, for Zilliz Cloud.", "MILVUS_ACCESS_KEY",
            **_secret),
    _option("--secret-key", "The secret of your bucket.", "MILVUS_SECRET_KEY", **_secret),
    _option("--session-token", "The session token of your bucket.", "MILVUS_SESSION_TOKEN",
            **_secret),
    _option("--volume", "The volume on Zilliz Cloud that holds the files.", metavar="NAME"),
    _option("--wait", "Follow the job until it ends, on standard error.", is_flag=True),
)  # fmt: skip


def usage_error(fault: Exception | str) -> click.UsageError:
    """Return the usage error for a wrong argument."""
    text = fault if isinstance(fault, str) else error_text(fault)
    return click.UsageError(text, click.get_current_context(silent=True))


def is_given(name: str) -> bool:
    """Return whether an option is on the command line."""
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE


def make_client(options: dict[str, Any]) -> ImportClient:
    """Return the client. Raises UsageError."""
    if os.environ.get("MILVUS_URI") == "" and not is_given("uri"):
        raise usage_error("MILVUS_URI is empty")
    if "@" in options["uri"]:
        raise usage_error("--uri must not contain '@': set MILVUS_TOKEN=user:password")
    given = {name: options[name] for name in _CLIENT if options[name] is not None}
    if options["service"] != "cloud":  # variables for it do not concern the other services
        given = {name: given[name] for name in given if name not in _CLOUD or is_given(name)}
    if options["ask_token"]:
        given["token"] = click.prompt("Token", hide_input=True, err=True)
    typed = {name for name in ("token", "user", "password") if is_given(name)}
    if "token" in given and typed <= {"token"}:  # the command line precedes the environment,
        given.pop("user", None)  # and the token the other two
        given.pop("password", None)
    elif "token" not in typed and not options["ask_token"]:
        given.pop("token", None)
    tls = {name: options[name] for name in _TLS if options[name] is not None}
    try:
        return ImportClient(
            options["uri"],
            tls=TLSConfig(**tls) if tls else None,
            metadata=parse_pairs("--metadata", options["metadata"]),
            **given,
        )
    except (ValueError, TypeError, ImportError) as error:
        raise usage_error(error) from error


def parse_storage(options: dict[str, Any]) -> dict[str, Any]:
    """Return the argument ``storage`` of create_import, if options name a storage."""
    keys = {
        name: options[name]
        for name in _BUCKET_KEYS
        if options[name] is not None and (options["service"] == "cloud" or is_given(name))
    }
    if options["volume"] is not None and any(map(is_given, keys)):
        raise usage_error("--volume cannot be combined with the keys of a bucket")
    try:
        if options["volume"] is not None:
            return {"storage": Volume(options["volume"])}
        return {"storage": BucketCredentials(**keys)} if keys else {}
    except (ValueError, TypeError) as error:
        raise usage_error(error) from error


def parse_pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return KEY=VALUE texts as pairs. Raises UsageError without the text: it may be a secret."""
    split = [text.partition("=") for text in texts]
    for index, (key, equals, _) in enumerate(split):
        if not (key and equals):
            raise usage_error(f"{option}: entry {index + 1} is not of the form KEY=VALUE")
    return [(key, value) for key, _, value in split]


def parse_import_options(texts: Sequence[str]) -> list[tuple[str, str | bool | float]]:
    """Return import options: auto_commit as a bool, a timeout without unit as seconds."""
    options: list[tuple[str, str | bool | float]] = []
    for key, text in parse_pairs("--option", texts):
        value: str | bool | float = text
        if key.lower() == "auto_commit":
            if text.lower() not in {"true", "false"}:
                raise usage_error(f"--option {key} must be true or false")
            value = text.lower() == "true"
        elif key.lower() == "timeout" and re.fullmatch(_NUMBER, text):
            value = float(text)
        options.append((key, value))
    return options
