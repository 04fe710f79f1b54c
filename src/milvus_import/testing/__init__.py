"""A simulated Milvus for tests: its import services on real sockets, in the test's process.

``FakeMilvus`` is a simulation. It serves the import methods of a Milvus over gRPC and REST, and
those of Zilliz Cloud, and produces the faults that a test injects.
"""

from ._faults import FAULTS, Fault, HttpResponse, Received
from ._jobs import FakeFile, FakeJob, ManualClock
from ._server import FakeMilvus
from ._store import RestBehavior, ZillizBehavior

__all__ = [
    "FAULTS",
    "FakeFile",
    "FakeJob",
    "FakeMilvus",
    "Fault",
    "HttpResponse",
    "ManualClock",
    "Received",
    "RestBehavior",
    "ZillizBehavior",
]
