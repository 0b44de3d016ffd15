"""Write a document that somebody asked for into a file: whoever looks sees the old one or the new one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pgvault.errors import DiskFull, UsageError


def write_document(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all; what was there is replaced. Raises DiskFull, UsageError."""
    if not path.name:
        raise UsageError(f"{str(path)!r} can not be written: it names no file")
    under_way = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        under_way.write_text(text, encoding="utf-8")
        under_way.replace(path)
    except OSError as error:
        under_way.unlink(missing_ok=True)
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else UsageError
        raise kind(f"{str(path)!r} can not be written: {error.strerror}") from error
