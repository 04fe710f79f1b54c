"""Logs on the command line: print this package's warnings, suppress gRPC's log lines."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

import click

from . import _text


class _Handler(logging.Handler):
    """Prints warnings as the command line prints messages."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"milvus-import: warning: {_text.clean(record.getMessage())}", err=True)


@contextmanager
def log_to_stderr() -> Generator[None]:
    """Print the warnings of this package.

    The one about a job that waits for its commit names Python's arguments; the follower prints
    its own.
    """
    logger = logging.getLogger("milvus_import")
    handler = _Handler(logging.WARNING)
    handler.addFilter(lambda record: record.funcName != "warn_waiting_for_commit")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def silence_grpc_logs() -> None:
    """Keep gRPC's own log lines off the terminal unless its variables request them.

    gRPC reads its variables when it is loaded, so that they cannot be set here. It writes to
    descriptor 2, not to ``sys.stderr``.
    """
    if "GRPC_VERBOSITY" in os.environ or "GRPC_TRACE" in os.environ:
        return
    sys.stderr.flush()
    sys.stderr = os.fdopen(
        os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace"
    )
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
