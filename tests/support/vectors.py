"""Recorded calls of Milvus 2.3.5 and of a grpc-go server (tests/vectors), read into one form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
from google.protobuf.message import Message
from replay import METHODS, PROXY, PUBLIC, Reply

FOLDER = Path(__file__).parent.parent / "vectors"
FILES = ("grpc-go-2.6.22.json", "milvus-2.3.5.json")


@dataclass(frozen=True)
class Vector:
    name: str
    method: str
    request_bytes: bytes
    metadata: tuple[tuple[str, str], ...]
    code: grpc.StatusCode
    details: str
    reply_bytes: bytes | None
    reply_text: str
    """The reply as protobuf text, if the recorder wrote that."""
    reply_fields: dict[str, Any] | None
    """The reply field by field, if the recorder wrote that."""

    @property
    def recorded(self) -> Reply:
        return Reply(self.code, self.details, self.reply_bytes)

    @property
    def request(self) -> Any:
        return METHODS[self.method][0].FromString(self.request_bytes)

    @property
    def reply(self) -> Any:
        assert self.reply_bytes is not None
        return METHODS[self.method][1].FromString(self.reply_bytes)


def load() -> list[Vector]:
    return [vector for name in FILES for vector in _read(FOLDER / name)]


def _read(path: Path) -> Iterator[Vector]:
    for entry in json.loads(path.read_text("utf-8")).get("vectors", []):
        code, details = entry.get("code"), entry.get("details")
        if code is None:
            code, details = entry["grpc_code_number"], entry["grpc_message"]
        reply = entry.get("reply_hex")
        succeeded = code in {"OK", 0}
        yield Vector(
            f"{path.stem}:{entry['name']}",
            entry.get("method") or _path(entry["rpc"]),
            bytes.fromhex(entry["request_hex"]),
            _pairs(entry.get("request_metadata") or entry.get("metadata") or []),
            _code(code),
            details,
            bytes.fromhex(reply or "") if succeeded else None,
            entry.get("reply_text", ""),
            entry.get("reply"),
        )


def _path(rpc: str) -> str:
    return next((path for path in (PROXY + rpc, PUBLIC + rpc) if path in METHODS), PUBLIC + rpc)


def _code(code: str | int) -> grpc.StatusCode:
    if isinstance(code, str):
        return grpc.StatusCode[code]
    return next(known for known in grpc.StatusCode if known.value[0] == code)


def _pairs(metadata: list[Any]) -> tuple[tuple[str, str], ...]:
    """Return metadata that was recorded as pairs, or as alternating keys and values."""
    if metadata and isinstance(metadata[0], str):
        return tuple(zip(metadata[::2], metadata[1::2], strict=True))
    return tuple((key, value) for key, value in metadata)


def matches(value: Any, recorded: Any) -> bool:
    """Return whether a value of a parsed message equals the recorded one."""
    if isinstance(recorded, dict):
        parts = cast("dict[str, Any]", recorded)
        if isinstance(value, Message):
            return all(_field_matches(value, name, part) for name, part in parts.items())
        return bool(value == parts["number"] if "number" in parts else dict(value) == parts)
    if isinstance(recorded, list):
        entries = cast("Sequence[Any]", recorded)
        return len(value) == len(entries) and all(map(matches, value, entries))
    return bool(value == (int(recorded) if isinstance(value, int) else recorded))


def _field_matches(message: Message, name: str, recorded: Any) -> bool:
    if name not in message.DESCRIPTOR.fields_by_name:
        return True  # our messages have only the fields that the package needs
    if recorded is None:
        return not message.HasField(name)
    return matches(getattr(message, name), recorded)
