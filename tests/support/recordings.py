"""Recorded requests and responses (tests/vectors/README.md), read into one form.

What a response means is read here without the package: from the HTTP status, the JSON and the
protobuf messages alone.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, cast

import grpc
import oracle
from google.protobuf.message import DecodeError
from replay import METHODS, PROXY, PUBLIC, Reply
from tables import FOLDER

from milvus_import import ImportJob, ImportState

VERSIONS = ("2.5.27", "2.6.19", "3.0.0-beta")
OLDER = ("grpc-go-2.6.22", "milvus-2.3.5")
"""The files of a server of Milvus' message types in Go, and of a Milvus with the public service."""
PREFIX = "/v2/vectordb/jobs/import/"

Call = Literal[
    "get_import_progress", "list_imports", "create_import", "commit_import", "abort_import"
]
Service = Literal["internal", "public", "rest"]

CALLS: dict[str, tuple[Service, Call]] = {
    PREFIX + "describe": ("rest", "get_import_progress"),
    PREFIX + "get_progress": ("rest", "get_import_progress"),
    PREFIX + "list": ("rest", "list_imports"),
    PREFIX + "create": ("rest", "create_import"),
    PREFIX + "commit": ("rest", "commit_import"),
    PREFIX + "abort": ("rest", "abort_import"),
    PROXY + "GetImportProgress": ("internal", "get_import_progress"),
    PROXY + "ListImports": ("internal", "list_imports"),
    PROXY + "ImportV2": ("internal", "create_import"),
    PUBLIC + "GetImportState": ("public", "get_import_progress"),
    PUBLIC + "ListImportTasks": ("public", "list_imports"),
    PUBLIC + "Import": ("public", "create_import"),
}
"""The service, and the method of the client, whose requests go to a path."""

_PREPARES = "not an import: prepares the server"
_NO_PATH = "a path that no Milvus has and the client does not call"
_NOT_CALLED = "a method that the client does not call"
_NO_METHOD = "a method that no gRPC service has and the client does not call"
LEFT_OUT = {
    "/v1/vector/collections": "not an import: the older REST API",
    "/v2/vectordb/aliases/create": _PREPARES,
    "/v2/vectordb/collections/create": _PREPARES,
    "/v2/vectordb/collections/drop": _PREPARES,
    "/v2/vectordb/collections/get_stats": "not an import: counts rows",
    "/v2/vectordb/databases/create": _PREPARES,
    "/v2/vectordb/entities/insert": _PREPARES,
    "/v2/vectordb/partitions/create": _PREPARES,
    "/v2/vectordb/roles/create": _PREPARES,
    "/v2/vectordb/roles/grant_privilege": _PREPARES,
    "/v2/vectordb/users/create": _PREPARES,
    "/v2/vectordb/users/grant_role": _PREPARES,
    PREFIX + "getProgress": _NO_PATH,
    PREFIX + "nosuch": _NO_PATH,
    "/grpc.health.v1.Health/Check": _NOT_CALLED,
    PUBLIC + "Connect": _NOT_CALLED,
    PUBLIC + "GetVersion": _NOT_CALLED,
    PUBLIC + "CommitImport": _NO_METHOD,
    PROXY + "CommitImport": _NO_METHOD,
    PUBLIC + "Nosuch": _NO_METHOD,
}
"""Why the entries of a path are not replayed."""

PAGE_404 = "404 page not found"


class Failure(NamedTuple):
    """What went wrong, as read from the recording.

    ``kind`` is "status N" (a Status of Milvus), "http N", "grpc NAME", "no ids", or how there was
    no response: "refused", "reset", "silent".
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Recording:
    version: str
    number: int
    """The position in the file."""
    entry: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """The version, the service, the path's last part and the label."""
        if self.version in OLDER:
            return f"{self.version}:{self.label}"
        path = self.path.rpartition("/")[2]
        parts = [self.version, self.service, path, *re.findall(r"[a-z0-9]+", self.label.lower())]
        return "-".join(parts if parts[3:4] != [path] else [*parts[:3], *parts[4:]])

    @property
    def label(self) -> str:
        return str(self.entry["label"])

    @property
    def rest(self) -> bool:
        return bool(self.entry["kind"] == "rest")

    @property
    def path(self) -> str:
        return str(self.entry["path" if self.rest else "method"])

    @property
    def replayed(self) -> bool:
        return self.path in CALLS

    @property
    def service(self) -> Service:
        return CALLS[self.path][0]

    @property
    def call(self) -> Call:
        return CALLS[self.path][1]

    @property
    def authorized(self) -> bool:
        """Whether the request had credentials."""
        return bool(self.entry["authorization"])

    @property
    def request_bytes(self) -> bytes:
        """The message of gRPC."""
        return bytes.fromhex(self.entry["request"])

    @property
    def reply_bytes(self) -> bytes | None:
        """The message of gRPC; None if there is none."""
        reply = self.entry["reply"]
        return None if reply is None else bytes.fromhex(reply)

    @cached_property
    def request(self) -> Any:
        """The request: JSON of REST, or a message; None if it is not valid."""
        try:
            if self.rest:
                return json.loads(self.entry["request_body"] or "null")
            return METHODS[self.path][0].FromString(self.request_bytes)
        except (KeyError, ValueError, DecodeError):
            return None

    @cached_property
    def reply(self) -> Any:
        """The body of REST as JSON, or the message; None if there is none."""
        if self.rest:
            body = self.entry["body"]
            return None if body in {None, PAGE_404} else json.loads(body)
        if self.reply_bytes is None or self.path not in METHODS:
            return None
        return METHODS[self.path][1].FromString(self.reply_bytes)

    @property
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode[self.entry["code"]]

    @property
    def grpc_reply(self) -> Reply:
        return Reply(self.code, self.entry["details"] or "", self.reply_bytes)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The metadata of the request."""
        pairs: list[list[str]] = self.entry.get("metadata") or []
        return [(key, value) for key, value in pairs]

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata that decides about the response."""
        return {key: value for key, value in self.pairs if key in {"cluster", "serverid"}}

    @property
    def http_response(self) -> bytes:
        """The whole response of REST, with its recorded headers."""
        body = str(self.entry["body"]).encode()
        headers: dict[str, str] = self.entry["headers"]
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if headers.get("Transfer-Encoding") == "chunked":
            middle = len(body) // 2
            chunks = [body[:middle], body[middle:], b""]
            body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        else:
            head += f"Content-Length: {len(body)}\r\n"
        return f"HTTP/1.1 {self.entry['status']} Status\r\n{head}\r\n".encode() + body

    @property
    def collection(self) -> str | None:
        """The collection whose jobs were listed; None for all jobs."""
        if self.rest:
            body = cast("dict[str, str]", self.request or {})
            return body.get("collectionName")
        return self.request.collection_name or None

    @property
    def requested_job(self) -> str:
        """The job id of the request, or ""."""
        request: Any = self.request
        if self.rest:
            found = _id_in(request)
            return found if isinstance(found, str) else ""
        return str(getattr(request, "jobID", "") or getattr(request, "task", ""))

    @property
    def job_id(self) -> str:
        """The job that the response is about, or else the request, or any."""
        data: Any = self.rest and self.reply and self.reply.get("data")
        candidates = (str(_id_in(data)), self.requested_job)
        return next((text for text in candidates if oracle.is_job_id(text)), "42")

    @cached_property
    def failure(self) -> Failure | None:
        """What went wrong; None for a success."""
        return self._rest_failure() if self.rest else self._grpc_failure()

    def _rest_failure(self) -> Failure | None:
        if error := self.entry.get("error"):
            kinds = {
                "ConnectionRefusedError": "refused",
                "ConnectionResetError": "reset",
                "TimeoutError": "silent",
            }
            return Failure(kinds[error.partition(":")[0]], "")
        status = self.entry["status"]
        if status != 200:
            text = PAGE_404 if self.reply is None else self.reply["message"]
            return Failure(f"http {status}", text)
        if self.reply["code"] != 0:
            return Failure(f"status {self.reply['code']}", self.reply["message"])
        assert set(self.reply) == {"code", "data"}
        return None

    def _grpc_failure(self) -> Failure | None:
        code, details = self.entry["code"], self.entry["details"]
        if code != "OK":
            if details.startswith("failed to connect"):
                return Failure("refused", "")
            if (code, details) == ("DEADLINE_EXCEEDED", "Deadline Exceeded"):
                return Failure("silent", "")
            return Failure(f"grpc {code}", details)
        status = self.reply.status
        if status.code or status.error_code:
            return Failure(f"status {status.code}", status.reason)
        if not all(task.id for task in getattr(self.reply, "tasks", []) if hasattr(task, "id")):
            return Failure("no ids", "")
        return None

    @property
    def progress(self) -> dict[str, Any]:
        """The fields of ImportProgressData, of a successful response about one job."""
        if self.rest:
            return _rest_progress(self.reply["data"])
        return oracle.progress(self.reply, self.job_id)

    @property
    def jobs(self) -> list[ImportJob]:
        """The jobs of a successful list, sorted by id."""
        if not self.rest:
            return oracle.jobs(self.reply)
        jobs = [
            ImportJob(
                *(record["jobId"], record["collectionName"], ImportState(record["state"])),
                *(record["progress"], record.get("reason", "")),
            )
            for record in self.reply["data"]["records"]
        ]
        return sorted(jobs, key=lambda job: int(job.job_id))

    @property
    def created(self) -> str:
        """The id of the job that a successful request created."""
        if self.rest:
            return str(self.reply["data"]["jobId"])
        return str(self.reply.jobID if self.service == "internal" else self.reply.tasks[0])

    @property
    def listed_reasons(self) -> set[str]:
        """Why the listed jobs failed."""
        if self.failure is not None and self.failure.kind != "no ids":
            return set()
        return {job.reason for job in self.jobs if job.reason}


def _id_in(body: Any) -> object:
    return body.get("jobId") if hasattr(body, "get") else None


_SHARED = ("progress", "complete_time", "state", "imported_rows", "total_rows", "file_size")


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.title, others))


def _rest_progress(data: dict[str, Any]) -> dict[str, Any]:
    def fields(found: dict[str, Any], *more: str) -> dict[str, Any]:
        return {name: found[_camel(name)] for name in (*_SHARED, *more)}

    return fields(data, "collection_name", "job_id") | {
        "reason": data.get("reason", ""),
        "details": [
            fields(group, "file_name") | {"reason": group.get("reason", "")}
            for group in data["details"]
        ],
        "create_time": data.get("createTime", ""),
        "service": "rest",
    }


def load(*versions: str) -> list[Recording]:
    """Return the recordings of these versions, or of all in VERSIONS."""
    return [recording for version in versions or VERSIONS for recording in _read(version)]


def _read(version: str) -> Iterator[Recording]:
    name = version if version in OLDER else f"milvus-{version}"
    content = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    entries = content["entries"] if "entries" in content else map(_entry, content["vectors"])
    for number, entry in enumerate(entries):
        yield Recording(version, number, entry)


def _entry(vector: dict[str, Any]) -> dict[str, Any]:
    """Return a call of an older file as an entry of the others."""
    code, details = vector.get("code"), vector.get("details")
    if code is None:
        number, details = vector["grpc_code_number"], vector["grpc_message"]
        code = next(known.name for known in grpc.StatusCode if known.value[0] == number)
    method = vector.get("method")
    if method is None:
        paths = [service + vector["rpc"] for service in (PROXY, PUBLIC)]
        method = next((path for path in paths if path in METHODS), paths[-1])
    alternating: list[str] = vector.get("metadata") or []
    pairs: list[Any] = [*zip(alternating[::2], alternating[1::2], strict=True)]
    pairs += vector.get("request_metadata") or []
    return {
        "kind": "grpc",
        "label": vector["name"],
        "method": method,
        "metadata": pairs,
        "authorization": bool(pairs),
        "request": vector["request_hex"],
        "code": code,
        "details": details,
        "reply": (vector.get("reply_hex") or "") if code == "OK" else None,
    }


def names(recordings: list[Recording]) -> list[str]:
    """Return the names of recordings, those that repeat with a number after a dot."""
    seen: Counter[str] = Counter()
    result: list[str] = []
    for recording in recordings:
        name = recording.name
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return result
