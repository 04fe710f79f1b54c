"""Progress bars for programs; needs the ``[cli]`` extra.

::

    with ProgressBars() as bars:
        await client.wait(job_id, on_progress=bars, on_retry=bars.on_retry)
"""

try:
    from ._cli._bars import ProgressBars
except ModuleNotFoundError as _error:
    if (_error.name or "").partition(".")[0] != "rich":
        raise
    raise ImportError(
        "milvus_import.progress needs rich: pip install 'milvus-import[cli]'"
    ) from _error

__all__ = ["ProgressBars"]
