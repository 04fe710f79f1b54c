"""How long a watch may take, and who may await it."""

from __future__ import annotations

from .._connection._lazy import running_loop


class TimeLimit:
    """How long a method may take, from its first poll on.

    A limit of 0 lets the first poll of each job run to its end.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline: float | None = None
        self.polled = False
        """Whether each job has been polled once."""

    def remaining(self) -> float | None:
        """Return the seconds that remain; None if there is no limit (yet)."""
        if self._seconds == float("inf") or (self._seconds <= 0 and not self.polled):
            return None
        now = running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._seconds
        return max(0.0, self._deadline - now)

    def __str__(self) -> str:
        return f"{max(self._seconds, 0.0):g} s"


class SingleConsumer:
    """Raises RuntimeError if two tasks iterate at the same time, as an async generator does."""

    _taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise RuntimeError("another task is awaiting this watch: create one watch per task")
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False
