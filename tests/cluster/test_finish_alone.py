from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from pgvault.errors import PgvaultError
from pgvault.postgres.instance import postmaster_pid
from pgvault.process import start
from pgvault.recovery.target import LatestTarget
from tests.archive import bare_environment, pgvault, program
from tests.cluster.drills import processes
from tests.cluster.vaults import Vault, make_vault
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(not NEWEST, reason="no PostgreSQL is installed")]


@pytest.fixture
def vault(server: ServerFactory, tmp_path: Path) -> Vault:
    return make_vault(server, NEWEST, tmp_path)


@pytest.mark.endurance
def test_a_restored_subscriber_does_not_log_in_to_the_publisher(vault: Vault) -> None:
    """It would take the slot of the one in production, and what that one has not received yet."""
    publisher = vault.factory.directory()
    vault.server.sql(
        f"CREATE SUBSCRIPTION orders CONNECTION 'host={publisher} user=app' PUBLICATION orders WITH (connect = false)"
    )
    vault.server.sql("ALTER SUBSCRIPTION orders ENABLE")
    vault.backup()
    vault.server.stop()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(publisher / ".s.PGSQL.5432"))
        listener.listen()
        listener.settimeout(0)

        vault.finished(LatestTarget())

        with pytest.raises(BlockingIOError):  # nobody is waiting
            listener.accept()


@pytest.mark.endurance
def test_libraries_of_the_cluster_are_not_loaded(vault: Vault) -> None:
    """Their workers would begin to work on the restored copy, and a library may be missing on this machine."""
    vault.server.sql("ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'")
    vault.backup()

    restored = vault.finished(LatestTarget())

    assert restored.finished is not None
    assert "shared_preload_libraries = 'no_such_library'" in (restored.directory / "postgresql.auto.conf").read_text()


@pytest.mark.endurance
def test_who_starts_it_is_told_of_subscriptions(vault: Vault) -> None:
    """Before he does, and how to start it without."""
    vault.backup()
    configured: list[str | Path] = ["--config", vault.archive.config, "restore", "--to", "latest"]

    told = pgvault(*configured, vault.directory / "one")
    document = pgvault(*configured, vault.directory / "two", "--json")

    assert told.status == 0, told.errors
    assert "-c max_logical_replication_workers=0" in told.output
    assert json.loads(document.output)["directory"] == str(vault.directory / "two")


@pytest.fixture(scope="module")
def long(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    """With WAL behind its backup whose replay takes a while."""
    made = make_vault(servers, NEWEST, tmp_path_factory.mktemp("long"))
    made.backup()
    for row in range(8):
        made.insert(row)
        made.archive_all()
    made.server.stop()
    return made


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_restore_that_is_told_to_end_takes_its_server_along(
    long: Vault, tmp_path: Path, number: signal.Signals
) -> None:
    """Nobody else would ever stop it."""
    data, log = tmp_path / "data", tmp_path / "log"
    words = ["--config", str(long.archive.config), "restore", "--to", "latest", "--finish", str(data)]
    child = start([*program(), *words], env=bare_environment(), log=log)
    try:
        wait_until(lambda: postmaster_pid(data) is not None)

        child.signal(number)
        status = child.wait(60)

        assert status == PgvaultError.exit_code
        assert [words for _, words, cwd in processes() if cwd == str(data)] == []
        assert "Traceback" not in log.read_text()
    finally:
        if (left := postmaster_pid(data)) is not None:
            os.kill(left, signal.SIGQUIT)
