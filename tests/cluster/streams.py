"""A server that is streamed: `pgvault wal stream` as a process of its own, as systemd runs it."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from pgvault.postgres.control import CONTROL_PATH, read_control
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.owner import hand_over
from pgvault.postgres.walname import WalSegment
from pgvault.process import run
from pgvault.repository import layout
from pgvault.repository.gaps import GapRecord, read_gaps
from tests.archive import Archive, bare_environment, make_archive, pgvault, program
from tests.servers import Server, ServerFactory
from tests.wal.servers import wait_until

# Segments are small, so that tests have many. Nothing is archived but by the stream: the command only says yes.
SETTINGS = {"archive_mode": "on", "archive_command": "/bin/true", "max_wal_size": "64MB"}
EVERY_SECONDS = 2


@dataclass(slots=True)
class Streamed:
    """A server, its repository, and the stream between them."""

    factory: ServerFactory
    server: Server
    archive: Archive
    directory: Path
    dsn: str
    segment_size: int = MIB
    system_identifier: int = 0
    process: subprocess.Popen[bytes] | None = None
    logs: list[Path] = field(default_factory=list)

    @property
    def spool(self) -> Path:
        return self.directory / "spool"

    @property
    def received(self) -> Path:
        """Where pg_receivewal writes."""
        return self.spool / str(self.system_identifier)

    def start(self, *options: str) -> None:
        """Start the stream."""
        log = self.directory / f"stream-{len(self.logs)}.log"
        self.logs.append(log)
        words = [*program(), "--config", str(self.archive.config), "wal", "stream", *options]
        with log.open("wb") as sink:
            self.process = subprocess.Popen(words, stdout=sink, stderr=sink, env=bare_environment())

    def start_streaming(self, *options: str) -> None:
        """Start the stream and wait until it streams."""
        self.start(*options)
        self.wait_for("streaming from")

    def log(self) -> str:
        """What the running, or last, stream has said."""
        return self.logs[-1].read_text()

    def wait_for(self, text: str, *, seconds: float = 30) -> None:
        """Wait until the stream says something."""
        deadline = time.monotonic() + seconds
        while not re.search(text, self.log()):
            assert time.monotonic() < deadline, f"{text!r} was not said:\n{self.log()}"
            assert self.process is None or self.process.poll() is None, self.log()
            time.sleep(0.05)

    def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def freeze(self) -> None:
        """Let the supervisor stand still, while pg_receivewal goes on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """kill -9, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def receiver_pid(self) -> int:
        """The pg_receivewal that the stream has started."""
        return int((self.spool / "receiver.pid").read_text().split()[0])

    def write(self, segments: int = 1) -> None:
        """Write and finish that many segments."""
        for _ in range(segments):
            self.server.sql("SELECT pg_create_restore_point('filled')")
            self.server.sql("SELECT pg_switch_wal()")

    def current(self) -> WalSegment:
        """The segment that is being written."""
        timeline, number = self.server.sql(
            "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn() + 1), 8))::bit(32)::int,"
            f" floor((pg_current_wal_lsn() - '0/0') / {self.segment_size})::bigint"
        )[0]
        return WalSegment(int(str(timeline)), int(str(number)), self.segment_size)

    def reserved(self) -> int:
        """The number of the first segment that the slot keeps."""
        (number,) = self.server.sql(f"SELECT floor((restart_lsn - '0/0') / {MIB})::bigint FROM pg_replication_slots")[0]
        return int(str(number))

    def archived(self, timeline: int = 1) -> list[int]:
        """The numbers of the archived segments of a timeline."""
        store = self.archive.repository.deciding.store
        prefix = layout.wal("main", self.system_identifier)
        names = [name for one in store.children(prefix) for name in store.children(f"{prefix}/{one}")]
        segments = [WalSegment.parse(name, self.segment_size) for name in names if len(name) == 24]
        return sorted(segment.number for segment in segments if segment.timeline == timeline)

    def wait_received(self) -> None:
        """Wait until pg_receivewal has written what the server has written (it reports that only now and then)."""
        current = self.current()
        end = Lsn.parse(str(self.server.value("SELECT pg_current_wal_flush_lsn()"))) - current.start_lsn
        written = (self.server.data / "pg_wal" / current.name).read_bytes()[:end]
        partial = self.received / f"{current.name}.partial"
        # It may still be at work on the segment before.
        wait_until(lambda: partial.exists() and partial.read_bytes()[:end] == written)

    def wait_archived_to(self, number: int, *, timeline: int = 1, seconds: float = 30) -> None:
        """Wait until the segment of that number is archived."""
        deadline = time.monotonic() + seconds
        while number not in self.archived(timeline):
            assert time.monotonic() < deadline, f"{number} not in {self.archived(timeline)}\n{self.log()}"
            time.sleep(0.1)

    def is_contiguous(self, timeline: int = 1) -> bool:
        """No hole between the first and the last archived segment."""
        numbers = self.archived(timeline)
        return bool(numbers) and numbers == list(range(numbers[0], numbers[-1] + 1))

    def tails(self) -> list[str]:
        """The segments that have stored tails."""
        store = self.archive.repository.deciding.store
        prefix = layout.wal("main", self.system_identifier)
        names = [name for one in store.children(prefix) for name in store.children(f"{prefix}/{one}")]
        return [name.removesuffix(".tail") for name in names if name.endswith(".tail")]

    def gaps(self) -> tuple[GapRecord, ...]:
        return read_gaps(self.archive.repository, "main", self.system_identifier)

    def backup(self) -> None:
        """Take a backup by the command."""
        finished = pgvault("--config", self.archive.config, "backup", timeout=90)
        assert finished.status == 0, finished.errors

    def restore(self, *words: str) -> Server:
        """Restore, and start a server on the result that is open for writing."""
        directory = self.factory.directory() / "restored"
        finished = pgvault("--config", self.archive.config, "restore", *words, directory, timeout=120)
        assert finished.status == 0, finished.errors
        server = self.factory.adopt(self.server.programs, directory)
        server.instance.wait_ready(60)
        return server


def make_streamed(factory: ServerFactory, directory: Path, major: int, **settings: str) -> Streamed:
    """A server and a repository that nothing connects yet."""
    archive = make_archive(directory)
    server = factory(major, settings=SETTINGS | settings, wal_segsize_mib=1)
    streamed = Streamed(factory, server, archive, directory, server.dsn)
    streamed.system_identifier = read_control(server.data / CONTROL_PATH).system_identifier
    write_stream_config(streamed, server.dsn)
    return streamed


def write_stream_config(
    streamed: Streamed, dsn: str, *, every: str = f"{EVERY_SECONDS}s", on_gap: str = "record"
) -> None:
    """Write the configuration of a streamed cluster."""
    streamed.dsn = dsn
    quoted = dsn.replace("'", "''")
    streamed.archive.config.write_text(
        f"repository:\n  key: file:{streamed.archive.key}\n"
        f"  copies:\n    primary: {{url: '{streamed.archive.root.as_uri()}'}}\n"
        "clusters:\n  main:\n"
        f"    dsn: '{quoted}'\n"
        f"    stream: {{spool: '{streamed.spool}', every: {every}, on_gap: {on_gap}}}\n"
    )


def standby_of(factory: ServerFactory, primary: Server, **settings: str) -> Server:
    """A running standby that streams from `primary`, or from whom the settings say."""
    data = factory.directory() / "data"
    argv: list[str | Path] = [primary.programs.path("pg_basebackup"), "-d", primary.dsn, "-D", data]
    run([*argv, "-X", "stream", "-c", "fast", "--no-sync", "--no-manifest", "-R"], timeout=120)
    hand_over(data)
    return factory.adopt(primary.programs, data, settings=primary.settings | settings)


@dataclass(slots=True)
class Load:
    """Commits numbered rows, one by one, and remembers which the server has acknowledged and when."""

    dsn: str
    table: str = "rows"
    pause_seconds: float = 0.0  # between two commits
    acknowledged: list[tuple[int, float]] = field(default_factory=list)  # number, monotonic seconds

    def prepare(self) -> None:
        """Create its table."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE TABLE {} (number int, filler text)").format(sql.Identifier(self.table)))

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Commit until told, or until the server is gone."""
        insert = sql.SQL("INSERT INTO {} VALUES (%s, repeat('x', 400))").format(sql.Identifier(self.table))
        number = len(self.acknowledged)
        try:
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                while not is_over():
                    connection.execute(insert, [number])
                    self.acknowledged.append((number, time.monotonic()))
                    number += 1
                    time.sleep(self.pause_seconds)
        except psycopg.OperationalError:
            return


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_gone(pid: int, *, seconds: float = 10) -> None:
    """Wait until a process has ended."""
    wait_until(lambda: not is_alive(pid), seconds=seconds)
