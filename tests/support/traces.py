"""The frames of a traceback with their variables, which error reporters send."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import ModuleType

import milvus_import


def frames(error: BaseException, *packages: ModuleType) -> list[str]:
    """Return the frames of these packages, or else of this one, in a traceback and its causes."""
    modules = packages or (milvus_import,)
    folders = tuple(str(Path(module.__file__ or "").parent) for module in modules)
    links = [traceback.TracebackException.from_exception(error, capture_locals=True)]
    found: list[str] = []
    while links:
        link = links.pop()
        links += [cause for cause in (link.__cause__, link.__context__) if cause is not None]
        found += [
            f"{frame.name}: {frame.locals}"
            for frame in link.stack
            if frame.filename.startswith(folders)
        ]
    return found
