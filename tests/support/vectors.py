"""Recorded calls of Milvus 2.3.5 and of a grpc-go server (tests/vectors), read into one form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
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
