"""The operations of the client, independent of the service that performs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic

from .._connection._base import ParamsT, ResultT
from .._hints import Hint

if TYPE_CHECKING:
    from ._replies import JobList, Snapshot
    from ._requests import CreateParams, JobParams, ListParams


class Operation(Generic[ParamsT, ResultT]):
    """One operation; each service has a table of the methods that perform it."""

    def __init__(self, name: str, unsupported_hint: Hint | None = None) -> None:
        """``unsupported_hint``: the hint if the chosen gRPC service has no such method."""
        self.name: str = name
        self.unsupported_hint: Hint | None = unsupported_hint


GET_PROGRESS: Final[Operation[JobParams, Snapshot]] = Operation("get_import_progress")
LIST_JOBS: Final[Operation[ListParams, JobList]] = Operation("list_imports")
CREATE_JOB: Final[Operation[CreateParams, str]] = Operation("create_import")
CREATE_JOB_OF_GROUPS: Final[Operation[CreateParams, str]] = Operation(
    "create_import with several file groups", Hint.REST_FOR_MANY_GROUPS
)
COMMIT_JOB: Final[Operation[JobParams, None]] = Operation("commit_import", Hint.REST_FOR_COMMIT)
ABORT_JOB: Final[Operation[JobParams, None]] = Operation("abort_import", Hint.REST_FOR_COMMIT)
