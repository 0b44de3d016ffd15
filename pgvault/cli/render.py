"""How results look: one JSON document, or lines and tables for people. Results on stdout, all else on stderr."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from pgvault.amounts import say_bytes
from pgvault.cli.logs import NAME, complain
from pgvault.instants import SystemClock, say_seconds

if TYPE_CHECKING:
    from pgvault.cli.progressbar import Shown

PIPE_COLUMNS = 240  # in a file or a pipe nothing is cut


def write_json(document: Mapping[str, Any]) -> None:
    """Write the one JSON document of a command to stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_lines(lines: Sequence[str]) -> None:
    """Write lines for people to stdout."""
    for line in lines:
        sys.stdout.write(line + "\n")


def is_success_shown() -> bool:
    """Tell whether anybody is there who wants to know that all went well."""
    return sys.stdout.isatty() or logging.getLogger(NAME).isEnabledFor(logging.INFO)


def write_success(lines: Sequence[str]) -> None:
    """Write to stdout that all went well: on a terminal, or with --verbose. cron would mail it every day."""
    if is_success_shown():
        write_lines(lines)


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
    return say_bytes(count)


def duration(value: timedelta | float) -> str:
    """A span of time for people: 2 h 05 min, 3.4 s."""
    return say_seconds(value.total_seconds() if isinstance(value, timedelta) else value)


def instant(value: datetime) -> str:
    """An instant for people, with its zone."""
    return value.isoformat(sep=" ", timespec="seconds")


def showing_progress() -> AbstractContextManager[Shown]:
    """Show how far a command is: a bar on a terminal's stderr, lines with --verbose, else nothing."""
    from pgvault.cli.progressbar import showing

    return showing(SystemClock())


def write_error(message: str, hint: str | None) -> None:
    """Write one sentence to stderr, and its hint below it."""
    complain("error", message, hint)


def write_warning(message: str, hint: str | None) -> None:
    """Write to stderr what went wrong beside something that did not."""
    complain("warning", message, hint)
