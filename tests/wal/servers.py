"""Servers that archive, and copies of them that recover."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgvault.postgres.control import CONTROL_PATH, read_control
from pgvault.postgres.owner import hand_over
from pgvault.process import run
from pgvault.restore.guard import restore_command
from tests.archive import Archive, archive_command
from tests.servers import Server, ServerFactory


def wait_until(claim: Callable[[], object], *, seconds: float = 30) -> None:
    """Wait until `claim` holds."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def archiving(
    server: ServerFactory, major: int, archive: Archive, *, wal_segsize_mib: int = 16, initdb: Sequence[str] = ()
) -> Server:
    """A server that archives into `archive`, started as `env -i` would."""
    settings = archiving_settings(archive)
    one = server(major, settings=settings, wal_segsize_mib=wal_segsize_mib, initdb=initdb, running=False)
    one.instance.environment = {}
    one.start()
    return one


def archiving_settings(archive: Archive) -> dict[str, str]:
    """What makes a server archive into `archive`."""
    return {"archive_mode": "on", "archive_command": archive_command(archive)}


def system_of(data: Path) -> int:
    """The system identifier of a data directory."""
    return read_control(data / CONTROL_PATH).system_identifier


def insert_row(server: Server, number: int) -> str:
    """Commit one row in a segment of its own and finish that segment; return its name."""
    server.sql("CREATE TABLE IF NOT EXISTS rows (number int)")
    server.sql(f"INSERT INTO rows VALUES ({number})")
    name = server.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    server.value("SELECT pg_switch_wal()")
    return str(name)


def rows(server: Server) -> list[int]:
    """The rows that are there."""
    return [int(str(number)) for (number,) in server.sql("SELECT number FROM rows ORDER BY 1")]


def wait_archived(archive: Archive, system_identifier: int, name: str) -> None:
    """Wait until a WAL file is in the archive."""
    wait_until(lambda: name in archive.names(system_identifier))


def failed_count(server: Server) -> int:
    """How many failures the archiver has counted."""
    return int(str(server.value("SELECT failed_count FROM pg_stat_archiver")))


def copy_of(server: Server, directory: Path) -> Path:
    """A base backup without WAL, as recovery begins from."""
    data = directory / "copy"
    argv: list[str | Path] = [server.programs.path("pg_basebackup"), "-d", server.dsn, "-D", data]
    run([*argv, "-X", "none", "-c", "fast", "--no-sync", "--no-manifest"], timeout=120)
    hand_over(data)
    return data


@dataclass(frozen=True, slots=True)
class Disaster:
    """A cluster whose server is gone: a copy from before four rows, and the archive with all of them."""

    copy: Path
    segments: list[str]  # of the four rows
    system_identifier: int


def strike(server: ServerFactory, major: int, archive: Archive) -> Disaster:
    """Archive, copy, write four rows in four segments, and lose the server."""
    one = archiving(server, major, archive)
    one.sql("CREATE TABLE rows (number int)")
    copy = copy_of(one, server.directory())
    segments = [insert_row(one, number) for number in (1, 2, 3, 4)]
    system_identifier = system_of(one.data)
    for name in segments:  # a batch may finish its last one first
        wait_archived(archive, system_identifier, name)
    one.kill()
    return Disaster(copy, segments, system_identifier)


def recovery_settings(fetch: Sequence[str], *, follows: bool = False) -> dict[str, str]:
    """Settings to recover by `fetch` behind the guard."""
    return {"restore_command": restore_command(fetch, follows=follows), "archive_mode": "off"}
