"""What is drawn on terminals of all kinds, and the lines of a log: without any server, by a clock that stands still."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from rich.console import Console

from pgvault.cli import progressbar
from pgvault.cli.logs import FORMAT_VARIABLE, JSON, JsonFormatter
from pgvault.cli.pace import Look, Pace
from pgvault.cli.progressbar import BAR_COLUMNS, Bar, Lines, draw, words
from pgvault.cli.terminal import stderr_console

GIB = 1 << 30
HALF = Look("copying", GIB, 2 * GIB, 8.0, GIB / 8)
LONG = "backup 20260115T103000Z-f7c2 of a cluster with a very long name"
MANY_FIELDS = 5


@dataclass
class Standing:
    """A clock that somebody moves."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 15, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Screen:
    """A terminal of a width, and what came to it."""

    width: int = 100
    encoding: str = "utf-8"
    console: Console = field(init=False)

    def __post_init__(self) -> None:
        file = io.TextIOWrapper(io.BytesIO(), encoding=self.encoding, errors="backslashreplace", write_through=True)
        self.console = Console(file=file, force_terminal=True, width=self.width, color_system=None)

    def text(self) -> str:
        file = self.console.file
        assert isinstance(file, io.TextIOWrapper)
        assert isinstance(file.buffer, io.BytesIO)
        return file.buffer.getvalue().decode(self.encoding)


def drawn(look: Look, screen: Screen) -> str:
    screen.console.print(draw([look], screen.console))
    return screen.text()


def test_a_wide_terminal_shows_all_of_it() -> None:
    line = drawn(HALF, Screen())

    assert "copying" in line
    assert "━━━" in line
    assert "50 % 1.0 GiB of 2.0 GiB 128.0 MiB/s 8 s left" in line


@pytest.mark.parametrize("width", [20, 40, 59, 60, 79, 80, 100, 200])
def test_a_line_is_never_wider_than_the_terminal(width: int) -> None:
    """A line that is folded can not be taken back, and would stay behind."""
    screen = Screen(width)
    text = drawn(Look(LONG, GIB, 2 * GIB, 8.0, GIB / 8), screen)

    assert text.count("\n") == 1
    assert len(text.rstrip("\n")) <= width
    assert "50 %" in text
    assert "8 s left" in text or width < BAR_COLUMNS


def test_a_narrow_one_says_how_much_and_how_long() -> None:
    assert words(HALF, 50) == "50 % 128.0 MiB/s 8 s left"
    assert words(HALF, 100) == "50 % 1.0 GiB of 2.0 GiB 128.0 MiB/s 8 s left"


def test_without_a_total_there_is_no_bar() -> None:
    """How much came and how fast; before anything came, for how long it has been going on."""
    assert "━" not in drawn(Look("dumping shop", GIB, None, 8.0, GIB / 8), Screen())
    assert words(Look("dumping shop", GIB, None, 8.0, GIB / 8), 100) == "1.0 GiB 128.0 MiB/s"
    assert words(Look("check", 0, None, 8.0, None), 100) == "8.0 s"


def test_a_terminal_without_unicode_is_shown_nothing_else() -> None:
    drawn(HALF, screen := Screen(encoding="ascii"))

    assert screen.text().isascii()
    assert "\\" not in screen.text().replace("\\ copying", "")  # the second of - \ | /


@pytest.fixture
def bar() -> Iterator[tuple[Bar, Screen, Standing]]:
    screen, clock = Screen(), Standing()
    bar = Bar(screen.console, clock)
    bar.begin()
    yield bar, screen, clock
    bar.end()


def test_a_phase_that_was_quick_is_drawn_as_it_ended(bar: tuple[Bar, Screen, Standing]) -> None:
    """And when the bar is gone, so is its line, and the cursor is back."""
    shown, screen, clock = bar
    shown.phase("copying", 4 * GIB)
    clock.seconds = 2.0
    shown.advance(3 * GIB)
    shown.phase("waiting for WAL")
    shown.end()

    text = screen.text()
    assert "copying" in text
    assert "75 % 3.0 GiB of 4.0 GiB 1.5 GiB/s 1 s left" in text
    assert "waiting for WAL" in text
    assert text.rindex("\x1b[?25h") > text.rindex("waiting for WAL")
    assert text.endswith("\x1b[2K")


def test_parts_side_by_side_have_a_line_each(bar: tuple[Bar, Screen, Standing]) -> None:
    """Two copies are brought at the same time: each its own amount, and none is left when it is done."""
    shown, screen, clock = bar
    clock.seconds = 1.0
    with shown.beside("west") as west, shown.beside("east") as east:
        west.phase("wal", 4 * GIB)
        east.phase("wal", 8 * GIB)
        clock.seconds = 2.0
        west.advance(GIB)
        east.advance(GIB)
        shown.phase("both")
        text = screen.text()
        assert "west: wal" in text
        assert "25 % 1.0 GiB of 4.0 GiB" in text
        assert "east: wal" in text
        assert "12 % 1.0 GiB of 8.0 GiB" in text
    before = len(screen.text())
    shown.phase("after")
    assert "east" not in screen.text()[before:]


def test_what_is_logged_meanwhile_goes_above_it(bar: tuple[Bar, Screen, Standing]) -> None:
    """A line of its own, from its beginning: nothing of the bar before or behind it."""
    shown, screen, _ = bar
    shown.phase("copying", GIB)
    before = len(screen.text())
    screen.console.print("stored a chunk")

    lines = screen.text()[before:].split("\n")
    assert lines[0].endswith("\x1b[2Kstored a chunk")
    assert "copying" in lines[1]


def test_a_question_has_the_terminal_to_itself(bar: tuple[Bar, Screen, Standing]) -> None:
    """The bar is taken away, and comes back below the answer."""
    shown, screen, _ = bar
    shown.phase("planning")
    with shown.aside():
        assert screen.text().endswith("\x1b[2K")
        before = len(screen.text())
        shown.advance(1)
        screen.console.print("Restore?")
        assert screen.text()[before:] == "Restore?\n"
    assert "planning" in screen.text()[before:]


def test_an_error_takes_the_bar_away(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also Ctrl-C, which is a SystemExit or KeyboardInterrupt here."""
    screen = Screen()
    monkeypatch.setattr(progressbar, "stderr_console", lambda: screen.console)

    def interrupted() -> None:
        with progressbar.showing(Standing()) as shown:
            shown.phase("copying", GIB)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    text = screen.text()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert text.endswith("\x1b[2K")
    assert capsys.readouterr() == ("", "")


def test_a_log_has_a_line_for_each_phase_and_one_each_half_minute(caplog: pytest.LogCaptureFixture) -> None:
    """However often something is done; the figures are with it, for machines."""
    clock = Standing()
    lines = Lines(clock)
    with caplog.at_level(logging.INFO, logger="pgvault"):
        lines.phase("copying", 100 * GIB)
        for _ in range(90):
            clock.seconds += 1
            lines.advance(GIB)
        lines.phase("waiting for WAL")
        with lines.beside("west") as west:
            west.phase("wal", GIB)

    assert [record.getMessage() for record in caplog.records] == [
        "copying: 0 %, 0 B of 100.0 GiB",
        "copying: 30 %, 30.0 GiB of 100.0 GiB, 1.0 GiB/s, 70 s left",
        "copying: 60 %, 60.0 GiB of 100.0 GiB, 1.0 GiB/s, 40 s left",
        "copying: 90 %, 90.0 GiB of 100.0 GiB, 1.0 GiB/s, 10 s left",
        "waiting for WAL",
        "west: wal: 0 %, 0 B of 1.0 GiB",
    ]
    figures = caplog.records[1].__dict__["progress"]
    assert (figures["phase"], figures["done_bytes"], figures["total_bytes"]) == ("copying", 30 * GIB, 100 * GIB)
    assert len(figures) == MANY_FIELDS


class _Gone(io.StringIO):
    """A terminal whose connection is lost after the first line."""

    def write(self, text: str) -> int:
        if self.tell():
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


def test_a_terminal_that_is_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `pgvault backup &` and a lost connection: every write fails, and the backup goes on."""
    lost = Console(file=_Gone(), force_terminal=True)
    monkeypatch.setattr(progressbar, "stderr_console", lambda: lost)
    before = sys.stderr

    with progressbar.showing(Standing()) as shown:
        for name in ("copying", "waiting for WAL"):
            shown.phase(name, GIB)
            shown.advance(GIB)
        with shown.beside("west") as west, shown.aside():
            west.phase("wal")

    assert sys.stderr is before


def test_a_pipe_is_no_terminal_whatever_colour_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """CI sets $FORCE_COLOR; rich ends the program when such a pipe breaks."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    assert not stderr_console.__wrapped__().is_terminal


@pytest.mark.parametrize("is_verbose", [False, True])
def test_no_terminal_is_shown_nothing_unless_it_is_asked_for(
    is_verbose: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Cron mails whatever is printed."""
    pipe = Console(file=io.StringIO())
    monkeypatch.setattr(progressbar, "stderr_console", lambda: pipe)
    level = logging.INFO if is_verbose else logging.WARNING
    with (
        caplog.at_level(level, logger="pgvault"),
        progressbar.showing(Standing()) as shown,
        shown.beside("west") as west,
    ):
        shown.phase("copying", GIB)
        shown.advance(GIB)
        west.phase("wal")

    assert [record.getMessage() for record in caplog.records] == (
        ["copying: 0 %, 0 B of 1.0 GiB", "west: wal"] if is_verbose else []
    )
    assert pipe.file.getvalue() == ""  # type: ignore[attr-defined]


def test_a_dumb_terminal_is_not_drawn_upon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can not take anything back."""
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    monkeypatch.setattr(progressbar, "stderr_console", lambda: dumb)
    with progressbar.showing(Standing()) as shown:
        shown.phase("copying", GIB)

    assert dumb.file.getvalue() == ""  # type: ignore[attr-defined]


def test_machines_are_given_figures_and_no_bar(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With --log-format json, also on a terminal: a bar between the lines would break them."""
    screen = Screen()
    monkeypatch.setattr(progressbar, "stderr_console", lambda: screen.console)
    monkeypatch.setenv(FORMAT_VARIABLE, JSON)
    with caplog.at_level(logging.INFO, logger="pgvault"), progressbar.showing(Standing()) as shown:
        shown.phase("copying", GIB)

    (record,) = caplog.records
    document = json.loads(JsonFormatter().format(record))
    assert screen.text() == ""
    assert document["message"] == "copying: 0 %, 0 B of 1.0 GiB"
    assert document["progress"] == {
        "phase": "copying",
        "done_bytes": 0,
        "total_bytes": GIB,
        "bytes_per_second": None,
        "seconds_left": None,
    }


def test_a_step_costs_next_to_nothing() -> None:
    """Whoever copies adds a number: nothing is drawn, and no clock is asked."""
    bar = Bar(Screen().console, Standing())
    bar.phase("copying", GIB)
    asked = bar._clock = _Forbidden()
    for _ in range(1000):
        bar.advance(1)

    assert asked.count == 0
    assert isinstance(bar._rows[1], Pace)


class _Forbidden(Standing):
    count = 0

    def monotonic(self) -> float:
        self.count += 1
        return 0.0
