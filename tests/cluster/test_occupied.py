from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgvault.errors import RecoveryFailed
from pgvault.recovery.target import LatestTarget
from pgvault.repository.walobjects import read_wal_bytes
from pgvault.wal.occupied import created_tablespaces
from tests.cluster.vaults import Vault, make_vault
from tests.servers import ServerFactory, older_in_ci
from tests.wal.servers import system_of

pytestmark = pytest.mark.cluster


@pytest.fixture
def vault(server: ServerFactory, major: int, tmp_path: Path) -> Vault:
    return make_vault(server, major, tmp_path)


def files_in(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@older_in_ci
def test_replay_keeps_out_of_production_s_new_tablespace(vault: Vault) -> None:
    """One made after the backup: recovery ends with its name, and every byte of it is as it was."""
    space, other = vault.factory.directory(), vault.factory.directory()
    vault.backup()
    vault.server.sql(f"CREATE TABLESPACE later LOCATION '{space}'")
    vault.server.sql("CREATE TABLE far (number int) TABLESPACE later")
    vault.server.sql("INSERT INTO far VALUES (7)")
    vault.server.sql(f"CREATE TABLESPACE other LOCATION '{other}'")
    vault.server.sql("CHECKPOINT")
    vault.archive_all()
    before = files_in(space)
    system = system_of(vault.server.data)
    names = [name for name in vault.archive.names(system) if len(name) == 24]

    found = [
        path
        for name in names
        for path in created_tablespaces(read_wal_bytes(vault.archive.repository, "main", system, name)[1])
    ]
    with pytest.raises(RecoveryFailed, match=f"creates a tablespace in '{space}'"):
        vault.finished(LatestTarget())

    assert found == [os.fsencode(space), os.fsencode(other)]
    assert before
    assert files_in(space) == before


@older_in_ci
@pytest.mark.endurance
def test_a_place_that_is_empty_may_be_used(vault: Vault) -> None:
    """On another machine its directory has to be there, empty; then the tablespace is made in it."""
    space = vault.factory.directory()
    vault.backup()
    vault.server.sql(f"CREATE TABLESPACE later LOCATION '{space}'")
    vault.server.sql("CREATE TABLE far AS SELECT 7 AS number")
    vault.server.sql("ALTER TABLE far SET TABLESPACE later")
    vault.archive_all()
    vault.server.stop()
    space.rename(vault.directory / "the other machine")
    space.mkdir()

    restored = vault.finished(LatestTarget())

    assert vault.start(restored.directory).value("SELECT number FROM far") == 7
