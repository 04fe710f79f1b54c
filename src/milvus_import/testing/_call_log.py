"""The calls that a simulated Milvus received, and the faults that it injects into them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from milvus_import_pb.milvus_grpc import MilvusServiceStub
from milvus_import_pb.proxy_grpc import ProxyStub

from ._faults import FAULTS, Fault

Face = Literal["internal", "public", "rest", "cloud"]
Metadata = tuple[tuple[str, str | bytes], ...]

SERVICES: Final[Mapping[str, Face]] = {
    ProxyStub.SERVICE: "internal",
    MilvusServiceStub.SERVICE: "public",
}
MESSAGES: Final = {**ProxyStub.METHODS, **MilvusServiceStub.METHODS}
"""The request and the reply type of each RPC; no name is in both services."""
REST_METHODS: Final = ("create", "describe", "get_progress", "list", "commit", "abort")
METHODS: Final = (*MESSAGES, *REST_METHODS)


@dataclass(slots=True)
class Received:
    """One call as the server received it."""

    service: Face
    """The service that the client called: "internal", "public", "rest" or "cloud"."""
    method: str
    """"GetImportProgress"; for REST the last part of the path, "describe"."""
    request: Any = field(repr=False)
    """The request message; for REST the parsed JSON body, or the bytes if they are not JSON."""
    metadata: Metadata = field(repr=False)
    """The metadata; for REST the headers, with names in lower case."""
    time_remaining: float | None
    """Seconds to the client's deadline when the call arrived, for REST ``Request-Timeout``; None
    without one."""
    reset: bool = False
    """Whether the client ended the call before the response, which crashes Milvus 2.3."""
    arrived: float = field(default_factory=time.monotonic)
    """When it arrived, on ``time.monotonic``."""

    def values(self, key: str) -> list[str | bytes]:
        """Return the values of one metadata key or header."""
        return [value for name, value in self.metadata if name == key.lower()]

    @property
    def job_id(self) -> str:
        """The id of the job that the call is about, or ""."""
        request: object = self.request
        if isinstance(request, dict):
            return str(cast("dict[str, Any]", request).get("jobId", ""))
        return str(getattr(request, "jobID", "") or getattr(request, "task", ""))


@dataclass(slots=True)
class _Injection:
    fault: Fault
    times: int | None
    method: str | None
    job_id: str | None

    def matches(self, received: Received, *, is_unimplemented: bool) -> bool:
        """Return whether the fault is for this call.

        Calls that the server does not implement take only the faults of their method.
        """
        if self.fault.http is not None and received.service not in {"rest", "cloud"}:
            return False
        if self.job_id is not None and self.job_id != received.job_id:
            return False
        return self.method == received.method or (self.method is None and not is_unimplemented)


class CallLog:
    """Records calls, and chooses the faults for them."""

    def __init__(self, max_received: int) -> None:
        if max_received < 1:
            raise ValueError(f"max_received must be at least 1, got {max_received}")
        self.received: list[Received] = []
        """The calls that arrived, in order; beyond ``max_received`` the oldest are dropped."""
        self.unimplemented: list[Received] = []
        """Calls of another port's service, or of a method that this version does not have. They
        ended with UNIMPLEMENTED, or for REST with 404."""
        self.choose_fault: Callable[[Received], Fault | None] | None = None
        """A function that returns the fault for a call, or None. Injected faults come first."""
        self._max_received = max_received
        self._injections: list[_Injection] = []

    def inject(
        self,
        fault: Fault | str,
        *,
        times: int | None = 1,
        method: str | None = None,
        job_id: str | None = None,
    ) -> None:
        """Let the next calls end in a fault: a Fault, or the name of one in FAULTS.

        ``times``: how many calls; None is all calls from now on.
        ``method``: only calls of this method, such as "GetImportProgress" or, for REST, "describe".
        ``job_id``: only calls for this job.

        Faults for the same calls apply one after the other. HTTP faults apply to REST calls only.
        """
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, or None for all calls, got {times}")
        if method is not None and method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        if isinstance(fault, str):
            if fault not in FAULTS:
                raise ValueError(f"fault must be one of {', '.join(FAULTS)}, got {fault!r}")
            fault = FAULTS[fault]
        if not isinstance(fault, Fault):
            raise TypeError(f"fault must be a Fault or a name in FAULTS, got {fault!r}")
        if fault.http is not None and method in MESSAGES:
            raise ValueError(f"method must be a REST method for an HTTP fault, got {method!r}")
        self._injections.append(_Injection(fault, times, method, job_id))

    def clear_faults(self) -> None:
        """Remove every injected fault."""
        self._injections.clear()

    def receive(self, received: Received, *, is_unimplemented: bool) -> Fault | None:
        """Record a call, drop the oldest beyond the limit, and return the fault for it."""
        calls = self.unimplemented if is_unimplemented else self.received
        calls.append(received)
        del calls[: -self._max_received]
        for injection in self._injections:
            if injection.matches(received, is_unimplemented=is_unimplemented):
                if injection.times is not None:
                    injection.times -= 1
                    if injection.times <= 0:
                        self._injections.remove(injection)
                return injection.fault
        if self.choose_fault is None or is_unimplemented:
            return None
        return self.choose_fault(received)
