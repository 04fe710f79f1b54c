"""How a command ends: its exit code, and what it says of errors."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any, NoReturn

import anyio
import click

from .._errors import (
    CallError,
    ImportFailedError,
    JobNotFoundError,
    MilvusImportError,
    WaitTimeoutError,
)
from . import _text

OK, FAILED, USAGE, UNREACHABLE, NOT_FOUND, RAN_OUT = range(6)
INTERRUPTED, CLOSED_PIPE = 130, 141

_CODES: dict[type[MilvusImportError], int] = {
    ImportFailedError: FAILED,
    JobNotFoundError: NOT_FOUND,
    WaitTimeoutError: RAN_OUT,
}
_WORST_FIRST = (UNREACHABLE, FAILED, NOT_FOUND, RAN_OUT)
_MOST_LINES = 10


def exit_code(errors: Iterable[MilvusImportError]) -> int:
    """The exit code of the worst of these errors; 0 where there are none."""
    codes = {_CODES.get(type(error), UNREACHABLE) for error in errors}
    return next((code for code in _WORST_FIRST if code in codes), OK)


def complain(errors: Collection[BaseException], *, debug: bool) -> None:
    """Say each error once, on stderr."""
    lines = list(dict.fromkeys(_text.error(error) for error in errors))
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"... and {len(lines) - _MOST_LINES} more errors"]
    for line in lines:
        click.echo(f"milvus-import: {line}", err=True)
    for error in errors if debug else ():
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


def leave_with(
    work: Callable[[], Coroutine[Any, Any, int]],
    followed: Collection[str],
    *,
    debug: bool,
    unsure: str = "",
) -> NoReturn:
    """Run a command's work and leave with its exit code.

    ``followed`` are the jobs that go on if it is interrupted. ``unsure`` is said where it is not
    known whether the work has been done.
    """
    if not debug:
        _hush_grpc()
    try:
        code = anyio.run(work)
    except MilvusImportError as error:
        complain([error], debug=debug)
        if unsure and _may_have_run(error):
            click.echo(f"milvus-import: {unsure}", err=True)
        code = exit_code([error])
    except KeyboardInterrupt:
        click.echo(f"\nmilvus-import: interrupted{_farewell(followed, unsure)}", err=True)
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has left. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = CLOSED_PIPE
    gc.collect()  # below grpcio 1.76 the process may hang if gRPC's objects are freed at its end
    sys.exit(code)


def _may_have_run(error: MilvusImportError) -> bool:
    return isinstance(error, WaitTimeoutError) or (
        isinstance(error, CallError) and error.may_have_run
    )


def _farewell(followed: Collection[str], unsure: str) -> str:
    if not followed:
        return unsure and f"; {unsure}"
    goes_on = "the job goes on" if len(followed) == 1 else "the jobs go on"
    again = f": milvus-import watch {' '.join(followed)}" if len(followed) <= _MOST_LINES else ""
    return f"; {goes_on}. Follow {'it' if len(followed) == 1 else 'them'} again{again}"


def _hush_grpc() -> None:
    """Keep gRPC's own lines about failed handshakes off the terminal, unless they are asked for.

    Its variables are read when it is loaded, which is too early for us; its lines go to
    descriptor 2, whatever Python calls stderr.
    """
    if "GRPC_VERBOSITY" in os.environ or "GRPC_TRACE" in os.environ:
        return
    sys.stderr.flush()
    sys.stderr = os.fdopen(
        os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace"
    )
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
