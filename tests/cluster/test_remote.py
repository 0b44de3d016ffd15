"""Backups of a server on another host: everything comes by the replication protocol."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pgvault.backup.take import BackupRequest, RemoteOrder, take_backup
from pgvault.instants import SystemClock
from pgvault.postgres.server import Session
from pgvault.progress import NoProgress
from pgvault.recovery.target import LatestTarget
from pgvault.repository.filelist import read_records
from pgvault.repository.manifest import STREAM, Manifest
from tests.cluster.vaults import Vault, make_vault
from tests.servers import MAJORS, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]


@pytest.fixture(scope="module")
def servers(templates: Path) -> Iterator[ServerFactory]:
    factory = ServerFactory(templates)
    try:
        yield factory
    finally:
        factory.clear()


def back_up(vault: Vault, dsn: str | None = None, *, jobs: int = 2, max_rate: int | None = None) -> Manifest:
    """Take a backup by stream."""
    dsn = dsn or vault.server.dsn
    remote = RemoteOrder(dsn, None, max_rate)
    request = BackupRequest("main", Path("/nonexistent"), jobs, timedelta(seconds=60), remote=remote)
    with Session(dsn) as session:
        return take_backup(vault.archive.repository, session, request, clock=SystemClock(), progress=NoProgress())


def take_over(*directories: Path) -> None:
    """Give restored files to whoever runs the tests: a stream says that they are postgres's, who may be known here."""
    for directory in directories:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)


@pytest.mark.parametrize("major", dict.fromkeys((*MAJORS[:1], *MAJORS[-1:])))
def test_what_was_streamed_restores(servers: ServerFactory, tmp_path: Path, major: int) -> None:
    """Tablespaces, an unlogged table, rows written since: pg_verifybackup agrees, and every row is there."""
    vault = make_vault(servers, major, tmp_path)
    space = tmp_path / "space"
    space.mkdir()
    vault.server.sql(f"CREATE TABLESPACE fast LOCATION '{space}'")
    vault.server.sql(
        "CREATE TABLE large TABLESPACE fast AS SELECT g, repeat('x', 90) FROM generate_series(1, 100000) g"
    )
    vault.server.sql("CREATE UNLOGGED TABLE lost AS SELECT 1")
    (vault.server.data / "backup_label.saved").mkdir()  # an operator's, which no backup has
    (vault.server.data / "backup_label.saved" / "1").write_text("old")
    manifest = back_up(vault)
    vault.insert(1)
    vault.archive_all()

    restored = vault.restore(LatestTarget(), tablespaces={str(space): tmp_path / "elsewhere"})

    checked = vault.verify(restored.directory)
    assert checked.status == 0, checked.output
    take_over(restored.directory, restored.applied.site.marks, tmp_path / "elsewhere")
    server = vault.start(restored.directory)
    assert server.sql("SELECT count(*), sum(g) FROM large") == [(100000, 5000050000)]
    assert server.sql("SELECT count(*) FROM lost") == [(0,)]
    assert server.sql("SELECT number FROM rows") == [(1,)]
    server.stop()
    assert manifest.source == STREAM
    assert manifest.page_errors.count == 0

    large = str(vault.server.value("SELECT pg_relation_filepath('large')"))
    vault.server.stop()
    allow_group(vault.server.data)
    damage(vault.server.data / large, block=3)
    vault.server.start()
    second = back_up(vault)

    # 15 to 18 complain about it at the very end, when all was sent.
    assert [name.rpartition("/")[2].split(" ", 1)[1] for name in second.page_errors.first] == ["block 3"]
    assert second.page_errors.first[0].startswith("pg_tblspc/")
    listed = {record.path: record for record in read_records(vault.archive.repository, second)}
    assert listed[b"pg_tblspc"].mode == 0o750


def allow_group(data: Path) -> None:
    """As initdb --allow-group-access makes it."""
    for path in (data, *data.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o750 if path.is_dir() else 0o640)


def damage(path: Path, *, block: int) -> None:
    """Overwrite a few bytes of a page."""
    with path.open("r+b") as file:
        file.seek(block * 8192 + 5000)
        file.write(b"damage")
