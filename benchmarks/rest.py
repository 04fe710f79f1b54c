"""REST against a default aiohttp session that sends the same body and maps the same reply."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

from measuring import JOB, Row, cpu_alone, cpu_concurrent, latency, pairs, served, throughput

from milvus_import import (
    GetImportProgressResponse,
    ImportClient,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
)

aiohttp: Any = import_module("aiohttp")  # untyped here, as the other programs need no aiohttp

PATH = "/v2/vectordb/jobs/import/describe"


def reply() -> bytes:
    """Return the reply of REST to the job that the gRPC rows get."""
    file = {
        "fileName": "[data/part-00000.parquet]",
        "fileSize": 1_000_000,
        "progress": 40,
        "completeTime": "",
        "state": "InProgress",
        "importedRows": 400,
        "totalRows": 1_000,
    }
    data = {
        "jobId": JOB,
        "collectionName": "books",
        "state": "Importing",
        "progress": 40,
        "importedRows": 400,
        "totalRows": 1_000,
        "fileSize": 1_000_000,
        "createTime": "2026-01-02T03:04:05Z",
        "details": [file],
    }
    return json.dumps({"code": 0, "data": data}).encode()


def mapped(body: Any) -> GetImportProgressResponse:
    """Map the JSON onto the response that the client returns."""
    data = body["data"]
    details = [
        ImportProgressDetail(
            file["fileName"],
            file["fileSize"],
            file["progress"],
            file["completeTime"],
            file["state"],
            file["importedRows"],
            file["totalRows"],
        )
        for file in data["details"]
    ]
    progress = ImportProgressData(
        data["collectionName"],
        data["jobId"],
        data.get("completeTime", ""),
        ImportState(data["state"]),
        data["progress"],
        data["importedRows"],
        data["totalRows"],
        data.get("reason", ""),
        data["fileSize"],
        details,
        data["createTime"],
        "rest",
    )
    return GetImportProgressResponse(0, "", progress)


async def rest_rows(rounds: int) -> list[Row]:
    """Measure time and CPU per call, alone and 64 at once."""
    with served("canned_http.py", reply()) as port:
        uri = f"http://127.0.0.1:{port}"
        async with (
            ImportClient(uri, service="rest") as client,
            aiohttp.ClientSession() as session,
        ):

            async def raw() -> object:
                async with session.post(uri + PATH, json={"jobId": JOB}) as response:
                    return mapped(await response.json())

            async def ours() -> object:
                return await client.get_import_progress(JOB)

            assert await raw() == await ours()
            rows: list[Row] = []
            for name, measure, calls, unit, target in (
                ("REST: noise, CPU alone, session against itself", cpu_alone, 200, "us", ""),
                ("REST: CPU, one call", cpu_alone, 200, "us", "<= 1.80"),
                ("REST: CPU, 64 at once", cpu_concurrent, 2_000, "us", "<= 1.60"),
                ("REST: latency", latency, 200, "us", ""),
                ("REST: 64 at once", throughput, 2_000, "calls/s", ""),
            ):
                other = raw if "noise" in name else ours
                rows.append(
                    Row(name, *await pairs(measure, raw, other, calls, rounds), unit, target)
                )
    return rows
