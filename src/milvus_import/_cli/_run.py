"""How a command runs and ends: its time limit, signals, exit codes, and messages."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from types import FrameType
from typing import Any, TypeVar

import anyio
import click

from .. import (
    ArgumentError,
    ImportFailedError,
    JobNotFoundError,
    MilvusImportError,
    WaitTimeoutError,
)
from ._options import CREATE, is_given, make_client, usage_error
from ._output import OutputLost, clean, count, error_text, print_message, write

OK, USAGE, UNEXPECTED, OUTPUT_LOST, CLOSED_PIPE = 0, 2, 70, 74, 141

ENDINGS: dict[type[Exception], tuple[int, str]] = {
    MilvusImportError: (3, "could not be followed"),
    ImportFailedError: (1, "failed"),
    JobNotFoundError: (4, "not found"),
    WaitTimeoutError: (5, "timed out"),
}
"""The exit code of an error, and its name in the summary; the worst first. The first row is that of
all other errors."""
_MAX_ERRORS = 10

_T = TypeVar("_T")


def exit_code(errors: Iterable[Exception]) -> int:
    """Return the exit code of the worst of these errors; 0 if there are none."""
    found = {ending_of(error) for error in errors}
    return next((ending[0] for ending in ENDINGS.values() if ending in found), OK)


def ending_of(error: Exception) -> tuple[int, str]:
    """Return the row of ENDINGS for an error."""
    return ENDINGS.get(type(error), ENDINGS[MilvusImportError])


class Process:
    """The process of a command: the signal that ended it."""

    number = 0
    """The first signal that was received, other than SIGINT; 0 if there was none."""

    def handle_signals(self) -> None:
        """Handle SIGTERM and SIGHUP as asyncio handles SIGINT: the second one ends the loop.

        A signal that the parent process ignores, as nohup does, stays ignored.
        """
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._interrupt)

    def interrupted(self, what: str = "") -> int:
        """Print that a signal ended the command, and what continues; return the exit code."""
        by = f" by {signal.Signals(self.number).name}" if self.number else ""
        write("", err=True)
        print_message(f"interrupted{by}{what}")
        return 128 + (self.number or signal.SIGINT)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        handler = signal.getsignal(signal.SIGINT)
        (handler if callable(handler) else signal.default_int_handler)(number, frame)


class Session:
    """One run of a command: its options, client, time limit, errors and jobs."""

    def __init__(self, name: str, options: dict[str, Any], unsure: str) -> None:
        self.name = name
        self.options = options
        self.as_json: bool = options["as_json"]
        self.client = make_client(options)
        self._errors: set[str] = set()
        self.followed: list[str] = []
        """The jobs that continue if the command is interrupted."""
        # Zilliz Cloud takes no idempotency key.
        self.unsure = unsure.partition(", or")[0] if options["service"] == "cloud" else unsure
        """The message if the request may have taken effect although it failed."""
        self.timeout: float | None = options["timeout"]
        """Seconds for the whole command; None: no limit; 0: each request is sent once."""
        self._end = time.monotonic() + (self.timeout or 0.0)

    def write(self, value: Mapping[str, object], text: str, *, keep: bool = False) -> None:
        """Write a result to standard output, as JSON or as text; ``keep``: see write."""
        write(json.dumps(value) if self.as_json else text, keep=keep)

    def time_left(self) -> float | None:
        """Return the seconds that remain of ``timeout``: None and 0 stay what they are."""
        return max(0.0, self._end - time.monotonic()) if self.timeout else self.timeout

    async def within(self, request: Coroutine[Any, Any, _T]) -> _T:
        """Return the response to a request. Raises WaitTimeoutError when the time has expired."""
        with anyio.move_on_after(self.time_left() if self.timeout else None):
            return await request
        text = f"timed out: no response within {self.timeout:g} s (--timeout)"
        raise WaitTimeoutError(text, may_have_run=bool(self.unsure))

    def validated(self, job_ids: Sequence[str]) -> list[str]:
        """Return job ids, each once. Raises ArgumentError; nothing is sent."""
        self.client.watch_all(job_ids)
        numbers = self.options["service"] != "cloud"
        return list(dict.fromkeys(str(int(text)) if numbers else text for text in job_ids))

    def print_error(self, error: Exception) -> None:
        """Print an error, unless the same text, or ten others, were printed."""
        text = error_text(error)
        if text not in self._errors and len(self._errors) < _MAX_ERRORS:
            print_message(text)
        self._errors.add(text)
        if self.options["debug"]:
            write("".join(traceback.format_exception(error)).rstrip(), err=True)

    def finish(self) -> None:
        """Print how many errors were not printed."""
        if len(self._errors) > _MAX_ERRORS:
            print_message(f"... and {count(len(self._errors) - _MAX_ERRORS, 'more error')}")


def execute(session: Session, work: Callable[[Session], Awaitable[int]]) -> int:
    """Run a command's work and return its exit code."""
    process = click.get_current_context().ensure_object(Process)

    async def run() -> int:
        async with session.client:
            return await work(session)

    try:
        code = anyio.run(run)
    except ArgumentError as error:
        raise usage_error(error_text(error)) from error
    except MilvusImportError as error:
        session.print_error(error)
        if session.unsure and error.may_have_run:
            print_message(session.unsure)
        code = exit_code([error])
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = process.interrupted(_interrupt_message(session))
    except Exception:
        if not process.number:
            raise
        code = process.interrupted()  # its work failed: the terminal may be closed
    session.finish()
    return code


def main(cli: click.Command, arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; without arguments, the command of this process."""
    process = Process()
    if arguments is None:
        process.handle_signals()
    try:
        return int(cli.main(arguments, "milvus-import", standalone_mode=False, obj=process))
    except click.Abort as error:  # at the prompt for the token
        if not isinstance(error.__context__, EOFError):
            return process.interrupted()
        print_message("no token was entered")
        return USAGE
    except click.ClickException as error:
        print_message(clean(error.format_message()))
        if isinstance(error, click.UsageError) and error.ctx is not None:
            write(f"Try '{error.ctx.command_path} --help'.", err=True)
        return error.exit_code
    except OutputLost as lost:
        is_closed = isinstance(lost.args[0], BrokenPipeError)
        if not is_closed:
            print_message(f"the output was lost: {lost}")
        return CLOSED_PIPE if is_closed else OUTPUT_LOST
    except Exception as error:  # noqa: BLE001 - any unexpected error
        what = clean(f"{type(error).__name__}: {error}")
        print_message(f"unexpected {what}. Run the command with --debug and report the traceback")
        if "--debug" in (arguments or sys.argv):
            write(traceback.format_exc().rstrip(), err=True)
        return UNEXPECTED


def run_process(cli: click.Command) -> int:
    """Run the command line in its own process and return its exit code."""
    _open_streams()
    if "--debug" not in sys.argv:
        _silence_grpc_logs()
    return main(cli)


def _interrupt_message(session: Session) -> str:
    """Name the command as it was typed, without secrets; of create, the one that follows."""
    if not session.followed:
        return session.unsure and f"; {session.unsure}"
    context, is_one = click.get_current_context(), len(session.followed) == 1
    words = ["milvus-import", session.name, *context.params.get("targets", ())]
    if "targets" not in context.params:
        words = ["milvus-import", "watch", *session.followed]
    for option in context.command.params:
        name = option.name or ""
        shown = isinstance(option, click.Option) and not option.hide_input
        if shown and option not in CREATE and is_given(name):
            value = context.params[name]
            words.append(option.opts[0])
            if value is not True:
                words.append(f"{value:g}" if isinstance(value, float) else value)
    what = "the job continues. Follow it" if is_one else "the jobs continue. Follow them"
    return f"; {what} again: {shlex.join(words)}"


def _open_streams() -> None:
    """Replace closed standard streams, and escape what the encoding of the others lacks.

    Otherwise a connection would get the descriptor of a closed stream, and gRPC would write its
    log lines to it. Writing to the replacement fails.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            closed = os.open(os.devnull, os.O_RDONLY)  # the lowest descriptor that is free
            setattr(sys, name, os.fdopen(closed, mode, encoding="utf-8"))
        elif mode == "w":
            stream.reconfigure(errors="backslashreplace")


def _silence_grpc_logs() -> None:
    """Keep gRPC's own log lines off the terminal unless its variables request them.

    gRPC reads its variables when it is loaded, so that they cannot be set here. It writes to
    descriptor 2, not to ``sys.stderr``.
    """
    if "GRPC_VERBOSITY" in os.environ or "GRPC_TRACE" in os.environ:
        return
    sys.stderr.flush()
    encoding, errors = sys.stderr.encoding, "backslashreplace"
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=encoding, errors=errors)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
