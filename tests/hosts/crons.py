"""How cron reads a file of /etc/cron.d: assignments; five fields, a user, and a command that ends at a `%`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

ASSIGNMENT = re.compile(r"\s*([A-Za-z_]+)\s*=\s*(.*?)\s*")
LINE = re.compile(r"((?:\S+\s+){4}\S+)\s+(\S+)\s+(.*)")


@dataclass(frozen=True, slots=True)
class CronLine:
    """One line, and what it is started with."""

    fields: str
    user: str
    command: str  # for `sh -c`
    environment: dict[str, str] = field(default_factory=dict)


def read_cron_file(text: str, *, strips_backslash: bool) -> list[CronLine]:
    """Read it as ISC cron and its children do (the backslash before a `%` goes), or as Vixie cron (it stays)."""
    environment: dict[str, str] = {}
    lines = []
    for line in text.split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if assignment := ASSIGNMENT.fullmatch(line):
            name, value = assignment.groups()
            is_quoted = len(value) > 1 and value[0] in "\"'" and value[0] == value[-1]
            environment[name] = value[1:-1] if is_quoted else value
            continue
        match = LINE.fullmatch(line)
        assert match is not None, line
        command = re.split(r"(?<!\\)%", match[3])[0]
        lines.append(
            CronLine(
                match[1], match[2], command.replace(r"\%", "%") if strips_backslash else command, dict(environment)
            )
        )
    return lines
