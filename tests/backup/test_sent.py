"""What was stored of a stream, beside what the server says it sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from awscrt.checksums import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.backup.sent import SentFiles
from pgvault.errors import ServerUnfit, SourceUnreadable
from pgvault.postgres.datadir import SERVER_DIRECTORIES
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.servermanifest import ServerManifest, WalRange
from pgvault.repository.filelist import FileKind, FileRecord

FILES = {b"base/5/1": b"one", b"base/5/2": b"", b"b\xe4d": b"three", b"global/pg_control": b"control"}
LABEL = b"START WAL LOCATION"


def manifest(files: dict[bytes, bytes]) -> bytes:
    """A manifest as PostgreSQL 17 writes it."""
    lines = []
    for path, content in files.items():
        try:
            name = f'"Path": "{path.decode()}"'
        except UnicodeDecodeError:
            name = f'"Encoded-Path": "{path.hex()}"'
        checksum = crc32c(content).to_bytes(4, "little").hex()
        lines.append(
            f'{{ {name}, "Size": {len(content)}, "Last-Modified": "2026-11-22 05:00:00 GMT",'
            f' "Checksum-Algorithm": "CRC32C", "Checksum": "{checksum}" }}'
        )
    wal = '{ "Timeline": 2, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }'
    text = (
        '{ "PostgreSQL-Backup-Manifest-Version": 2,\n"System-Identifier": 7,\n"Files": [\n'
        + ",\n".join(lines)
        + f'\n],\n"WAL-Ranges": [\n{wal}\n],\n'
    ).encode()
    return text + f'"Manifest-Checksum": "{hashlib.sha256(text).hexdigest()}"}}\n'.encode()


SENT = {b"backup_label": LABEL, **FILES}
TEXT = manifest(SENT)


def stored(files: dict[bytes, bytes]) -> SentFiles:
    """What was stored, the label aside."""
    found = SentFiles()
    found.add_aside(b"backup_label", len(LABEL), crc32c(LABEL))
    found.add(FileRecord(path, FileKind.FILE, 0o600, 0, len(data), crc32c(data)) for path, data in files.items())
    found.add([FileRecord(b"base", FileKind.DIRECTORY, 0o700, 0), FileRecord(b"/etc/x", FileKind.EXTERNAL, 0o600, 0)])
    return found


@settings(max_examples=40, deadline=None)
@given(places=st.lists(st.integers(0, len(TEXT)), max_size=20))
def test_what_agrees_is_accepted_wherever_the_manifest_is_cut(places: list[int]) -> None:
    """And its WAL is known then."""
    edges = [0, *sorted(places), len(TEXT)]
    read = ServerManifest(memoryview(TEXT)[start:end] for start, end in pairwise(edges))

    stored(FILES).compare(read.files())

    assert read.wal_ranges == (WalRange(2, Lsn.parse("0/2000028"), Lsn.parse("0/2000100")),)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: files.pop(b"base/5/2"), "base/5/2"),
        (lambda files: files.update({b"base/5/1": b"onE"}), "base/5/1.* is not as the server sent it"),
        (lambda files: files.update({b"base/5/2": b"\0"}), "base/5/2.* is not as the server sent it"),
        (lambda files: files.update({b"more": b""}), "more files came"),
        (lambda files: files.pop(b"global/pg_control"), "pg_control"),
    ],
)
def test_what_differs_ends_the_backup(change: Callable[[dict[bytes, bytes]], object], said: str) -> None:
    """A file missing, changed, cut off or added; the last one too."""
    files = dict(FILES)
    change(files)

    with pytest.raises(SourceUnreadable, match=said):
        stored(files).compare(ServerManifest([memoryview(TEXT)]).files())


def test_another_label_ends_the_backup() -> None:
    """It is no file of the backup and is compared all the same."""
    sent = SENT | {b"backup_label": b"another"}

    with pytest.raises(SourceUnreadable, match="backup_label"):
        stored(FILES).compare(ServerManifest([memoryview(manifest(sent))]).files())


@pytest.mark.parametrize("length", [0, 40, 300, len(TEXT) - 90, len(TEXT) - 1])
def test_a_manifest_that_is_not_whole_is_none(length: int) -> None:
    """Cut anywhere, or with a byte that its sum does not know."""
    with pytest.raises((ServerUnfit, SourceUnreadable)):
        stored(FILES).compare(ServerManifest([memoryview(TEXT[:length])]).files())


def test_a_changed_byte_is_noticed_by_its_sum() -> None:
    """Even where every file agrees."""
    changed = TEXT.replace(b"2026-11-22", b"2026-11-23", 1)

    with pytest.raises(ServerUnfit, match="not whole"):
        stored(FILES).compare(ServerManifest([memoryview(changed)]).files())


def test_a_directory_or_database_that_was_not_sent_ends_the_backup() -> None:
    """PostgreSQL passes over symbolic links, and its manifest does not know of them."""
    paths = SERVER_DIRECTORIES - {b"pg_xact"}
    sent = stored({b"base/5/PG_VERSION": b"18", b"pg_tblspc/16388/PG_18_202506291/6/PG_VERSION": b"18"})
    sent.add(FileRecord(path, FileKind.DIRECTORY, 0o700, 0) for path in paths)

    with pytest.raises(SourceUnreadable, match=r"not send pg_xact, base/7$"):
        sent.require_whole([5, 6, 7])

    sent.add([FileRecord(b"pg_xact", FileKind.DIRECTORY, 0o700, 0)])
    sent.require_whole([5, 6])
