"""A program in a pseudo-terminal, and the screen it draws; for the tests and the documentation."""

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

# Makes the terminal the controlling one, so that Ctrl-C typed into it is a SIGINT, and becomes the
# program. (A preexec_fn would run Python in a fork of a process with gRPC's threads.)
_LAUNCHER = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
_PIECES = re.compile(r"\x1b\[(?P<arguments>[0-9;?]*)(?P<order>[A-Za-z])|(?P<text>[\s\S])")
_WAIT = 30.0


class Screen:
    """What a terminal of so many columns and lines shows, as far as our programs use one.

    That is: text, line ends, cursor up, erasing a line, showing and hiding the cursor. Styles are
    kept, lines that scrolled away too.
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
        """Take in what the program wrote."""
        text, self._rest = self._rest + text, ""
        if (begun := re.search(r"\x1b(\[[0-9;?]*)?$", text)) is not None:
            text, self._rest = text[: begun.start()], begun[0]
        for piece in _PIECES.finditer(text):
            if piece["text"]:
                self._put(piece["text"])
            else:
                self._obey(piece["order"], piece["arguments"])

    def text(self) -> str:
        """All lines, without styles."""
        return "\n".join(
            "".join(char for char, _ in line).rstrip() for line in self._cells
        ).rstrip()

    def styled(self) -> str:
        """All lines, each character behind the order that styles it."""
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

    def _obey(self, order: str, arguments: str) -> None:
        if order == "A":
            top = max(0, len(self._cells) - self.lines)
            self._row = max(top, self._row - int(arguments or 1))
        elif order == "K":
            start = 0 if arguments == "2" else self._column
            del self._cells[self._row][start:]
        elif order == "m":
            self._style = "" if arguments in {"", "0"} else f"{self._style}\x1b[{arguments}m"
        elif (order, arguments) in {("h", "?25"), ("l", "?25")}:
            self.cursor_shown = order == "h"
        else:
            raise ValueError(f"this screen does not know CSI {arguments}{order}")


class Terminal:
    """A running program, its screen, and a keyboard."""

    def __init__(self, master: int, process: asyncio.subprocess.Process, screen: Screen) -> None:
        self.screen = screen
        self.process = process
        self._master = master
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._news = asyncio.Event()
        self._over = False
        asyncio.get_running_loop().add_reader(master, self._read)

    @property
    def echoes(self) -> bool:
        """Whether keys show on the screen."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def type(self, keys: str) -> None:
        """Press keys; ``\\x03`` is Ctrl-C."""
        os.write(self._master, keys.encode())

    async def see(self, wanted: str | Callable[[str], object], wait: float = _WAIT) -> str:
        """Wait until the screen shows this; the screen."""

        def seen() -> bool:
            text = self.screen.text()
            return wanted in text if isinstance(wanted, str) else bool(wanted(text))

        try:
            async with asyncio.timeout(wait):
                while not seen() and not self._over:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
        if not seen():
            raise AssertionError(f"{wanted} was not seen on the screen:\n{self.screen.text()}")
        return self.screen.text()

    async def end(self, wait: float = _WAIT) -> int:
        """Wait for the program's end; its exit code."""
        async with asyncio.timeout(wait):
            code = await self.process.wait()
            while not self._over:
                self._news.clear()
                await self._news.wait()
        return code

    async def hang_up(self, wait: float = _WAIT) -> int:
        """Close the terminal, as its window does; the program's exit code."""
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        self._master = -1
        async with asyncio.timeout(wait):
            return await self.process.wait()

    def close(self) -> None:
        """End the program if it has not ended, and give the terminal back."""
        if self.process.returncode is None and not self._over:
            with suppress(ProcessLookupError):
                # process.kill() would look after it first, and take its exit code from asyncio.
                os.kill(self.process.pid, signal.SIGKILL)
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so where others give an empty read: nobody writes any more
            data = b""
        if data:
            self.screen.feed(self._decoder.decode(data))
        else:
            self._over = True
            asyncio.get_running_loop().remove_reader(self._master)
        self._news.set()


@asynccontextmanager
async def terminal(
    command: Sequence[str],
    *,
    columns: int = 100,
    lines: int = 30,
    kind: str = "xterm-256color",
    environment: Mapping[str, str],
) -> AsyncGenerator[Terminal, None]:
    """Run a program (its path in full) in a terminal of its own, with these variables and TERM."""
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
