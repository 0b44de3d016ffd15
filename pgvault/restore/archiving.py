"""postgresql.auto.conf after the restore: what stays of our settings when recovery is over, and when it is adopted.

    restored    original, dangerous lines as comments ("# pgvault: archive_command = …") · our settings  (settings.py)
    finished    the same, less what recovery needed: no archiving yet, no waiting for standbys
    adopted     the archive settings of the original are back, ours for archiving are gone

Only lines behind our own mark are taken away, and only comments with our mark are brought back.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from pgvault.restore.durable import unwritable, write_file
from pgvault.restore.files import AUTO_CONF
from pgvault.restore.settings import ASSIGNMENT, MARK

OURS_BEGIN = f"{MARK} settings of the restore"
ARCHIVING = frozenset({"archive_mode", "archive_command", "archive_library", "archive_timeout"})
STILL_QUIET = ARCHIVING | {"synchronous_standby_names"}
COMMENTED = re.compile(rf"{re.escape(MARK)} (?P<line>.*)", re.DOTALL)


def without_recovery(content: bytes) -> bytes:
    """Return the file of a server whose recovery is over."""
    original, ours = _split(content)
    kept = [line for line in ours if _name(line) in STILL_QUIET]
    return _join([*original, *([OURS_BEGIN] if kept else []), *kept])


def with_archiving(content: bytes) -> bytes:
    """Return the file of a server that archives as the original did."""
    original, ours = _split(content)
    kept = [line for line in ours if _name(line) in STILL_QUIET - ARCHIVING]
    back = []
    for line in original:
        match = COMMENTED.fullmatch(line)
        back.append(match["line"] if match is not None and _name(match["line"]) in ARCHIVING else line)
    return _join([*back, *([OURS_BEGIN] if kept else []), *kept])


def replace_auto_conf(data: Path, content: bytes) -> None:
    """Replace postgresql.auto.conf whole, keeping its owner. Raises DiskFull, PgvaultError."""
    path = data / os.fsdecode(AUTO_CONF)
    temporary = data / f"{path.name}.pgvault-{secrets.token_hex(4)}"
    status = path.stat()
    owner = (status.st_uid, status.st_gid) if os.geteuid() == 0 else None
    write_file(temporary, content, mode=status.st_mode & 0o777, owner=owner)
    try:
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


def _split(content: bytes) -> tuple[list[str], list[str]]:
    """Return the lines before our mark and those behind it."""
    lines = content.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
    if OURS_BEGIN not in lines:
        return lines, []
    # The last one: an earlier restore's settings are comments of the original by now, or were its own.
    at = len(lines) - 1 - lines[::-1].index(OURS_BEGIN)
    return lines[:at], lines[at + 1 :]


def _join(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _name(line: str) -> str:
    match = ASSIGNMENT.fullmatch(line)
    return match["name"].lower() if match else ""
