"""Recorded requests of real servers, sent to a FakeMilvus in the state that each of them needs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from http_calls import PREFIX, send
from recordings import Failure, Recording
from replay import METHODS

from milvus_import.testing import FakeFile, FakeMilvus

Comparison = Literal["equal", "differs", "no answer", "not an import request", "request cut"]

VERSIONS: dict[str, Any] = {"2.5.27": "2.5", "2.6.19": "2.6", "3.0.0-beta": "3.0"}
"""The recorded servers, with the version of FakeMilvus that simulates each."""

TIMEOUT = 20
ROOT, BOB, IMP, ADM = "root:Milvus", "bob:P@ssw0rd1", "imp:P@ssw0rd1", "adm:P@ssw0rd1"
_BY_FIRST_WORD = {"root": ROOT, "bob": BOB, "imp": IMP, "adm": ADM}
_REST_CREDENTIALS = {
    "wrong password": "Bearer root:wrong",
    "unknown user": "Bearer nobody:Milvus",
    "api key": "Bearer 0123456789abcdef",
    "empty token": "Bearer ",
    "no Bearer": ROOT,
    "basic ok": "Basic " + base64.b64encode(ROOT.encode()).decode(),
    "basic wrong": "Basic " + base64.b64encode(b"root:wrong").decode(),
    "basic garbage": "Basic ???",
}
_GRPC_CREDENTIALS = {
    "ok": base64.b64encode(ROOT.encode()).decode(),
    "wrong pw": base64.b64encode(b"root:wrong").decode(),
    "unknown user": base64.b64encode(b"nobody:Milvus").decode(),
    "api key": base64.b64encode(b"0123456789abcdef").decode(),
    "bearer": "Bearer " + base64.b64encode(ROOT.encode()).decode(),
    "not base64": "???",
}
_LISTED = (None, Failure("no ids", ""))
_FAULTS = {
    "proxy-not-ready": "Proxy is not ready",
    "not-ready": "Abnormal",
    "rate-limit": "error_code: RateLimit",
}
_WORK_DONE = {"importedRows", "totalRows", "rowCount"}
"""How far a job is: not compared, as the steps of the percentages are not simulated."""
_FILE_PROGRESS = {*_WORK_DONE, "progress", "completeTime", "state", "fileSize"}


def masked(value: Any) -> Any:
    """Return a value with the numbers of its texts masked."""
    if isinstance(value, str):
        # Go's protobuf writes one kind of space or the other, at random.
        return re.sub(r"[0-9]+", "N", value.replace("\xa0", " "))
    return value


@dataclass
class Replay:
    """Replays the entries of one server in their order, and remembers its jobs."""

    fake: FakeMilvus
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """What the answers so far have said about each job."""

    async def compare(self, recording: Recording) -> tuple[Comparison, Any, Any]:
        """Return how the fake's answer compares with the recorded one, and both answers."""
        entry = recording.entry
        left_out = _left_out(entry)
        if left_out is not None:
            return left_out, None, None
        self._prepare(recording)
        if recording.rest:
            recorded = _comparable(entry["status"], entry["headers"], entry["body"])
            answer = await self._send(entry)
        else:
            status = {"code": recording.code.name, "details": masked(entry["details"])}
            recorded = status if recording.reply is None else _fields(recording.reply)
            answer = await self._call(recording)
        for job_id, job in self.fake.jobs.items():
            now = job.peek()
            self.jobs.setdefault(job_id, {}).update(
                state=now.state, progress=now.progress, reason=now.reason
            )
        return "equal" if answer == recorded else "differs", recorded, answer

    def _prepare(self, recording: Recording) -> None:
        """Give the fake the state that the real server had."""
        fake, entry = self.fake, recording.entry
        text = str(entry.get("body") or entry.get("details") or "")
        fake.clear_faults()
        fake.jobs.clear()
        fake.import_seconds = None
        fake.databases, fake.collections = set(), {"books", "bk", "tmp1"}
        fake.partitions = {"books": {"p1"}}
        is_secured = entry["group"].startswith("auth")
        fake.token = ROOT if is_secured else None
        fake.users = {BOB: set(), IMP: {"books"}, ADM: None} if is_secured else {}
        if not recording.rest:
            text += str(recording.reply or "")
        fake.max_jobs = 0 if "number of jobs has reached the limit" in text else None
        for fault, words in _FAULTS.items():
            if words in text:
                fake.inject(fault)
        for job in _jobs_of(recording):
            job_id = str(job.pop("job_id"))
            self.jobs.setdefault(job_id, {}).update(job)
            self._add(job_id)
        if entry.get("body") == '{"code":0,"data":{"records":[]}}':
            for known in self.jobs:  # a list that the privileges of the user empty
                self._add(known)
        job_id = recording.requested_job
        is_unknown = re.search(r"does not exist|not found: importing|strconv", text)
        if job_id.isdecimal() and job_id not in fake.jobs and not is_unknown:
            state = re.search(r"in (?:terminal/committed )?state (\w+)", text)
            if state:
                self.jobs.setdefault(job_id, {})["state"] = state[1]
            self._add(job_id)

    def _add(self, job_id: str) -> None:
        self.fake.add_job(job_id=job_id, **self.jobs.get(job_id, {}))

    async def _send(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Send a recorded REST request to the fake."""
        body = entry["request_body"]
        headers = dict(entry["request_headers"])
        headers["Authorization"] = _REST_CREDENTIALS.get(entry["label"]) or _bearer(entry)
        response = await send(
            self.fake.rest_uri,
            entry["path"],
            (body or "").encode(),
            method="GET" if entry["label"] == "describe GET" else "POST",
            headers={name: value for name, value in headers.items() if value},
        )
        if entry["path"] == f"{PREFIX}create" and response.envelope.get("data"):
            self._remember(response.data["jobId"], entry, json.loads(body))
        return _comparable(response.status, dict(response.headers.items()), response.body.decode())

    def _remember(self, job_id: str, entry: dict[str, Any], request: dict[str, Any]) -> None:
        """Give the job that the fake created the id of the recorded one."""
        created = self.fake.jobs.pop(job_id)
        self.jobs[json.loads(entry["body"])["data"]["jobId"]] = {
            "collection_name": request["collectionName"],
            "auto_commit": created.auto_commit,
        }

    async def _call(self, recording: Recording) -> dict[str, Any]:
        """Send a recorded RPC to the fake."""
        entry = recording.entry
        metadata = list(recording.pairs)
        if entry["authorization"]:
            name = entry["label"].removeprefix("grpc ")
            token = _BY_FIRST_WORD.get(name.partition(" ")[0], "")
            encoded = base64.b64encode(token.encode()).decode()
            metadata.append(("authorization", _GRPC_CREDENTIALS.get(name, encoded)))
        uri = self.fake.internal_uri if entry["port"] == 19529 else self.fake.public_uri
        async with grpc.aio.insecure_channel(uri.removeprefix("http://")) as channel:
            method: Any = cast("Any", channel).unary_unary(entry["method"])
            try:
                reply = await method(recording.request_bytes, timeout=TIMEOUT, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                return {"code": error.code().name, "details": masked(error.details())}
        if entry["method"] not in METHODS:
            return {"code": "OK", "details": ""}
        return _fields(METHODS[entry["method"]][1].FromString(reply))


def _left_out(entry: dict[str, Any]) -> Comparison | None:
    """Return why an entry cannot be compared."""
    if entry.get("error") or entry.get("code") == "DEADLINE_EXCEEDED":
        return "no answer"
    if "failed to connect" in str(entry.get("details")):
        return "no answer"
    if entry["kind"] == "rest" and not entry["path"].startswith(PREFIX):
        return "not an import request"
    if str(entry.get("request_body")).endswith("..."):
        return "request cut"
    return None


def _bearer(entry: dict[str, Any]) -> str:
    token = _BY_FIRST_WORD.get(entry["label"].partition(" ")[0], "")
    return f"Bearer {token}" if entry["authorization"] and token else ""


def _jobs_of(recording: Recording) -> Iterator[dict[str, Any]]:
    """Yield the jobs that an answer reports, as fields of FakeJob."""
    if not recording.replayed or recording.failure not in _LISTED:
        return
    if recording.call == "list_imports":
        for number, job in enumerate(recording.jobs):
            fields = asdict(job) | {"state": str(job.state)}
            if recording.service == "public":  # of 2.4 and newer: without ids
                fields = _public_job(fields, str(number + 1))
            yield fields
    elif recording.call == "get_import_progress":
        progress = recording.progress
        names = ("job_id", "collection_name", "state", "progress", "reason")
        fields = {name: progress[name] for name in names}
        files = [
            FakeFile(file["file_name"][1:-1], file["file_size"], file["total_rows"])
            for file in progress["details"]
        ]
        if recording.service == "public":
            fields = _public_job(fields, recording.requested_job)
        elif files or recording.service == "internal" or fields["state"] == "Completed":
            fields["files"] = files or ([FakeFile()] if recording.service == "internal" else [])
        yield fields


def _public_job(fields: dict[str, Any], job_id: str) -> dict[str, Any]:
    """Uncommitted and Committing are reported as failed at 99 percent, collections not at all."""
    unknown = ["collection_name", *(["state"] if fields["state"] == "Uncommitted" else [])]
    return {name: fields[name] for name in fields if name not in unknown} | {"job_id": job_id}


# Answers in a form that can be compared.


def _comparable(status: int, headers: dict[str, str], body: str) -> dict[str, Any]:
    names = {name.lower(): value for name, value in headers.items()}
    answer: dict[str, Any] = {
        "status": status,
        "type": names["content-type"],
        "challenge": names.get("www-authenticate"),
        "traced": "x-milvus-trace-id" in names,
    }
    if not body.startswith("{"):
        return {**answer, "body": body}
    envelope = json.loads(body)
    data = envelope.pop("data", None)
    return {
        **answer,
        "envelope": {name: masked(value) for name, value in envelope.items()},
        "data": None if data is None else _shape(data),
    }


def _shape(data: dict[str, Any]) -> dict[str, Any]:
    """Return the names of all members, and the values that do not depend on time."""
    records = [_shape(row) for row in data.get("records", [])]
    names = {"collectionName", "state", "progress", "reason"} & data.keys()
    return {name: masked(data[name]) for name in names} | {
        "members": sorted(data),
        "records": sorted(records, key=lambda record: json.dumps(record, sort_keys=True)),
        "details": _details(data, data.get("details", []), data.get("state", "")),
    }


def _details(job: dict[str, Any], files: list[dict[str, Any]], state: str) -> Any:
    """Return the names of the files and of their members.

    Until 40 percent a real server reports no files, and then all of them in any order.
    """
    if state == "Importing" and int(job.get("progress", 0)) <= 40:
        return "not compared"
    return sorted(str((file["fileName"], sorted({*file} - _FILE_PROGRESS))) for file in files)


def _fields(reply: Message) -> dict[str, Any]:
    """Return the fields that a reply sets, and the values that do not depend on time."""
    row = MessageToDict(reply)
    names = ("states", "reasons", "collectionNames", "progresses")
    columns = zip(*(row.get(name, []) for name in names), strict=True)
    rows = [(*map(masked, values[:3]), values[3]) for values in columns]
    return {
        "fields": sorted({*row} - _WORK_DONE - {"taskProgresses"}),
        "status": {name: masked(value) for name, value in row.get("status", {}).items()},
        "state": row.get("state"),
        "progress": row.get("progress"),
        "reason": masked(row.get("reason")),
        "collection": row.get("collectionName"),
        "infos": masked(str(row.get("infos"))) if "infos" in row else None,
        "percent": str(row.get("infos", [{}])[-1].get("value")),
        "rows": sorted(map(str, rows)),
        "tasks": sorted(masked(str(task)) for task in row.get("tasks", [])),
        "details": _details(row, row.get("taskProgresses", []), row.get("state", "")),
    }
