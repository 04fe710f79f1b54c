"""The client: its constructor and lifecycle, and its methods, which validate and call."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, Self, Unpack, get_args

import grpc.aio

from ._address import Endpoint, TLSConfig, authorization, credentials_text, parse_uri
from ._connection._base import yield_to_loop
from ._connection._grpc import (
    ChannelOption,
    GrpcConnection,
    validate_channel_options,
    validate_interceptors,
    validate_message_sizes,
)
from ._errors import ArgumentError, ClientClosedError, JobNotFoundError, shorten, wrong_type_error
from ._models import GetImportProgressResponse, ImportJob, ImportProgressData, Service
from ._options import (
    CallOptions,
    CallSettings,
    RpcOptions,
    Until,
    WatchOptions,
    client_settings,
    merge,
    merge_rpc,
    parse_watch_options,
    unknown_argument_error,
    validate_callback,
    validate_until,
)
from ._services import _internal, _public
from ._services._operations import (
    ABORT_JOB,
    COMMIT_JOB,
    CREATE_JOB,
    CREATE_JOB_OF_GROUPS,
    GET_PROGRESS,
    LIST_JOBS,
)
from ._services._requests import (
    Files,
    ImportOptionsLike,
    JobParams,
    ListParams,
    Storage,
    create_params,
    validate_cloud_job_id,
    validate_collection,
    validate_database,
    validate_idempotency_key,
    validate_job_id,
    validate_job_ids,
)
from ._services._select import ServiceChoice, Services
from ._watch._followers import Follower
from ._watch._jobs import FollowedJobs, Outcome
from ._watch._polls import Polls
from ._watch._watch import ImportWatch, JobsWatch, wait_for, wait_for_all

logger = logging.getLogger("milvus_import")

MAX_RECEIVE_BYTES = 16 * 1024 * 1024
MAX_SEND_BYTES = 64 * 1024 * 1024
FIRST_CLOUD_SPACING = 0.1
"""Seconds between the first polls of Zilliz Cloud; it allows 20 per second, user and endpoint."""
_NO_JOB = "0"
_NOT_ON_CLOUD = "with service='cloud': Zilliz Cloud does not support it"
_warned_targets: set[str] = set()


class ImportClient:
    """A connection to Milvus for running and following bulk-import jobs.

    Created without I/O and without a running loop; it connects at the first call and belongs to
    that call's event loop. One client serves any number of concurrent calls. Close it with
    ``close()`` or ``async with``; a client that is garbage-collected open emits ResourceWarning.
    """

    def __init__(
        self,
        uri: str,
        *,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        db_name: str = "",
        tls: TLSConfig | None = None,
        service: ServiceChoice = "auto",
        cluster_id: str = "",
        project_id: str = "",
        region_id: str = "",
        max_receive_bytes: int = MAX_RECEIVE_BYTES,
        max_send_bytes: int = MAX_SEND_BYTES,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        channel_options: Sequence[ChannelOption] = (),
        **defaults: Unpack[RpcOptions],
    ) -> None:
        """Validate the arguments; nothing is sent.

        Args:
            uri: ``host``, ``host:port``, ``http://``, ``https://`` (TLS), each optionally with
                ``/database``; ``dns:///``, ``ipv4:a:p,b:p`` (calls are distributed),
                ``unix:``. The port defaults to 19530, for https to 443.
            token: ``"user:password"`` or an API key.
            user: The user, with ``password`` instead of ``token``.
            password: The password of ``user``.
            db_name: The database, unless the URI names it.
            tls: Certificates and names; with it a URI without a scheme means TLS.
            service: "internal" (port 19529, Milvus 2.4+), "public" (19530), "auto" (internal, then
                public), "rest" (19530, Milvus 2.4+, extra ``[rest]``), or "cloud": Zilliz Cloud
                at https://api.cloud.zilliz.com (extra ``[rest]``), which needs ``token``, an API
                key, and ``cluster_id``, or ``project_id`` with ``region_id``.
            cluster_id: The cluster on Zilliz Cloud, such as "in01-0123abc".
            project_id: The project on Zilliz Cloud, instead of ``cluster_id``.
            region_id: The region of ``project_id``.
            max_receive_bytes: The largest reply, 1 to 2**31-1 bytes, default 16 MiB. Replies with
                the progress of one job are always limited to 16 MiB.
            max_send_bytes: The largest request, 1 to 2**31-1 bytes, default 64 MiB.
            interceptors: gRPC client interceptors, the first outermost. Every call is unary;
                interceptors for streams are accepted and never called.
            channel_options: gRPC channel arguments; they override this package's of the same name.
            **defaults: RpcOptions for every call: ``rpc_timeout``, ``metadata``, ...

        Raises:
            ArgumentError: A value is wrong; the message names the argument.
            TypeError: An argument has a wrong type or is unknown.
        """
        for name in defaults.keys() - RpcOptions.__optional_keys__:
            raise unknown_argument_error(name, ImportClient, RpcOptions.__optional_keys__)
        if service not in get_args(ServiceChoice):
            *first, last = (repr(choice) for choice in get_args(ServiceChoice))
            choices = f"{', '.join(first)} or {last}"
            raise ArgumentError(f"service must be {choices}, got {shorten(service)}")
        if not isinstance(tls, TLSConfig | None):
            raise wrong_type_error("tls", "a TLSConfig", tls, secret=True)
        endpoint = parse_uri(uri, tls=tls is not None)
        self._db_name = _database(db_name, endpoint)
        validate_message_sizes(max_receive_bytes, max_send_bytes)
        checked = validate_interceptors(interceptors)
        arguments = validate_channel_options(channel_options)
        secret = credentials_text(token, user, password)
        self._on_cloud = service == "cloud"
        self._validate_job_id = validate_cloud_job_id if self._on_cloud else validate_job_id
        self._validate_job_ids = partial(validate_job_ids, validate=self._validate_job_id)
        if self._on_cloud:
            _reject_credentials(token, user or password)
        else:
            names = {"cluster_id": cluster_id, "project_id": project_id, "region_id": region_id}
            _reject(names, "unless service='cloud'")
        if service in {"rest", "cloud"}:
            from ._services import _cloud, _rest  # noqa: PLC0415 - aiohttp is an extra

            only = f"with service={service!r}: they are for gRPC only"
            _reject({"interceptors": checked, "channel_options": arguments}, only)
            cloud = cluster_id, project_id, region_id
            api = _cloud.CloudApi(*cloud) if self._on_cloud else _rest.RestApi()
            key = api.authorization(secret, "token" if token else "user or password")
            validate: Callable[[CallSettings], object] = api.validate_settings
            self._services = api.connect(endpoint, tls, max_receive_bytes, max_send_bytes)
        else:
            key, validate = authorization(secret), bool
            sizes = max_receive_bytes, max_send_bytes
            connection = GrpcConnection(endpoint, tls, *sizes, arguments, interceptors=checked)
            chosen = {"internal": _internal.METHODS, "public": _public.METHODS}
            if service != "auto":
                chosen = {service: chosen[service]}
            self._services = Services(connection, chosen, "dbname")
        fixed = {"authorization": key, self._services.database_key: self._db_name}
        base = CallSettings(secure=endpoint.secure, validate=validate)
        self._settings = client_settings(base, fixed, defaults)
        self._services.quoted_token = _is_quoted(token) or _is_quoted(password)
        spacing = FIRST_CLOUD_SPACING if self._on_cloud else 0.0
        self._polls = Polls(self._services, self._db_name, shared=not checked, spacing=spacing)
        if secret and not (endpoint.secure or endpoint.loopback):
            _warn_of_plaintext(endpoint.target)

    def __repr__(self) -> str:
        services = getattr(self, "_services", None)  # missing if __init__ raised
        if services is None:
            return "<ImportClient (not created)>"
        connection = services.connection
        closed = " (closed)" if connection.closed else ""
        return f"<ImportClient {connection.endpoint.target}{closed}>"

    def __del__(self) -> None:
        services = getattr(self, "_services", None)
        if services is not None and services.connection.loop and not services.connection.closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an ImportClient cannot be copied or pickled: it holds an open connection; "
            "create one in each process"
        )

    async def __aenter__(self) -> Self:
        if self._services.connection.closed:
            raise ClientClosedError("this client is closed; create a new client")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Reject new calls, give those in flight up to a second, then cancel them.

        Idempotent. Afterwards the client has no task, call or file descriptor.
        """
        self._polls.close()
        await self._services.connection.close()

    async def check(self, **call: Unpack[CallOptions]) -> Service:
        """Return the service that responds: "internal", "public", "rest" or "cloud".

        Sends a progress request for a job that cannot exist; on Zilliz Cloud it lists one job.
        Raises CallError with the cause, MilvusStatusError if the server is not ready. ``call``
        takes CallOptions.
        """
        settings = merge(self._settings, call, self.check)
        if self._on_cloud:
            await self._services.call(LIST_JOBS, ListParams("", "", only_one=True), settings)
            return "cloud"
        try:
            params = JobParams(_NO_JOB, self._db_name)
            snapshot = await self._services.call(GET_PROGRESS, params, settings)
        except JobNotFoundError as error:
            return error.service or "public"
        return snapshot.decode().service

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
        settings = merge(self._settings, call, self.get_import_progress) if call else self._settings
        params = JobParams(self._validate_job_id(job_id), self._db_name)
        snapshot = await self._services.call(GET_PROGRESS, params, settings)
        return GetImportProgressResponse(0, snapshot.reason, snapshot.decode())

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
        settings = self._with_database(merge(self._settings, call, self.list_imports), db_name)
        return (await self._services.call(LIST_JOBS, params, settings)).jobs()

    async def create_import(
        self,
        collection_name: str,
        files: Files,
        *,
        partition_name: str = "",
        db_name: str | None = None,
        options: ImportOptionsLike | None = None,
        idempotency_key: str | None = None,
        storage: Storage | None = None,
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
                request that is resent with the same key only once; older servers ignore it. Not on
                Zilliz Cloud.
            storage: Where Zilliz Cloud reads the files: BucketCredentials for ``files`` that are
                URLs of objects, None if they are public or pre-signed, a Volume for paths in it.
            **call: CallOptions.

        Raises:
            ArgumentError: A value is wrong; nothing was sent.
            MilvusStatusError: Milvus rejected the request (JobLimitError: too many jobs).
            CallError: The RPC failed; see ``may_have_run``.
        """
        try:
            params = create_params(
                collection_name,
                files,
                partition_name=partition_name,
                db_name=self._database(db_name),
                options=options,
                storage=storage,
                cloud=self._on_cloud,
            )
        except (ArgumentError, TypeError) as error:
            del options, files, storage
            raise error.with_traceback(None) from None
        # They may hold secrets, and error reporters show the variables of frames.
        del options, files, storage
        settings = self._with_database(merge(self._settings, call, self.create_import), db_name)
        if idempotency_key is not None and self._on_cloud:
            raise ArgumentError(f"idempotency_key must be None {_NOT_ON_CLOUD}")
        if idempotency_key is not None:
            key = validate_idempotency_key(idempotency_key)
            settings = merge(settings, {"metadata": {"idempotency-key": key}})
        await yield_to_loop()  # a caller that is already cancelled must not start a job
        operation = CREATE_JOB if len(params.groups) == 1 else CREATE_JOB_OF_GROUPS
        return await self._services.call(operation, params, settings)

    async def commit_import(self, job_id: str, **call: Unpack[CallOptions]) -> None:
        """Commit a job that was created with ``auto_commit=False`` and is Uncommitted.

        Milvus 3.0 and ``service="rest"`` only: UnsupportedServerError otherwise. Idempotent on
        the server. The job is Committing for some seconds, then Completed. ``call`` takes
        CallOptions.
        """
        await self._change_job(COMMIT_JOB, job_id, call)

    async def abort_import(self, job_id: str, **call: Unpack[CallOptions]) -> None:
        """Abort a job that was created with ``auto_commit=False``, before it is Committing.

        Milvus 3.0 and ``service="rest"`` only: UnsupportedServerError otherwise. Idempotent on
        the server. The job is Failed afterwards. ``call`` takes CallOptions.
        """
        await self._change_job(ABORT_JOB, job_id, call)

    def watch(self, job_id: str, **options: Unpack[WatchOptions]) -> ImportWatch:
        """Return an async iterator over the changes of a job, until it is Completed or Failed.

        ``options`` takes WatchOptions: ``timeout`` (seconds for the whole watch, default no limit),
        ``interval`` (seconds between polls, default 2), ``max_outage``, ``on_retry``, and for each
        RPC ``rpc_timeout``, ``metadata``, ... It survives server restarts and lost connections.

        The iterator raises WaitTimeoutError, JobNotFoundError, and the last error if it is not
        retried. A failed job is yielded, not raised.
        """
        ids = (self._validate_job_id(job_id),)
        return ImportWatch(self._follow(ids, options, self.watch, detailed=True))

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
        jobs = self._follow(
            (self._validate_job_id(job_id),),
            options,
            self.wait,
            collection="" if on_progress is None else None,
            until=until,
            on_progress=on_progress,
            detailed=True,
        )
        return await wait_for(jobs, on_progress)

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
        if job_ids is not None and collection_name is not None:
            raise ArgumentError("job_ids must be None if collection_name is passed")
        ids = [] if job_ids is None else self._validate_job_ids(job_ids, or_collection=True)
        all_databases = all_databases or job_ids is not None
        listed = self._list_params(collection_name, None, all_databases=all_databases)
        collection, every = listed.collection_name, job_ids is None
        return JobsWatch(
            self._follow(ids, options, self.watch_all, collection=collection, needs_list=every)
        )

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
        if job_ids is None:
            text = "job_ids must be a list of job ids, got None; watch_all follows all jobs"
            raise TypeError(text)
        jobs = self._follow(
            self._validate_job_ids(job_ids, or_collection=False),
            options,
            self.wait_all,
            collection="",
            until=until,
            on_progress=on_progress,
        )
        return await wait_for_all(jobs, on_progress)

    async def _change_job(self, operation: Any, job_id: str, call: CallOptions) -> None:
        if self._on_cloud:
            raise ArgumentError(f"{operation.name} cannot be called {_NOT_ON_CLOUD}")
        settings = merge(self._settings, call, self.commit_import)
        params = JobParams(self._validate_job_id(job_id), self._db_name)
        await yield_to_loop()  # a caller that is already cancelled must not change a job
        try:
            await self._services.call(operation, params, settings)
        finally:
            self._polls.write_ended()

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

    def _follow(
        self,
        job_ids: Iterable[str],
        options: WatchOptions,
        method: Callable[..., object],
        *,
        collection: str | None = None,
        needs_list: bool = False,
        until: Until | None = None,
        on_progress: Callable[..., object] | None = None,
        detailed: bool = False,
    ) -> FollowedJobs:
        """Return the jobs of a watch or a wait. Nothing is sent.

        ``method``: the one that was called. ``collection``: that of the list whose rows suffice.
        """
        if until is not None:
            validate_until(until)
        if on_progress is not None:
            validate_callback("on_progress", on_progress)
        watch = parse_watch_options(options, method)
        settings = merge_rpc(self._settings, options, method)
        # A watch that polls once sends its own request.
        group = self._polls.group(settings, watch.interval, alone=watch.timeout <= 0)
        rows = None if collection is None else group.of_list(collection)
        follower = Follower(group, job_ids, shared_list=rows, needs_list=needs_list)
        return FollowedJobs(follower, watch, until=until, detailed=detailed)

    def _with_database(self, settings: CallSettings, db_name: str | None) -> CallSettings:
        if db_name is None:
            return settings
        return merge(settings, {"metadata": {self._services.database_key: db_name or None}})

    def _database(self, db_name: str | None) -> str:
        return self._db_name if db_name is None else validate_database(db_name)


def _database(db_name: str, endpoint: Endpoint) -> str:
    validate_database(db_name)
    if db_name and endpoint.database not in {"", db_name}:
        raise ArgumentError(
            f"db_name must be {shorten(endpoint.database)}, the database of the URI, "
            f"got {shorten(db_name)}"
        )
    return validate_database(db_name or endpoint.database)


def _reject(arguments: Mapping[str, object], when: str) -> None:
    """Raise ArgumentError for the first argument that is given."""
    for argument, value in arguments.items():
        if value:
            raise ArgumentError(f"{argument} must be empty {when}")


def _reject_credentials(token: str | None, user_or_password: str | None) -> None:
    if user_or_password:
        raise ArgumentError("user and password must be None with service='cloud'; pass token=")
    if not token:
        raise ArgumentError("token must be an API key with service='cloud', got none")


def _is_quoted(secret: str | None) -> bool:
    return secret is not None and len(secret) > 1 and secret[0] == secret[-1] and secret[0] in "'\""


def _warn_of_plaintext(target: str) -> None:
    """Log once per process and target that a token is sent without TLS."""
    if target not in _warned_targets:
        _warned_targets.add(target)
        logger.warning("a token is sent to %s in plain text; use https://", target)
