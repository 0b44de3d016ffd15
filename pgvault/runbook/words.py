"""How a runbook says things: instants, spans, commands, code blocks."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pgvault.config import CopyConfig
from pgvault.instants import say_seconds

UNKNOWN = "not known"


def at(instant: datetime | None) -> str:
    """An instant for people, with its zone."""
    return UNKNOWN if instant is None else instant.isoformat(sep=" ", timespec="seconds")


def span(value: timedelta | float | None) -> str:
    """A span of time for people."""
    if value is None:
        return UNKNOWN
    return say_seconds(value.total_seconds() if isinstance(value, timedelta) else value)


def command(*words: str) -> str:
    """A command line to paste. A word that begins with `$` stands for a variable that was set above."""
    return " ".join(f'"{word}"' if word.startswith("$") else shlex.quote(word) for word in words)


def block(lines: Iterable[str]) -> list[str]:
    """Lines for a shell."""
    return ["```sh", *lines, "```", ""]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table; what would end a cell is escaped."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return [*lines, ""]


def naked(copies: Iterable[CopyConfig]) -> list[str]:
    """The options that name these copies on a machine without the configuration."""
    copies = list(copies)
    words = [word for copy in copies for word in ("--repository", copy.url)]
    for option, values in (
        ("--region", {copy.region for copy in copies if copy.region}),
        ("--endpoint-url", {copy.endpoint_url for copy in copies if copy.endpoint_url}),
    ):
        if len(values) == 1:
            words += [option, *values]
    return words


def is_one_place(copies: Iterable[CopyConfig]) -> bool:
    """Whether one region and one endpoint go for all of these: those options can be given once only."""
    found = [copy for copy in copies if copy.url.startswith("s3://")]
    return len({(copy.region, copy.endpoint_url) for copy in found}) <= 1
