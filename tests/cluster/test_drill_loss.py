"""What a drill says would be lost, beside the truth that clients of a killed server know: minutes of real servers."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pgvault.drill.report import store_report
from pgvault.errors import DrillNotRun
from pgvault.instants import say_seconds
from tests.archive import Archive, make_archive
from tests.cli.here import pgvault, pgvault_json
from tests.cluster.streams import make_streamed
from tests.drill.reports import past_report
from tests.servers import NEWEST, Server, ServerFactory
from tests.wal.servers import archiving, system_of, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

TABLES = ("a", "b", "c")
CHECKS = [
    {"name": table, "query": f"SELECT count(*) FROM {table}", "threshold": 1e9, "allow_empty": True} for table in TABLES
]
AGREES = timedelta(seconds=1)


@dataclass(slots=True)
class Client:
    """Commits numbered rows as fast as it can, and notes between what times, by the server's clock, each commit was."""

    dsn: str
    table: str
    acknowledged: list[tuple[datetime, datetime]] = field(default_factory=list)  # by number; the server is on this host

    def run(self) -> None:
        """Commit until the server is gone."""
        insert = sql.SQL("INSERT INTO {} VALUES (%s, repeat('x', 1500)) RETURNING clock_timestamp()").format(
            sql.Identifier(self.table)
        )
        try:
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                while True:
                    row = connection.execute(insert, [len(self.acknowledged)]).fetchone()
                    assert row is not None
                    self.acknowledged.append((row[0].astimezone(UTC), datetime.now(UTC)))
        except psycopg.OperationalError:
            return


@dataclass(slots=True)
class Load:
    """Three clients at once."""

    clients: list[Client]
    threads: list[threading.Thread]

    @classmethod
    def start(cls, server: Server) -> Load:
        clients = [Client(server.dsn, table) for table in TABLES]
        threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
        for thread in threads:
            thread.start()
        return cls(clients, threads)

    def kill(self, server: Server) -> datetime:
        """kill -9 of the server; return the moment of it."""
        at = datetime.now(UTC)
        server.kill()
        for thread in self.threads:
            thread.join(60)
        assert all(len(client.acknowledged) > 20 for client in self.clients)
        return at

    def truth(self, counts: Sequence[int], failed_at: datetime) -> tuple[timedelta, timedelta]:
        """Return the loss since the first commit that is not in the copy, and since the last one that is.

        Nothing was committed in between, so that up to either of them every acknowledged commit is there.
        """
        split = list(zip(self.clients, counts, strict=True))
        lost = [at for client, count in split for _, at in client.acknowledged[count:]]
        kept = [at for client, count in split for at, _ in client.acknowledged[:count]]
        return failed_at - min(lost, default=failed_at), failed_at - max(kept)


def configure(archive: Archive, path: Path, dsn: str, scratch: Path, **copies: Path) -> Path:
    """Write a configuration with the given copies; JSON is YAML."""
    document = {
        "repository": {"key": f"file:{archive.key}", "copies": {n: {"url": p.as_uri()} for n, p in copies.items()}},
        "clusters": {"main": {"dsn": dsn, "checks": CHECKS, "drill": {"scratch": str(scratch)}}},
    }
    path.write_text(json.dumps(document))
    return path


def counts(report: dict[str, Any]) -> list[int]:
    """How many rows of each client were restored."""
    measured = {check["name"]: check["measured"] for check in report["checks"]}
    return [int(measured[table]) for table in TABLES]


def assert_agrees(report: dict[str, Any], load: Load, failed_at: datetime) -> None:
    """The RPO that was measured is the loss that the clients know of, within a second."""
    least, most = load.truth(counts(report), failed_at)
    rpo = timedelta(seconds=report["rpo_seconds"])

    assert least - AGREES <= rpo <= most + AGREES, (least, rpo, most)


@dataclass(frozen=True, slots=True)
class Lost:
    """A server that archived, was killed under load, and what is left."""

    archive: Archive
    load: Load
    failed_at: datetime
    config: Path  # of three copies: one whole, one that is behind, one that is not there
    system_identifier: int


@pytest.fixture(scope="module")
def lost(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    """Killed in the middle of a segment; the second copy lacks the last two segments."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory, directory = ServerFactory(templates), tmp_path_factory.mktemp("lost")
    try:
        archive = make_archive(directory)
        server = archiving(factory, NEWEST, archive, wal_segsize_mib=1)
        system = system_of(server.data)
        for table in TABLES:
            server.sql(f"CREATE TABLE {table} (number int, filler text)")
        alone = configure(archive, directory / "one.yaml", server.dsn, factory.directory(), primary=archive.root)
        assert pgvault("--config", alone, "backup").status == 0
        before = len(archive.names(system))
        load = Load.start(server)
        wait_until(lambda: len(archive.names(system)) >= before + 4, seconds=120)
        failed_at = load.kill(server)
        second = directory / "second"
        shutil.copytree(archive.root, second)
        for name in archive.names(system)[-2:]:
            (second / archive.object_path(name, system).relative_to(archive.root)).unlink()
        config = configure(
            archive,
            directory / "copies.yaml",
            server.dsn,
            factory.directory(),
            primary=archive.root,
            second=second,
            third=directory / "nowhere",
        )
        yield Lost(archive, load, failed_at, config, system)
    finally:
        factory.clear()


def test_what_the_archive_lost(lost: Lost) -> None:
    """kill -9 under load: what a drill says would be lost is what is lost, of each copy; the dead one is told of."""
    report = pgvault_json("--config", lost.config, "drill", "--failed-at", lost.failed_at.isoformat())

    assert report["passed"], report["error"]
    assert_agrees(report, lost.load, lost.failed_at)
    assert report["rpo"]["failure_at"] == lost.failed_at.isoformat()
    copies = {each["copy"]: each for each in report["rpo_by_copy"]}
    assert (copies["primary"]["rpo_seconds"], copies["primary"]["method"]) == (
        report["rpo_seconds"],
        "replayed by this drill",
    )
    assert copies["second"]["rpo_seconds"] > report["rpo_seconds"]
    assert copies["third"]["rpo_seconds"] is None
    assert "nowhere' of the store does not exist" in copies["third"]["method"]
    assert any(warning.startswith("copy 'third'") for warning in report["warnings"])

    alone = pgvault_json(
        "--config", lost.config, "drill", "--only-copy", "second", "--failed-at", lost.failed_at.isoformat()
    )

    assert alone["passed"], alone["error"]
    assert_agrees(alone, lost.load, lost.failed_at)
    assert counts(alone) < counts(report)
    assert alone["rpo_seconds"] == copies["second"]["rpo_seconds"]  # what was planned is what a restore gives
    assert {each["copy"]: each["method"] for each in alone["rpo_by_copy"]} == {
        "second": "replayed by this drill",
        "primary": "not asked: only second may be touched",
    }
    assert alone["warnings"] == []


def test_a_plan_says_what_to_expect(lost: Lost) -> None:
    """restore --dry-run: from the drills there were, once they are ten."""
    words = ("--config", lost.config, "restore", "--to", "latest", "--dry-run")
    before = pgvault_json(*words)
    for number in range(10):
        store_report(lost.archive.repository, past_report(number))

    after, told = pgvault_json(*words), pgvault(*words)

    assert before["forecast"] is None
    assert before["forecast_note"].endswith("drills tell too little; it takes 10")
    assert after["forecast"]["drills"] >= 10
    assert after["forecast"]["rto_seconds"] == pytest.approx(sum(after["forecast"]["phases"].values()), abs=0.002)
    assert f"takes       fetch {say_seconds(after['forecast']['phases']['fetch'])}, replay" in told.output


def test_a_failure_that_was_none(lost: Lost) -> None:
    """Before the last commit that is stored the server did not fail: nothing is restored, and nothing is proven."""
    early = lost.failed_at - timedelta(hours=1)

    report = pgvault_json(
        "--config", lost.config, "drill", "--failed-at", early.isoformat(), status=DrillNotRun.exit_code
    )

    assert "the server did not fail at" in report["error"]
    assert list(report["phases"]) == ["plan"]


def test_what_the_stream_lost(server: ServerFactory, tmp_path: Path) -> None:
    """kill -9 of a streamed server under load: next to nothing is lost, and the drill says so."""
    streamed = make_streamed(server, tmp_path, NEWEST)
    for table in TABLES:
        streamed.server.sql(f"CREATE TABLE {table} (number int, filler text)")
    streamed.start_streaming()
    try:
        streamed.backup()
        load = Load.start(streamed.server)
        wait_until(lambda: all(len(client.acknowledged) > 200 for client in load.clients), seconds=120)
        failed_at = load.kill(streamed.server)
        streamed.wait_for("pg_receivewal ended")
        assert streamed.stop() == 0
    finally:
        streamed.kill()
    path = tmp_path / "drill.yaml"
    config = configure(streamed.archive, path, streamed.server.dsn, server.directory(), primary=streamed.archive.root)

    report = pgvault_json("--config", config, "drill", "--failed-at", failed_at.isoformat())

    assert report["passed"], report["error"]
    assert_agrees(report, load, failed_at)
