"""The exit code of a command, and the messages about its errors."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from typing import Any, NoReturn

import anyio
import click
from click.core import ParameterSource

from .._errors import (
    ArgumentError,
    ImportFailedError,
    JobNotFoundError,
    MilvusImportError,
    WaitTimeoutError,
)
from . import _text
from ._logs import log_to_stderr, silence_grpc_logs
from ._params import usage
from ._signals import Interrupted, Signals

OK, FAILED, USAGE, UNREACHABLE, NOT_FOUND, TIMED_OUT = range(6)
CLOSED_PIPE = 141

_CODES: dict[type[MilvusImportError], int] = {
    ImportFailedError: FAILED,
    JobNotFoundError: NOT_FOUND,
    WaitTimeoutError: TIMED_OUT,
}
_WORST_FIRST = (UNREACHABLE, FAILED, NOT_FOUND, TIMED_OUT)
_MAX_LINES = 10


def exit_code(errors: Iterable[MilvusImportError]) -> int:
    """Return the exit code of the worst of these errors; 0 if there are none."""
    codes = {_CODES.get(type(error), UNREACHABLE) for error in errors}
    return next((code for code in _WORST_FIRST if code in codes), OK)


def print_errors(errors: Collection[BaseException], *, debug: bool) -> None:
    """Print each error once, to stderr."""
    lines = list(dict.fromkeys(_text.error(error) for error in errors))
    if len(lines) > _MAX_LINES:
        lines[_MAX_LINES:] = [f"... and {_text.count(len(lines) - _MAX_LINES, 'more error')}"]
    for line in lines:
        print_message(line)
    for error in errors if debug else ():
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


def print_message(text: str) -> None:
    """Print a line to stderr, prefixed with the program's name."""
    click.echo(f"milvus-import: {text}", err=True)


def run_and_exit(
    work: Callable[[], Coroutine[Any, Any, int]],
    followed: Collection[str],
    *,
    debug: bool,
    unsure: str = "",
) -> NoReturn:
    """Run a command's work and exit with its exit code.

    ``followed`` are the jobs that continue if the command is interrupted. ``unsure`` is printed
    if the request may have taken effect although it failed.
    """
    context = click.get_current_context()
    signals = context.find_object(Signals)
    if signals is not None and not debug:  # only in the command's own process
        silence_grpc_logs()
    signals = signals or Signals()
    try:
        with log_to_stderr():
            code = anyio.run(signals.run, work)
    except ArgumentError as error:
        raise usage(error) from error
    except MilvusImportError as error:
        print_errors([error], debug=debug)
        if unsure and error.may_have_run:
            print_message(unsure)
        code = exit_code([error])
    except (KeyboardInterrupt, Interrupted):
        code = signals.exit_code
        with suppress(OSError):  # the terminal may be closed
            click.echo(err=True)
            print_message(signals.description + _interrupt_message(followed, unsure))
        _discard_unwritable()
    except BrokenPipeError:
        # The reader has closed its end. Python would report it again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = CLOSED_PIPE
    sys.exit(code)


def _interrupt_message(followed: Collection[str], unsure: str) -> str:
    if not followed:
        return unsure and f"; {unsure}"
    one = len(followed) == 1
    command = shlex.join(["milvus-import", "watch", *followed, *_given_options()])
    again = f": {command}" if len(followed) <= _MAX_LINES else ""
    return (
        f"; the {'job continues' if one else 'jobs continue'}. "
        f"Follow {'it' if one else 'them'} again{again}"
    )


def _given_options() -> list[str]:
    """Return the options of this command line that lead to the same server. None is a secret."""
    given: list[str] = []
    context = click.get_current_context()
    for name in ("uri", "db", "service"):
        for place in filter(None, (context, context.parent)):
            if place.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                given += [f"--{name}", place.params[name]]
                break
    return given


def _discard_unwritable() -> None:
    """Discard further output if the terminal is closed, so that exiting does not fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
