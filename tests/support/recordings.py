"""Recorded requests and responses of real servers (tests/vectors/README.md), read into one form.

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
from vectors import FOLDER

from milvus_import import ImportJob, ImportState

VERSIONS = ("2.5.27", "2.6.19", "3.0.0-beta")
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

LEFT_OUT = {
    "/v1/vector/collections": "not an import: the older REST API",
    "/v2/vectordb/aliases/create": "not an import: prepares the server",
    "/v2/vectordb/collections/create": "not an import: prepares the server",
    "/v2/vectordb/collections/drop": "not an import: prepares the server",
    "/v2/vectordb/collections/get_stats": "not an import: counts rows",
    "/v2/vectordb/databases/create": "not an import: prepares the server",
    "/v2/vectordb/entities/insert": "not an import: prepares the server",
    "/v2/vectordb/partitions/create": "not an import: prepares the server",
    "/v2/vectordb/roles/create": "not an import: prepares the server",
    "/v2/vectordb/roles/grant_privilege": "not an import: prepares the server",
    "/v2/vectordb/users/create": "not an import: prepares the server",
    "/v2/vectordb/users/grant_role": "not an import: prepares the server",
    PREFIX + "getProgress": "a path that no Milvus has and the client does not call",
    PREFIX + "nosuch": "a path that no Milvus has and the client does not call",
    "/grpc.health.v1.Health/Check": "a method that the client does not call",
    PUBLIC + "Connect": "a method that the client does not call",
    PUBLIC + "GetVersion": "a method that the client does not call",
    PUBLIC + "CommitImport": "a method that no gRPC service has and the client does not call",
    PROXY + "CommitImport": "a method that no gRPC service has and the client does not call",
    PUBLIC + "Nosuch": "a method that no gRPC service has and the client does not call",
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

    @cached_property
    def request(self) -> Any:
        """The request: JSON of REST, or a message; None if it is not valid."""
        try:
            if self.rest:
                return json.loads(self.entry["request_body"] or "null")
            return METHODS[self.path][0].FromString(bytes.fromhex(self.entry["request"]))
        except (ValueError, DecodeError):
            return None

    @cached_property
    def reply(self) -> Any:
        """The body of REST as JSON, or the message; None if there is none."""
        if self.rest:
            body = self.entry["body"]
            return None if body in {None, PAGE_404} else json.loads(body)
        reply = self.entry["reply"]
        return None if reply is None else METHODS[self.path][1].FromString(bytes.fromhex(reply))

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
    def grpc_reply(self) -> Reply:
        reply = self.entry["reply"]
        code = grpc.StatusCode[self.entry["code"]]
        return Reply(
            code, self.entry["details"] or "", None if reply is None else bytes.fromhex(reply)
        )

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata that decides about the response."""
        pairs: list[list[str]] = self.entry.get("metadata") or []
        return {key: value for key, value in pairs if key in {"cluster", "serverid"}}

    @property
    def collection(self) -> str | None:
        """The collection whose jobs were listed; None for all jobs."""
        if self.rest:
            body = cast("dict[str, str]", self.request or {})
            return body.get("collectionName")
        return self.request.collection_name or None

    @property
    def job_id(self) -> str:
        """The job that the response is about, or else the request, or any."""
        request: Any = self.request
        if self.rest:
            data: Any = self.reply and self.reply.get("data")
            candidates = [_id_in(data), _id_in(request)]
        else:
            candidates = [getattr(request, name, "") for name in ("jobID", "task")]
        return next((str(text) for text in candidates if oracle.is_job_id(str(text))), "42")

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
                record["jobId"],
                record["collectionName"],
                ImportState(record["state"]),
                record["progress"],
                record.get("reason", ""),
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
        if self.rest:
            reasons = [job.reason for job in self.jobs]
        elif self.service == "internal":
            reasons = list(self.reply.reasons)
        else:
            infos = [info for task in self.reply.tasks for info in task.infos]
            reasons = [info.value for info in infos if info.key == "failed_reason"]
        return {reason for reason in reasons if reason}


def _id_in(body: Any) -> object:
    return body.get("jobId") if hasattr(body, "get") else None


def _rest_progress(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "collection_name": data["collectionName"],
        "job_id": data["jobId"],
        "complete_time": data["completeTime"],
        "state": data["state"],
        "progress": data["progress"],
        "imported_rows": data["importedRows"],
        "total_rows": data["totalRows"],
        "reason": data.get("reason", ""),
        "file_size": data["fileSize"],
        "details": [
            {
                "file_name": group["fileName"],
                "file_size": group["fileSize"],
                "progress": group["progress"],
                "complete_time": group["completeTime"],
                "state": group["state"],
                "imported_rows": group["importedRows"],
                "total_rows": group["totalRows"],
                "reason": group.get("reason", ""),
            }
            for group in data["details"]
        ],
        "create_time": data.get("createTime", ""),
        "service": "rest",
    }


def load() -> list[Recording]:
    return [recording for version in VERSIONS for recording in _read(version)]


def _read(version: str) -> Iterator[Recording]:
    entries = json.loads((FOLDER / f"milvus-{version}.json").read_text("utf-8"))["entries"]
    for number, entry in enumerate(entries):
        yield Recording(version, number, entry)


def names(recordings: list[Recording]) -> list[str]:
    """Return the names of recordings, those that repeat with a number after a dot."""
    seen: Counter[str] = Counter()
    result: list[str] = []
    for recording in recordings:
        name = recording.name
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return result
