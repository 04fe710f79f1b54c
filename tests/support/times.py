"""One setting for every interval, timeout and guard of the tests."""

from __future__ import annotations

import os

SCALE = float(os.environ.get("MILVUS_IMPORT_TEST_SCALE", "1"))
"""What they are multiplied by."""
