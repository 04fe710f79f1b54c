"""Update the screens in docs/cli.md and docs/cli.svg.

They are recorded in terminal sessions: a shell in a pseudo-terminal, with a simulated Milvus and,
where it can run, a real one. Times and rates differ between runs.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import demo
import grpc.aio
from real_milvus import RealMilvus, why_not
from rich.console import Console
from rich.text import Text
from terminal import Terminal, terminal

from milvus_import.testing import FakeFile, FakeMilvus
from milvus_import_pb.milvus_grpc import MilvusServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "cli.md"
PICTURE = DOCS / "cli.svg"
COLUMNS = 112
ROWS = 600_000
PROMPT = "$ "

Screens = dict[str, str]

_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Session:
    """A shell in a terminal, with the ``milvus-import`` of this environment."""

    def __init__(self, shell: Terminal) -> None:
        self._shell = shell
        self._start = 0

    async def type(self, command: str) -> None:
        """Wait for the prompt, then type a command; `screen` starts at this command."""
        await self._shell.see(lambda text: text.endswith(PROMPT.strip()))
        self._start = len(self._shell.screen.text().splitlines()) - 1
        self._shell.type(f"{command}\n")

    async def screen(self, pattern: str = rf"^{re.escape(PROMPT.strip())}\Z") -> str:
        """Return the command and its output once that matches; by default once it has ended."""

        def shown(text: str) -> bool:
            lines = text.splitlines()[self._start + 1 :]
            return re.search(pattern, "\n".join(lines), re.MULTILINE) is not None

        text = await self._shell.see(shown)
        return "\n".join(text.splitlines()[self._start :]).removesuffix(f"\n{PROMPT.strip()}")

    def picture(self) -> str:
        """Return the command and its present output as an SVG."""
        styled = self._shell.screen.styled().splitlines()[self._start :]
        console = Console(record=True, width=COLUMNS, file=io.StringIO())
        console.print(Text.from_ansi("\n".join(styled)), end="")
        svg = console.export_svg(title="milvus-import", unique_id="milvus-import")
        return _FONTS.sub("", svg)  # they would be downloaded by a viewer


@asynccontextmanager
async def session(uri: str) -> AsyncGenerator[Session, None]:
    """Open a terminal with MILVUS_URI set."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    variables = {"PATH": path, "PS1": PROMPT, "LANG": "C.UTF-8", "MILVUS_URI": uri}
    async with terminal(["/bin/sh"], columns=COLUMNS, environment=variables) as shell:
        yield Session(shell)


async def simulated(screens: Screens) -> str:
    """Record a job of 3 files on a simulated Milvus 2.6; return the picture."""
    files = [
        FakeFile(f"books-{number}.parquet", size=48_000_000 + number * 731_000, rows=120_000)
        for number in range(1, 4)
    ]
    job_id = "449839014328146739"
    async with FakeMilvus() as server, session(server.internal_uri) as shell:
        await shell.type(f"milvus-import watch {job_id} --interval 0.5")
        server.add_job(job_id=job_id, files=files, seconds=12.0)
        screens["files"] = await shell.screen(r" 4\d%  Importing .*/s[\s\S]*books-3.* MB$")
        picture = shell.picture()
        await server.stop()
        screens["outage"] = await shell.screen(r"^reconnecting for 0:02: UNAVAILABLE$")
        await server.start()
        screens["end"] = await shell.screen()
        await shell.type(f"milvus-import get {job_id}")
        screens["get"] = await shell.screen()
        server.add_job(job_id="449839014328146740", state="Uncommitted", progress=99)
        server.add_job(
            job_id="449839014328146741", state="Failed", reason="books-9.parquet: no such file"
        )
        await shell.type("milvus-import list books")
        screens["list"] = await shell.screen()
        await shell.type('milvus-import wait --collection books --timeout 1; echo "exit code $?"')
        screens["errors"] = await shell.screen()
        server.add_job(job_id="449839014328146742", collection_name="films", seconds=4.0)
        await shell.type("milvus-import watch --collection films | cat")
        screens["plain"] = await shell.screen()
        await shell.type("milvus-import list films --json")
        screens["json"] = await shell.screen()
    return picture


async def real(server: RealMilvus, screens: Screens) -> None:
    """Record an import on a real Milvus 2.3.5."""
    file = server.data_dir / "books.json"
    demo.write_rows(file, ROWS)
    target = server.uri.removeprefix("http://")
    options = [("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        await demo.create_collection(MilvusServiceStub(channel), "books")
    async with session(server.uri) as shell:
        await shell.type("milvus-import create books books.json --wait --interval 0.5")
        screens["real-end"] = await shell.screen()


def take_screens() -> tuple[Screens, str]:
    """Return all screens that can be recorded on this machine, and the picture."""
    screens: Screens = {}
    picture = asyncio.run(simulated(screens))
    reason = why_not()
    if reason is None:
        with RealMilvus() as server:
            asyncio.run(real(server, screens))
    else:
        print(f"screens of a real Milvus not updated: {reason}")
    return screens, picture


def put(screens: Screens, page: str) -> str:
    """Return the page with each screen after its marker, ``<!-- screen: NAME -->``."""
    for name, screen in screens.items():
        head = f"<!-- screen: {name} -->\n```text\n"
        before, found, rest = page.partition(head)
        _, end, after = rest.partition("```\n")
        if not (found and end):
            raise ValueError(f"docs/{PAGE.name} has no block for the screen {name!r}")
        page = f"{before}{head}{screen}\n{end}{after}"
    return page


def main() -> None:
    """Update the page and the picture."""
    screens, picture = take_screens()
    PAGE.write_text(put(screens, PAGE.read_text("utf-8")), "utf-8")
    PICTURE.write_text(picture, "utf-8")
    print(f"{len(screens)} screens in docs/{PAGE.name}, one picture in docs/{PICTURE.name}")


if __name__ == "__main__":
    main()
