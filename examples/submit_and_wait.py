"""Start an import and wait for it: python submit_and_wait.py URI COLLECTION FILE...

Milvus reads the files: they are keys in its bucket, or paths on its disk. MILVUS_TOKEN is
"user:password" or an API key.
"""

import asyncio
import os
import sys

from milvus_import import ImportClient, ImportProgressData, MilvusImportError


def show(progress: ImportProgressData) -> None:
    """Print one line per change."""
    print(f"{progress.state} {progress.fraction:.0%}")


async def main(uri: str, collection: str, *files: str) -> None:
    """Start the import, follow it, and print the number of rows."""
    async with ImportClient(uri, token=os.environ.get("MILVUS_TOKEN")) as client:
        job_id = await client.create_import(collection, files)
        final = await client.wait(job_id, timeout=3600, on_progress=show)
    print(f"{final.imported_rows:,} rows imported")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except MilvusImportError as error:
        sys.exit(str(error))
