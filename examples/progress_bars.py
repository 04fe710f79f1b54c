"""Follow import jobs with progress bars: python progress_bars.py URI JOB_ID...

It needs the [cli] extra. MILVUS_TOKEN: "user:password" or an API key.
"""

import asyncio
import os
import sys

from milvus_import import ImportClient, ImportProgressData, MilvusImportError
from milvus_import.progress import ProgressBars


async def main(uri: str, *job_ids: str) -> int:
    """Follow the jobs; return how many have not completed."""
    async with ImportClient(uri, token=os.environ.get("MILVUS_TOKEN")) as client:
        with ProgressBars(job_ids=job_ids) as bars:
            outcomes = await client.wait_all(job_ids, on_progress=bars, on_retry=bars.on_retry)
    errors = 0
    for job_id, outcome in outcomes.items():
        if isinstance(outcome, ImportProgressData):
            print(f"{job_id}: {outcome.imported_rows:,} rows imported")
        else:
            errors += 1
            print(f"{job_id}: {outcome}")
    return errors


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        sys.exit(min(asyncio.run(main(*sys.argv[1:])), 1))
    except MilvusImportError as error:
        sys.exit(str(error))
