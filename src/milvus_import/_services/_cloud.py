"""The import API of Zilliz Cloud: that of ``_rest``, with other bodies and ids, and with pages."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._connection._base import Method, NextPage
from .._errors import ArgumentError
from .._failures._statuses import reply_error
from .._hints import Hint
from .._text import shorten
from ._operations import CREATE_JOB, CREATE_JOB_OF_GROUPS, GET_PROGRESS, LIST_JOBS
from ._replies import MAX_LISTED_JOBS
from ._requests import (
    BucketCredentials,
    ListParams,
    Volume,
    validate_cloud_job_id,
    validate_identifier,
)
from ._rest import (
    Json,
    body_of,
    create_body,
    decoder,
    http_services,
    identifier,
    job_id_of,
    job_list,
    number,
    objects,
    read_data,
    snapshot,
    state,
    text,
)

if TYPE_CHECKING:
    from .._connection._http import HttpConnection, HttpReply
    from ._replies import JobList, Snapshot
    from ._requests import CreateParams, JobParams
    from ._select import MethodTable, Services

_PAGE_SIZE: Final = 100


@dataclass(slots=True, repr=False, eq=False)
class _Page(ListParams, NextPage):
    """One page of a list, and the records of the pages before it."""

    number: int = 1
    records: dict[str, Json] = field(default_factory=dict[str, Json])


def _target(cluster_id: str, project_id: str, region_id: str) -> dict[str, str]:
    """Return the members of each body that name a cluster, or a project and its region."""
    validate_identifier("cluster_id", cluster_id)
    validate_identifier("project_id", project_id)
    validate_identifier("region_id", region_id)
    if bool(cluster_id) is bool(project_id) or bool(project_id) is not bool(region_id):
        raise ArgumentError(
            "exactly one of cluster_id, or project_id with region_id, must be passed with "
            f"service='cloud', got cluster_id={shorten(cluster_id)}, "
            f"project_id={shorten(project_id)}, region_id={shorten(region_id)}"
        )
    members = {"clusterId": cluster_id, "projectId": project_id, "regionId": region_id}
    return {name: value for name, value in members.items() if value}


def cloud_services(
    connection: HttpConnection, cluster_id: str, project_id: str, region_id: str
) -> Services:
    """Return the service. Nothing is sent."""
    target = _target(cluster_id, project_id, region_id)
    old = {GET_PROGRESS: _method("get_progress", partial(_job_request, target), _snapshot)}
    return http_services(connection, _methods(target), old, service="cloud")


def _methods(target: dict[str, str]) -> MethodTable:
    create = _method("create", partial(_create_request, target), _created, is_read=False)
    return {
        GET_PROGRESS: _method("describe", partial(_job_request, target), _snapshot),
        LIST_JOBS: _method("list", partial(_list_request, target), _list_page),
        CREATE_JOB: create,
        CREATE_JOB_OF_GROUPS: create,
    }


def _method(path: str, build: Any, read: Any, *, is_read: bool = True) -> Method[Any, Any]:
    return Method("cloud", path, path, build, read, is_read)


def _job_request(target: dict[str, str], params: JobParams) -> bytes:
    return body_of(**target, jobId=params.job_id)


_decode = decoder("cloud")


def _snapshot(reply: HttpReply, params: JobParams) -> Snapshot:
    return snapshot(reply, params.job_id, _decode)


def _page_of(params: ListParams) -> _Page:
    if isinstance(params, _Page):
        return params
    return _Page(params.collection_name, params.db_name, params.only_one)


def _list_request(target: dict[str, str], params: ListParams) -> bytes:
    page = _page_of(params)
    return body_of(
        **target,
        collectionName=page.collection_name,
        dbName=page.db_name,
        pageSize=1 if page.only_one else _PAGE_SIZE,
        currentPage=page.number,
    )


def _list_page(reply: HttpReply, params: ListParams) -> JobList | _Page:
    """Return the list after its last page, before that the parameters of the next page.

    The last page is that with which ``count`` jobs have arrived, or without a new job. A short one
    is not: the server may limit the size. A job that moves between pages is kept once.
    """
    page = _page_of(params)
    data = read_data(reply, missing=Hint.REST_NEEDS_2_4, entries=MAX_LISTED_JOBS)
    if "records" not in data:
        raise reply_error("the reply has no list of jobs")
    records, count = page.records, number(data, "count")
    known = len(records)
    for record in objects(data, "records", MAX_LISTED_JOBS):
        records[identifier(record, "jobId")] = record
    complete = len(records) >= count > 0 or len(records) == known
    if not complete and len(records) <= MAX_LISTED_JOBS and not page.only_one:
        return replace(page, number=page.number + 1)
    rows = [_with_progress(record) for record in records.values() if _is_of(record, page)]
    jobs = job_list(rows, validate_cloud_job_id)
    jobs.pages = page.number
    return jobs


def _is_of(record: Json, page: _Page) -> bool:
    """Return whether a job is in the collection; the server may ignore the name."""
    return text(record, "collectionName") in {"", page.collection_name} or not page.collection_name


def _with_progress(record: Json) -> Json:
    """Return a record with the progress of a completed job, which the server leaves out."""
    if record.get("progress") is None and state(record) == "Completed":
        return {**record, "progress": 100}
    return record


def _create_request(target: dict[str, str], params: CreateParams) -> bytes:
    storage = params.storage
    if isinstance(storage, Volume):
        source: Json = {"volumeName": storage.name, "dataPaths": params.groups}
    else:
        source = {"objectUrls": params.groups}
    if isinstance(storage, BucketCredentials):
        source |= {
            "accessKey": storage.access_key,
            "secretKey": storage.secret_key,
            "token": storage.session_token,
        }
    return create_body(params, **target, **source)


def _created(reply: HttpReply, _: CreateParams) -> str:
    return job_id_of(reply, validate_cloud_job_id)
