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

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PART = rf"({_NUMBER})(ms|[smhd])"
_MAX_SECONDS = 1e9
_SCOPE = ("cluster_id", "project_id", "region_id")
_CLIENT = ("token", "user", "password", "db_name", "service", "rpc_timeout", *_SCOPE)
_SERVICES = ("auto", "internal", "public", "rest", "cloud")
_TLS = ("ca", "cert", "key", "server_name")
_BUCKET_KEYS = ("access_key", "secret_key", "session_token")
_CLOUD = {*_SCOPE, *_BUCKET_KEYS}


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


def _pair(text: str) -> tuple[str, str]:
    """Return KEY=VALUE as a pair. Raises BadParameter without the text: it may be a secret."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.BadParameter("it is not of the form KEY=VALUE")
    return key, value


def parse_import_option(text: str) -> tuple[str, str | bool | float]:
    """Return an import option: auto_commit as a bool, a timeout without unit as seconds."""
    key, value = _pair(text)
    if key.lower() == "auto_commit":
        if value.lower() not in {"true", "false"}:
            raise click.BadParameter(f"{key} must be true or false")
        return key, value.lower() == "true"
    seconds = key.lower() == "timeout" and re.fullmatch(_NUMBER, value)
    return key, float(value) if seconds else value


_KINDS: dict[str, dict[str, Any]] = {
    "URI": {"default": "http://localhost:19530"},
    "FLAG": {"is_flag": True},
    "SECRET": {"hide_input": True},  # it is not repeated in messages
    "METADATA": {"type": _pair, "multiple": True, "metavar": "KEY=VALUE", "hide_input": True},
    "OPTION": {"type": parse_import_option, "multiple": True, "metavar": "KEY=VALUE"},
    "DURATION": {"type": parse_duration, "metavar": "DURATION"},
    "10s": {"type": _positive, "metavar": "DURATION", "default": "10s"},
    "2s": {"type": _positive, "metavar": "DURATION", "default": "2s"},
    "SERVICE": {"type": click.Choice(_SERVICES), "default": "auto"},
    "STATE": {"type": click.Choice(get_args(Until)), "default": "completed"},
    # It completes file names; the library reports a file that is missing.
    "FILE": {"type": click.Path(), "metavar": "FILE"},
}


def _options(table: str) -> tuple[click.Option, ...]:
    """Return the options of a table: names, kind and help; "$" if there is a variable.

    The variable of ``--db`` is ``MILVUS_DB``. Another kind is the name of a text.
    """
    options: list[click.Option] = []
    for row in table.strip().splitlines():
        names, kind, text = re.split(r"  +", row, maxsplit=2)
        words = names.removeprefix("$ ").split()
        variable = f"MILVUS_{words[0][2:].replace('-', '_').upper()}" if names[0] == "$" else None
        more = _KINDS.get(kind, {"metavar": kind})
        options.append(click.Option(words, help=text, envvar=variable, show_envvar=True, **more))
    return tuple(options)


CONNECTION = _options("""
$ --uri           URI          The address of Milvus.
$ --token         SECRET       user:password or an API key; the variable is safer than the option.
--ask-token       FLAG         Prompt for the token.
$ --user          TEXT         The user, with --password instead of --token.
$ --password      SECRET       The password of the user.
$ --db db_name    NAME         The database.
$ --service       SERVICE      The service of Milvus to call.
$ --cluster-id    ID           The cluster on Zilliz Cloud.
$ --project-id    ID           The project on Zilliz Cloud, with --region-id.
$ --region-id     ID           The region on Zilliz Cloud.
$ --ca            FILE         PEM file of the CAs to trust.
$ --cert          FILE         PEM file of the client's certificate.
$ --key           FILE         PEM file of the client's key.
$ --server-name   NAME         The name in the server's certificate.
--timeout         DURATION     Time limit of the whole command, such as 90 or 1h30m; 0 polls once.
$ --rpc-timeout   10s          Time limit of each request.
--metadata        METADATA     Metadata of each request; may be repeated.
--json as_json    FLAG         Print one JSON object per line.
$ --no-warnings   FLAG         Print no warnings, such as the one about a token sent without TLS.
--debug           FLAG         Show the traceback of errors.
""")
FOLLOW = _options("""
--interval        2s           Polling interval.
--until           STATE        The state to wait for.
--max-outage      DURATION     The longest outage to retry, also before the first response. \
Default: 5m, but only once a response has arrived.
""")
TARGETS = _options("""
--collection collection_name  NAME  The jobs of a collection.
--all-databases               FLAG  The jobs of every database.
""")
CREATE = _options("""
--partition partition_name  NAME    The partition to import into.
--together                  FLAG    All files are one group, such as one .npy file per field.
--option                    OPTION  A Milvus import option, such as timeout=300, auto_commit=false.
--idempotency-key           KEY     Makes resending safe (Milvus 2.6.24, 3.0.2 and newer).
$ --access-key              SECRET  The key of your bucket, for Zilliz Cloud.
$ --secret-key              SECRET  The secret of your bucket.
$ --session-token           SECRET  The session token of your bucket.
--volume                    NAME    The volume on Zilliz Cloud that holds the files.
--wait                      FLAG    Follow the job until it ends, on standard error.
""")


def usage_error(text: str) -> click.UsageError:
    """Return the usage error for a wrong argument."""
    return click.UsageError(text, click.get_current_context())


def is_given(name: str) -> bool:
    """Return whether an option is on the command line."""
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE


def _given(options: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the options with a value; variables for Zilliz Cloud only if it is the service."""
    ignored = _CLOUD - {*filter(is_given, _CLOUD)} if options["service"] != "cloud" else ()
    found = {name: options[name] for name in names if name not in ignored}
    return {name: value for name, value in found.items() if value is not None}


def make_client(options: dict[str, Any]) -> ImportClient:
    """Return the client. Raises UsageError."""
    if os.environ.get("MILVUS_URI") == "" and not is_given("uri"):
        raise usage_error("MILVUS_URI is empty")
    if "@" in options["uri"]:  # the library names the arguments; a variable is safer than an option
        raise usage_error("--uri must not contain '@': set MILVUS_TOKEN=user:password")
    given = _given(options, _CLIENT)
    typed = {name for name in ("token", "user", "password") if is_given(name)}
    if options["ask_token"]:
        given["token"] = click.prompt("Token", hide_input=True, err=True)
        typed.add("token")
    # The command line precedes the environment, and the token of the environment the other two.
    use_token = "token" in (typed or given)
    for name in ({"user", "password"} if use_token else {"token"}) - typed:
        given.pop(name, None)
    try:
        tls = _given(options, _TLS)
        given["tls"] = TLSConfig(**tls) if tls else None
        return ImportClient(options["uri"], metadata=options["metadata"], **given)
    except (ValueError, TypeError, ImportError) as error:
        raise usage_error(error_text(error)) from error


def make_storage(options: dict[str, Any]) -> BucketCredentials | Volume | None:
    """Return the storage that options name. Raises ArgumentError or UsageError."""
    keys = _given(options, _BUCKET_KEYS)
    if options["volume"] is None:
        return BucketCredentials(**keys) if keys else None
    if any(map(is_given, keys)):
        raise usage_error("--volume cannot be combined with the keys of a bucket")
    return Volume(options["volume"])
