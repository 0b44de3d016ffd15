from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pgvault.errors import ObjectCorrupt, ObjectMissing, RecoveryFailed
from pgvault.recovery.target import LatestTarget
from pgvault.repository.catalog import read_catalog
from tests.archive import program
from tests.cluster.vaults import Vault, make_vault
from tests.servers import NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(not NEWEST, reason="no PostgreSQL is installed")]

KILLS = 6


@pytest.fixture(scope="module")
def original(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    """Backed up, its server stopped."""
    made = make_vault(servers, NEWEST, tmp_path_factory.mktemp("original"))
    made.insert(1)
    made.backup()
    made.server.stop()
    return made


@pytest.fixture
def vault(original: Vault, server: ServerFactory, tmp_path: Path) -> Vault:
    return original.copied(server, tmp_path, running=False)


def refuses_to_start(vault: Vault, data: Path) -> bool:
    """Tell whether a server on `data` goes down by itself."""
    server = vault.factory.adopt(vault.server.programs, data, running=False)
    server.instance.start({"fsync": "off"})
    try:
        server.instance.wait_ready(30)
    except RecoveryFailed:
        return True
    server.stop()
    return False


@pytest.mark.endurance
def test_a_restore_that_was_killed_never_starts(vault: Vault) -> None:
    """Whenever it dies: the directory has no pg_control, or everything."""
    argv = [*program(), "--config", str(vault.archive.config), "restore", "--to", "latest", "--cluster", "main"]
    began = time.monotonic()
    done = subprocess.run([*argv, vault.directory / "whole"], check=True, capture_output=True, timeout=60)
    assert b"restored" in done.stdout
    took = time.monotonic() - began
    chance = random.Random(1)
    killed = 0

    for number in range(KILLS):
        data = vault.directory / f"killed-{number}"
        child = subprocess.Popen([*argv, data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.3, 1.0) * took)
        child.send_signal(signal.SIGKILL)
        if child.wait(30) == 0 or (data / "global" / "pg_control").exists() or not (data / "base").exists():
            continue
        killed += 1
        (data / "global").mkdir(exist_ok=True)
        assert refuses_to_start(vault, data)

    assert killed, "no restore was killed half way"


@pytest.mark.parametrize("damage", ["delete", "flip", "swap", "wal"])
def test_one_bad_object_withholds_pg_control(vault: Vault, damage: str) -> None:
    """A deleted, changed or swapped object ends the restore with an error, and nothing can be started."""
    (manifest,) = read_catalog(vault.archive.repository, "main").backups
    packs = [vault.archive.root / pack.path for pack in manifest.packs]
    if damage == "delete":
        packs[-1].unlink()
    elif damage == "flip":
        flip(packs[0])
    elif damage == "swap":
        spare = packs[0].rename(vault.directory / "spare")
        packs[-1].rename(packs[0])
        spare.rename(packs[-1])
    else:
        flip(vault.archive.root / manifest.wal[0].path)
    order = vault.order(LatestTarget())

    with pytest.raises((ObjectCorrupt, ObjectMissing)):
        vault.carry_out(order)

    assert order.directory is not None
    assert not (order.directory / "global" / "pg_control").exists()


def test_without_its_label_it_does_not_start(vault: Vault) -> None:
    """Removing backup_label, as bad advice has it, gives a server that refuses, not one that is inconsistent."""
    restored = vault.restore(LatestTarget())
    (restored.directory / "backup_label").unlink()

    assert refuses_to_start(vault, restored.directory)


def flip(path: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
