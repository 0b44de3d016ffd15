"""The root of a backup: a small sealed JSON document; writing it is the commit.

The root says what the backup is, where its WAL lies, and names by length and SHA-256 every object it needs. File
lists and block maps are objects of their own, so `list` opens roots only. Every root is complete by itself: its
table of packs may name packs of older backups, but restoring never needs another root.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from pgvault.errors import FormatUnsupported, ObjectCorrupt, UsageError
from pgvault.instants import iso
from pgvault.postgres.backuplabel import FROM_STANDBY
from pgvault.postgres.lsn import Lsn
from pgvault.repository.fields import read_count, read_decimal, read_instant, read_list, read_text
from pgvault.repository.measures import Measures, read_measures, write_measures
from pgvault.repository.objects import Stored

MANIFEST_VERSION = 1
LOCAL, STREAM = "local", "stream"  # ways by which files came


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owned the data directory; names count before numbers when restoring as root."""

    uid: int
    gid: int
    user: str | None
    group: str | None


@dataclass(frozen=True, slots=True)
class PageErrors:
    """Pages whose checksum was wrong, twice, and not because they were being written."""

    count: int = 0
    first: tuple[str, ...] = ()  # "path block n", at most 100


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    """What the server was; what a restored one needs to be."""

    major: int
    version_num: int
    catalog_version: int
    control_version: int
    block_size: int  # bytes
    relation_segment_blocks: int
    wal_segment_size: int  # bytes
    data_checksums: bool
    superuser: str  # the bootstrap superuser's name
    settings: Mapping[str, str] = field(default_factory=dict)  # those recovery depends on, and a few to know


@dataclass(frozen=True, slots=True)
class Manifest:
    """A committed backup."""

    label: str
    type: str  # "full"
    cluster: str
    system_identifier: int
    timeline: int  # of start and stop
    start_lsn: Lsn  # redo: WAL is needed from here
    checkpoint_lsn: Lsn
    stop_lsn: Lsn  # consistent from here on; exclusive end of the WAL it needs
    started_at: datetime  # server clock, aware UTC, as are all times here
    stopped_at: datetime
    time_zone: str  # the server's TimeZone
    log_time_zone: str
    postgres: PostgresFacts
    owner: Owner
    databases: Mapping[int, str]  # oid → name, those that accept connections
    tablespaces: Mapping[int, str]  # oid → absolute path at the source
    backup_label: bytes
    tablespace_map: bytes
    total_bytes: int  # of plaintext, all files
    stored_bytes: int  # of packs, parts, maps, inventory and refs
    file_count: int
    page_errors: PageErrors
    packs: tuple[Stored, ...]
    parts: tuple[Stored, ...]
    maps: tuple[Stored, ...]
    wal: tuple[Stored, ...]  # the segments start..stop and the history files
    refs: Stored
    written_by: str  # "pgvault 0.1.0"
    inventory: tuple[Stored, ...] = ()  # what the server held (inventory.py); empty: nothing was noted
    source: str = LOCAL  # of a STREAM, file lists are in the order in which the server sent them
    measures: Measures | None = None  # None: an older pgvault took it, or the others could not be seen

    @property
    def postgres_major(self) -> int:
        """The server's major version."""
        return self.postgres.major

    @property
    def is_from_standby(self) -> bool:
        """Whether a standby was read: its primary may have been further at every moment that is noted here."""
        return FROM_STANDBY in self.backup_label

    @property
    def wal_segment_size(self) -> int:
        """Bytes of a WAL segment."""
        return self.postgres.wal_segment_size

    def to_json(self) -> dict[str, Any]:
        """Return the document that is sealed."""
        return {
            "manifest": MANIFEST_VERSION,
            "label": self.label,
            "type": self.type,
            "cluster": self.cluster,
            "system_identifier": str(self.system_identifier),
            "timeline": self.timeline,
            "start_lsn": str(self.start_lsn),
            "checkpoint_lsn": str(self.checkpoint_lsn),
            "stop_lsn": str(self.stop_lsn),
            "started_at": iso(self.started_at),
            "stopped_at": iso(self.stopped_at),
            "time_zone": self.time_zone,
            "log_time_zone": self.log_time_zone,
            "postgres": asdict(self.postgres),
            "owner": asdict(self.owner),
            "databases": {str(oid): name for oid, name in self.databases.items()},
            "tablespaces": {str(oid): path for oid, path in self.tablespaces.items()},
            "backup_label": self.backup_label.hex(),
            "tablespace_map": self.tablespace_map.hex(),
            "total_bytes": self.total_bytes,
            "stored_bytes": self.stored_bytes,
            "file_count": self.file_count,
            "page_errors": asdict(self.page_errors),
            "packs": [stored.to_json() for stored in self.packs],
            "parts": [stored.to_json() for stored in self.parts],
            "maps": [stored.to_json() for stored in self.maps],
            "wal": [stored.to_json() for stored in self.wal],
            "refs": self.refs.to_json(),
            "written_by": self.written_by,
            **({"inventory": [stored.to_json() for stored in self.inventory]} if self.inventory else {}),
            **({"source": self.source} if self.source != LOCAL else {}),
            **write_measures(self.measures),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], *, where: str) -> Manifest:
        """Read a root. Fields that a later minor adds are ignored. Raises ObjectCorrupt, FormatUnsupported."""
        if document.get("manifest") != MANIFEST_VERSION:
            raise FormatUnsupported(
                f"manifest {where!r} has version {document.get('manifest')!r}; this pgvault knows 1",
                hint="Use a newer pgvault.",
            )
        try:
            return cls(
                label=read_text(document["label"]),
                type=read_text(document["type"]),
                cluster=read_text(document["cluster"]),
                system_identifier=read_decimal(document["system_identifier"]),
                timeline=read_count(document["timeline"]),
                start_lsn=Lsn.parse(read_text(document["start_lsn"])),
                checkpoint_lsn=Lsn.parse(read_text(document["checkpoint_lsn"])),
                stop_lsn=Lsn.parse(read_text(document["stop_lsn"])),
                started_at=read_instant(document["started_at"]),
                stopped_at=read_instant(document["stopped_at"]),
                time_zone=read_text(document["time_zone"]),
                log_time_zone=read_text(document["log_time_zone"]),
                postgres=_known(PostgresFacts, document["postgres"]),
                owner=_known(Owner, document["owner"]),
                databases={int(oid): read_text(name) for oid, name in document["databases"].items()},
                tablespaces={int(oid): read_text(path) for oid, path in document["tablespaces"].items()},
                backup_label=bytes.fromhex(document["backup_label"]),
                tablespace_map=bytes.fromhex(document["tablespace_map"]),
                total_bytes=read_count(document["total_bytes"]),
                stored_bytes=read_count(document["stored_bytes"]),
                file_count=read_count(document["file_count"]),
                page_errors=PageErrors(
                    read_count(document["page_errors"]["count"]),
                    tuple(map(read_text, document["page_errors"]["first"])),
                ),
                packs=tuple(map(Stored.from_json, document["packs"])),
                parts=tuple(map(Stored.from_json, document["parts"])),
                maps=tuple(map(Stored.from_json, document["maps"])),
                wal=tuple(map(Stored.from_json, document["wal"])),
                refs=Stored.from_json(document["refs"]),
                written_by=read_text(document["written_by"]),
                inventory=tuple(map(Stored.from_json, read_list(document.get("inventory", [])))),
                source=read_text(document.get("source", LOCAL)),
                measures=read_measures(document),
            )
        except (AttributeError, KeyError, TypeError, UsageError, ValueError) as error:
            raise ObjectCorrupt(f"manifest {where!r} is malformed: {error}") from error


def _known(cls: type[Any], document: Mapping[str, Any]) -> Any:
    """Build a plain dataclass from the fields it knows."""
    return cls(**{name: value for name, value in document.items() if name in cls.__dataclass_fields__})
