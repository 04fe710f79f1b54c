"""The progress of one job, over a connection opened for one call."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Unpack, cast

from ._address import TLSConfig, parse_uri
from ._client import ImportClient
from ._models import GetImportProgressResponse
from ._options import CallOptions
from ._services._select import ServiceChoice


@dataclass(slots=True)
class GetImportProgressOption:
    """Which job of which server: the argument of ``get_import_progress``.

    The arguments of the connection are those of ImportClient. The repr shows no secrets. A URI with
    credentials raises ArgumentError here; the other arguments are validated by the call.
    """

    uri: str
    job_id: str
    _: KW_ONLY
    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    db_name: str = ""
    tls: TLSConfig | None = None
    service: ServiceChoice = "auto"
    cluster_id: str = ""
    project_id: str = ""
    region_id: str = ""

    def __post_init__(self) -> None:
        if "@" in str(self.uri):
            parse_uri(self.uri)  # raises immediately: a password must not appear in a repr


async def get_import_progress(
    option: GetImportProgressOption, **call: Unpack[CallOptions]
) -> GetImportProgressResponse:
    """Return the progress of one job, over a connection opened for this call.

    ``call`` takes CallOptions: ``timeout`` (seconds, default 10), ``metadata``, ... For more than
    one call create an ImportClient, which keeps its connection. If it is cancelled, its RPC has up
    to a second to end before the connection is closed.

    Raises what ``ImportClient.get_import_progress`` raises.
    """
    if not isinstance(option, GetImportProgressOption):
        raise TypeError(f"option must be a GetImportProgressOption, got {type(option).__name__}")
    names = [each.name for each in fields(option) if each.name != "job_id"]
    client = ImportClient(**{name: getattr(option, name) for name in names})
    progress = client.get_import_progress(option.job_id, **call)
    cast("dict[str, object]", call).clear()  # error reporters show the variables of frames
    async with client:
        return await progress
