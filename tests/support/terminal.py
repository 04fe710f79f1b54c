"""Run a program in a pseudo-terminal and interpret its output; for the tests and the screens."""

from __future__ import annotations

import asyncio
import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

# Makes the terminal the controlling terminal, so that Ctrl-C becomes a SIGINT, and executes the
# program. (A preexec_fn would run Python in a fork of a process with gRPC's threads.)
_LAUNCHER = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
_PIECES = re.compile(r"\x1b\[(?P<arguments>[0-9;?]*)(?P<command>[A-Za-z])|(?P<text>[\s\S])")
_WAIT = 30.0


class Screen:
    """The content of a terminal, for the control sequences that our programs use.

    Supported: text, line ends, cursor up, erase line, show and hide the cursor. Styles are kept,
    and so are lines that scrolled out.
    """

    def __init__(self, columns: int, lines: int) -> None:
        self.columns = columns
        self.lines = lines
        self.cursor_shown = True
        self._cells: list[list[tuple[str, str]]] = [[]]
        self._row = self._column = 0
        self._style = ""
        self._rest = ""

    def feed(self, text: str) -> None:
        """Interpret output of the program."""
        text, self._rest = self._rest + text, ""
        if (incomplete := re.search(r"\x1b(\[[0-9;?]*)?$", text)) is not None:
            text, self._rest = text[: incomplete.start()], incomplete[0]
        for piece in _PIECES.finditer(text):
            if piece["text"]:
                self._put(piece["text"])
            else:
                self._control(piece["command"], piece["arguments"])

    def text(self) -> str:
        """Return all lines, without styles."""
        return "\n".join(
            "".join(char for char, _ in line).rstrip() for line in self._cells
        ).rstrip()

    def styled(self) -> str:
        """Return all lines, each character after its style sequence."""
        return "\n".join(
            "".join(f"\x1b[0m{style}{char}" for char, style in line) for line in self._cells
        )

    def _put(self, char: str) -> None:
        if char == "\r":
            self._column = 0
        elif char == "\n":
            self._row += 1
            while len(self._cells) <= self._row:
                self._cells.append([])
        elif char.isprintable():
            if self._column == self.columns:
                self._column = 0
                self._put("\n")
            line = self._cells[self._row]
            line.extend([(" ", "")] * (self._column + 1 - len(line)))
            line[self._column] = (char, self._style)
            self._column += 1

    def _control(self, command: str, arguments: str) -> None:
        if command == "A":
            top = max(0, len(self._cells) - self.lines)
            self._row = max(top, self._row - int(arguments or 1))
        elif command == "K":
            start = 0 if arguments == "2" else self._column
            del self._cells[self._row][start:]
        elif command == "m":
            self._style = "" if arguments in {"", "0"} else f"{self._style}\x1b[{arguments}m"
        elif (command, arguments) in {("h", "?25"), ("l", "?25")}:
            self.cursor_shown = command == "h"
        else:
            raise ValueError(f"unsupported control sequence: CSI {arguments}{command}")


class Terminal:
    """A running program, its screen, and a keyboard."""

    def __init__(self, master: int, process: asyncio.subprocess.Process, screen: Screen) -> None:
        self.screen = screen
        self.process = process
        self._master = master
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._changed = asyncio.Event()
        self._ended = False
        asyncio.get_running_loop().add_reader(master, self._read)

    @property
    def echoes(self) -> bool:
        """Whether the terminal echoes keys."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def type(self, keys: str) -> None:
        """Press keys; ``\\x03`` is Ctrl-C."""
        os.write(self._master, keys.encode())

    async def see(self, wanted: str | Callable[[str], object], wait: float = _WAIT) -> str:
        """Wait until the screen contains a text or satisfies a function; return the screen."""

        def seen() -> bool:
            text = self.screen.text()
            return wanted in text if isinstance(wanted, str) else bool(wanted(text))

        with suppress(TimeoutError):
            await self._until(lambda: seen() or self._ended, wait)
        if not seen():
            raise AssertionError(f"{wanted} is not on the screen:\n{self.screen.text()}")
        return self.screen.text()

    async def end(self, wait: float = _WAIT) -> int:
        """Wait until the program ends; return its exit code."""
        async with asyncio.timeout(wait):
            code = await self.process.wait()
        await self._until(lambda: self._ended, wait)
        return code

    async def hang_up(self, wait: float = _WAIT) -> int:
        """Close the terminal, as its window does; the program's exit code."""
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        self._master = -1
        async with asyncio.timeout(wait):
            return await self.process.wait()

    def close(self) -> None:
        """Kill the program if it is running, and close the terminal."""
        if self.process.returncode is None and not self._ended:
            with suppress(ProcessLookupError):
                # process.kill() would reap the process and hide its exit code from asyncio.
                os.kill(self.process.pid, signal.SIGKILL)
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)

    async def _until(self, condition: Callable[[], bool], wait: float) -> None:
        async with asyncio.timeout(wait):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # end of file on Linux; other systems return no bytes
            data = b""
        if data:
            self.screen.feed(self._decoder.decode(data))
        else:
            self._ended = True
            asyncio.get_running_loop().remove_reader(self._master)
        self._changed.set()


@asynccontextmanager
async def terminal(
    command: Sequence[str],
    *,
    columns: int = 100,
    lines: int = 30,
    kind: str = "xterm-256color",
    environment: Mapping[str, str],
) -> AsyncGenerator[Terminal, None]:
    """Run a program, named by its full path, in a new terminal with these variables and TERM."""
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _LAUNCHER, *command),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**environment, "TERM": kind},
        )
    finally:
        os.close(slave)
    running = Terminal(master, process, Screen(columns, lines))
    try:
        yield running
    finally:
        running.close()
        await process.wait()
