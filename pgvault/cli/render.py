"""How results look: one JSON document, or lines and tables for people. Results on stdout, all else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn
from rich.table import Table

from pgvault.instants import say_seconds
from pgvault.progress import NoProgress
from pgvault.progress import Progress as ProgressSink

PIPE_COLUMNS = 240  # in a file or a pipe nothing is cut
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def write_json(document: Mapping[str, Any]) -> None:
    """Write the one JSON document of a command to stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_lines(lines: Sequence[str]) -> None:
    """Write lines for people to stdout."""
    for line in lines:
        sys.stdout.write(line + "\n")


def write_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to stdout; the first column is never cut."""
    write_lines([title])
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    Console(width=width, highlight=False, markup=False).print(table)


def mark(verdict: str, *, is_blocking: bool) -> str:
    """The word before a check: FAIL is what stops something, and what is not proven is neither that nor ok."""
    failed = "FAIL" if is_blocking else "warn"
    return {"passed": "ok", "failed": failed}.get(verdict, "?")


def printable(text: str) -> str:
    """A name with whatever would move a terminal's cursor, or change its colours, escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def size(count: int) -> str:
    """A number of bytes for people: 1.5 GiB."""
    value = float(count)
    for unit in UNITS[:-1]:
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {UNITS[-1]}"


def duration(value: timedelta | float) -> str:
    """A span of time for people: 2 h 05 min, 3.4 s."""
    return say_seconds(value.total_seconds() if isinstance(value, timedelta) else value)


def instant(value: datetime) -> str:
    """An instant for people, with its zone."""
    return value.isoformat(sep=" ", timespec="seconds")


@contextmanager
def showing_progress() -> Iterator[ProgressSink]:
    """Show a progress bar on a terminal's stderr; elsewhere nothing, since cron mails whatever is printed."""
    if not sys.stderr.isatty():
        yield NoProgress()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(bar)


class _Bar:
    """One bar, a task a phase."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=None)

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        self._bar.update(self._task, visible=False)
        self._task = self._bar.add_task(name, total=total_bytes)

    def advance(self, done_bytes: int) -> None:
        self._bar.advance(self._task, done_bytes)


def write_error(message: str, hint: str | None) -> None:
    """Write one sentence to stderr, and its hint below it."""
    sys.stderr.write(f"error: {message}\n")
    if hint is not None:
        sys.stderr.write(f"hint: {hint}\n")


def write_warning(message: str, hint: str | None) -> None:
    """Write to stderr what went wrong beside something that did not."""
    sys.stderr.write(f"warning: {message}\n")
    if hint is not None:
        sys.stderr.write(f"hint: {hint}\n")
