"""Start an import and wait for it: python submit_and_wait.py URI COLLECTION FILE..."""

import asyncio
import sys

from milvus_import import ImportClient, ImportFailedError


async def main(uri: str, collection: str, *files: str) -> None:
    """Start it, follow it, tell how it ended."""
    async with ImportClient(uri) as client:
        job_id = await client.create_import(collection, files)
        try:
            final = await client.wait(job_id, timeout=3600, on_progress=print)
        except ImportFailedError as error:
            sys.exit(str(error))
        print(f"{final.imported_rows} rows imported")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
