"""JobTracker: which changes are yielded, and when a job counts as missing."""

from __future__ import annotations

import pytest

from milvus_import import ImportJob, ImportProgressData, ImportState, JobNotFoundError
from milvus_import._services._replies import Snapshot
from milvus_import._services._rows import JobRow
from milvus_import._watch._tracker import JobTracker


def row(state: str, progress: int = 40, reason: str = "") -> JobRow:
    return ("books", state, progress, reason)


def job(job_id: str, state: str, progress: int = 40) -> ImportJob:
    return ImportJob(job_id, "books", ImportState(state), progress, "")


def not_found() -> JobNotFoundError:
    return JobNotFoundError("no such job", code=2100, service="internal")


def test_the_same_row_is_no_change() -> None:
    tracker = JobTracker(["1"], None)
    changed = tracker.row_changed("1", row("Importing"))
    assert changed == job("1", "Importing")
    assert tracker.row_changed("1", row("Importing")) is None
    for different in (row("Sorting"), row("Importing", 41), row("Importing", 40, "why")):
        assert tracker.row_changed("1", different) is not None


def test_each_state_is_yielded_once_and_an_ended_job_is_not_pending() -> None:
    tracker = JobTracker(["1", "2"], None)
    for _ in range(2):
        tracker.update(job("1", "Importing"))
    tracker.update(job("1", "Completed", 100))
    assert [(change.state, change.progress) for change in tracker.changes] == [
        ("Importing", 40),
        ("Completed", 100),
    ]
    assert list(tracker.pending) == ["2"]


def test_yielded_jobs_are_copies() -> None:
    tracker = JobTracker(["1"], None)
    tracker.update(job("1", "Importing"))
    tracker.changes[0].progress = 99
    tracker.update(job("1", "Importing"))
    assert len(tracker.changes) == 1


@pytest.mark.parametrize(
    ("until", "state", "ended"),
    [
        (None, "Uncommitted", False),
        (None, "Failed", True),
        ("completed", "Uncommitted", False),
        ("completed", "Completed", True),
        ("uncommitted", "Uncommitted", True),
        ("uncommitted", "Committing", True),
        ("uncommitted", "Importing", False),
    ],
)
def test_the_end_of_a_job_depends_on_until(until: None, state: str, ended: bool) -> None:
    assert JobTracker(["1"], until).ended(ImportState(state)) is ended


def test_an_unknown_job_is_missing_at_the_first_response() -> None:
    tracker = JobTracker(["1"], None)
    error = not_found()
    tracker.record_missing("1", error)
    assert tracker.failed == {"1": error}
    assert not tracker.pending
    assert (error.job_id, error.progress) == ("1", None)


def test_a_known_job_is_missing_at_the_second_response_in_a_row() -> None:
    tracker = JobTracker(["1"], None)
    tracker.update(job("1", "Importing"))
    tracker.record_missing("1", not_found())
    tracker.record_found("1")
    tracker.record_missing("1", not_found())
    assert "1" in tracker.pending
    error = not_found()
    tracker.record_missing("1", error)
    assert tracker.failed == {"1": error}
    assert error.progress is not None
    assert (error.progress.state, error.progress.progress) == ("Importing", 40)


def test_the_last_progress_is_a_full_one_if_there_is_one() -> None:
    tracker = JobTracker(["1"], None)
    full = ImportProgressData(
        collection_name="books",
        job_id="1",
        complete_time="",
        state=ImportState.IMPORTING,
        progress=50,
        imported_rows=7,
        total_rows=9,
        reason="",
        file_size=0,
        details=[],
        create_time="",
        service="internal",
    )
    tracker.update(full.job)
    tracker.snapshots["1"] = Snapshot(b"", None, lambda: full)
    error = not_found()
    for missing in (not_found(), error):
        tracker.record_missing("1", missing)
    assert error.progress is full


def test_a_listed_end_is_the_last_state_and_its_row_changes_again() -> None:
    tracker = JobTracker(["1"], "completed")
    tracker.update(job("1", "Importing"))
    changed = tracker.row_changed("1", row("Completed", 100))
    assert changed is not None
    tracker.record_listed_end(changed)
    assert tracker.last_state("1") == job("1", "Completed", 100)
    assert tracker.row_changed("1", row("Completed", 100)) is not None
    assert "1" in tracker.pending
