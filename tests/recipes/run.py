"""The recipes of docs/recipes.md for FastAPI, Celery, Airflow and Prefect, with the real packages.

python tests/recipes/run.py fastapi|celery|airflow|prefect

Each runs in a process of its own, against FakeMilvus. The environment needs the wheel and the
packages of requirements/recipes.txt.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from milvus_import import ImportClient
from milvus_import.testing import FakeMilvus

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "recipes.md").read_text("utf-8")
GUARD = 120
ADDRESS = "http://localhost:19530"
IN_MEMORY = {
    'broker="redis://localhost"': 'broker="memory://"',
    'backend="redis://localhost"': 'backend="cache+memory://"',
}


def recipe(mark: str, replaced: dict[str, str]) -> dict[str, Any]:
    """Run the one block that contains a text; return its names."""
    blocks = re.findall(r"^```py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    [code] = [block for block in blocks if mark in block]
    for old, new in replaced.items():
        assert old in code
        code = code.replace(old, new)
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(code, "recipe", "exec"), names)  # noqa: S102 - our own page
    return names


def at(server: FakeMilvus) -> dict[str, str]:
    """Return what replaces the address in a recipe."""
    return {ADDRESS: server.public_uri}


def run_fastapi() -> None:
    """A stream has each change and an end; an unknown job has an HTTP status."""
    client_type = importlib.import_module("fastapi.testclient").TestClient
    sys.path.insert(0, str(ROOT / "examples"))
    with FakeMilvus() as server:
        os.environ["MILVUS_URI"] = server.public_uri
        app = recipe("FastAPI", {})["app"]
        job = server.add_job(script=[("Importing", 40), ("Importing", 40), ("Completed", 100)])
        with client_type(app) as client:
            text = client.get(f"/imports/{job.job_id}/events").text
            missing = client.get("/imports/42/events").status_code
    assert re.findall("^event: (.*)$", text, re.MULTILINE) == ["progress", "progress", "end"], text
    assert missing == 404, missing


def run_celery() -> None:
    """The caller receives the progress, or the error with its attributes, over the JSON backend."""
    start_worker = importlib.import_module("celery.contrib.testing.worker").start_worker
    with FakeMilvus() as server:
        done = server.add_job(state="Completed", progress=100)
        failed = server.add_job(state="Failed")
        names = recipe("Celery", at(server) | IN_MEMORY)
        app, task = names["app"], names["wait_for_import"]
        assert app.conf.result_serializer == "json"
        importlib.import_module("celery.contrib.testing.tasks")
        with start_worker(app, perform_ping_check=False, pool="solo"):
            outcome = task.delay(done.job_id).get(timeout=GUARD)
            error = task.delay(failed.job_id).get(timeout=GUARD)
    assert outcome["progress"]["state"] == "Completed", outcome
    assert error["error"]["type"] == "ImportFailedError", error


def run_airflow() -> None:
    """The trigger yields one event; the sensor goes on while the server restarts."""
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp()

    async def event_of(job_id: str) -> dict[str, Any]:
        [event] = [event async for event in trigger(job_id).run()]
        payload: dict[str, Any] = event.payload
        return payload

    with FakeMilvus() as server:
        trigger = recipe("ImportTrigger", at(server))["ImportTrigger"]
        done = server.add_job(state="Completed", progress=100)
        failed = server.add_job(state="Failed")
        path, arguments = trigger(done.job_id).serialize()
        assert (path, arguments) == ("recipe.ImportTrigger", {"job_id": done.job_id})
        assert asyncio.run(event_of(done.job_id))["progress"]["state"] == "Completed"
        assert asyncio.run(event_of(failed.job_id))["error"]["type"] == "ImportFailedError"

        sensor = recipe("ImportSensor", at(server))["ImportSensor"]
        job = server.add_job(state="Importing", progress=40)
        operator = sensor(task_id="wait", job_id=job.job_id)
        assert operator.poke({}) is False
        server.inject("unavailable", times=None)
        assert operator.poke({}) is False
        server.clear_faults()
        job.state = "Completed"
        assert operator.poke({}) is True
        uri = server.public_uri
    names = recipe("ImportSensor", {ADDRESS: uri})
    assert names["ImportSensor"](task_id="wait", job_id="42").poke({}) is False  # nobody listens


def run_prefect() -> None:
    """A lost connection is retried, a failed job is not."""
    os.environ["PREFECT_HOME"] = tempfile.mkdtemp()
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    harness = importlib.import_module("prefect.testing.utilities").prefect_test_harness
    with FakeMilvus() as server, harness():
        server.import_seconds = 0
        replaced = at(server) | {"retry_delay_seconds=30": "retry_delay_seconds=0"}
        task = recipe("prefect", replaced)["import_books"]
        server.inject("not-ready")
        assert asyncio.run(task(["a.parquet"])) == 1000
        assert len(server.jobs) == 1
        server.fail_imports = "the file 'a.parquet' is empty"
        state = asyncio.run(task(["a.parquet"], return_state=True))
        assert "ImportFailedError" in state.message, state
        assert len(server.jobs) == 2, "a failed job was created again"


if __name__ == "__main__":
    faulthandler.dump_traceback_later(GUARD, exit=True)
    assert ImportClient.__module__.startswith("milvus_import")
    {"fastapi": run_fastapi, "celery": run_celery, "airflow": run_airflow, "prefect": run_prefect}[
        sys.argv[1]
    ]()
    print(f"{sys.argv[1]}: the recipe works")
