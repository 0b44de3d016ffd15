"""Backups by stream that come to nothing, are slow, or find damage: what is listed is what is whole."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgvault.errors import ServerUnreachable, SourceUnreadable
from pgvault.postgres.basebackup import BaseBackup, BaseBackupOrder
from pgvault.postgres.replication import ServerAddress
from pgvault.repository.catalog import read_catalog
from tests.archive import program
from tests.cluster.test_remote import back_up
from tests.cluster.vaults import Vault, make_vault
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

SENDING = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'"


@pytest.fixture(scope="module")
def servers(templates: Path) -> Iterator[ServerFactory]:
    factory = ServerFactory(templates)
    try:
        yield factory
    finally:
        factory.clear()


@pytest.fixture(scope="module")
def vault(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    """A server that archives."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    return make_vault(servers, NEWEST, tmp_path_factory.mktemp("vault"))


def labels(vault: Vault) -> list[str]:
    """What is listed."""
    return [each.label for each in read_catalog(vault.archive.repository, "main").backups]


@contextmanager
def done_while_it_is_sent(vault: Vault, action: str) -> Iterator[None]:
    """Run a statement as soon as a walsender is there; it is slowed down so that it is not done by then."""

    def act() -> None:
        wait_until(lambda: vault.server.sql(SENDING))
        vault.server.sql(action)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_walsender_that_is_killed_leaves_nothing(vault: Vault) -> None:
    """A cut is never taken for the end, and the server's own reason is told."""
    before = labels(vault)

    end = f"SELECT pg_terminate_backend(pid) FROM ({SENDING}) AS s"
    with done_while_it_is_sent(vault, end), pytest.raises(ServerUnreachable, match="terminating connection"):
        back_up(vault, max_rate=4 << 20)

    assert labels(vault) == before


def test_what_a_link_leads_to_is_missed(vault: Vault) -> None:
    """PostgreSQL passes over it with a warning, and pg_verifybackup would be content."""
    before = labels(vault)
    moved = vault.server.data / "pg_xact"
    elsewhere = moved.rename(vault.directory / "pg_xact")
    moved.symlink_to(elsewhere)
    try:
        with pytest.raises(SourceUnreadable, match=r"not send pg_xact$"):
            back_up(vault)
    finally:
        moved.unlink()
        elsewhere.rename(moved)

    assert labels(vault) == before


def test_a_rate_is_kept(vault: Vault) -> None:
    """Bytes a second, as the server itself counts them."""
    begun = time.monotonic()

    manifest = back_up(vault, max_rate=16 << 20)

    assert time.monotonic() - begun > manifest.total_bytes / (16 << 20) * 0.8


class Proxy:
    """A socket before the server's own that passes on so many bytes, and then hangs up or falls silent."""

    def __init__(self, directory: Path, target: Path, *, most: int, is_silent: bool) -> None:
        self.most, self.is_silent = most, is_silent
        self._target = target
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(directory / target.name))
        self._listening.listen()
        self._open: list[socket.socket] = [self._listening]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        for one in self._open:
            one.close()

    def _serve(self) -> None:
        with suppress(OSError):
            here, _ = self._listening.accept()
            there = socket.socket(socket.AF_UNIX)
            there.connect(str(self._target))
            self._open += [here, there]
            threading.Thread(target=self._pass_up, args=(here, there), daemon=True).start()
            passed = 0
            while passed < self.most and (content := there.recv(65536)):
                here.sendall(content)
                passed += len(content)
            if not self.is_silent:
                here.shutdown(socket.SHUT_RDWR)
                there.shutdown(socket.SHUT_RDWR)

    def _pass_up(self, here: socket.socket, there: socket.socket) -> None:
        with suppress(OSError):
            while content := here.recv(65536):
                there.sendall(content)


@pytest.mark.parametrize("is_silent", [True, False])
def test_a_network_that_fails_is_an_error(servers: ServerFactory, vault: Vault, is_silent: bool) -> None:
    """A cut, and a silence that no keepalive notices: neither is the end of a backup."""
    given = conninfo_to_dict(vault.server.dsn)
    port = given.get("port", "5432")
    directory = servers.directory()
    proxy = Proxy(directory, Path(str(given["host"])) / f".s.PGSQL.{port}", most=4 << 20, is_silent=is_silent)
    address = ServerAddress(vault.server.dsn.replace(str(given["host"]), str(directory)), None)
    backup = BaseBackup(BaseBackupOrder(address, silence_seconds=1))
    try:
        backup.start("cut")
        with pytest.raises(ServerUnreachable):
            for _ in backup.messages():
                pass
    finally:
        backup.close()
        proxy.close()


def test_kill_9_leaves_nothing(vault: Vault) -> None:
    """The server gives the backup up; nothing is listed."""
    before = labels(vault)
    config = vault.archive.config
    text = config.read_text()
    config.write_text(
        text.replace("{dsn: ''}", f"{{dsn: {json.dumps(vault.server.dsn)}, source: stream, max_rate: {4 << 20}}}")
    )
    words = [*program(), "--config", str(config), "backup"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        wait_until(lambda: vault.server.sql(SENDING) or process.poll() is not None)
        assert process.poll() is None, process.communicate()[1].decode()
    finally:
        process.kill()
        process.communicate()
        config.write_text(text)

    wait_until(lambda: not vault.server.sql(SENDING))
    assert labels(vault) == before
