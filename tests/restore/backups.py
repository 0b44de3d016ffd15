"""Backups of made-up directories, copied as a real backup copies, for tests of restoring files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path

from pgvault.pipeline.header import Kind
from pgvault.postgres.datadir import Entry, EntryKind
from pgvault.progress import NoProgress
from pgvault.repository.filelist import FileRecord
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import put_plain
from pgvault.repository.repository import Repository
from pgvault.restore.files import Effort
from tests.backup.samples import copy_entries, file_entry
from tests.repository.samples import make_manifest

_numbers = count(90)
EFFORT = Effort(2, NoProgress(), is_durable=False)


def entries_of(root: Path) -> list[Entry]:
    """Everything below `root` in path order, a directory before its content, names as bytes."""
    found: list[Entry] = []
    for path in root.rglob("*"):
        name = os.fsencode(path.relative_to(root))
        if path.is_dir():
            found.append(Entry(name, b"/nowhere", EntryKind.DIRECTORY, 0, path.stat().st_mode & 0o777, 0, 0, 0))
        else:
            found.append(file_entry(path, name))
    return sorted(found, key=lambda entry: entry.path.split(b"/"))


def back_up(repository: Repository, root: Path, *, limit: int = 1 << 20) -> Manifest:
    """Copy a directory in packs of about `limit` bytes."""
    copied = copy_entries(repository, entries_of(root), limit=limit)
    return make_manifest(parts=copied.parts, packs=copied.packs, maps=copied.maps, tablespaces={})


def with_records(repository: Repository, manifest: Manifest, records: Iterable[FileRecord]) -> Manifest:
    """The same backup with another file list."""
    path = f"clusters/main/backups/{manifest.label}/parts/{next(_numbers):08d}"
    plain = b"".join(record.encode() for record in records)
    return replace(manifest, parts=(put_plain(repository, path, Kind.PART, plain=plain),))


def tree_of(root: Path) -> dict[bytes, tuple[int, bytes | None]]:
    """Mode and content (None for directories) of everything below `root`."""
    return {
        os.fsencode(path.relative_to(root)): (path.stat().st_mode & 0o777, None if path.is_dir() else path.read_bytes())
        for path in root.rglob("*")
    }
