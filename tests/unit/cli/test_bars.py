"""The progress bars, drawn by a clock that the test controls."""

from __future__ import annotations

import io

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from terminal import Screen

from milvus_import import (
    ImportJob,
    ImportProgressData,
    ImportProgressDetail,
    ImportState,
    UnavailableError,
)
from milvus_import._cli._bars import STALLED_AFTER
from milvus_import.progress import ProgressBars
from milvus_import.testing import ManualClock

JOB = "450000000000000001"


def detail(name: str = "a.parquet", percent: int = 50, reason: str = "") -> ImportProgressDetail:
    state = "Failed" if reason else "InProgress"
    return ImportProgressDetail(
        f"[{name}]", 2_000_000, percent, "", state, 5 * percent, 500, reason
    )


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

    def __init__(self, *job_ids: str, columns: int = 100, lines: int = 24) -> None:
        self.clock = ManualClock()
        self.file = io.StringIO()
        self.console = Console(
            file=self.file,
            force_terminal=True,
            width=columns,
            height=lines,
            color_system="standard",
            get_time=self.clock,
        )
        self.bars = ProgressBars(self.console, job_ids=job_ids or (JOB,))

    def picture(self) -> list[str]:
        """The lines of the next picture."""
        self.file.truncate(self.file.seek(0))
        self.console.print(self.bars)
        screen = Screen(10_000, 1_000)
        screen.feed(self.file.getvalue().replace("\n", "\r\n"))
        return screen.text().splitlines()


@pytest.fixture
def view() -> View:
    return View()


def test_a_job_is_one_line_with_all_that_is_known(view: View) -> None:
    view.bars(data(rows=200))
    view.clock.advance(4)
    view.bars(data(rows=400))
    (line,) = view.picture()
    assert line.split() == [
        JOB, line.split()[1], "40%", "Importing", "400/1,000", "0:04", "50/s", "internal",
    ]  # fmt: skip


def test_each_file_has_a_bar_of_its_own(view: View) -> None:
    files = (detail("part-1.parquet", 30), detail("deep/down/id.npy deep/down/v.npy", 60))
    view.bars(data(files=files))
    job, first, second = view.picture()
    assert first.split()[0] == "part-1.parquet"
    assert "30%  InProgress  150/500" in first
    assert "2.0 MB" in first
    assert second.startswith("  id.npy, v.npy")
    assert second.index("60%") == first.index("30%") == job.index("40%")


@pytest.mark.parametrize("rows", [0, 1_000])
def test_rows_without_a_total_are_shown_alone(view: View, rows: int) -> None:
    view.bars(data(rows=rows, total=0))
    (line,) = view.picture()
    assert "/0" not in line
    assert ("1,000 rows" in line) is bool(rows)


def test_a_job_without_a_response_is_shown_so(view: View) -> None:
    assert view.picture() == [f"{JOB}  no response yet"]


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


@pytest.mark.parametrize(("state", "shown"), [("Completed", True), ("Failed", False)])
def test_0_rows_are_shown_of_a_completed_job_only(state: str, shown: bool, view: View) -> None:
    view.bars(data(100, state=state, rows=0, total=0))
    assert ("0 rows" in view.picture()[0]) is shown


def test_a_rate_is_that_of_the_last_while(view: View) -> None:
    for rows in (0, 100, 200, 300):
        view.bars(data(rows=rows))
        view.clock.advance(2)
    assert "50/s" in view.picture()[0]
    view.clock.advance(100)
    assert "/s" not in view.picture()[0]


def test_a_falling_number_of_rows_shows_no_rate(view: View) -> None:
    view.bars(data(rows=500))
    view.clock.advance(2)
    view.bars(data(rows=0))
    assert "/s" not in view.picture()[0]


def test_the_clock_of_a_job_stops_with_it(view: View) -> None:
    view.bars(data())
    view.clock.advance(7)
    view.bars(data(100, state="Completed", files=(detail(),)))
    view.clock.advance(100)
    (line,) = view.picture()
    assert "Completed" in line
    assert "0:07" in line


def test_the_duration_of_a_job_that_had_ended_before_is_the_servers(view: View) -> None:
    created, completed = "2026-01-02T03:04:05Z", "2026-01-02T03:14:10Z"
    view.bars(data(100, state="Completed", created=created, completed=completed))
    assert "10:05" in view.picture()[0]


@pytest.mark.parametrize("created", ["2000-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "once"])
def test_an_impossible_creation_time_is_ignored(view: View, created: str) -> None:
    view.bars(data(created=created))
    view.clock.advance(3)
    assert "0:03" in view.picture()[0]


def test_an_outage_is_shown_until_a_response_comes(view: View) -> None:
    view.bars(data())
    view.bars.on_retry(UnavailableError("gone", code=grpc.StatusCode.UNAVAILABLE), 3.0)
    view.clock.advance(4)
    assert view.picture()[1:] == ["reconnecting for 0:07: UNAVAILABLE"]
    view.bars(data())
    assert len(view.picture()) == 1


def test_a_listed_job_is_shown_with_what_a_list_reports() -> None:
    view = View("1", "2")
    view.bars(ImportJob("1", "books", ImportState.IMPORTING, 40, ""))
    view.bars(ImportJob("2", "books", ImportState.FAILED, 0, "broken"))
    assert [line.split()[0] for line in view.picture()] == ["1", "2"]
    assert [line.split()[2:] for line in view.picture()] == [
        ["40%", "Importing", "0:00"],
        ["0%", "Failed", "0:00"],
    ]


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


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (100, ["40%", "Importing", "400/1,000", "0:02", "100/s", "internal"]),
        (80, ["40%", "Importing", "400/1,000", "0:02", "100/s", "internal"]),
        (72, ["40%", "Importing", "400/1,000", "0:02", "100/s"]),
        (46, ["40%", "Importing"]),
        (20, ["40%"]),
    ],
)
def test_a_narrow_terminal_shows_what_matters_most(columns: int, shown: list[str]) -> None:
    view = View(columns=columns)
    view.bars(data(rows=200))
    view.clock.advance(2)
    view.bars(data(rows=400))
    (line,) = view.picture()
    assert line.split()[2:] == shown


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
    view.bars.on_retry(UnavailableError("gone", code=grpc.StatusCode.UNAVAILABLE), still)
    view.clock.advance(still)
    lines = view.picture()
    runs = state not in {"Completed", "Failed"}
    assert len(lines) == 2 + (len(names) + (still >= STALLED_AFTER)) * runs
    assert all(cell_len(line) <= columns for line in lines)


def test_a_full_line_leaves_room_for_the_echo_of_ctrl_c() -> None:
    view = View(columns=80)
    view.bars(data(files=(detail("a" * 40 + ".parquet"),)))
    view.bars.on_retry(UnavailableError("gone", code=grpc.StatusCode.UNAVAILABLE), 3.0)
    assert 74 <= max(map(cell_len, view.picture())) <= 78
