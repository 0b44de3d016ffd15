"""What a repository holds, as one JSON document: made when the golden repository was, compared for ever after."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pgvault.pipeline.header import MAGIC, Kind, ObjectHeader
from pgvault.repository import layout
from pgvault.repository.catalog import read_catalog
from pgvault.repository.copies import Copy
from pgvault.repository.filelist import FileRecord, read_records
from pgvault.repository.gaps import read_gaps
from pgvault.repository.keys import Credential
from pgvault.repository.logical import LogicalManifest
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import read_json, read_plain
from pgvault.repository.packs import OpenedPack
from pgvault.repository.repository import Repository, open_repository
from pgvault.repository.tables import decode_tables
from pgvault.repository.walindex import read_inventory
from pgvault.repository.watermark import read_watermarks
from pgvault.stores.file import FileStore

GOLDEN = Path(__file__).resolve().parent
REPOSITORY = GOLDEN / "format1"
EXPECTED = GOLDEN / "format1.json"
LOGICAL_REPOSITORY = GOLDEN / "format1-logical"
LOGICAL_EXPECTED = GOLDEN / "format1-logical.json"
KEY = GOLDEN / "key"
PASSPHRASE = GOLDEN / "passphrase"
CLUSTER = "golden"
RESTORE_POINT = "golden"
TOTALS = "SELECT count(*), sum(id), md5(string_agg(note, ',' ORDER BY id)) FROM golden"


def open_directory(root: Path, credential: Credential) -> Repository:
    """Open the repository in a directory."""
    return open_repository([Copy("golden", FileStore(root))], credential)


def raw_credential() -> Credential:
    """The golden key."""
    return Credential("raw", bytes.fromhex(KEY.read_text()))


def describe(repository: Repository, root: Path) -> dict[str, Any]:
    """Return everything that must stay as it was."""
    catalog = read_catalog(repository, CLUSTER)
    (backup,) = catalog.backups
    system = backup.system_identifier
    inventory = read_inventory(repository, CLUSTER, system, segment_size=backup.wal_segment_size)
    marks = read_watermarks(repository, CLUSTER, system, since=backup.started_at)
    return {
        "objects": {name: describe_object(repository, root, name) for name in object_names(root)},
        "backup": backup.to_json(),
        "aborted": list(catalog.aborted),
        "unfinished": list(catalog.unfinished),
        "unreadable": [entry.label for entry in catalog.unreadable],
        "files": digest_files(repository, backup),
        "segments": sorted(segment.name for segment in inventory.segments),
        "histories": {str(history.timeline): str(history.start_lsn) for history in inventory.histories.values()},
        "watermarks": [[mark.server_at.isoformat(), str(mark.lsn), mark.is_idle, mark.source] for mark in marks],
    }


def describe_logical(repository: Repository, root: Path) -> dict[str, Any]:
    """Return everything that must stay as it was in the repository of logical backups."""
    catalog = read_catalog(repository, CLUSTER)
    return {
        "objects": {name: describe_object(repository, root, name) for name in object_names(root)},
        "backups": [
            {
                # Fields that a later minor adds are no change of what was written then.
                "root": read_json(repository, layout.manifest(CLUSTER, backup.label), Kind.MANIFEST),
                "files": {name: digest(content) for name, content in logical_files(repository, backup).items()},
                "tables": [
                    [each.name, each.rows, each.fingerprint, each.why]
                    for content in [logical_files(repository, backup).get(f"{database.oid}.tables", b"")]
                    for each in decode_tables(content, where="tables")
                ],
            }
            for backup in catalog.logical
            for database in backup.databases[:1]
        ],
        "unreadable": [entry.label for entry in catalog.unreadable],
        "gaps": [
            [gap.timeline, str(gap.start_lsn), str(gap.end_lsn), gap.cause] for gap in read_gaps(repository, CLUSTER, 7)
        ],
    }


def logical_files(repository: Repository, backup: LogicalManifest) -> dict[str, bytes]:
    """Every file of a logical backup."""
    packs = [OpenedPack(repository, stored) for stored in backup.packs]
    return {record.path.decode(): b"".join(content_of(record, packs)) for record in read_records(repository, backup)}


def digest(content: bytes) -> str:
    """SHA-256, as digits."""
    return hashlib.sha256(content).hexdigest()


def object_names(root: Path) -> list[str]:
    """Every object in the directory."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def describe_object(repository: Repository, root: Path, name: str) -> dict[str, str]:
    """Digests of an object and of its plaintext."""
    body = (root / name).read_bytes()
    digest = hashlib.sha256(body).hexdigest()
    if not body.startswith(MAGIC):
        return {"kind": "clear", "sha256": digest}
    kind = ObjectHeader.decode(body, where=name).kind
    plain = read_plain(repository, name, kind)
    return {"kind": kind.name.lower(), "sha256": digest, "plain_sha256": hashlib.sha256(plain).hexdigest()}


def digest_files(repository: Repository, backup: Manifest) -> dict[str, Any]:
    """Put every file together from its extents; return how many there are and one digest of names, modes and bytes."""
    packs = [OpenedPack(repository, stored) for stored in backup.packs]
    digest = hashlib.sha256()
    kinds: dict[str, int] = {}
    for record in read_records(repository, backup):
        content = hashlib.sha256()
        for piece in content_of(record, packs):
            content.update(piece)
        fields = (record.path, record.kind.encode(), b"%o" % record.mode, b"%d" % record.mtime_ns, record.target or b"")
        digest.update(b"\0".join(fields) + content.digest() + b"\n")
        kinds[record.kind] = kinds.get(record.kind, 0) + 1
    return {"kinds": kinds, "sha256": digest.hexdigest()}


def content_of(record: FileRecord, packs: list[OpenedPack]) -> Iterator[bytes | memoryview]:
    """Yield a file's bytes."""
    for extent in record.extents:
        if extent.pack is None:
            yield bytes(extent.length)
        else:
            yield from packs[extent.pack].read(extent)
