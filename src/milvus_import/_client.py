"""The client: validate the arguments and call the services."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Unpack, cast

from ._base import BaseClient
from ._connection._pauses import yield_to_loop
from ._errors import ArgumentError, JobNotFoundError
from ._models import GetImportProgressResponse, ImportJob, ImportProgressData, Service
from ._options import (
    CallOptions,
    CallSettings,
    Until,
    WatchOptions,
    merge,
    merge_rpc,
    parse_watch_options,
    validate_callback,
    validate_until,
    with_metadata,
)
from ._services._requests import (
    Files,
    ImportOptionsLike,
    JobParams,
    ListParams,
    create_params,
    validate_collection,
    validate_database,
    validate_idempotency_key,
    validate_job_id,
    validate_job_ids,
)
from ._services._select import (
    ABORT_JOB,
    COMMIT_JOB,
    CREATE_JOB,
    CREATE_JOB_OF_GROUPS,
    GET_PROGRESS,
    LIST_JOBS,
)
from ._watch._follower import JobsFollower
from ._watch._jobs import JobsWatch, Outcome, wait_for_all
from ._watch._one import ImportWatch, wait_for
from ._watch._source import ServicesSource

_NO_JOB = "0"


class ImportClient(BaseClient):
    """A connection to Milvus for running and following bulk-import jobs.

    Created without I/O and without a running loop; it connects at the first call and belongs to
    that call's event loop. One client serves any number of concurrent calls. Close it with
    ``close()`` or ``async with``; a client that is garbage-collected open emits ResourceWarning.
    """

    async def check(self, **call: Unpack[CallOptions]) -> Service:
        """Return the service that responds: "internal", "public" or "rest".

        Sends a request for a job that cannot exist. Raises as any call does: CallError with the
        cause, MilvusStatusError if the server is not ready. ``call`` takes CallOptions.
        """
        settings = merge(self._settings, call)
        try:
            params = JobParams(_NO_JOB, self._db_name)
            response = await self._services.call(GET_PROGRESS, params, settings)
        except JobNotFoundError as error:
            return error.service or "public"
        return response.service

    async def get_import_progress(
        self, job_id: str, **call: Unpack[CallOptions]
    ) -> GetImportProgressResponse:
        """Return a job's progress from one RPC.

        ``call`` takes CallOptions: ``timeout`` (seconds, default the client's ``rpc_timeout``),
        ``metadata``, ``wait_for_ready``, ``compression``, ``call_credentials``, ``on_finish``.

        ``response.service`` is the service that responded; the public gRPC service does not
        report the total rows, the sizes and the files. Raises CallError, MilvusStatusError
        (JobNotFoundError for an unknown job), ClientClosedError; ArgumentError and TypeError
        before anything is sent.
        """
        settings = merge(self._settings, call)
        params = JobParams(validate_job_id(job_id), self._db_name)
        return await self._services.call(GET_PROGRESS, params, settings)

    async def list_imports(
        self,
        collection_name: str | None = None,
        *,
        db_name: str | None = None,
        all_databases: bool = False,
        **call: Unpack[CallOptions],
    ) -> list[ImportJob]:
        """Return the import jobs of a collection, sorted by id.

        Without ``collection_name``, Milvus lists the jobs of every database and does not report
        their databases. If a database is set, here or in the client, this raises ArgumentError
        unless ``all_databases=True``. ``call`` takes CallOptions.

        On the public gRPC service only Milvus 2.2 and 2.3 report the ids: UnsupportedServerError
        on 2.4+.
        """
        params = self._list_params(collection_name, db_name, all_databases=all_databases)
        settings = self._with_database(merge(self._settings, call), db_name)
        return await self._services.call(LIST_JOBS, params, settings)

    async def create_import(
        self,
        collection_name: str,
        files: Files,
        *,
        partition_name: str = "",
        db_name: str | None = None,
        options: ImportOptionsLike | None = None,
        idempotency_key: str | None = None,
        **call: Unpack[CallOptions],
    ) -> str:
        """Start an import job and return its id.

        The server reads the files; nothing is uploaded. The client never resends the request. After
        an error with ``may_have_run``, the job may exist: resend the request with the same
        idempotency key, or check the job list.

        Args:
            collection_name: The collection to import into.
            files: Keys in Milvus' own bucket, or absolute paths on its disk. A str is one file
                group; a list is one group (one .npy file per field). The internal service
                and REST accept many groups, the public gRPC service accepts one.
            partition_name: The partition; "" lets Milvus choose.
            db_name: The database; None means the client's.
            options: Milvus' import options, such as ``{"timeout": 300, "auto_commit": False}``;
                ``timeout`` in seconds or as a timedelta.
            idempotency_key: 1 to 256 printable ASCII characters. Milvus 2.6.24 and 3.0.2 run a
                request that is resent with the same key only once; older servers ignore it.
            **call: CallOptions.

        Raises:
            ArgumentError: A value is wrong; nothing was sent.
            MilvusStatusError: Milvus rejected the request (JobLimitError: too many jobs).
            CallError: The RPC failed; see ``may_have_run``.
        """
        database = self._database(db_name)
        params = create_params(
            collection_name,
            files,
            partition_name=partition_name,
            db_name=database,
            options=options,
        )
        del options  # may hold a secret, and error reporters show the variables of frames
        settings = self._with_database(merge(self._settings, call), db_name)
        if idempotency_key is not None:
            key = validate_idempotency_key(idempotency_key)
            settings = with_metadata(settings, "idempotency-key", key)
        await yield_to_loop()  # a caller that is already cancelled must not start a job
        operation = CREATE_JOB if len(params.groups) == 1 else CREATE_JOB_OF_GROUPS
        return await self._services.call(operation, params, settings)

    async def commit_import(self, job_id: str, **call: Unpack[CallOptions]) -> None:
        """Commit a job that was created with ``auto_commit=False`` and is Uncommitted.

        Milvus 3.0 and ``service="rest"`` only: UnsupportedServerError otherwise. Idempotent on
        the server. The job is Committing for some seconds, then Completed. ``call`` takes
        CallOptions.
        """
        await self._job_call(COMMIT_JOB, job_id, call)

    async def abort_import(self, job_id: str, **call: Unpack[CallOptions]) -> None:
        """Abort a job that was created with ``auto_commit=False``, before it is Committing.

        Milvus 3.0 and ``service="rest"`` only: UnsupportedServerError otherwise. Idempotent on
        the server. The job is Failed afterwards. ``call`` takes CallOptions.
        """
        await self._job_call(ABORT_JOB, job_id, call)

    def watch(self, job_id: str, **options: Unpack[WatchOptions]) -> ImportWatch:
        """Return an async iterator over the changes of a job, until it is Completed or Failed.

        ``options`` takes WatchOptions: ``timeout`` (seconds for the whole watch, default no limit),
        ``interval`` (seconds between polls, default 2), ``max_outage``, ``on_retry``, and for each
        RPC ``rpc_timeout``, ``metadata``, ... It survives server restarts and lost connections.

        The iterator raises WaitTimeoutError, JobNotFoundError, and the last error if it is not
        retried. A failed job is yielded, not raised.
        """
        watch_settings = parse_watch_options(options)
        job_id = validate_job_id(job_id)
        settings = merge_rpc(self._settings, options)
        source = ServicesSource(self._services, "", self._db_name, settings)
        return ImportWatch(job_id, source, watch_settings)

    async def wait(
        self,
        job_id: str,
        *,
        until: Until = "completed",
        on_progress: Callable[[ImportProgressData], object] | None = None,
        **options: Unpack[WatchOptions],
    ) -> ImportProgressData:
        """Wait until a job has completed and return its last progress.

        ``until="uncommitted"`` also returns when a job with ``auto_commit=False`` waits for its
        commit. ``on_progress`` is called with each change. ``options`` takes WatchOptions, as
        ``watch`` does; ``timeout=0`` polls once.

        Raises ImportFailedError if the job failed, WaitTimeoutError when ``timeout`` expires (the
        job continues), and what ``watch`` raises.
        """
        validate_until(until)
        if on_progress is not None:
            validate_callback("on_progress", on_progress)
        watch = self.watch(job_id, **options)
        cast("dict[str, object]", options).clear()  # error reporters show the variables of frames
        return await wait_for(watch, until, on_progress)

    def watch_all(
        self,
        job_ids: Iterable[str] | None = None,
        collection_name: str | None = None,
        *,
        all_databases: bool = False,
        **options: Unpack[WatchOptions],
    ) -> JobsWatch:
        """Return an async iterator over the changes of many jobs.

        The jobs are those of ``job_ids``, of a collection, or all jobs of the server
        (``all_databases=True`` if a database is named, as for ``list_imports``). It yields each
        job's first state, then each change, and ends when the jobs known at the first poll have
        ended. The internal service and REST list them in one RPC per interval. On the public gRPC
        service each job is polled separately, at most 64 concurrently. ``options`` takes
        WatchOptions.

        A failed job is yielded, not raised. A job that the server does not have does not stop the
        others; its JobNotFoundError is raised when they have ended.
        """
        watch_settings = parse_watch_options(options)
        if job_ids is not None and collection_name is not None:
            raise ArgumentError("job_ids must be None if collection_name is passed")
        ids = None if job_ids is None else validate_job_ids(job_ids, or_collection=True)
        params = self._list_params(
            collection_name, None, all_databases=all_databases or ids is not None
        )
        settings = merge_rpc(self._settings, options)
        source = ServicesSource(self._services, params.collection_name, params.db_name, settings)
        return JobsWatch(JobsFollower(source, ids, watch_settings))

    async def wait_all(
        self,
        job_ids: Iterable[str],
        *,
        until: Until = "completed",
        on_progress: Callable[[ImportJob], object] | None = None,
        **options: Unpack[WatchOptions],
    ) -> dict[str, Outcome]:
        """Wait for many jobs and return the outcome of each, by job id.

        The outcome of a completed job is its last ImportProgressData. Otherwise it is an error,
        which is returned and not raised: ImportFailedError, JobNotFoundError, WaitTimeoutError for
        a job that was not finished when ``timeout`` expired, or the error that ended the wait. The
        arguments are those of ``wait`` and ``watch_all``.
        """
        validate_until(until)
        watch_settings = parse_watch_options(options)
        if job_ids is None:
            raise TypeError(
                "job_ids must be a list of job ids, got None; watch_all follows all jobs"
            )
        if on_progress is not None:
            validate_callback("on_progress", on_progress)
        ids = validate_job_ids(job_ids, or_collection=False)
        settings = merge_rpc(self._settings, options)
        source = ServicesSource(self._services, "", self._db_name, settings)
        follower = JobsFollower(source, ids, watch_settings, until=until)
        return await wait_for_all(follower, on_progress)

    async def _job_call(self, operation: Any, job_id: str, call: CallOptions) -> None:
        settings = merge(self._settings, call)
        params = JobParams(validate_job_id(job_id), self._db_name)
        await self._services.call(operation, params, settings)

    def _list_params(
        self, collection_name: str | None, db_name: str | None, *, all_databases: bool
    ) -> ListParams:
        database = self._database(db_name)
        collection = validate_collection(collection_name)
        if database and not collection and not all_databases:
            raise ArgumentError(
                "db_name needs collection_name: a server lists the jobs of every database; "
                "pass all_databases=True to list them all"
            )
        return ListParams(collection, database)

    def _with_database(self, settings: CallSettings, db_name: str | None) -> CallSettings:
        if db_name is None:
            return settings
        return with_metadata(settings, self._services.database_key, db_name or None)

    def _database(self, db_name: str | None) -> str:
        return self._db_name if db_name is None else validate_database(db_name)
