"""The repository's disk fills up in the middle of a push or a backup: refused, and nothing wrong is listed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pgvault.errors import DiskFull
from pgvault.process import attempt
from pgvault.repository.walobjects import read_wal_bytes
from tests.archive import SYSTEM, Archive, make_archive, make_segment, pgvault, small
from tests.cluster.places import Place, make_place
from tests.servers import NEWEST, ServerFactory

pytestmark = pytest.mark.endurance

MIB = 1 << 20
PAGE = 4096  # bytes; what a file system in memory counts by
SEED = 20261121


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory whose `repository` is a file system of 64 MiB."""
    place = tmp_path / "disk"
    (place / "repository").mkdir(parents=True, mode=0o700)
    argv: list[str | Path] = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", place / "repository"]
    if attempt(argv, timeout=10).status != 0:
        pytest.skip("only root may mount a small file system")
    try:
        yield place
    finally:
        attempt(["umount", "-l", place / "repository"], timeout=10)


def leave(archive: Archive, free: int) -> Path:
    """Fill the disk up to so many free bytes, with a file that is no object."""
    ballast = archive.root / ".tmp-ballast"
    with ballast.open("wb", buffering=0) as file:
        # Until it is refused: what statvfs says is free is a little more than what there is on a machine at work.
        with suppress(OSError):
            while file.write(bytes(PAGE)):
                pass
        file.truncate(max(0, file.tell() - free))
    return ballast


def test_push_onto_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """39, so that the archiver tries again; the segment is there whole or not at all, and gets in later."""
    archive, chance = make_archive(small_disk), random.Random(SEED)
    for number in range(2, 14):
        segment = small(number)
        path = tmp_path / segment.name
        path.write_bytes(make_segment(segment)[:40] + chance.randbytes(segment.size - 40))
        ballast = leave(archive, 0 if number == 2 else chance.randrange(MIB + MIB // 4))

        status = pgvault("--config", archive.config, "wal", "push", path).status

        is_there = segment.name in archive.names(SYSTEM) if (archive.root / "clusters").exists() else False
        assert status in (0, DiskFull.exit_code)
        assert is_there or status == DiskFull.exit_code
        if is_there:
            assert read_wal_bytes(archive.repository, "main", SYSTEM, segment.name)[1] == path.read_bytes()
        ballast.unlink()
        again = pgvault("--config", archive.config, "wal", "push", path)
        assert again.status == 0, again.errors
        assert read_wal_bytes(archive.repository, "main", SYSTEM, segment.name)[1] == path.read_bytes()
    assert [path for path in archive.root.rglob(".tmp-*") if path.is_file()] == []


@pytest.mark.cluster
def test_backup_onto_a_full_disk(server: ServerFactory, small_disk: Path) -> None:
    """Refused without a trace in the list, and the next one works, though not even the lease could be released."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    place: Place = make_place(server, small_disk, NEWEST)
    archive, chance = place.archive, random.Random(SEED)
    place.server.sql("CREATE TABLE t AS SELECT md5(i::text) AS t FROM generate_series(1, 50000) AS i")
    config = archive.config
    config.write_text(config.read_text().replace("dsn: ''", f"dsn: {json.dumps(place.server.dsn)}, archive_wait: 10s"))
    words = ("--config", config, "backup")
    assert pgvault(*words).status == 0
    refused = 0
    for free in (0, *(chance.randrange(6 * MIB) for _ in range(3))):
        listed = place.labels()
        ballast = leave(archive, free)

        ended = pgvault(*words)

        ballast.unlink()
        refused += ended.status != 0
        assert ended.status == 0 or place.labels() == listed, ended.errors
        assert place.verify().problems == []
        again = pgvault(*words)
        assert again.status == 0, again.errors
        assert place.catalog().unfinished == ()
    assert refused >= 2
