"""Progress as people see it: a bar on a terminal's stderr, with --verbose lines in a log, else nothing.

    terminal    ⠙ copying ━━━━━━━━╸━━━━━━━━━━━ 45 % 1.2 GiB of 2.7 GiB 110.0 MiB/s 14 s left
    log         2025-10-25 10:00:31 INFO copying: 45 %, 1.2 GiB of 2.7 GiB, 110.0 MiB/s, 14 s left

Cron mails whatever is printed, so nothing is where nobody looks. A bar is drawn a few times a second by a thread of its
own; whoever copies adds a number and no more. It is gone when it is done, and so whatever way that ended.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from pgvault.cli.logs import PROGRESS, is_json
from pgvault.cli.pace import Look, Pace
from pgvault.cli.terminal import stderr_console
from pgvault.instants import Clock, say_seconds
from pgvault.progress import NoProgress, Progress

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

logger = logging.getLogger(__name__)

STARTING = "starting"
LINE_SECONDS = 30.0  # between two lines of a phase
DRAWN_PER_SECOND = 5
# From which width on there is room for it; a line that is folded could not be taken back.
AMOUNT_COLUMNS, BAR_COLUMNS = 100, 60
BAR_WIDTH = 24
SPINNING, SPINNING_ASCII = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "-\\|/"
NAME_LEAST = 8  # characters of a name that are shown, whatever else is not


class Shown(Progress, Protocol):
    """Progress that somebody may be looking at."""

    def aside(self) -> AbstractContextManager[None]:
        """Leave the terminal to somebody who asks a question."""


class Unseen(NoProgress):
    """Nobody is looking."""

    def aside(self) -> AbstractContextManager[None]:
        """Return what does nothing."""
        return nullcontext()


@contextmanager
def showing(clock: Clock) -> Iterator[Shown]:
    """Show progress as far as there is somebody to see it."""
    console = stderr_console()
    if console.is_terminal and not console.is_dumb_terminal and not is_json():
        bar = Bar(console, clock)
        try:
            bar.begin()
            yield bar
        finally:
            bar.end()
    elif logger.isEnabledFor(logging.INFO):
        yield Lines(clock)
    else:
        yield Unseen()


class Lines:
    """A line for each phase, and for a long one another each half minute."""

    def __init__(self, clock: Clock, prefix: str = "") -> None:
        """`prefix` names what has phases of its own."""
        self._clock = clock
        self._prefix = prefix
        self._lock = Lock()
        self._pace: Pace | None = None
        self._said_at = 0.0

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        """Say that it began."""
        now = self._clock.monotonic()
        pace = Pace(f"{self._prefix}{name}", total_bytes, now)
        with self._lock:
            self._pace, self._said_at = pace, now
        self._say(pace.look(now))

    def advance(self, done_bytes: int) -> None:
        """Add, and say so where the last line is old."""
        pace, now = self._pace, self._clock.monotonic()
        if pace is None:
            return
        pace.add(done_bytes)
        if now - self._said_at < LINE_SECONDS:
            return
        with self._lock:
            is_mine = now - self._said_at >= LINE_SECONDS
            self._said_at = now if is_mine else self._said_at
        if is_mine:
            self._say(pace.look(now))

    def beside(self, name: str) -> AbstractContextManager[Progress]:
        """Say whose phases they are."""
        return nullcontext(Lines(self._clock, f"{self._prefix}{name}: "))

    def aside(self) -> AbstractContextManager[None]:
        """Return what does nothing: lines are in nobody's way."""
        return nullcontext()

    def _say(self, look: Look) -> None:
        figures = {
            "phase": look.name,
            "done_bytes": look.done_bytes,
            "total_bytes": look.total_bytes,
            "bytes_per_second": look.bytes_per_second,
            "seconds_left": look.seconds_left,
        }
        logger.info("%s", look.line, extra={PROGRESS: figures})


class Bar:
    """A line on the terminal that is drawn anew; below it one for each part that goes on beside."""

    def __init__(self, console: Console, clock: Clock) -> None:
        """Nothing is drawn before `begin`."""
        self._console = console
        self._clock = clock
        self._lock = Lock()
        self._rows: dict[int, Pace] = {}  # in the order in which their first phases began
        self._numbers = 0
        self._live: Live | None = None
        self._own = self._add_row()

    def begin(self) -> None:
        """Begin to draw."""
        from rich.live import Live

        live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=DRAWN_PER_SECOND,
            transient=True,
            # What is printed while it is there goes above it; where stdout is a file, it must get there.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
        )
        self._live = live
        self._ask(partial(live.start, refresh=True))

    def end(self) -> None:
        """Take it away, and give the cursor back."""
        live, self._live = self._live, None
        if live is not None:
            with suppress(OSError):
                live.stop()

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        """Draw how the last phase ended, and then the new one."""
        self._own.phase(name, total_bytes)

    def advance(self, done_bytes: int) -> None:
        """Add; it is drawn when it is time for that."""
        self._own.advance(done_bytes)

    @contextmanager
    def beside(self, name: str) -> Iterator[Progress]:
        """Draw a line below, as long as there is something to tell."""
        row = self._add_row(f"{name}: ")
        try:
            yield row
        finally:
            self.set_pace(row.number, None)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take it away while somebody is asked."""
        self.end()
        try:
            yield
        finally:
            self.begin()

    def set_pace(self, number: int, pace: Pace | None) -> None:
        """Let a line show another phase, or nothing; what it showed is drawn once more."""
        self._refresh()
        with self._lock:
            if pace is None:
                self._rows.pop(number, None)
            else:
                self._rows[number] = pace
        self._refresh()

    def now(self) -> float:
        """Seconds since some moment."""
        return self._clock.monotonic()

    def _add_row(self, prefix: str = "") -> _Row:
        with self._lock:
            self._numbers += 1
            return _Row(self, self._numbers, prefix)

    def _refresh(self) -> None:
        live = self._live
        if live is not None:
            self._ask(live.refresh)

    def _ask(self, draw_on: Callable[[], None]) -> None:
        """Draw; where the terminal is gone, as with a lost connection, the work goes on without."""
        try:
            draw_on()
        except OSError:
            self.end()

    def _draw(self) -> RenderableType:
        with self._lock:
            paces = list(self._rows.values())
        looks = [pace.look(self.now()) for pace in paces]
        return draw(looks or [Look(STARTING, 0, None, 0.0, None)], self._console)


class _Row:
    """One line of a bar."""

    def __init__(self, bar: Bar, number: int, prefix: str) -> None:
        self.number = number
        self._bar = bar
        self._prefix = prefix
        self._pace: Pace | None = None

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        pace = Pace(f"{self._prefix}{name}", total_bytes, self._bar.now())
        self._bar.set_pace(self.number, pace)
        self._pace = pace

    def advance(self, done_bytes: int) -> None:
        if self._pace is not None:
            self._pace.add(done_bytes)

    def beside(self, name: str) -> AbstractContextManager[Progress]:
        return self._bar.beside(f"{self._prefix}{name}")


def draw(looks: list[Look], console: Console) -> RenderableType:
    """Return phases as lines, none wider than the terminal."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    width = console.width
    said = [words(look, width) for look in looks]
    bar_width = min(BAR_WIDTH, width // 4) if width >= BAR_COLUMNS else 0
    room = width - sum(map(len, ("⠙ ", " " * bar_width, "  ", max(said, key=len))))
    grid = Table.grid(padding=(0, 1))
    for _ in range(4):
        grid.add_column(no_wrap=True, overflow="ellipsis")
    frames = SPINNING if console.encoding.startswith("utf") else SPINNING_ASCII
    for look, fact in zip(looks, said, strict=True):
        name = Text(look.name, style="bold", overflow="ellipsis", no_wrap=True)
        name.truncate(max(NAME_LEAST, room), overflow="ellipsis")  # what is said of it matters more
        bar: RenderableType = ""
        if look.share is not None and bar_width:
            bar = ProgressBar(total=1.0, completed=look.share, width=bar_width)
        frame = frames[int(look.seconds * DRAWN_PER_SECOND) % len(frames)]
        grid.add_row(Text(frame, style="green"), name, bar, fact)
    return grid


def words(look: Look, width: int) -> str:
    """Return what is said of a phase on a terminal so wide."""
    amount = look.amount if width >= AMOUNT_COLUMNS or look.percentage is None else None
    said = [each for each in (look.percentage, amount, look.rate, look.left) if each is not None]
    return " ".join(said) if said else say_seconds(look.seconds)
