"""A root with real values, to be changed field by field."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pgvault.postgres.lsn import Lsn
from pgvault.repository.manifest import Manifest, Owner, PageErrors, PostgresFacts
from pgvault.repository.objects import Stored

LABEL = "20260115T103000Z-f7c2"
PREFIX = f"clusters/main/backups/{LABEL}"

SAMPLE = Manifest(
    label=LABEL,
    type="full",
    cluster="main",
    system_identifier=7501234567890123456,
    timeline=3,
    start_lsn=Lsn.parse("16/B3000028"),
    checkpoint_lsn=Lsn.parse("16/B3000060"),
    stop_lsn=Lsn.parse("16/B3000120"),
    started_at=datetime(2026, 1, 15, 10, 30, 0, 123456, tzinfo=UTC),
    stopped_at=datetime(2026, 1, 15, 10, 42, tzinfo=UTC),
    time_zone="Europe/Berlin",
    log_time_zone="Etc/UTC",
    postgres=PostgresFacts(
        major=18,
        version_num=180006,
        catalog_version=202506291,
        control_version=1800,
        block_size=8192,
        relation_segment_blocks=131072,
        wal_segment_size=16 << 20,
        data_checksums=True,
        superuser="postgres",
        settings={"max_connections": "100"},
    ),
    owner=Owner(999, 999, "postgres", None),
    databases={5: "postgres", 16384: "shop – Käse"},
    tablespaces={16388: "/srv/fast"},
    backup_label=b"START WAL LOCATION: 16/B3000028 (file 0000000300000016000000B3)\nLABEL: \xff\n",
    tablespace_map=b"16388 /srv/fast\n",
    total_bytes=12345678,
    stored_bytes=2345678,
    file_count=1234,
    page_errors=PageErrors(2, ("base/5/1259 block 7", "base/5/1259 block 9")),
    packs=(Stored(f"{PREFIX}/packs/00000000", 1000, bytes(32), 3),),
    parts=(Stored(f"{PREFIX}/parts/00000000", 900, bytes([1]) * 32, 1),),
    maps=(Stored(f"{PREFIX}/maps/00000000", 800, bytes([2]) * 32, 1),),
    wal=(Stored("clusters/main/wal/7501234567890123456/00000003.history", 700, bytes([3]) * 32, 2),),
    refs=Stored(f"{PREFIX}/refs", 600, bytes([4]) * 32, 0),
    written_by="pgvault 0.1.0",
)


def make_manifest(**changes: Any) -> Manifest:
    """Return the sample with some fields changed."""
    return replace(SAMPLE, **changes)
