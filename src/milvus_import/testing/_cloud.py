"""The import API of Zilliz Cloud: Milvus' paths, with other bodies, ids, pages and errors.

Written from its documentation and its clients. The texts of errors are made up, except that of a
wrong key; the codes are from its documentation where it has one.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ._behavior import NewImport, StatusError, is_of
from ._faults import FAULTS, HttpResponse, Received
from ._http import HttpRequest
from ._replies import Members, cloud_job_data, cloud_list_data, decode, with_numbers_as_text
from ._rest import Handler, HttpApi

_TARGET: Final[Members] = dict.fromkeys(("clusterId", "projectId", "regionId"), str)
_LIST: Final[Members] = {
    **_TARGET,
    **dict.fromkeys(("collectionName", "dbName"), str),
    **dict.fromkeys(("pageSize", "currentPage"), int),
}
_CREATE: Final[Members] = {
    **_TARGET,
    **dict.fromkeys(("collectionName", "dbName", "partitionName", "volumeName"), str),
    **dict.fromkeys(("accessKey", "secretKey", "token", "objectUrl"), str),
    "objectUrls": [[str]],
    "dataPaths": [[str]],
    "options": {},
}
_PARAMETER: Final = 1100


class CloudApi(HttpApi):
    """The import API at ``https://api.cloud.zilliz.com``."""

    face = "cloud"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._times: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    def handlers(self) -> Mapping[str, Handler]:
        """Return the methods of Zilliz Cloud."""
        return {
            "create": self._create,
            "describe": self._describe,
            "get_progress": self._describe,
            "list": self._list,
        }

    def timeout(self, received: Received) -> float | None:
        """Return None: no timeout of Zilliz Cloud's own is known."""
        return None

    def reject(self, received: Received, request: HttpRequest) -> HttpResponse | None:
        """Return the response to a wrong key, or above the rate limit."""
        key, store = request.header("authorization").removeprefix("Bearer "), self._store
        if self._is_above_limit(key, received.method):
            page = FAULTS["http-429"].http
            return None if page is None else replace(page, headers=(("Retry-After", "1"),))
        if not key or (store.token is not None and not self._behavior.is_user(key)):
            return self.error(21119, "The apikey is illegal.")
        return None

    def success(self, data: dict[str, Any]) -> HttpResponse:
        """Return the response with ``data``."""
        as_text = self._store.cloud.numbers_as_text
        return super().success(with_numbers_as_text(data) if as_text else data)

    def _is_above_limit(self, key: str, method: str) -> bool:
        """Count a request, unless there were too many in the last second."""
        limit, now, times = self._store.cloud.requests_per_second, time.monotonic(), self._times
        if limit is None:
            return False
        recent = times[key, method]
        while recent and recent[0] <= now - 1:
            recent.popleft()
        if len(recent) >= limit:
            return True
        recent.append(now)
        return False

    def _body(
        self, request: HttpRequest, members: Members, required: tuple[str, ...]
    ) -> dict[str, Any]:
        """Return the body of a request for one known cluster, or for a project and its region."""
        body = decode(request.body, "ImportReq", members, required)
        cluster, project = body.get("clusterId"), body.get("projectId")
        if bool(cluster) is bool(project and body.get("regionId")):
            reason = "The request needs clusterId, or projectId and regionId."
            raise StatusError(90104 if not project else _PARAMETER, reason)
        known = self._store.cloud.clusters
        if known is not None and (cluster or project) not in known:
            raise StatusError(80020, "Cluster not exist or you don't have permission.")
        return body

    def _create(self, request: HttpRequest) -> dict[str, Any]:
        body = self._body(request, _CREATE, ("collectionName",))
        one: list[str] = [body["objectUrl"]] if body.get("objectUrl") else []
        urls: list[list[str] | None] = body.get("objectUrls") or ([one] if one else [])
        paths: list[list[str] | None] = body.get("dataPaths") or []
        if bool(urls) is bool(paths) or bool(paths) is not bool(body.get("volumeName")):
            raise StatusError(_PARAMETER, "Give objectUrls, or volumeName and dataPaths.")
        if bool(body.get("accessKey")) is not bool(body.get("secretKey")):
            raise StatusError(_PARAMETER, "Give accessKey and secretKey, or neither.")
        db_name = body.get("dbName") or ""
        self._behavior.check_collection(body["collectionName"], db_name, creating=True)
        self._behavior.check_limit()
        groups = [[path.partition("?")[0] for path in group or []] for group in urls or paths]
        new = NewImport(body["collectionName"], db_name, "", groups, {}, "")
        return {"jobId": self._behavior.add(new, f"job-{self._store.free_id():0>21}").job_id}

    def _describe(self, request: HttpRequest) -> dict[str, Any]:
        body = self._body(request, {**_TARGET, "jobId": str}, ("jobId",))
        job = self._store.jobs.get(body["jobId"])
        if job is None:
            reason = f"import job does not exist, jobID={body['jobId']}: importing data failed"
            raise StatusError(2100, reason)
        rows = self._store.cloud.imported_rows
        return cloud_job_data(job.at(self._store.clock()), with_rows=rows)

    def _list(self, request: HttpRequest) -> dict[str, Any]:
        body = self._body(request, _LIST, ())
        page, size = body.get("currentPage", 1), body.get("pageSize", 10)
        if page < 1 or size < 1:
            raise StatusError(_PARAMETER, "currentPage and pageSize must be positive.")
        name, now = body.get("collectionName"), self._store.clock()
        jobs = [
            job.at(now)
            for job in self._store.jobs.values()
            if not name or is_of(job, name, body.get("dbName") or "")
        ]
        return cloud_list_data(jobs, page, size)
