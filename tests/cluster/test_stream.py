"""`pgvault wal stream` on real servers: nothing is lost that a server acknowledged a few seconds ago."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvault.errors import AlreadyRunning, ServerUnfit
from pgvault.postgres.lsn import MIB
from pgvault.repository.catalog import read_catalog
from tests.archive import archive_command, pgvault
from tests.cluster.streams import EVERY_SECONDS, Streamed, make_streamed, wait_gone, write_stream_config
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import failed_count, wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture
def streamed(server: ServerFactory, tmp_path: Path) -> Iterator[Streamed]:
    """A server of the newest major, ready to be streamed."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    made = make_streamed(server, tmp_path, NEWEST)
    try:
        yield made
    finally:
        made.kill()


def test_finished_segments_arrive_and_the_rest_as_tails(streamed: Streamed) -> None:
    """Segments are archived as they finish, what is unfinished is stored; a SIGTERM ends it all within 10 s, with 0.

    The role has the REPLICATION attribute and nothing else.
    """
    streamed.server.sql("CREATE ROLE streamer LOGIN REPLICATION")
    write_stream_config(streamed, streamed.server.dsn_of("streamer"))
    streamed.start_streaming("--beacon", "1s")
    streamed.write(3)
    streamed.wait_archived_to(streamed.current().number - 1)
    wait_until(lambda: streamed.current().name in streamed.tails(), seconds=EVERY_SECONDS + 5)
    streamed.write()
    streamed.wait_archived_to(streamed.current().number - 1)
    wait_until(lambda: streamed.current().name not in streamed.tails(), seconds=EVERY_SECONDS + 5)

    started = time.monotonic()
    assert streamed.stop() == 0
    assert time.monotonic() - started < 10
    assert "everything received is archived" in streamed.log()
    assert streamed.is_contiguous()


def test_killed_supervisor_leaves_no_receiver(streamed: Streamed) -> None:
    """kill -9 of the supervisor, of pg_receivewal, of the server: whatever dies, the archive stays without a hole."""
    streamed.start_streaming()
    streamed.write(2)
    receiver = streamed.receiver_pid()
    streamed.kill()
    wait_gone(receiver)
    streamed.write(3)

    streamed.start_streaming()
    streamed.write(1)
    os.kill(streamed.receiver_pid(), signal.SIGKILL)
    streamed.write(2)
    streamed.wait_for("(?s)pg_receivewal ended.*streaming from")
    streamed.server.kill()
    streamed.server.start()
    streamed.write(2)
    streamed.wait_for("(?s)pg_receivewal ended.*pg_receivewal ended.*streaming from")

    streamed.wait_archived_to(streamed.current().number - 1)
    assert streamed.is_contiguous()
    assert streamed.gaps() == ()


def test_wiped_spool_is_healed_from_the_server(streamed: Streamed) -> None:
    """Segments that the slot has let go and that never reached the repository are fetched again."""
    streamed.start_streaming()
    streamed.write(2)
    streamed.wait_archived_to(streamed.current().number - 1)
    last = streamed.archived()[-1]
    streamed.freeze()
    streamed.write(3)
    wait_until(lambda: streamed.reserved() > last + 2)
    streamed.kill()
    for path in streamed.received.glob("0" * 7 + "1*"):
        path.unlink()

    streamed.start_streaming()
    streamed.wait_archived_to(streamed.current().number - 1)

    assert streamed.is_contiguous()
    assert streamed.gaps() == ()


@pytest.mark.endurance
def test_dropped_slot_is_made_anew(streamed: Streamed) -> None:
    """Without its slot the stream goes on where it was, as long as the server still has that WAL."""
    streamed.start_streaming()
    streamed.write(2)
    streamed.wait_archived_to(streamed.current().number - 1)
    streamed.stop()
    streamed.server.sql("SELECT pg_drop_replication_slot('pgvault')")
    streamed.write(2)

    streamed.start_streaming()
    streamed.wait_archived_to(streamed.current().number - 1)

    assert "created replication slot pgvault" in streamed.log()
    assert streamed.is_contiguous()
    assert streamed.gaps() == ()


@pytest.mark.endurance
def test_lost_slot_is_a_gap_and_a_backup(streamed: Streamed) -> None:
    """A slot that was invalidated: what is gone is recorded, a full backup is taken, and the stream goes on."""
    write_stream_config(streamed, streamed.dsn, on_gap="backup")
    streamed.server.restart({"max_slot_wal_keep_size": "4MB", "min_wal_size": "2MB", "max_wal_size": "4MB"})
    streamed.start_streaming()
    streamed.write(2)
    streamed.wait_archived_to(streamed.current().number - 1)
    last = streamed.archived()[-1]
    streamed.server.sql("SELECT pg_create_restore_point('in a tail')")
    time.sleep(0.5)
    streamed.stop()
    streamed.write(12)
    streamed.server.sql("CHECKPOINT")
    wait_until(lambda: streamed.server.value("SELECT wal_status FROM pg_replication_slots") == "lost")
    streamed.write(12)
    streamed.server.sql("CHECKPOINT")

    streamed.start_streaming()
    streamed.wait_for("took a full backup after a gap")

    assert re.search("ERROR WAL from .* is lost", streamed.log())
    (gap,) = streamed.gaps()
    assert (last + 1) * MIB < gap.start_lsn.value < (last + 2) * MIB  # behind what the tail holds
    assert "was invalidated" in gap.cause
    (backup,) = read_catalog(streamed.archive.repository, "main").backups
    assert backup.start_lsn >= gap.end_lsn
    streamed.stop()
    streamed.start_streaming()
    streamed.write()
    streamed.wait_archived_to(streamed.current().number - 1)
    assert "lost" not in streamed.log()
    assert "taking" not in streamed.log()


@pytest.mark.endurance
def test_archive_command_and_stream(streamed: Streamed) -> None:
    """Both may archive the same segments: no conflict, no complaint of either."""
    streamed.server.sql(f"ALTER SYSTEM SET archive_command = '{archive_command(streamed.archive)}'")
    streamed.server.sql("SELECT pg_reload_conf()")
    streamed.start_streaming()
    streamed.write(4)
    streamed.server.sql("CREATE TABLE more (number int)")
    streamed.write(2)
    streamed.wait_archived_to(streamed.current().number - 1)
    wait_until(lambda: streamed.server.value("SELECT last_archived_wal FROM pg_stat_archiver") is not None)

    assert streamed.stop() == 0
    assert "ERROR" not in streamed.log()
    assert failed_count(streamed.server) == 0


def test_refusals(streamed: Streamed) -> None:
    """A role that may not stream is told what lets it; a second stream of one spool ends with 40."""
    streamed.server.sql('CREATE ROLE "no one" LOGIN')
    write_stream_config(streamed, streamed.server.dsn.replace("user=postgres", "user='no one'"))
    unfit = pgvault("--config", streamed.archive.config, "wal", "stream")
    write_stream_config(streamed, streamed.server.dsn)
    streamed.start_streaming()
    second = pgvault("--config", streamed.archive.config, "wal", "stream")

    assert unfit.status == ServerUnfit.exit_code
    assert 'ALTER ROLE "no one" REPLICATION;' in unfit.errors
    assert second.status == AlreadyRunning.exit_code
    assert "another pgvault wal stream uses the spool" in second.errors


@pytest.mark.endurance
def test_store_away(streamed: Streamed) -> None:
    """While the repository does not answer the spool grows, also across a restart of the server; said once."""
    streamed.start_streaming()
    streamed.write(2)
    streamed.wait_archived_to(streamed.current().number - 1)
    streamed.archive.root.rename(streamed.directory / "away")
    streamed.write(3)
    streamed.server.restart()
    streamed.wait_for("(?s)pg_receivewal ended.*streaming from")
    streamed.write(3)
    wait_until(lambda: len(list(streamed.received.glob("0" * 7 + "1*"))) > 5)
    (streamed.directory / "away").rename(streamed.archive.root)
    streamed.wait_archived_to(streamed.current().number - 1)

    assert streamed.is_contiguous()
    assert streamed.log().count("WARNING the repository") == 1
    assert "aside" not in streamed.log()
    assert streamed.stop() == 0


def test_nothing_is_stored_where_the_repository_is_no_more(streamed: Streamed) -> None:
    """A bucket that somebody emptied, a wrong mount: the spool lets nothing go until the repository is back."""
    streamed.start_streaming()
    streamed.write(1)
    streamed.wait_archived_to(streamed.current().number - 1)
    root, away = streamed.archive.root, streamed.directory / "away"
    away.mkdir()
    for entry in root.iterdir():
        entry.rename(away / entry.name)
    streamed.write(3)
    streamed.wait_for("holds no repository any more", seconds=10)
    time.sleep(1)
    assert [found for found in root.rglob("*") if found.is_file()] == []
    for entry in root.iterdir():
        shutil.rmtree(entry)
    for entry in away.iterdir():
        entry.rename(root / entry.name)

    streamed.wait_archived_to(streamed.current().number - 1)
    assert streamed.is_contiguous()
    assert streamed.stop() == 0


def test_stopping_while_the_store_is_away_claims_nothing(streamed: Streamed) -> None:
    """Also where no segment is finished: the tail is in the spool only, and the log says so."""
    streamed.start_streaming()
    streamed.server.sql("CREATE TABLE lost (number int)")
    wait_until(lambda: bool(streamed.tails()))
    streamed.archive.root.rename(streamed.directory / "away")
    streamed.server.sql("CREATE TABLE unseen (number int)")
    streamed.wait_received()

    assert streamed.stop() == 0

    assert "stopped with an unfinished segment" in streamed.log()
    assert "everything received is archived" not in streamed.log()


@pytest.mark.endurance
def test_odd_partial_is_kept_and_received_again(streamed: Streamed) -> None:
    """A .partial of an odd size, which pg_receivewal would refuse for ever, is put into quarantine, whole."""
    streamed.start_streaming()
    streamed.server.sql("CREATE TABLE begun (number int)")
    streamed.wait_archived_to(streamed.current().number - 1)
    streamed.kill()
    (partial,) = streamed.received.glob("*.partial")
    content = partial.read_bytes()[:100_000]
    partial.write_bytes(content)

    streamed.start_streaming()
    streamed.write()
    streamed.wait_archived_to(streamed.current().number - 1)

    assert (streamed.received / "quarantine" / partial.name).read_bytes() == content
    assert streamed.is_contiguous()


@pytest.mark.endurance
def test_slot_of_another_receiver(streamed: Streamed) -> None:
    """While another receiver holds the slot the stream says so and waits; it takes over when the slot is free."""
    streamed.start_streaming()
    first = streamed.process

    streamed.start("--spool", str(streamed.directory / "other"))
    streamed.wait_for("streaming waits: replication slot 'pgvault' is in use by server process")
    assert first is not None
    first.terminate()
    assert first.wait(15) == 0
    streamed.wait_for("streaming from")
