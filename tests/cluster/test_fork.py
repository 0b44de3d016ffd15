from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgvault.errors import TargetInvalid
from pgvault.postgres.lsn import MIB
from pgvault.recovery.target import LatestTarget
from pgvault.repository.catalog import read_catalog
from pgvault.repository.walindex import read_inventory
from pgvault.wal.fork import Fork, forks
from tests.cluster.vaults import Vault, make_vault
from tests.servers import NEWEST, Server, ServerFactory
from tests.wal.servers import archiving_settings, copy_of, failed_count, insert_row, rows, system_of, wait_archived

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(not NEWEST, reason="no PostgreSQL is installed")]


@pytest.fixture
def vault(server: ServerFactory, tmp_path: Path) -> Vault:
    return make_vault(server, NEWEST, tmp_path)


def open_forks(vault: Vault, system: int) -> tuple[Fork, ...]:
    repository = vault.archive.repository
    inventory = read_inventory(repository, "main", system, segment_size=MIB)
    return forks(inventory, read_catalog(repository, "main").backups)


def promote_behind(vault: Vault, server: ServerFactory) -> Server:
    """A standby that had not received what the primary wrote and archived last, promoted when that is lost."""
    copy = copy_of(vault.server, server.directory())
    current = str(vault.server.value("SELECT pg_walfile_name(pg_current_wal_lsn() + 1)"))
    for number in (2, 3):
        vault.insert(number)
        vault.archive_all()
    vault.server.kill()
    (copy / "standby.signal").touch()
    # The copy's own segments: it is consistent, and no further. Older ones may lie about while the archiver is late.
    begin = re.findall(r"START WAL LOCATION: .*file (\w+)", (copy / "backup_label").read_text())[0]
    own = [wal for wal in (vault.server.data / "pg_wal").glob("0*") if begin <= wal.name < current]
    assert own
    for wal in own:
        (copy / "pg_wal" / wal.name).write_bytes(wal.read_bytes())
    other = server.adopt(vault.server.programs, copy, settings=archiving_settings(vault.archive))
    other.sql("SELECT pg_promote()")
    return other


@pytest.mark.endurance
def test_a_failover_that_lost_wal_does_not_stop_the_archiver(vault: Vault, server: ServerFactory) -> None:
    """The new primary archives without one failure; `latest` is refused until a backup says where it goes on."""
    vault.insert(1)
    vault.backup()
    system = system_of(vault.server.data)
    assert open_forks(vault, system) == ()

    other = promote_behind(vault, server)
    assert rows(other) == [1]
    wait_archived(vault.archive, system, insert_row(other, 4))

    assert failed_count(other) == 0
    assert "00000002.history" in vault.archive.names(system)
    assert "two futures of one cluster" in other.instance.log_text()
    (fork,) = open_forks(vault, system)
    assert (fork.timeline, fork.parent) == (2, 1)
    with pytest.raises(TargetInvalid) as caught:
        vault.restore(LatestTarget())
    assert "timeline 1 and timeline 2 both went on" in str(caught.value)

    vault.server = other
    vault.backup()

    assert open_forks(vault, system) == ()
    assert vault.rows(vault.finished(LatestTarget())) == [1, 4]
