"""The demo: everything an operator hopes never to need, done once on a throw-away cluster.

    start ─► load the shop ─► back up ─► keep writing ─► DROP TABLE orders ─► restore to just before
          ─► bring the table back into production ─► drill: is everything right now, how fast, how much would be lost?

Nothing is staged: a real server archives through `pgvault wal push`, the restore fetches through `pgvault wal fetch`,
and the figures of the closing line are the drill's.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from pgvault.amounts import say_bytes
from pgvault.backup.take import BackupRequest, take_backup
from pgvault.checks.measure import run_check
from pgvault.config import Objectives
from pgvault.demo import shop
from pgvault.drill.isolation import IsolationWish
from pgvault.drill.report import DrillReport
from pgvault.drill.rpo import FailureMoment
from pgvault.drill.run import DrillRequest, run_drill
from pgvault.errors import DrillFailed
from pgvault.instants import Clock, iso
from pgvault.postgres.instance import Instance, init_cluster
from pgvault.postgres.programs import Programs, newest_programs
from pgvault.postgres.server import Session
from pgvault.process import run
from pgvault.progress import Progress
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import LatestTarget, TimeTarget
from pgvault.repository.repository import Repository
from pgvault.restore.apply import Fetching
from pgvault.restore.files import Effort
from pgvault.restore.run import Ending, RestoreOrder, restore

CLUSTER = "main"
START_SECONDS = 60.0
PROGRAM_SECONDS = 300.0
ARCHIVE_WAIT = timedelta(seconds=60)
JOBS = 2
CUSTOMERS = 5_000
ORDERS = 20_000
OBJECTIVES = Objectives(rpo=timedelta(minutes=15), rto=timedelta(hours=4))
SERVER_SETTINGS: Mapping[str, str] = {"archive_mode": "on", "archive_timeout": "60s", "shared_buffers": "64MB"}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done."""

    name: str
    seconds: float
    detail: str


@dataclass(slots=True)
class DemoReport:
    """What the demo did and measured."""

    directory: Path
    postgres: str
    steps: list[Step] = field(default_factory=list)
    drill: DrillReport | None = None

    @property
    def passed(self) -> bool:
        """The drill at its end did."""
        return self.drill is not None and self.drill.passed

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        drill = None if self.drill is None else self.drill.to_json()
        return {
            "passed": self.passed,
            "postgres": self.postgres,
            "directory": str(self.directory),
            "rto_seconds": drill and drill["rto_seconds"],
            "rpo_seconds": drill and drill["rpo_seconds"],
            "steps": [{"name": s.name, "seconds": round(s.seconds, 3), "detail": s.detail} for s in self.steps],
            "drill": drill,
        }


@dataclass(frozen=True, slots=True)
class DemoHost:
    """What the command line gives the demo: where it runs, and how to make and open its repository."""

    directory: Path  # private and empty; its path is short
    config: Path  # of the configuration that was written for it
    open_repository: Callable[[str], Repository]  # given the dsn: writes the configuration, initialises, opens
    source: Mapping[str, Any]  # the repository's source, for wal fetch
    clock: Clock
    progress: Progress
    told: Callable[[Step], None]  # called after each step
    recording: Callable[[Repository, str], AbstractContextManager[dict[str, Any]]]  # in the audit chain, with details
    recorded_drill: Callable[[Repository, Callable[[], DrillReport]], DrillReport]  # the same, of a drill


def run_demo(host: DemoHost) -> DemoReport:
    """Run the whole demo; servers are stopped whatever happens, the directory is the caller's."""
    programs = newest_programs()
    report = DemoReport(host.directory, programs.minor_text)
    with ExitStack() as stack:
        _Demo(host, programs, report, stack).run()
    return report


class _Demo:
    """One demo under way."""

    def __init__(self, host: DemoHost, programs: Programs, report: DemoReport, stack: ExitStack) -> None:
        self._host = host
        self._programs = programs
        self._report = report
        self._stack = stack

    def run(self) -> None:
        with self._step("start a PostgreSQL that archives through pgvault") as tell:
            production = self._production()
            repository = self._host.open_repository(production.dsn)
            tell(f"PostgreSQL {self._report.postgres} in {production.data}")
        with self._step("load the shop") as tell:
            tell(self._load(production.dsn))
        with self._step("back up") as tell:
            tell(self._back_up(repository, production))
        with self._step("keep writing") as tell:
            tell(self._write_orders(production.dsn))
        with self._step("DROP TABLE orders") as tell:
            before, lost = self._drop(production.dsn)
            tell(f"{lost} orders gone right after {iso(before)}")
        with self._step("restore to just before") as tell:
            restored = self._restore(repository, production, before)
            tell(f"in {restored}")
        with self._step("bring the table back") as tell:
            tell(self._bring_back(production, restored, lost))
        with self._step("drill") as tell:
            drill = self._report.drill = self._drill(repository, production)
            tell(f"report {drill.id}, {len(drill.checks)} checks; {drill.isolation}")

    @contextmanager
    def _step(self, name: str) -> Iterator[Callable[[str], None]]:
        details: list[str] = []
        self._host.progress.phase(name)
        began = self._host.clock.monotonic()
        yield details.append
        step = Step(name, self._host.clock.monotonic() - began, " ".join(details))
        self._report.steps.append(step)
        self._host.told(step)

    def _instance(self, data: Path, name: str, settings: Mapping[str, str]) -> Instance:
        sockets = self._host.directory / name
        sockets.mkdir(mode=0o700)
        instance = Instance(self._programs, data, sockets, self._host.directory / f"{name}.log")
        self._stack.callback(instance.kill)
        instance.start(settings)
        instance.wait_ready(START_SECONDS)
        return instance

    def _production(self) -> Instance:
        data = self._host.directory / "production"
        init_cluster(self._programs, data)
        push = f'"{sys.executable}" -m pgvault --config "{self._host.config}" wal push "%p"'
        return self._instance(data, "s", {**SERVER_SETTINGS, "archive_command": push})

    def _load(self, dsn: str) -> str:
        shop.fill(dsn, customers=CUSTOMERS, orders=ORDERS)
        return f"{CUSTOMERS} customers, {ORDERS} orders; {self._checked(dsn)}"

    def _checked(self, dsn: str) -> str:
        """Run the shop's checks on a live server. Raises DrillFailed unless all of them pass."""
        results = [run_check(dsn, check, database="postgres") for check in shop.CHECKS]
        failed = [result for result in results if not result.passed]
        if failed:
            raise DrillFailed(f"check {failed[0].name!r} fails: {failed[0].detail}")
        return f"{len(results)} checks pass"

    def _back_up(self, repository: Repository, production: Instance) -> str:
        request = BackupRequest(CLUSTER, None, JOBS, ARCHIVE_WAIT)
        with self._host.recording(repository, "backup") as details, Session(production.dsn) as session:
            manifest = take_backup(repository, session, request, clock=self._host.clock, progress=self._host.progress)
            details.update(label=manifest.label, size_bytes=manifest.total_bytes, stored_bytes=manifest.stored_bytes)
        return f"{manifest.label}: {say_bytes(manifest.total_bytes)}, stored {say_bytes(manifest.stored_bytes)}"

    def _write_orders(self, dsn: str) -> str:
        for _ in range(3):
            shop.sell(dsn, customers=CUSTOMERS, orders=ORDERS // 10)
            time.sleep(0.2)
        return f"{3 * ORDERS // 10} more orders, after the backup"

    def _drop(self, dsn: str) -> tuple[datetime, int]:
        """Drop the table; return the server's time just before, and how many rows it had."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute("SELECT count(*), clock_timestamp() FROM orders").fetchone()
            assert row is not None
            time.sleep(0.05)
            connection.execute("DROP TABLE orders")
        with Session(dsn) as session:
            session.switch_wal()
        return row[1].astimezone(self._host.clock.now().tzinfo), int(row[0])

    def _restore(self, repository: Repository, production: Instance, before: datetime) -> Path:
        self._wait_for_archiver(production.dsn)
        order = RestoreOrder(
            cluster=CLUSTER,
            request=RestoreRequest(TimeTarget(before, iso(before), None)),
            fetching=Fetching((sys.executable, "-m", "pgvault"), self._host.source),
            directory=self._host.directory / "restored",
            live_data=production.data,
            ending=Ending.FINISHED,
        )
        effort = Effort(JOBS, self._host.progress)
        with self._host.recording(repository, "restore") as details:
            restored = restore(repository, order, effort=effort, clock=self._host.clock)
            details.update(directory=str(restored.directory), backup=restored.prepared.plan.backup_label)
        return restored.directory

    def _wait_for_archiver(self, dsn: str) -> None:
        """Wait until the server has archived what it has finished; the restore's plan proves whether it did."""
        deadline = time.monotonic() + ARCHIVE_WAIT.total_seconds()
        with psycopg.connect(dsn, autocommit=True) as connection:
            while time.monotonic() < deadline:
                row = connection.execute(
                    "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
                ).fetchone()
                if row is not None and row[0] == 0:
                    return
                time.sleep(0.1)

    def _bring_back(self, production: Instance, restored: Path, lost: int) -> str:
        """Copy the table out of the restored cluster, started by plain postgres, into production."""
        copy = self._instance(restored, "r", {"archive_mode": "off"})
        dump = self._host.directory / "orders.sql"
        dumping: list[str | Path] = [
            self._programs.path("pg_dump"),
            "--table=orders",
            f"--file={dump}",
            f"--dbname={copy.dsn}",
        ]
        run(dumping, timeout=PROGRAM_SECONDS)
        copy.stop()
        psql: list[str | Path] = [
            self._programs.path("psql"),
            "--quiet",
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            "--single-transaction",
        ]
        run([*psql, f"--file={dump}", f"--dbname={production.dsn}"], timeout=PROGRAM_SECONDS)
        with psycopg.connect(production.dsn, autocommit=True) as connection:
            row = connection.execute("SELECT count(*) FROM orders").fetchone()
        if row is None or row[0] != lost:
            raise DrillFailed(f"{lost} orders were lost, {row and row[0]} came back")
        return f"{lost} orders are back in production; {self._checked(production.dsn)}"

    def _drill(self, repository: Repository, production: Instance) -> DrillReport:
        with Session(production.dsn) as session:
            session.switch_wal()
        self._wait_for_archiver(production.dsn)
        with Session(production.dsn) as session:
            failure = FailureMoment(session.clock(), is_server_clock=True)
        request = DrillRequest(
            cluster=CLUSTER,
            restore=RestoreRequest(LatestTarget()),
            checks=shop.CHECKS,
            objectives=OBJECTIVES,
            failure=failure,
            scratch=self._host.directory,
            timeout=timedelta(minutes=5),
            jobs=JOBS,
            isolation=IsolationWish(is_trusted=True),
        )
        return self._host.recorded_drill(
            repository, lambda: run_drill(repository, request, clock=self._host.clock, progress=self._host.progress)
        )


def make_directory(parent: Path) -> Path:
    """Make the demo's directory: private, and short enough for sockets."""
    directory = parent / f"pgvault-demo-{secrets.token_hex(3)}"
    directory.mkdir(mode=0o700, parents=True)
    return Path(os.path.realpath(directory))
