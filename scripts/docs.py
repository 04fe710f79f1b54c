"""Makes the reference, the screens and the times of the documentation anew, and follows its links.

The screens are those of real terminal sessions: a shell in a pseudo-terminal, against a simulated
Milvus and, where that can run, a real one. Times and rates differ from run to run.

python scripts/docs.py [reference|screens|times|links]      only one of these
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
import environment
import fault_times
import grpc.aio
import reference
from real_milvus import RealMilvus, why_not
from rich.console import Console
from rich.text import Text
from terminal import Terminal, terminal

from milvus_import.testing import FakeFile, FakeMilvus
from milvus_import_pb.milvus_grpc import MilvusServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

PAGE = environment.ROOT / "docs" / "cli.md"
PICTURE = environment.ROOT / "docs" / "cli.svg"
COLUMNS = 112
ROWS = 600_000
PROMPT = "$ "

Screens = dict[str, str]

_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Session:
    """A shell in a terminal, where ``milvus-import`` is the one installed beside this Python."""

    def __init__(self, shell: Terminal) -> None:
        self._shell = shell
        self._start = 0

    async def type(self, command: str) -> None:
        """Type a command once the prompt is there; what follows is its screen."""
        await self._shell.see(lambda text: text.endswith(PROMPT.strip()))
        self._start = len(self._shell.screen.text().splitlines()) - 1
        self._shell.type(f"{command}\n")

    async def screen(self, pattern: str = rf"^{re.escape(PROMPT.strip())}\Z") -> str:
        """The command and what it shows once that matches; by default once it has ended."""

        def shown(text: str) -> bool:
            lines = text.splitlines()[self._start + 1 :]
            return re.search(pattern, "\n".join(lines), re.MULTILINE) is not None

        text = await self._shell.see(shown)
        return "\n".join(text.splitlines()[self._start :]).removesuffix(f"\n{PROMPT.strip()}")

    def picture(self) -> str:
        """The command and what it shows now, as an SVG."""
        styled = self._shell.screen.styled().splitlines()[self._start :]
        console = Console(record=True, width=COLUMNS, file=io.StringIO())
        console.print(Text.from_ansi("\n".join(styled)), end="")
        svg = console.export_svg(title="milvus-import", unique_id="milvus-import")
        return _FONTS.sub("", svg)  # else a viewer would fetch them from elsewhere


@asynccontextmanager
async def session(uri: str) -> AsyncGenerator[Session, None]:
    """Open a terminal with MILVUS_URI set."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    variables = {"PATH": path, "PS1": PROMPT, "LANG": "C.UTF-8", "MILVUS_URI": uri}
    async with terminal(["/bin/sh"], columns=COLUMNS, environment=variables) as shell:
        yield Session(shell)


async def simulated(screens: Screens) -> str:
    """Follow a job of 8 files on a simulated Milvus 2.6; the picture of it."""
    files = [
        FakeFile(f"books-{number}.parquet", size=48_000_000 + number * 731_000, rows=120_000)
        for number in range(1, 9)
    ]
    job_id = "449839014328146739"
    async with FakeMilvus() as server, session(server.internal_uri) as shell:
        await shell.type(f"milvus-import watch {job_id} --interval 0.5")
        server.add_job(job_id=job_id, files=files, seconds=12.0)
        screens["files"] = await shell.screen(r" 4\d%  Importing .*/s[\s\S]*books-8.* MB$")
        picture = shell.picture()
        await server.stop()
        screens["away"] = await shell.screen(r"^reconnecting for 0:02: UNAVAILABLE$")
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
    """Start an import on a real Milvus 2.3.5 and follow it."""
    file = server.data_dir / "books.json"
    demo.write_rows(file, ROWS)
    target = server.uri.removeprefix("http://")
    options = [("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        await demo.create_collection(MilvusServiceStub(channel), "books")
    async with session(server.uri) as shell:
        await shell.type("milvus-import create books books.json --wait --interval 0.5")
        screens["real"] = await shell.screen(r" [4-8]\d%  Importing .*public$")
        screens["real-end"] = await shell.screen()
        await shell.type("milvus-import list")
        screens["real-list"] = await shell.screen()


def take_screens() -> tuple[Screens, str]:
    """All screens that can be taken on this machine, and the picture."""
    screens: Screens = {}
    picture = asyncio.run(simulated(screens))
    reason = why_not()
    if reason is None:
        with RealMilvus() as server:
            asyncio.run(real(server, screens))
    else:
        print(f"the screens of a real Milvus stay as they are: {reason}")
    return screens, picture


def put(screens: Screens, page: str) -> str:
    """The page with each screen behind its marker, ``<!-- screen: NAME -->``."""
    for name, screen in screens.items():
        head = f"<!-- screen: {name} -->\n```text\n"
        before, found, rest = page.partition(head)
        _, end, after = rest.partition("```\n")
        if not (found and end):
            raise environment.SetupError(f"docs/{PAGE.name} has no place for the screen {name!r}")
        page = f"{before}{head}{screen}\n{end}{after}"
    return page


def dead_links(pages: Iterable[Path]) -> list[str]:
    """The links to files, and to headings of Markdown files, that are not there."""
    dead: list[str] = []
    for page in pages:
        text = page.read_text("utf-8")
        for link in _LINK.findall(_CODE.sub("", text)):
            path, _, heading = link.partition("#")
            target = page if not path else page.parent / path
            if re.match(r"[a-z]+:", link):
                continue
            if not target.exists() or (heading and heading not in headings(target)):
                dead.append(f"{page.relative_to(environment.ROOT)}: {link}")
    return dead


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.*)$", _CODE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def main() -> int:
    """Do all, or what is named; then follow the links."""
    only = sys.argv[1:]
    if only and (len(only) > 1 or only[0] not in {"reference", "screens", "times", "links"}):
        raise environment.SetupError("usage: docs.py [reference|screens|times|links]")
    if only in ([], ["reference"]):
        reference.write()
    if only in ([], ["times"]):
        print(f"the times of {fault_times.write()} faults measured for docs/errors.md")
    if only in ([], ["screens"]):
        screens, picture = take_screens()
        PAGE.write_text(put(screens, PAGE.read_text("utf-8")), "utf-8")
        PICTURE.write_text(picture, "utf-8")
        print(f"{len(screens)} screens taken for docs/{PAGE.name}, one picture")
    pages = [*sorted(environment.ROOT.glob("*.md")), *sorted(PAGE.parent.glob("*.md"))]
    dead = dead_links(pages)
    for link in dead:
        print(f"dead link in {link}")
    print(f"links of {len(pages)} pages followed, {len(dead)} dead")
    return 1 if dead else 0


if __name__ == "__main__":
    environment.run(main)
