"""Logical backups with real values, and ones that are put into a repository without any server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from awscrt.checksums import crc32c

from pgvault.logical.definitions import schema_digest
from pgvault.pipeline.header import Kind
from pgvault.pipeline.seal import FRAME_BYTES
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.catalog import commit_manifest
from pgvault.repository.filelist import Extent, FileKind, FileRecord
from pgvault.repository.logical import GLOBALS, LogicalDatabase, LogicalManifest, LogicalType
from pgvault.repository.objects import Stored, put_plain
from pgvault.repository.refs import put_refs
from pgvault.repository.repository import Repository
from pgvault.repository.tables import TableKind, TableRecord, encode_tables

LABEL = "20260115T120000Z-10c1"
PREFIX = f"clusters/main/backups/{LABEL}"
AT = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
DEFINITIONS = b"CREATE TABLE orders (id int);\n"
FINGERPRINT = "9a71bb4c00112233445566778899aabb"

SHOP = LogicalDatabase(
    oid=16384,
    name="shop – Käse",
    encoding="UTF8",
    snapshot_at=AT + timedelta(seconds=1),
    lsn=Lsn.parse("16/B3000120"),
    table_count=2,
    row_count=40,
    schema_sha256=schema_digest(DEFINITIONS),
)
LOGICAL = LogicalManifest(
    label=LABEL,
    type=LogicalType.LOGICAL,
    cluster="main",
    system_identifier=7501234567890123456,
    started_at=AT,
    stopped_at=AT + timedelta(minutes=3),
    version_num=180006,
    dump_version="18.6",
    class_name=None,
    databases=(SHOP,),
    has_globals=True,
    has_passwords=True,
    total_bytes=12345678,
    stored_bytes=2345678,
    file_count=7,
    packs=(Stored(f"{PREFIX}/packs/00000000", 1000, bytes(32), 3),),
    parts=(Stored(f"{PREFIX}/parts/00000000", 900, bytes([1]) * 32, 1),),
    refs=Stored(f"{PREFIX}/refs", 600, bytes([4]) * 32, 0),
    written_by="pgvault 0.1.0",
)
RECORDS = (
    TableRecord("public", "orders", TableKind.TABLE, 40, FINGERPRINT),
    TableRecord("public", "secrets", TableKind.TABLE, None, None, "permission denied for table secrets"),
)


def make_logical(**changes: Any) -> LogicalManifest:
    """Return the sample with some fields changed."""
    return replace(LOGICAL, **changes)


def toc_bytes(*files: str) -> bytes:
    """A toc.dat of pg_dump 18 with an entry for each of these data files."""
    head = b"PGDMP" + bytes([1, 16, 0, 4, 8, 3, 0]) + _number(0) * 7 + _text("shop") + _text("18.6") * 2
    return head + _number(len(files)) + b"".join(_entry(dump_id, name) for dump_id, name in enumerate(files, start=1))


def _entry(dump_id: int, file: str) -> bytes:
    ids = _number(dump_id) + _number(1) + _text("1259") + _text("16385")
    what = _text("orders") + _text("TABLE DATA") + _number(3) + _text("") * 2 + _text("COPY orders FROM stdin;")
    where = _text("public") + _number(-1) * 2 + _number(0) + _text("postgres") + _text("false")
    return ids + what + where + _number(-1) + _text(file)


def _number(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(4, "little")


def _text(value: str) -> bytes:
    return _number(len(value)) + value.encode()


def files_of(manifest: LogicalManifest) -> dict[bytes, bytes]:
    """The files that a backup of the sample's databases has; what PostgreSQL wrote is like it where it is read."""
    files = {GLOBALS: b"CREATE ROLE shop;\n"} if manifest.has_globals else {}
    for database in manifest.databases:
        if manifest.type is LogicalType.LOGICAL:
            files[database.directory + b"/toc.dat"] = toc_bytes("3456.dat", "blobs_3457.toc")
            files[database.directory + b"/blobs_3457.toc"] = b"16390 blob_16390.dat\n"
            files[database.directory + b"/blob_16390.dat"] = bytes(300_000)
            files[database.directory + b"/3456.dat"] = b"1\tone\n2\ttwo\n\\.\n" * 30_000
        else:
            files[database.sql_path] = DEFINITIONS
        files[database.list_path] = b"; Archive created at 2026-01-15 12:00:00 UTC\n"
        files[database.tables_path] = encode_tables(RECORDS)
    return files


@dataclass(slots=True)
class Packer:
    """Puts files into packs, each pack of at most `limit` bytes."""

    repository: Repository
    label: str
    limit: int = 256 << 10

    def pack(self, files: Mapping[bytes, bytes], packs: list[Stored]) -> Iterator[FileRecord]:
        """Yield the files' records; the packs are added to `packs`."""
        for path, content in files.items():
            extents = []
            for offset in range(0, len(content), self.limit):
                piece = content[offset : offset + self.limit]
                assert len(piece) <= FRAME_BYTES
                extents.append(Extent(offset, len(piece), len(packs), 0, 0, crc32c(piece)))
                packs.append(self.put(piece, len(packs)))
            yield FileRecord(path, FileKind.FILE, 0o600, 0, len(content), crc32c(content), tuple(extents))

    def put(self, plain: bytes, number: int) -> Stored:
        """Store a pack."""
        path = layout.pack("main", self.label, number)
        return put_plain(self.repository, path, Kind.PACK, plain=plain)


def put_logical(
    repository: Repository,
    label: str = LABEL,
    *,
    files: Mapping[bytes, bytes] | None = None,
    **changes: Any,
) -> LogicalManifest:
    """Commit a logical backup with real objects; returns its root."""
    sample = make_logical(label=label, **changes)
    content = files_of(sample) if files is None else files
    packs: list[Stored] = []
    records = list(Packer(repository, label).pack(content, packs))
    plain = b"".join(record.encode() for record in records)
    part = put_plain(repository, layout.part("main", label, 0), Kind.PART, plain=plain)
    refs = put_refs(repository, layout.refs("main", label), [*packs, part])
    manifest = replace(
        sample,
        packs=tuple(packs),
        parts=(part,),
        refs=refs,
        file_count=len(records),
        total_bytes=sum(map(len, content.values())),
        stored_bytes=sum(each.length for each in (*packs, part, refs)),
    )
    commit_manifest(repository, manifest)
    return manifest
