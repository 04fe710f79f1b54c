"""milvus_import.progress: what it draws at a terminal, by a clock of the test, and without one."""

from __future__ import annotations

import io
import threading
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from terminal import Screen

from milvus_import import (
    CallError,
    CallRecord,
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
    MilvusImportError,
    MilvusStatusError,
    UnavailableError,
)
from milvus_import._cli._bars import STALLED_AFTER
from milvus_import.progress import ProgressBars
from milvus_import.testing import ManualClock

JOB, AT = "450000000000000001", "2026-01-02T03:04:05Z"
UNAVAILABLE = UnavailableError("gone", code=grpc.StatusCode.UNAVAILABLE)


def detail(name: str = "a.parquet", percent: int = 50, reason: str = "") -> ImportProgressDetail:
    state = "Failed" if reason else "InProgress"
    size, rows = 2_000_000, 5 * percent
    return ImportProgressDetail(f"[{name}]", size, percent, "", state, rows, 500, reason)


def data(
    percent: int = 40,
    *,
    job_id: str = JOB,
    state: str = "Importing",
    rows: int = 400,
    total: int = 1_000,
    files: tuple[ImportProgressDetail, ...] = (),
    created: str = "",
    completed: str = "",
) -> ImportProgressData:
    return ImportProgressData(
        "books", job_id, completed, ImportState(state), percent, rows, total, "", 0, list(files),
        created, "internal",
    )  # fmt: skip


class View:
    """Bars on a screen of their own."""

    def __init__(
        self, *job_ids: str, columns: int = 100, lines: int = 24, encoding: str = "utf-8"
    ) -> None:
        self.clock = ManualClock()
        self.file = io.TextIOWrapper(io.BytesIO(), encoding)
        size: Any = {"width": columns, "height": lines, "force_terminal": True}
        self.console = Console(file=self.file, color_system="standard", get_time=self.clock, **size)
        self.bars = ProgressBars(self.console, job_ids=job_ids or (JOB,))

    def picture(self) -> list[str]:
        """The lines of the next picture."""
        start = self.file.tell()
        self.console.print(self.bars)
        self.file.seek(start)
        screen = Screen(10_000, 1_000)
        screen.feed(self.file.read().replace("\n", "\r\n"))
        return screen.text().splitlines()


@pytest.fixture
def view() -> View:
    return View()


def test_each_file_has_a_bar_of_its_own(view: View) -> None:
    files = (detail("part-1.parquet", 30), detail("deep/down/id.npy deep/down/v.npy", 60))
    view.bars(data(files=files))
    job, first, second = view.picture()
    assert first.split()[0] == "part-1.parquet"
    assert "30%  InProgress  150/500" in first
    assert "2.0 MB" in first
    assert second.startswith("  id.npy, v.npy")
    assert second.index("60%") == first.index("30%") == job.index("40%")


def test_a_stalled_job_is_shown_with_the_time_since_its_last_change(view: View) -> None:
    view.bars(data(99))
    view.clock.advance(STALLED_AFTER - 1)
    assert len(view.picture()) == 1
    view.clock.advance(65)
    assert view.picture()[1] == "  no change for 1:14"
    view.bars(data(99, rows=500))
    assert len(view.picture()) == 1


@pytest.mark.parametrize(
    ("percent", "state", "bar"),
    [
        (0, "Importing", "─" * 30),
        (50, "Importing", "━" * 15 + "─" * 15),
        (99, "Importing", "━" * 29 + "╸"),
        (100, "Completed", "━" * 30),
        (0, "Failed", "─" * 30),
        (100, "Failed", "─" * 30),
    ],
)
def test_a_bar_shows_its_length_without_colors(
    percent: int, state: str, bar: str, view: View
) -> None:
    view.bars(data(percent, state=state))
    assert view.picture()[0].split()[1] == bar


def test_the_clock_of_a_job_stops_with_it(view: View) -> None:
    view.bars(data())
    view.clock.advance(7)
    view.bars(data(100, state="Completed", files=(detail(),)))
    view.clock.advance(100)
    (line,) = view.picture()
    assert "Completed" in line
    assert "0:07" in line


def test_an_outage_is_shown_until_a_response_comes_or_the_end(view: View) -> None:
    view.bars(data())
    for leave in (False, True):
        view.bars.on_retry(UNAVAILABLE, 3.0)
        view.clock.advance(4)
        assert view.picture()[1:] == ["reconnecting for 0:07: UNAVAILABLE"]
        if leave:
            view.bars.__exit__()
        else:
            view.bars(data())
        assert len(view.picture()) == 1


def test_a_low_terminal_leaves_out_files_first_and_ended_jobs_next() -> None:
    ids = [str(number) for number in range(10, 30)]
    view = View(*ids, lines=12)
    for job_id in ids:
        ended = job_id == "10"
        state, files = ("Completed", ()) if ended else ("Importing", (detail(),))
        view.bars(data(job_id=job_id, state=state, files=files))
    lines = view.picture()
    assert [line[:2] for line in lines[:-1]] == ids[1:10]
    assert lines[-1] == "... and 11 more jobs"


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(
    columns=st.integers(12, 200),
    percent=st.integers(-5, 200),
    rows=st.integers(-(2**63), 2**63 - 1),
    total=st.integers(-(2**63), 2**63 - 1),
    state=st.sampled_from([*ImportState, "11"]),
    names=st.lists(NAMES, max_size=3),
    still=st.floats(0, 1e6),
)
def test_no_line_is_wider_than_the_terminal(  # noqa: PLR0917 - hypothesis fills them in
    columns: int, percent: int, rows: int, total: int, state: str, names: list[str], still: float
) -> None:
    view = View(columns=columns)
    files = tuple(detail(name, percent) for name in names)
    view.bars(data(percent, state=state, rows=rows, total=total, files=files))
    view.bars.on_retry(UNAVAILABLE, still)
    view.clock.advance(still)
    lines = view.picture()
    runs = state not in {"Completed", "Failed"}
    assert len(lines) == 2 + (len(names) + (still >= STALLED_AFTER)) * runs
    assert all(cell_len(line) <= columns for line in lines)


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        (data(rows=0, total=0), "40% Importing 0:03 internal"),
        (data(rows=1_000, total=0), "40% Importing 1,000 rows 0:03 internal"),
        (data(state="Completed", rows=0, total=0), "40% Completed 0 rows 0:00 internal"),
        (data(state="Failed", rows=0, total=0), "40% Failed 0:00 internal"),
        (ImportJob(JOB, "books", ImportState.IMPORTING, 40, ""), "40% Importing 0:03"),
        (ImportJob(JOB, "books", ImportState.FAILED, 0, "broken"), "0% Failed 0:00"),
        # The duration of a job that had ended before is the server's.
        (data(state="Completed", created=AT, completed="2026-01-02T03:14:10Z"),
         "40% Completed 400/1,000 10:05 internal"),
        # An impossible creation time is ignored.
        *((data(created=created), "40% Importing 400/1,000 0:03 internal")
          for created in ("2000-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "once")),
    ],
)  # fmt: skip
def test_a_job_is_shown_with_what_is_reported(
    progress: ImportProgressData | ImportJob, shown: str, view: View
) -> None:
    view.bars(progress)
    view.clock.advance(3)
    (line,) = view.picture()
    assert " ".join(line.split()[2:]) == shown


def test_a_rate_is_that_of_the_last_while(view: View) -> None:
    for rows in (0, 100, 200, 300):
        view.bars(data(rows=rows))
        view.clock.advance(2)
    assert "50/s" in view.picture()[0]
    view.bars(data(rows=0))  # a falling number shows no rate
    assert "/s" not in view.picture()[0]
    view.clock.advance(2)
    view.bars(data(rows=100))
    assert "50/s" in view.picture()[0]
    view.clock.advance(100)
    assert "/s" not in view.picture()[0]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        *((columns, "40% Importing 400/1,000 0:02 100/s internal") for columns in (100, 80)),
        *[(72, "40% Importing 400/1,000 0:02 100/s"), (46, "40% Importing"), (20, "40%")],
    ],
)
def test_a_narrow_terminal_shows_what_matters_most(columns: int, shown: str, encoding: str) -> None:
    view = View(columns=columns, encoding=encoding)
    view.bars(data(rows=200))
    view.clock.advance(2)
    view.bars(data(rows=400))
    (line,) = view.picture()
    assert " ".join(line.split()[2:]) == shown
    assert len(line) <= columns - 2


def test_a_full_line_leaves_room_for_the_echo_of_ctrl_c() -> None:
    view = View(columns=80)
    view.bars(data(files=(detail("a" * 40 + ".parquet"),)))
    view.bars.on_retry(UNAVAILABLE, 3.0)
    assert 74 <= max(map(cell_len, view.picture())) <= 78


# --------------------------------------------------------------------------- around the drawing


def test_jobs_named_before_are_shown_in_their_order() -> None:
    view = View("9", "7")
    view.bars(data(job_id="7"))
    first, second = view.picture()
    assert first == "9  no response yet"
    assert second.startswith("7  ")


def test_an_exception_leaves_a_tidy_terminal_and_no_thread(view: View) -> None:
    def drawing() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if type(t).__name__ == "_RefreshThread"]

    def fail() -> None:
        with view.bars:
            threads.extend(drawing())
            raise ZeroDivisionError

    threads: list[threading.Thread] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    (thread,) = threads
    thread.join(30)
    assert not thread.is_alive()
    view.file.seek(0)
    assert view.file.read().rstrip().endswith("\x1b[?25h")


def test_what_the_program_prints_into_a_pipe_stays_there(
    view: View, capsys: pytest.CaptureFixture[str]
) -> None:
    with view.bars as bars:
        bars(data())
        print("a result")
    assert capsys.readouterr().out == "a result\n"
    view.file.seek(0)
    assert "a result" not in view.file.read()


# ---------------------------------------------------------------------------- without a terminal


def lines_of(*calls: tuple[str, tuple[Any, ...]]) -> list[str]:
    """Return what bars write that are no terminal's."""
    file = io.StringIO()
    with ProgressBars(Console(file=file, width=20)) as bars:
        for name, arguments in calls:
            getattr(bars, name)(*arguments)
    return file.getvalue().splitlines()


def test_without_a_terminal_there_is_a_line_per_change() -> None:
    assert lines_of(
        ("__call__", (data(),)),
        ("__call__", (data(),)),
        ("on_retry", (UNAVAILABLE, 3.0)),
        ("on_retry", (UNAVAILABLE, 4.0)),
        ("on_retry", (MilvusStatusError("not ready"), 5.0)),
        ("__call__", (data(100, state="Completed"),)),
        ("__call__", (ImportJob("8", "[red]books", ImportState.IMPORTING, 5, ""),)),
    ) == [
        f"{JOB}  Importing  40%  400/1,000 rows  (internal)",
        "reconnecting: UNAVAILABLE",
        "reconnecting: not ready",
        "reconnected",
        f"{JOB}  Completed  100%  400/1,000 rows  (internal)",
        "8  Importing  5%  [red]books",
    ]


def record(code: grpc.StatusCode) -> CallRecord:
    return CallRecord("internal", "GetImportProgress", code, "", (), (), 0.1)


@pytest.mark.parametrize(
    ("error", "recovered"),
    [
        (CallError("broken", record=record(grpc.StatusCode.UNAVAILABLE)), True),
        (CallError("empty reply", record=None), False),
        (MilvusStatusError("not ready"), False),
    ],
    ids=["broken connection", "reply that is not valid", "Status of Milvus"],
)
def test_successful_rpc_ends_only_an_outage_of_the_connection(
    error: MilvusImportError, recovered: bool
) -> None:
    """A reply may be OK for gRPC and still be the fault."""
    ok = record(grpc.StatusCode.OK)
    lines = lines_of(("on_retry", (error, 0.0)), ("on_finish", (ok,)))
    assert ("reconnected" in lines) is recovered


def test_default_console_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBars() as bars:
        bars(data())
    line = f"{JOB}  Importing  40%  400/1,000 rows  (internal)\n"
    assert tuple(capsys.readouterr()) == ("", line)
