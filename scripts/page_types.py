"""Check the types of the Python code in README.md and docs/*.md with mypy --strict.

A block with `await` becomes the body of an async function whose parameters are `NAMES`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIXTURE = re.compile(r"(?<=\()(fake_milvus|milvus)\):")
NAMES = (
    "client: ImportClient, job_id: str, job_ids: list[str], request_id: str, token: str, "
    "api_key: str, access_key: str, secret_key: str"
)
IMPORTS = "from milvus_import import ImportClient; from milvus_import.testing import FakeMilvus\n"


def module(code: str) -> tuple[str, int]:
    """Return a block as a module, and the number of lines before the code."""
    code = FIXTURE.sub(r"\1: FakeMilvus) -> None:", code)
    try:
        compile(code, "page", "exec")
    except SyntaxError:
        return f"{IMPORTS}async def block({NAMES}) -> None:\n" + textwrap.indent(code, "    "), 2
    return IMPORTS + code, 1


def main() -> int:
    """Write each block to a file with the line numbers of its page, and run mypy on all."""
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
            text = page.read_text("utf-8")
            for block in BLOCK.finditer(text):
                source, before = module(block[1])
                line = text.count("\n", 0, block.start(1))
                name = page.stem.replace("-", "_")
                Path(folder, f"{name}_{line}.py").write_text("\n" * (line - before) + source)
                count += 1
        options = ["--strict", "--allow-untyped-defs", "--allow-untyped-calls", "--config-file="]
        options += ["--no-error-summary", "--python-version=3.11", "--check-untyped-defs"]
        cache = f"--cache-dir={ROOT / '.mypy_cache' / 'pages'}"
        command = [sys.executable, "-m", "mypy", *options, cache, "."]
        done = subprocess.run(command, cwd=folder, check=False)
    print(f"types of {count} blocks checked (file NAME_12.py is the block of line 12 of NAME.md)")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
