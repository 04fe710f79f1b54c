"""The import API of Zilliz Cloud: that of ``_rest``, with other bodies and ids, and with pages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from .._errors import ArgumentError, shorten
from ._replies import MAX_LISTED_JOBS
from ._requests import (
    BucketCredentials,
    ListParams,
    Volume,
    validate_cloud_job_id,
    validate_identifier,
)
from ._rest import Json, RestApi, number, text

if TYPE_CHECKING:
    from .._connection._http import HttpReply
    from .._models import Service
    from ._replies import JobList
    from ._requests import CreateParams

_PAGE_SIZE: Final = 100


class CloudApi(RestApi):
    """The members of each request name a cluster, or a project and its region."""

    service: Service = "cloud"
    validate_job_id = staticmethod(validate_cloud_job_id)

    def __init__(self, cluster_id: str, project_id: str, region_id: str) -> None:
        validate_identifier("cluster_id", cluster_id)
        validate_identifier("project_id", project_id)
        validate_identifier("region_id", region_id)
        if bool(cluster_id) is bool(project_id) or bool(project_id) is not bool(region_id):
            raise ArgumentError(
                "exactly one of cluster_id, or project_id with region_id, must be passed with "
                f"service='cloud', got cluster_id={shorten(cluster_id)}, "
                f"project_id={shorten(project_id)}, region_id={shorten(region_id)}"
            )
        super().__init__(clusterId=cluster_id, projectId=project_id, regionId=region_id)

    def list_request(self, params: ListParams) -> bytes:
        """Build the request of a page."""
        return self.body(
            collectionName=params.collection_name,
            dbName=params.db_name,
            pageSize=1 if params.only_one else _PAGE_SIZE,
            currentPage=params.page,
        )

    def read_list(self, reply: HttpReply, params: ListParams) -> JobList | ListParams:
        """Return the list after its last page, before that the parameters of the next page.

        The last page is that with which ``count`` jobs have arrived, or without a new job. A short
        one is not: the server may limit the size. A job that moves between pages is kept once.
        """
        data, page = self.records(reply)
        records, count = params.records or {}, number(data, "count")
        known = len(records)
        records |= page
        complete = len(records) >= count > 0 or len(records) == known
        if not complete and len(records) <= MAX_LISTED_JOBS and not params.only_one:
            return replace(params, page=params.page + 1, records=records)
        # The server may ignore the name of the collection.
        names = {"", params.collection_name}
        jobs = self.job_list(
            {
                job_id: record
                for job_id, record in records.items()
                if not params.collection_name or text(record, "collectionName") in names
            }
        )
        jobs.pages = params.page
        return jobs

    def files(self, params: CreateParams) -> Json:
        """Return the members that name the files, and the keys to read them."""
        storage = params.storage
        if isinstance(storage, Volume):
            return {"volumeName": storage.name, "dataPaths": params.groups}
        if not isinstance(storage, BucketCredentials):
            return {"objectUrls": params.groups}
        return {
            "objectUrls": params.groups,
            "accessKey": storage.access_key,
            "secretKey": storage.secret_key,
            "token": storage.session_token,
        }
