"""Three servers, two failovers, a writer that never stops: what is archived leads to where the last primary stands."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psycopg
import pytest

from pgvault.postgres.owner import hand_over
from pgvault.process import Process, run, start
from tests.archive import Archive, archive_command, bare_environment, make_archive, pgvault, program
from tests.servers import NEWEST, Server, ServerFactory
from tests.wal.servers import failed_count, rows, wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.endurance,
    pytest.mark.skipif(not NEWEST, reason="no PostgreSQL is installed"),
]

LOAD_SECONDS = 4.0  # before each failover
FILLER = "repeat(md5(random()::text), 60)"  # about 2 KB of WAL a row, so that segments of 1 MiB pass by


@dataclass(slots=True)
class Writer:
    """Commits numbered rows wherever the primary is, and tries again when it is gone."""

    dsn: str
    written: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(30)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            with suppress(psycopg.Error), psycopg.connect(self.dsn, autocommit=True, connect_timeout=2) as connection:
                while not self._stop.is_set():
                    number += 1
                    connection.execute(f"INSERT INTO rows SELECT {number}, {FILLER}")
                    self.written = number
            time.sleep(0.1)


def standby_of(factory: ServerFactory, primary: Server, name: str) -> Server:
    """A streaming standby of `primary`."""
    data = factory.directory() / "data"
    argv: list[str | Path] = [primary.programs.path("pg_basebackup"), "-d", primary.dsn, "-D", data]
    run([*argv, "-X", "stream", "-c", "fast", "--no-sync", "--no-manifest"], timeout=120)
    (data / "standby.signal").touch()
    hand_over(data)
    conninfo = f"{primary.dsn} application_name={name}"
    settings = primary.settings | {"primary_conninfo": conninfo, "recovery_target_timeline": "latest"}
    return factory.adopt(primary.programs, data, settings=settings)


def dsn_of_all(servers: Sequence[Server]) -> str:
    """One connection string for whichever of them is the primary."""
    hosts = ",".join(str(server.instance.socket_dir) for server in servers)
    return f"host={hosts} user=postgres dbname=postgres target_session_attrs=read-write"


def promote(server: Server) -> None:
    server.sql("SELECT pg_promote(true, 30)")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return make_archive(tmp_path)


@pytest.fixture
def trio(server: ServerFactory, archive: Archive) -> tuple[Server, Server, Server]:
    """A primary that archives, and two standbys that will."""
    settings = {
        "archive_mode": "on",
        "archive_command": archive_command(archive),
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "wal_keep_size": "256MB",
        "hot_standby": "on",
        "wal_log_hints": "on",
    }
    first = server(NEWEST, settings=settings, wal_segsize_mib=1)
    first.sql("CREATE TABLE rows (number int, filler text)")
    return first, standby_of(server, first, "second"), standby_of(server, first, "third")


@pytest.fixture
def streaming(archive: Archive, trio: tuple[Server, Server, Server], tmp_path: Path) -> Iterator[Process]:
    """`pgvault wal stream` of whoever is the primary."""
    config = archive.config.read_text().replace(
        "main: {dsn: ''}",
        f"main: {{dsn: '{dsn_of_all(trio)}', stream: {{spool: '{tmp_path / 'spool'}', every: 1s}}}}",
    )
    archive.config.write_text(config)
    words = [*program(), "--config", str(archive.config), "wal", "stream"]
    process = start(words, env=bare_environment(), log=tmp_path / "stream.log")
    yield process
    process.signal(signal.SIGTERM)
    process.wait(60)


def follow(standby: Server, primary: Server) -> None:
    """Let a standby follow another primary."""
    standby.stop()
    standby.start({"primary_conninfo": f"{primary.dsn} application_name=follower"})


def test_a_double_failover_under_load_leaves_one_way_to_the_end(
    server: ServerFactory, archive: Archive, trio: tuple[Server, Server, Server], streaming: Process, tmp_path: Path
) -> None:
    """Killed twice, promoted twice: no archiver ever waits, and `latest` is what the last primary holds."""
    first, second, third = trio
    backup = pgvault("--config", archive.config, "backup", timeout=120)
    assert backup.status == 0, backup.errors

    with Writer(dsn_of_all(trio)) as writer:
        time.sleep(LOAD_SECONDS)
        first.kill()
        promote(second)
        follow(third, second)
        seen = writer.written
        wait_until(lambda: writer.written > seen + 100)
        time.sleep(LOAD_SECONDS)
        wait_until(lambda: third.value("SELECT count(*) > 0 FROM pg_stat_wal_receiver WHERE status = 'streaming'"))
        second.kill()
        promote(third)
        seen = writer.written
        wait_until(lambda: writer.written > seen + 100)
        time.sleep(LOAD_SECONDS)

    assert writer.written > 1000
    expected = rows(third)
    last = str(third.value("SELECT pg_walfile_name(pg_current_wal_lsn())"))
    third.sql("SELECT pg_switch_wal()")
    wait_until(lambda: str(third.value("SELECT last_archived_wal FROM pg_stat_archiver"))[:24] >= last, seconds=60)
    assert failed_count(third) == 0
    target = tmp_path / "restored"
    words: list[str | Path] = [
        "--config",
        archive.config,
        "restore",
        "--to",
        "latest",
        "--timeline",
        "3",
        "--finish",
        target,
    ]
    finished = pgvault(*words, timeout=300)
    assert finished.status == 0, finished.errors
    restored = server.adopt(third.programs, target)
    assert rows(restored) == expected
