"""postgresql.auto.conf after the restore: what stays of our settings when recovery is over, and when it is adopted.

    restored    original, dangerous lines as comments ("# pgvault: archive_command = …") · our settings  (settings.py)
    finished    the same, less what recovery needed: no archiving yet, no waiting for standbys
    adopted     the archive settings of the original are back, ours are gone but for synchronous_standby_names

One ALTER SYSTEM makes PostgreSQL write the whole file anew without a comment: the marks are gone then, and with them
the originals. So ours are known by name and value as well, and a copy of the file as restored is kept beside the data
directory until it is adopted.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from pgvault.restore.durable import unwritable, write_file
from pgvault.restore.files import AUTO_CONF
from pgvault.restore.settings import ASSIGNMENT, MARK, QUIET, assignment

OURS_BEGIN = f"{MARK} settings of the restore"
ARCHIVING = frozenset({"archive_mode", "archive_command", "archive_library", "archive_timeout"})
STANDBYS = "synchronous_standby_names"
STILL_QUIET = ARCHIVING | {STANDBYS}
COMMENTED = re.compile(rf"{re.escape(MARK)} (?P<line>.*)", re.DOTALL)
KEPT_NAME = "postgresql.auto.conf"  # beside the data directory: as the restore wrote it
OUR_FETCH = " wal fetch --plan "  # in a restore_command: it names a file that is not there any more


def without_recovery(content: bytes) -> bytes:
    """Return the file of a server whose recovery is over."""
    original, ours = _split(_lines(content))
    kept = [line for line in ours if _name(line) in STILL_QUIET]
    return _join([*original, *([OURS_BEGIN] if kept else []), *kept])


def with_archiving(content: bytes, kept: bytes | None = None) -> bytes:
    """Return the file of a server that archives as the original did.

    `kept` is the copy made when it was restored. What was set since then counts more than the original.
    """
    lines = _lines(content)
    original, ours = _split(lines if kept is None else _lines(kept))
    known = {_pair(line) for line in ours if _name(line) != STANDBYS}
    result: list[str] = []
    missing = set(ARCHIVING)
    for line in map(_uncommented, lines):
        if line == OURS_BEGIN or _is_quiet(line):
            continue
        if _pair(line) in known:
            missing.add(_name(line))  # the original may have set the same
            continue
        result.append(line)
    missing -= {_name(line) for line in result}
    back = (line for line in map(_uncommented, original) if _name(line) in missing and not _is_quiet(line))
    return _join([*result, *back])


def with_recorded(content: bytes, command: str, *, sets_command: bool) -> bytes:
    """Return the file with archiving switched on, by `command` where it has none of its own."""
    lines = [assignment("archive_mode", "on"), *([assignment("archive_command", command)] if sets_command else [])]
    return _join([*_lines(content), *lines])


def keep_copy(data: Path, marks: Path) -> None:
    """Keep postgresql.auto.conf as restored beside the data directory. Raises DiskFull, PgvaultError."""
    path = data / os.fsdecode(AUTO_CONF)
    copy = marks / KEPT_NAME
    copy.unlink(missing_ok=True)
    write_file(copy, path.read_bytes(), owner=_owner(path))


def read_copy(marks: Path) -> bytes | None:
    """Return what `keep_copy` kept, None when it is gone."""
    try:
        return (marks / KEPT_NAME).read_bytes()
    except FileNotFoundError:
        return None


def replace_auto_conf(data: Path, content: bytes) -> None:
    """Replace postgresql.auto.conf whole, keeping its owner. Raises DiskFull, PgvaultError."""
    path = data / os.fsdecode(AUTO_CONF)
    temporary = data / f"{path.name}.pgvault-{secrets.token_hex(4)}"
    exists = path.exists()
    mode = path.stat().st_mode & 0o777 if exists else 0o600
    write_file(temporary, content, mode=mode, owner=_owner(path if exists else data))
    try:
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


def _owner(path: Path) -> tuple[int, int] | None:
    """To whom root gives a file that stands for this one; None for nobody else."""
    status = path.stat()
    return (status.st_uid, status.st_gid) if os.geteuid() == 0 else None


def _is_quiet(line: str) -> bool:
    """Tell whether a line is what every restore writes, or of recovery: nothing that a promoted server needs."""
    name, value = _pair(line)
    if name == "restore_command":
        return OUR_FETCH in value
    if name == STANDBYS:
        return False  # until its standbys are made anew
    is_ours = name in QUIET and _pair(assignment(name, QUIET[name])) == (name, value)
    return is_ours or name.startswith("recovery_target")


def _uncommented(line: str) -> str:
    match = COMMENTED.fullmatch(line)
    return match["line"] if match is not None and _name(match["line"]) in ARCHIVING else line


def _split(lines: list[str]) -> tuple[list[str], list[str]]:
    """Return the lines before our mark and those behind it."""
    if OURS_BEGIN not in lines:
        return lines, []
    # The last one: an earlier restore's settings are comments of the original by now, or were its own.
    at = len(lines) - 1 - lines[::-1].index(OURS_BEGIN)
    return lines[:at], lines[at + 1 :]


def _lines(content: bytes) -> list[str]:
    return content.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n") if content else []


def _join(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _name(line: str) -> str:
    return _pair(line)[0]


def _pair(line: str) -> tuple[str, str]:
    """Return name, in lower case, and value as written; two empty texts for another line."""
    match = ASSIGNMENT.fullmatch(line)
    return (match["name"].lower(), (match["value"] or "").strip()) if match else ("", "")
