"""A Milvus for your own tests: both services over real sockets, in your process.

``FakeMilvus`` is a simulation. It answers what the import calls of a Milvus answer, and the faults
a test asks it for.
"""

from ._faults import FAULTS, Fault
from ._jobs import FakeFile, FakeJob, ManualClock
from ._server import FakeMilvus, Received

__all__ = ["FAULTS", "FakeFile", "FakeJob", "FakeMilvus", "Fault", "ManualClock", "Received"]
