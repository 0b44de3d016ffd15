"""Read global/pg_control, the one file that says what a cluster is and where its recovery begins.

    offset  bytes                                                        little-endian, PostgreSQL 15 to 18
         0      8  system identifier          4+4  pg_control version, catalog version      16  state
        24      8  last modified              32  8  checkpoint LSN
        40     88  copy of that checkpoint: redo LSN, timeline, previous timeline, …
       128     44  unlogged LSN, minimum recovery LSN and timeline, backup start, end, end required
       172     32  wal_level … track_commit_timestamp: settings that a standby must not fall below
       204     52  layout constants: float format, block and segment sizes, … data checksum version
       256   1 + 32  (18 only: char signedness) mock authentication nonce
       288      4  CRC-32C of everything before it; at 292 in 18
                   … zeros up to 8192

The server rewrites the file in place, so a reader beside it may see half of one image and half of another;
reading is repeated until the CRC fits. A whole image can still be older than the moment of the call.
"""

from __future__ import annotations

import os
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING

from pgvault.errors import MajorUnsupported, ObjectCorrupt, SourceUnreadable
from pgvault.postgres.lsn import Lsn

if TYPE_CHECKING:
    from pathlib import Path

CONTROL_PATH = "global/pg_control"  # relative to PGDATA
CONTROL_BYTES = 8192
READ_ATTEMPTS = 10
PAUSE_SECONDS = 0.02  # between attempts; the server's own write takes microseconds

# Where the CRC lies, by pg_control version; 16 kept 15's number.
CRC_OFFSETS = {1300: 288, 1700: 288, 1800: 292}
MAJOR_BY_CATALOG_VERSION = {202209061: 15, 202307071: 16, 202406281: 17, 202506291: 18}
FLOAT_FORMAT = 1234567.0  # what every server writes: tells byte order and float format

_IDENTITY = struct.Struct("<Q2Ii4xqQ")  # at 0
_CHECKPOINT = struct.Struct("<Q2I?")  # at 40: redo, timeline, previous timeline, full_page_writes
_CHECKPOINT_TIME = struct.Struct("<q")  # at 104
_RECOVERY = struct.Struct("<QI4xQQ?")  # at 136
_SETTINGS = struct.Struct("<i?3x5i?")  # at 172
_LAYOUT = struct.Struct("<Id4I")  # at 204
_DATA_CHECKSUMS = struct.Struct("<?3xI")  # at 248: float8 by value, data checksum version


class ClusterState(Enum):
    """What the server was doing when it last wrote the file; the values are pg_controldata's words."""

    STARTING_UP = "starting up"
    SHUT_DOWN = "shut down"
    SHUT_DOWN_IN_RECOVERY = "shut down in recovery"
    SHUTTING_DOWN = "shutting down"
    IN_CRASH_RECOVERY = "in crash recovery"
    IN_ARCHIVE_RECOVERY = "in archive recovery"
    IN_PRODUCTION = "in production"


STATES = tuple(ClusterState)  # in the order of PostgreSQL's numbers


@dataclass(frozen=True, slots=True)
class ControlData:
    """One valid pg_control. Instants have whole seconds."""

    system_identifier: int
    pg_control_version: int  # 1300 (15 and 16), 1700, 1800
    catalog_version: int  # 202506291
    state: ClusterState
    modified_at: datetime
    checkpoint_lsn: Lsn  # of the checkpoint record
    redo_lsn: Lsn  # where recovery from that checkpoint begins
    checkpoint_timeline: int
    previous_timeline: int  # differs only after an end-of-recovery checkpoint
    full_page_writes: bool  # when that checkpoint began
    checkpoint_at: datetime
    min_recovery_lsn: Lsn  # recovery must pass it before the data are consistent; 0/0 on a primary
    min_recovery_timeline: int  # 0 on a primary
    backup_start_lsn: Lsn  # 0/0 unless a restored backup has not reached its end yet
    backup_end_lsn: Lsn  # set for backups of a standby only
    is_backup_end_required: bool
    wal_level: int  # 0 minimal, 1 replica, 2 logical
    max_connections: int
    max_worker_processes: int
    max_wal_senders: int
    max_prepared_xacts: int
    max_locks_per_xact: int
    block_size: int  # bytes
    relseg_size: int  # blocks per file of a large relation
    wal_block_size: int  # bytes
    wal_segment_size: int  # bytes
    data_checksum_version: int  # 0: data pages have no checksums

    @property
    def major(self) -> int:
        """The PostgreSQL major version. Raises MajorUnsupported when its catalog version is unknown."""
        try:
            return MAJOR_BY_CATALOG_VERSION[self.catalog_version]
        except KeyError:
            raise MajorUnsupported(
                f"catalog version {self.catalog_version} belongs to no released PostgreSQL 15 to 18"
            ) from None

    @property
    def version_directory(self) -> str:
        """The directory of this version inside each tablespace: PG_18_202506291."""
        return f"PG_{self.major}_{self.catalog_version}"

    @property
    def has_data_checksums(self) -> bool:
        """Tell whether data pages carry checksums."""
        return self.data_checksum_version != 0


def read_control(path: Path) -> ControlData:
    """Read the pg_control at `path` (the file itself).

    Raises SourceUnreadable when the file can not be read or no attempt saw a whole image, MajorUnsupported
    for the layout of another major version.
    """
    return parse_control(read_control_image(path))


def read_control_image(path: Path) -> bytes:
    """Read the 8192 bytes of the pg_control at `path` until they are one whole image. Raises as read_control."""
    for attempt in range(READ_ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                image = os.pread(descriptor, CONTROL_BYTES + 1, 0)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SourceUnreadable(f"{str(path)!r} can not be read: {error.strerror}") from error
        try:
            _check_image(image)
        except ObjectCorrupt:
            continue
        return image
    raise SourceUnreadable(
        f"{str(path)!r} failed its checksum {READ_ATTEMPTS} times",
        hint="Look at it with pg_controldata; a server does not start from such a file either.",
    )


def parse_control(image: bytes) -> ControlData:
    """Read the 8192 bytes of a pg_control.

    Raises ObjectCorrupt unless they are one whole image, MajorUnsupported for another major's layout.
    """
    _check_image(image)
    sysid, control_version, catalog_version, state, modified, checkpoint = _IDENTITY.unpack_from(image, 0)
    redo, timeline, previous_timeline, full_page_writes = _CHECKPOINT.unpack_from(image, 40)
    (checkpoint_time,) = _CHECKPOINT_TIME.unpack_from(image, 104)
    min_lsn, min_timeline, backup_start, backup_end, end_required = _RECOVERY.unpack_from(image, 136)
    wal_level, _, connections, workers, senders, prepared, locks, _ = _SETTINGS.unpack_from(image, 172)
    _, float_format, block, relseg, wal_block, wal_segment = _LAYOUT.unpack_from(image, 204)
    _, checksum_version = _DATA_CHECKSUMS.unpack_from(image, 248)
    if float_format != FLOAT_FORMAT or not 0 <= state < len(STATES):
        raise ObjectCorrupt("pg_control has a valid checksum and impossible content")
    return ControlData(
        system_identifier=sysid,
        pg_control_version=control_version,
        catalog_version=catalog_version,
        state=STATES[state],
        modified_at=datetime.fromtimestamp(modified, UTC),
        checkpoint_lsn=Lsn(checkpoint),
        redo_lsn=Lsn(redo),
        checkpoint_timeline=timeline,
        previous_timeline=previous_timeline,
        full_page_writes=full_page_writes,
        checkpoint_at=datetime.fromtimestamp(checkpoint_time, UTC),
        min_recovery_lsn=Lsn(min_lsn),
        min_recovery_timeline=min_timeline,
        backup_start_lsn=Lsn(backup_start),
        backup_end_lsn=Lsn(backup_end),
        is_backup_end_required=end_required,
        wal_level=wal_level,
        max_connections=connections,
        max_worker_processes=workers,
        max_wal_senders=senders,
        max_prepared_xacts=prepared,
        max_locks_per_xact=locks,
        block_size=block,
        relseg_size=relseg,
        wal_block_size=wal_block,
        wal_segment_size=wal_segment,
        data_checksum_version=checksum_version,
    )


def _check_image(image: bytes) -> None:
    """Raise ObjectCorrupt unless the CRC fits, MajorUnsupported for a version whose CRC lies elsewhere."""
    if len(image) != CONTROL_BYTES:
        raise ObjectCorrupt(f"pg_control has {len(image)} bytes instead of {CONTROL_BYTES}")
    (version,) = struct.unpack_from("<I", image, 8)
    crc_offset = CRC_OFFSETS.get(version)
    if crc_offset is None:
        # The version lies in the first 512 bytes, which disks and page caches write whole: this is no tear.
        raise MajorUnsupported(
            f"pg_control has version {version}, which is not that of PostgreSQL 15 to 18",
            hint="pgvault reads clusters of PostgreSQL 15 to 18 on little-endian machines.",
        )
    (stored,) = struct.unpack_from("<I", image, crc_offset)
    if crc32c(image[:crc_offset]) != stored:
        raise ObjectCorrupt("pg_control fails its checksum")


def crc32c(content: bytes) -> int:
    """CRC-32C (Castagnoli) of a few hundred bytes.

    By hand because `wal push` reads pg_control too: these 300 bytes take 30 µs, importing awscrt 90 ms.
    """
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_table() -> tuple[int, ...]:
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)  # noqa: PLW2901 - the shift register itself
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()
