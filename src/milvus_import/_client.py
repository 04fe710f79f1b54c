"""The client: what a user types.

Error reporters show the local variables of the frames that an error has passed. So what may hold
a secret, options and metadata, is deleted from a frame before it awaits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from types import TracebackType
from typing import Self, Unpack

import anyio
import grpc.aio

from ._auto import CREATE_JOB, GET_PROGRESS, LIST_JOBS, LIST_ROWS, ServiceChoice, Services
from ._channel import ChannelOption, LazyChannel, channel_arguments
from ._endpoint import TLSConfig, authorization, parse_uri
from ._errors import ClientClosedError, JobNotFoundError
from ._internal import JobRow
from ._models import GetImportProgressResponse, ImportJob, ImportProgressData, Service
from ._options import CallOptions, CallSettings, check_callback, client_settings, merge
from ._request import (
    Files,
    ImportOptions,
    check_collection,
    check_idempotency_key,
    check_job_id,
    check_name,
    import_job_request,
)
from ._watch import (
    INTERVAL,
    MAX_OUTAGE,
    ImportWatch,
    OnFault,
    Patience,
    TimeLimit,
    Until,
    check_until,
    wait_for,
)
from ._watch_many import JobsWatch, Outcome, collect

logger = logging.getLogger("milvus_import")

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

_NO_JOB = "0"
_CONNECTION = (
    "uri, token, user, password, db_name, tls, service, max_receive_bytes, max_send_bytes, "
    "interceptors, channel_options"
)


@dataclass(slots=True)
class GetImportProgressOption:
    """Which job of which server: the argument of ``get_import_progress``.

    The connection arguments are those of ImportClient. Secrets stay out of the repr; a URI
    that holds credentials is refused here, everything else that is wrong by the call.
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

    def __post_init__(self) -> None:
        if "@" in str(self.uri):
            parse_uri(self.uri)  # refuses it at once: a password must not reach a repr


async def get_import_progress(
    option: GetImportProgressOption, **call: Unpack[CallOptions]
) -> GetImportProgressResponse:
    """Ask once for one job's progress, over a connection made for it.

    ``call`` takes CallOptions: ``timeout`` (seconds, default 10), ``metadata``, ... For more than
    one call make an ImportClient: it keeps its connection. Cancelled while it waits, this function
    gives its RPC up to a second to end before it closes the connection.

    Raises what ``ImportClient.get_import_progress`` raises.
    """
    if not isinstance(option, GetImportProgressOption):
        raise TypeError(f"option is a GetImportProgressOption, not {type(option).__name__}")
    client = ImportClient(
        option.uri,
        token=option.token,
        user=option.user,
        password=option.password,
        db_name=option.db_name,
        tls=option.tls,
        service=option.service,
    )
    asking = client.get_import_progress(option.job_id, **call)
    del call
    async with client:
        return await asking


class ImportClient:
    """A connection to Milvus for starting and following bulk-import jobs.

    Made without I/O and without a running loop; it connects at the first call, and belongs to that
    call's event loop. One client serves any number of concurrent calls. Close it with ``close()``
    or ``async with``.
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
        max_receive_bytes: int = MAX_MESSAGE_BYTES,
        max_send_bytes: int = MAX_MESSAGE_BYTES,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        channel_options: Sequence[ChannelOption] = (),
        **defaults: Unpack[CallOptions],
    ) -> None:
        """Every argument is checked; nothing is sent.

        ``uri``: ``host``, ``host:port``, ``http://``, ``https://`` (TLS), each with ``/database``
        if wanted; ``dns:///``, ``ipv4:a:p,b:p`` (calls go round all of them), ``unix:``. The port
        defaults to 19530, with https to 443.
        ``token`` (``"user:password"`` or an API key), or ``user`` and ``password``.
        ``db_name``: the database, unless the URI names it.
        ``tls``: certificates and names; makes a URI without a scheme mean TLS.
        ``service``: "internal" (port 19529, Milvus 2.4+), "public" (19530), or "auto" to find out.
        ``max_receive_bytes``, ``max_send_bytes``: the largest message, default 64 MiB.
        ``interceptors``: gRPC client interceptors, the first outermost. Every call here is unary;
        those for streams may stand in the list and are never asked.
        ``channel_options``: gRPC channel arguments; they win over ours of the same name.
        ``defaults``: CallOptions for every call of this client.

        Raises ValueError or TypeError that names what is wrong.
        """
        for name in defaults.keys() - CallOptions.__optional_keys__:
            raise TypeError(
                f"ImportClient has no argument {name!r}; it takes {_CONNECTION}, and as "
                f"defaults of its calls {', '.join(sorted(CallOptions.__optional_keys__))}"
            )
        if tls is not None and not isinstance(tls, TLSConfig):
            raise TypeError(f"tls is a TLSConfig, not {type(tls).__name__}")
        endpoint = parse_uri(uri, tls=tls is not None)
        self._target = endpoint.target
        check_name(db_name, "db_name", empty=True)
        if db_name and endpoint.database not in {"", db_name}:
            raise ValueError(
                f"the URI names the database {endpoint.database!r} and db_name={db_name!r} another"
            )
        self._db_name = db_name or endpoint.database
        credential = authorization(token, user, password)
        if credential and not endpoint.secure and not endpoint.loopback:
            logger.warning("a token is sent to %s in plain text; use https://", endpoint.target)
        self._settings = client_settings(
            secure=endpoint.secure,
            fixed={"authorization": credential, "dbname": _database(self._db_name)},
            defaults=defaults,
        )
        if not isinstance(interceptors, Iterable):
            raise TypeError(f"interceptors is a sequence of interceptors, not {interceptors!r}")
        interceptors = tuple(interceptors)
        for interceptor in interceptors:
            if not isinstance(interceptor, grpc.aio.ClientInterceptor):
                kind = type(interceptor).__name__
                raise TypeError(f"interceptors: {kind} is no grpc.aio.UnaryUnaryClientInterceptor")
        if tls is not None and tls.server_name:
            channel_options = [("grpc.ssl_target_name_override", tls.server_name), *channel_options]
        self._channel = LazyChannel(
            endpoint,
            channel_arguments(endpoint, max_receive_bytes, max_send_bytes, channel_options),
            (tls or TLSConfig()).credentials() if endpoint.secure else None,
            interceptors,
        )
        self._services = Services(self._channel, service)

    def __repr__(self) -> str:
        # Error reporters show a client that its constructor refused, too.
        return f"<ImportClient {getattr(self, '_target', '(refused)')}>"

    async def __aenter__(self) -> Self:
        if self._channel.closed:
            raise ClientClosedError("this client is closed; make a new one")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Refuse new calls, give those in flight up to a second, then end them.

        Idempotent. After it no task, call or descriptor of the client is left.
        """
        await self._channel.close()

    async def check(self, **call: Unpack[CallOptions]) -> Service:
        """Find out which service answers here, "internal" or "public".

        Asks for a job that cannot exist. Raises as any call does: CallError with what is wrong,
        RefusedError where the server is not ready.
        """
        settings = self._merged(call)
        del call
        try:
            response = await self._services.ask(GET_PROGRESS, (_NO_JOB, self._db_name), settings)
        except JobNotFoundError as error:
            return error.service or "public"
        return response.service

    async def get_import_progress(
        self, job_id: str, **call: Unpack[CallOptions]
    ) -> GetImportProgressResponse:
        """Ask once for a job's progress.

        ``call`` takes CallOptions: ``timeout`` (seconds for this call, default 10), ``metadata``,
        ``wait_for_ready``, ``compression``, ``call_credentials``, ``on_finish``.

        ``response.service`` says which service answered; the public one does not know the total
        rows, the sizes and the files. Raises CallError, RefusedError (JobNotFoundError for an
        unknown job), ClientClosedError; ValueError and TypeError before anything is sent.
        """
        settings = merge(self._settings, call) if call else self._settings
        del call
        question = (check_job_id(job_id), self._db_name)
        return await self._services.ask(GET_PROGRESS, question, settings)

    async def list_imports(
        self,
        collection_name: str | None = None,
        *,
        db_name: str | None = None,
        **call: Unpack[CallOptions],
    ) -> list[ImportJob]:
        """The import jobs of a collection, sorted by id.

        Without ``collection_name`` the jobs of all collections; the internal service then lists
        those of every database. ``db_name`` defaults to the client's. ``call`` takes CallOptions.

        On the public service only Milvus 2.2 and 2.3 tell the ids: UnsupportedServerError on 2.4+.
        """
        database = self._database(db_name)
        collection = check_collection(collection_name)
        settings = self._merged(call, db_name=db_name)
        del call
        return await self._services.ask(LIST_JOBS, (collection, database), settings)

    async def create_import(
        self,
        collection_name: str,
        files: Files,
        *,
        partition_name: str = "",
        db_name: str | None = None,
        options: ImportOptions | None = None,
        idempotency_key: str | None = None,
        **call: Unpack[CallOptions],
    ) -> str:
        """Start an import job and return its id.

        ``files``: paths the *server* can read, object keys relative to its bucket or absolute
        paths on its disk. A str is a group of its own; a list is one group (the .npy files of the
        columns). The internal service takes many groups, the public one a single group.
        ``options``: Milvus' import options, such as ``{"timeout": 300, "auto_commit": False}``;
        ``timeout`` in seconds or as a timedelta.
        ``idempotency_key``: 1 to 256 printable ASCII characters; Milvus 2.6.24 and 3.0.2 run a
        resent request with the same key only once, older servers ignore it.

        ``db_name`` defaults to the client's. ``call`` takes CallOptions.

        The request is never resent by itself. A CallError with ``may_have_run`` set says that the
        job may exist all the same: resend with the same idempotency key, or look at the job list.
        """
        order = import_job_request(
            collection_name,
            files,
            partition_name=partition_name,
            db_name=self._database(db_name),
            options=options,
        )
        settings = self._merged(call, db_name=db_name)
        if idempotency_key is not None:
            key = check_idempotency_key(idempotency_key)
            settings = merge(settings, {"metadata": {"idempotency-key": key}})
        del options, call
        # Cancelled already: no job is started. (anyio.lowlevel costs 1 ms to import.)
        await anyio.sleep(0)  # noqa: ASYNC115
        return await self._services.ask(CREATE_JOB, order, settings)

    def watch(
        self,
        job_id: str,
        *,
        timeout: float | None = None,
        interval: float = INTERVAL,
        max_outage: float = MAX_OUTAGE,
        on_fault: OnFault | None = None,
        call: CallOptions | None = None,
    ) -> ImportWatch:
        """Follow a job: ``async for progress in client.watch(job_id)``.

        Gives the first state at once, then each change, and ends after Completed or Failed.

        ``timeout``: seconds the watching may take as a whole, then WaitTimeoutError; None: no end.
        ``interval``: seconds between polls. The server's own tick is 2.
        ``max_outage``: seconds without a good answer that are borne. Until the client has had its
        first good answer, only a starting Milvus is borne: a wrong address fails at once.
        ``on_fault``: called with each fault that is borne, and the seconds of outage so far.
        ``call``: CallOptions of each RPC, its ``timeout`` (default 10 seconds) among them.

        A job that vanishes is asked for once more before JobNotFoundError.
        """
        check_job_id(job_id)
        source = _Jobs(self._services, "", self._db_name, self._merged(call or {}))
        return ImportWatch(
            job_id,
            lambda: source.fetch(job_id),
            self._patience(interval, max_outage, on_fault),
            TimeLimit(timeout),
        )

    async def wait(
        self,
        job_id: str,
        *,
        timeout: float | None = None,
        until: Until = "completed",
        interval: float = INTERVAL,
        max_outage: float = MAX_OUTAGE,
        on_progress: Callable[[ImportProgressData], object] | None = None,
        on_fault: OnFault | None = None,
        call: CallOptions | None = None,
    ) -> ImportProgressData:
        """Wait until a job has completed and return its last progress.

        ``until="uncommitted"`` also returns where a job with ``auto_commit=False`` waits for its
        commit. ``timeout=0`` asks once. ``on_progress`` is called with each change. The other
        arguments are those of ``watch``.

        Raises ImportFailedError if the job failed, WaitTimeoutError when ``timeout`` seconds are
        over (the job goes on), and what ``watch`` raises.
        """
        check_until(until)
        if on_progress is not None:
            check_callback("on_progress", on_progress)
        watch = self.watch(
            job_id,
            timeout=timeout,
            interval=interval,
            max_outage=max_outage,
            on_fault=on_fault,
            call=call,
        )
        del call
        return await wait_for(watch, until, on_progress)

    def watch_all(
        self,
        job_ids: Iterable[str] | None = None,
        collection_name: str | None = None,
        *,
        timeout: float | None = None,
        interval: float = INTERVAL,
        max_outage: float = MAX_OUTAGE,
        on_fault: OnFault | None = None,
        call: CallOptions | None = None,
    ) -> JobsWatch:
        """Follow many jobs: those of ``job_ids``, of a collection, or all of the server.

        Gives each job's first state, then each change, and ends when the jobs known at the first
        look have ended. The internal service lists them in one RPC a tick; on the public one each
        is polled in its turn, at most 64 at once, where a poll that hangs holds up the next ones
        for as long as its call's ``timeout``. The other arguments are those of ``watch``.

        A failed job is given, not raised. Jobs the server does not know stop none of the others;
        their JobNotFoundError is raised when the others have ended.
        """
        return self._jobs_watch(
            job_ids,
            collection_name,
            patience=self._patience(interval, max_outage, on_fault),
            limit=TimeLimit(timeout),
            settings=self._merged(call or {}),
        )

    async def wait_all(
        self,
        job_ids: Iterable[str],
        *,
        timeout: float | None = None,
        until: Until = "completed",
        interval: float = INTERVAL,
        max_outage: float = MAX_OUTAGE,
        on_progress: Callable[[ImportJob], object] | None = None,
        on_fault: OnFault | None = None,
        call: CallOptions | None = None,
    ) -> dict[str, Outcome]:
        """Wait for many jobs and return the outcome of each, by job id.

        A completed job's outcome is its last ImportProgressData. Else it is the error, returned
        and not raised, so that no outcome is lost: ImportFailedError, JobNotFoundError,
        WaitTimeoutError for a job that ``timeout`` left unfinished, or the fault that ended the
        waiting. The arguments are those of ``wait`` and ``watch_all``.
        """
        check_until(until)
        if job_ids is None:
            raise TypeError("job_ids is a list of job ids, not None; watch_all follows all jobs")
        if on_progress is not None:
            check_callback("on_progress", on_progress)
        watch = self._jobs_watch(
            job_ids,
            None,
            patience=self._patience(interval, max_outage, on_fault),
            limit=TimeLimit(timeout),
            settings=self._merged(call or {}),
            until=until,
        )
        del call
        return await collect(watch, on_progress)

    def _jobs_watch(
        self,
        job_ids: Iterable[str] | None,
        collection_name: str | None,
        *,
        patience: Patience,
        limit: TimeLimit,
        settings: CallSettings,
        until: Until | None = None,
    ) -> JobsWatch:
        if isinstance(job_ids, str):
            collection = f", or collection_name={job_ids!r}" if until is None else ""
            raise TypeError(f"job_ids is a list of job ids; write [{job_ids!r}]{collection}")
        if job_ids is not None and not isinstance(job_ids, Iterable):
            raise TypeError(f"job_ids is a list of job ids, not {job_ids!r}")
        if job_ids is not None and collection_name is not None:
            raise ValueError("job_ids and collection_name: pass one of them")
        ids = None if job_ids is None else [check_job_id(job_id) for job_id in job_ids]
        collection = check_collection(collection_name)
        source = _Jobs(self._services, collection, self._db_name, settings)
        return JobsWatch(source, ids, patience, limit, until=until)

    def _patience(self, interval: float, max_outage: float, on_fault: OnFault | None) -> Patience:
        return Patience(
            lambda: self._services.answered,
            self._channel.pause,
            interval=interval,
            max_outage=max_outage,
            on_fault=on_fault,
        )

    def _merged(self, call: CallOptions, *, db_name: str | None = None) -> CallSettings:
        settings = merge(self._settings, call)
        if db_name is None:
            return settings
        return merge(settings, {"metadata": {"dbname": _database(db_name) or None}})

    def _database(self, db_name: str | None) -> str:
        return self._db_name if db_name is None else check_name(db_name, "db_name", empty=True)


class _Jobs:
    """What a watch asks."""

    def __init__(
        self, services: Services, collection_name: str, db_name: str, settings: CallSettings
    ) -> None:
        self._services = services
        self._collection_name = collection_name
        self._db_name = db_name
        self._settings = settings

    async def fetch(self, job_id: str) -> ImportProgressData:
        question = (job_id, self._db_name)
        return (await self._services.ask(GET_PROGRESS, question, self._settings)).data

    async def list_rows(self) -> dict[str, JobRow]:
        question = (self._collection_name, self._db_name)
        return await self._services.ask(LIST_ROWS, question, self._settings)

    async def list_jobs(self) -> list[ImportJob]:
        question = (self._collection_name, self._db_name)
        return await self._services.ask(LIST_JOBS, question, self._settings)


def _database(db_name: str) -> str:
    """The database as the metadata value ``dbname``."""
    if not (db_name.isascii() and (db_name.isprintable())):
        raise ValueError(f"db_name {db_name!r} is no database name: it is not printable ASCII")
    return db_name
