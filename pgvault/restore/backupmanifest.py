r"""PostgreSQL's own backup_manifest, so that pg_verifybackup can judge a restored directory.

    { "PostgreSQL-Backup-Manifest-Version": 2,            1 for 15 and 16
    "System-Identifier": 7400000000000000001,             version 2 only
    "Files": [
    { "Path": "base/5/1259", "Size": 106496, "Last-Modified": "2025-10-25 08:00:00 GMT",
      "Checksum-Algorithm": "CRC32C", "Checksum": "4cbb719a" },            (one line; "Encoded-Path": hex, if no UTF-8)
    …],
    "WAL-Ranges": [ { "Timeline": 1, "Start-LSN": "0/4000028", "End-LSN": "0/4000120" } ],
    "Manifest-Checksum": "<SHA-256 of every byte of the lines before>"}     alone on the last line, "\n" behind it

The checksum is CRC-32C, least significant byte first. It comes from what was read at the source, never from what was
restored: a byte that went wrong on the way is named by pg_verifybackup. Files that we generate are listed by what
we meant to write. Not listed, as pg_verifybackup does not look at them: pg_wal, postgresql.auto.conf,
recovery.signal and the manifest itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from awscrt.checksums import crc32c

from pgvault.errors import PgvaultError
from pgvault.repository.filelist import FileRecord
from pgvault.repository.manifest import Manifest
from pgvault.restore.durable import unwritable

MANIFEST_NAME = "backup_manifest"
FIRST_MAJOR_OF_VERSION_2 = 17


class BackupManifestWriter:
    """Writes the manifest as files come; `finish` makes it one."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._path = path
        self._manifest = manifest
        self._digest = hashlib.sha256()
        self._has_files = False
        try:
            self._file: BinaryIO = open(  # noqa: SIM115  closed by __exit__
                path, "wb", opener=lambda name, flags: os.open(name, flags | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            )
        except OSError as error:
            raise unwritable(path, error) from error
        self._write(_head(manifest))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add_record(self, record: FileRecord) -> None:
        """List a file of the backup."""
        self._add(record.path, record.size, record.mtime_ns, record.crc32c)

    def add_content(self, path: bytes, content: bytes, *, mtime_ns: int) -> None:
        """List a file that we write ourselves."""
        self._add(path, len(content), mtime_ns, crc32c(content))

    def finish(self) -> None:
        """Write what stands behind the list. Raises DiskFull, PgvaultError."""
        wal = {
            "Timeline": self._manifest.timeline,
            "Start-LSN": str(self._manifest.start_lsn),
            "End-LSN": str(self._manifest.stop_lsn),
        }
        self._write(f'\n],\n"WAL-Ranges": [\n{json.dumps(wal)}\n],\n')
        self._write(f'"Manifest-Checksum": "{self._digest.hexdigest()}"}}\n')
        try:
            self._file.flush()
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _add(self, path: bytes, size: int, mtime_ns: int, crc: int) -> None:
        document: dict[str, str | int] = {}
        try:
            document["Path"] = path.decode()
        except UnicodeDecodeError:
            document["Encoded-Path"] = path.hex()
        document["Size"] = size
        document["Last-Modified"] = _gmt(mtime_ns)
        document["Checksum-Algorithm"] = "CRC32C"
        document["Checksum"] = crc.to_bytes(4, "little").hex()
        line = json.dumps(document, ensure_ascii=False)
        self._write(f",\n{line}" if self._has_files else line)
        self._has_files = True

    def _write(self, text: str) -> None:
        raw = text.encode()
        self._digest.update(raw)
        try:
            self._file.write(raw)
        except OSError as error:
            raise unwritable(self._path, error) from error


def _head(manifest: Manifest) -> str:
    version = 2 if manifest.postgres_major >= FIRST_MAJOR_OF_VERSION_2 else 1
    lines = [f'{{ "PostgreSQL-Backup-Manifest-Version": {version},']
    if version > 1:
        lines.append(f'"System-Identifier": {manifest.system_identifier},')
    return "\n".join([*lines, '"Files": [', ""])


def _gmt(mtime_ns: int) -> str:
    try:
        instant = datetime.fromtimestamp(mtime_ns // 1_000_000_000, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise PgvaultError(f"a file of the backup has the impossible time {mtime_ns} ns") from error
    return instant.strftime("%Y-%m-%d %H:%M:%S GMT")
