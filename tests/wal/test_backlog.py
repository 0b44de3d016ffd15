from __future__ import annotations

import random
import shlex
import signal
import time
from pathlib import Path

import pytest

from pgvault.postgres.lsn import MIB
from pgvault.postgres.walname import WalSegment
from pgvault.process import Process, start
from pgvault.repository.walobjects import read_wal_bytes
from pgvault.wal.batch import ready_segments
from tests.archive import ROOT, SYSTEM, Archive, make_control, make_segment, program, small
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import failed_count, system_of, wait_until

BACKLOG = 30


def counting_command(archive: Archive, directory: Path) -> str:
    """An archive_command that leaves a line for each call that took the ordinary way: it alone loads the archiver."""
    (directory / "counted.py").write_text(
        "import sys\n"
        "from pgvault.cli import main\n"
        "if not main.is_stored(sys.argv[1:]):\n"
        f"    open({str(directory / 'calls')!r}, 'a').write(sys.argv[-1] + '\\n')\n"
        "    main.main()\n"
    )
    python = program()[:-2]
    state = f"PGVAULT_STATE={directory / 'state'}"
    words = [
        python[0],
        state,
        *python[1:],
        str(directory / "counted.py"),
        "--config",
        str(archive.config),
        "wal",
        "push",
    ]
    return f"{shlex.join(words)} %p"


@pytest.mark.cluster
@pytest.mark.skipif(not NEWEST, reason="no PostgreSQL is installed")
def test_a_backlog_arrives_by_a_few_calls(server: ServerFactory, archive: Archive, tmp_path: Path) -> None:
    """The repository was away for 30 segments; then all are there, in one piece, stored by few slow calls."""
    settings = {"archive_mode": "on", "archive_command": counting_command(archive, tmp_path)}
    one = server(NEWEST, settings=settings, wal_segsize_mib=1)
    archive.root.rename(archive.root.with_name("away"))
    one.sql("CREATE TABLE rows (number int)")
    last = ""
    for number in range(BACKLOG):
        one.sql(f"INSERT INTO rows VALUES ({number})")
        last = str(one.value("SELECT pg_walfile_name(pg_switch_wal())"))
    wait_until(lambda: failed_count(one) > 0)
    archive.root.with_name("away").rename(archive.root)
    (tmp_path / "calls").write_text("")

    wait_until(lambda: one.value("SELECT last_archived_wal FROM pg_stat_archiver") == last, seconds=90)

    system = system_of(one.data)
    segments = [WalSegment.parse(name, MIB).number for name in archive.names(system) if len(name) == 24]
    assert segments == list(range(segments[0], WalSegment.parse(last, MIB).number + 1))
    assert len(segments) >= BACKLOG
    kept = [path for path in (one.data / "pg_wal").glob("0" * 7 + "?" * 17) if path.name <= last]
    assert kept
    for path in kept:
        assert read_wal_bytes(archive.repository, "main", system, path.name)[1] == path.read_bytes()
    assert 1 <= len((tmp_path / "calls").read_text().splitlines()) <= 6


class Archiver:
    """What the server's archiver does, with a push that is killed now and then: no server is harmed."""

    def __init__(self, archive: Archive, directory: Path, count: int) -> None:
        self.archive = archive
        self.data = directory / "data"
        self.state = directory / "state"
        self.log = directory / "log"
        (self.data / "global").mkdir(parents=True)
        (self.data / "global/pg_control").write_bytes(make_control())
        self.pg_wal = self.data / "pg_wal"
        (self.pg_wal / "archive_status").mkdir(parents=True)
        self.names = [small(number).name for number in range(1, count + 1)]
        for number, name in enumerate(self.names, start=1):
            (self.pg_wal / name).write_bytes(make_segment(small(number), fill=bytes([number % 256])))
            (self.pg_wal / "archive_status" / f"{name}.ready").touch()

    def push(self, name: str) -> Process:
        argv = [*program(), "--config", str(self.archive.config), "wal", "push", f"pg_wal/{name}"]
        env = {"PGVAULT_STATE": str(self.state), "PYTHONPATH": str(ROOT)}
        return start(argv, env=env, log=self.log, cwd=self.data)

    def archive_all(self, kills: int, *, chance: random.Random) -> None:
        """Call for every segment in turn until it is archived; only then it is `.done`, and gone."""
        while waiting := ready_segments(self.pg_wal / "none"):
            name = waiting[0]
            child = self.push(name)
            if kills:
                kills -= 1
                time.sleep(chance.random() ** 2 * 0.9)
                child.signal(signal.SIGKILL)
            if child.wait(60) == 0:
                (self.pg_wal / "archive_status" / f"{name}.ready").rename(
                    self.pg_wal / "archive_status" / f"{name}.done"
                )
                (self.pg_wal / name).rename(self.pg_wal / f"recycled-{name}")


@pytest.mark.parametrize(("count", "kills"), [(40, 5), pytest.param(150, 60, marks=pytest.mark.endurance)])
def test_kills_at_any_moment_lose_nothing(archive: Archive, tmp_path: Path, count: int, kills: int) -> None:
    """What was acknowledged is stored with its content, whoever was killed whenever; nothing sticks."""
    archiver = Archiver(archive, tmp_path, count)

    archiver.archive_all(kills, chance=random.Random(3))

    assert archive.names(SYSTEM) == archiver.names
    for name in archiver.names:
        _, content = read_wal_bytes(archive.repository, "main", SYSTEM, name)
        assert content == (archiver.pg_wal / f"recycled-{name}").read_bytes()
    assert "Traceback" not in archiver.log.read_text()


def test_two_archivers_at_once_disturb_each_other_in_nothing(archive: Archive, tmp_path: Path) -> None:
    """An orphaned call beside a new one, both with the same batch: both succeed, all is there once."""
    archiver = Archiver(archive, tmp_path, 12)

    both = [archiver.push(archiver.names[0]), archiver.push(archiver.names[1])]

    assert [child.wait(60) for child in both] == [0, 0]
    assert archive.names(SYSTEM) == archiver.names
    assert archiver.push(archiver.names[5]).wait(60) == 0
