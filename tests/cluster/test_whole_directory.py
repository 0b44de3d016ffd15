from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pgvault.errors import Refused
from pgvault.recovery.target import ImmediateTarget, LatestTarget
from tests.cluster.vaults import Vault, make_vault
from tests.servers import NEWEST, ServerFactory, older_in_ci

pytestmark = pytest.mark.cluster

ODD_NAMES = [b"a=b", b" leading", b"back\\slash", b'quo"te', b"[x]#", b"\xff\xfe", "é".encode()]


@pytest.fixture
def vault(server: ServerFactory, major: int, tmp_path: Path) -> Vault:
    return make_vault(server, major, tmp_path)


def tree_hash(root: Path) -> str:
    """A digest of every name, link and byte below `root`."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        digest.update(os.fsencode(path) + b"\0")
        digest.update(os.fsencode(path.readlink()) if path.is_symlink() else b"")
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def with_tablespace(vault: Vault) -> Path:
    """Put a table with row 7 into a tablespace of its own."""
    space = vault.factory.directory()
    vault.server.sql(f"CREATE TABLESPACE fast LOCATION '{space}'")
    vault.server.sql("CREATE TABLE far (number int) TABLESPACE fast")
    vault.server.sql("INSERT INTO far VALUES (7)")
    return space


def test_postgresql_itself_finds_the_directory_whole(vault: Vault) -> None:
    """pg_verifybackup accepts it, WAL, tablespace and odd names included, and names a byte that was flipped."""
    space = with_tablespace(vault)
    for name in ODD_NAMES:
        (vault.server.data / os.fsdecode(name)).write_bytes(b"odd")
    vault.backup()
    mapped = vault.directory / "mapped"

    restored = vault.restore(LatestTarget(), tablespaces={str(space): mapped})

    assert vault.verify(restored.directory).errors == ""
    for name in ODD_NAMES:
        assert (restored.directory / os.fsdecode(name)).read_bytes() == b"odd"
    victim = max((path for path in mapped.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[100] ^= 1
    victim.write_bytes(content)
    said = vault.verify(restored.directory)
    assert said.status != 0
    assert victim.name in said.errors


@older_in_ci
def test_production_s_tablespace_is_not_touched(vault: Vault) -> None:
    """On the host that still has the original: unmapped it is refused, mapped it stays as it was, replay included."""
    space = with_tablespace(vault)
    vault.backup()
    vault.server.sql("INSERT INTO far VALUES (8)")
    vault.archive_all()
    vault.server.stop()
    before = tree_hash(space)

    with pytest.raises(Refused, match="exists on this machine"):
        vault.restore(LatestTarget())
    restored = vault.finished(LatestTarget(), tablespaces={str(space): vault.directory / "mapped"})
    server = vault.start(restored.directory)

    assert server.sql("SELECT number FROM far ORDER BY 1") == [(7,), (8,)]
    server.sql("INSERT INTO far VALUES (9)")
    server.stop()
    assert tree_hash(space) == before


@pytest.mark.parametrize("major", [NEWEST])
def test_unlogged_tables_come_back_empty_and_writable(vault: Vault) -> None:
    """Their init fork is restored, their content is not in any WAL."""
    vault.server.sql("CREATE UNLOGGED TABLE quick (number int)")
    vault.server.sql("INSERT INTO quick VALUES (1)")
    vault.backup()

    restored = vault.finished(LatestTarget())

    server = vault.start(restored.directory)
    assert server.sql("SELECT * FROM quick") == []
    server.sql("INSERT INTO quick VALUES (2)")


@pytest.mark.parametrize("major", [NEWEST])
def test_configuration_outside_is_brought_along_or_made_anew(vault: Vault) -> None:
    """As on Debian: without postgresql.conf in it the directory still starts, and --config-dir gets the originals."""
    outside = vault.factory.directory()
    vault.server.stop()
    for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
        (vault.server.data / name).rename(outside / name)
    with (outside / "postgresql.conf").open("a") as file:
        file.write(
            f"data_directory = '{vault.server.data}'\nhba_file = '{outside}/pg_hba.conf'\n"
            f"ident_file = '{outside}/pg_ident.conf'\nmax_connections = 17\nlisten_addresses = ''\n"
        )
    vault.server.instance.config_file = outside / "postgresql.conf"
    vault.server.start()
    vault.insert(1)
    vault.backup()

    restored = vault.restore(ImmediateTarget(), config_dir=vault.directory / "etc")

    assert restored.applied.generated == ("pg_hba.conf", "pg_ident.conf", "postgresql.conf")
    for name in restored.applied.generated:
        assert (vault.directory / "etc" / name).read_bytes() == (outside / name).read_bytes()
    assert vault.verify(restored.directory).errors == ""
    (restored.directory / "pg_hba.conf").write_text("local all all trust\n")  # for the test to get in
    server = vault.start(restored.directory)
    assert server.value("SHOW max_connections") == "17"
    assert server.value("SHOW archive_mode") == "off"
    assert server.value("SELECT number FROM rows") == 1
