"""What adds interceptors to every channel of grpc.aio from outside, with the real packages.

It changes the whole process, so it is used only in processes of its own. Servers that are created
before it stay as they are.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from importlib import import_module


def _nothing() -> None: ...


def _opentelemetry() -> None:
    provider = import_module("opentelemetry.sdk.trace").TracerProvider()
    client = import_module("opentelemetry.instrumentation.grpc").GrpcAioInstrumentorClient()
    client.instrument(tracer_provider=provider)


def _sentry() -> None:
    integration = import_module("sentry_sdk.integrations.grpc").GRPCIntegration()
    sentry: Callable[..., object] = import_module("sentry_sdk").init
    # Without a DSN nothing is sent.
    sentry(dsn=None, integrations=[integration], default_integrations=False, traces_sample_rate=1.0)


def _drop(_filter: object, _trace: object) -> None:
    """Drop the trace, so that nothing is sent to an agent."""


def _ddtrace() -> None:
    for name in ("INSTRUMENTATION_TELEMETRY", "REMOTE_CONFIGURATION", "CRASHTRACKING"):
        os.environ[f"DD_{name}_ENABLED"] = "false"
    ddtrace = import_module("ddtrace")
    trace = import_module("ddtrace.trace")
    drop = type("Drop", (trace.TraceFilter,), {"process_trace": _drop})
    trace.tracer.configure(trace_processors=[drop()])
    ddtrace.patch(grpc=True)


INSTRUMENTATIONS: dict[str, tuple[str, Callable[[], None]]] = {
    "nothing": ("grpc", _nothing),
    "opentelemetry": ("opentelemetry.instrumentation.grpc", _opentelemetry),
    "sentry": ("sentry_sdk", _sentry),
    "ddtrace": ("ddtrace", _ddtrace),
}
"""The module that each needs, and what adds its interceptors."""


def installed() -> list[str]:
    """Return the names of those whose package is installed."""
    return [
        name
        for name, (module, _) in INSTRUMENTATIONS.items()
        if importlib.util.find_spec(module) is not None
    ]


def instrument(name: str) -> None:
    """Add the interceptors to every channel that this process opens from now on."""
    INSTRUMENTATIONS[name][1]()
