"""Backups that come to nothing: whatever broke, and whenever, none is listed and the next one works."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgvault.errors import (
    ArchiveNotWorking,
    MajorUnsupported,
    ObjectCorrupt,
    ObjectExists,
    PgvaultError,
    ServerUnfit,
    ServerUnreachable,
    SourceUnreadable,
    StoreUnreachable,
)
from pgvault.postgres.server import Session
from pgvault.process import attempt
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label
from pgvault.repository.copies import Copy
from pgvault.stores.file import FileStore
from tests.archive import ROOT, archive_command
from tests.cluster.places import OnPhase, Place, make_place, older_places_in_ci, set_archive_command
from tests.servers import NEWEST, ServerFactory

pytestmark = pytest.mark.cluster

TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgvault'"


def label_of(place: Place, before: set[str]) -> str:
    """The label that was begun since."""
    (label,) = set(place.archive.repository.deciding.store.children(layout.backups("main"))) - before
    return label


def all_labels(place: Place) -> set[str]:
    """Listed, unfinished, aborted: every label there is."""
    return set(place.archive.repository.deciding.store.children(layout.backups("main")))


@older_places_in_ci
@pytest.mark.parametrize("phase", ["copying", "waiting for WAL"])
def test_a_terminated_session_is_the_end_of_the_backup(place: Place, phase: str) -> None:
    """PostgreSQL forgot the backup; so do we, and the label can never come true (pitfall 15)."""
    before, listed = all_labels(place), place.labels()

    with pytest.raises(ServerUnreachable, match=r"was lost|terminat"):
        place.back_up_when(phase, lambda: place.server.sql(TERMINATE))

    assert place.labels() == listed
    assert label_of(place, before) in place.catalog().aborted
    assert place.backup_sessions() == 0


@older_places_in_ci
def test_time_limits_of_the_role_do_not_end_the_session(place: Place) -> None:
    """Limits that operators set for everybody, shorter than this backup (pitfall 15)."""
    limits = ["statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "lock_timeout"]
    place.server.sql("CREATE ROLE limited SUPERUSER LOGIN")
    for name in limits:
        place.server.sql(f"ALTER ROLE limited SET {name} = '300ms'")

    manifest = place.back_up(dsn=place.server.dsn_of("limited"), progress=OnPhase({"copying": lambda: time.sleep(1)}))

    assert manifest.label in place.labels()


def test_an_immediate_shutdown_is_the_end_of_the_backup(fresh: Place) -> None:
    """The server is gone in the middle of the copy."""
    with pytest.raises(ServerUnreachable, match="was lost"):
        fresh.back_up_when("copying", fresh.server.kill)

    assert fresh.labels() == []
    fresh.server.start()
    assert fresh.back_up().label in fresh.labels()


class TestArchiveCommand:
    """One that does not archive: said clearly, and within archive_wait (pitfall 18)."""

    @pytest.mark.parametrize(
        ("command", "said"),
        [
            ("/bin/true", "its archive_command stores elsewhere or nowhere"),
            ("/bin/false", r"the archiver failed \d+ times"),
            ("sleep 4", "the archiver's last success is"),
        ],
    )
    def test_nothing_arrives(self, server: ServerFactory, tmp_path: Path, command: str, said: str) -> None:
        """It says yes, it says no, it says nothing."""
        place = make_place(server, tmp_path, NEWEST)
        set_archive_command(place, command)
        began = time.monotonic()

        with pytest.raises(ArchiveNotWorking, match=said) as caught:
            place.back_up(wait_seconds=2)

        assert time.monotonic() - began < 8
        assert "did not arrive in file://" in str(caught.value)
        assert command in str(caught.value.hint)
        assert all_labels(place) == set()

    @pytest.mark.parametrize("settings", [{"archive_mode": "off"}, {"archive_command": ""}])
    def test_none_is_set(self, server: ServerFactory, tmp_path: Path, settings: dict[str, str]) -> None:
        """Refused at once."""
        place = make_place(server, tmp_path, NEWEST, **settings)

        with pytest.raises(ServerUnfit, match="does not archive WAL") as caught:
            place.back_up()

        assert "pgvault wal push %p" in str(caught.value.hint)

    @pytest.mark.endurance
    def test_one_that_breaks_while_the_backup_runs(self, fresh: Place) -> None:
        """Archiving was proven at the start, but the WAL of the end must arrive too."""
        with pytest.raises(ArchiveNotWorking, match="did not arrive"):
            fresh.back_up_when("copying", lambda: set_archive_command(fresh, "/bin/true"), wait_seconds=2)

        assert fresh.labels() == []
        assert len(fresh.catalog().aborted) == 1
        set_archive_command(fresh, archive_command(fresh.archive))
        assert fresh.back_up().label in fresh.labels()


def test_wal_that_arrives_damaged_has_not_arrived(server: ServerFactory, tmp_path: Path) -> None:
    """A segment is there by name and does not open: what counts is that we can read it back (pitfall 16)."""
    place = make_place(server, tmp_path, NEWEST)
    push = archive_command(place.archive)
    set_archive_command(place, f"{push} && for f in {place.archive.root}/clusters/main/wal/*/*/%f; do echo >> $f; done")

    with pytest.raises(ObjectCorrupt, match="has no valid trailer"):
        place.back_up()

    assert place.labels() == []


def test_a_label_that_was_aborted_can_not_be_committed(newest: Place) -> None:
    """Somebody who took the backup for dead put the aborted record first: exactly one of both wins."""
    before, listed = all_labels(newest), newest.labels()

    def abort() -> None:
        abort_label(newest.archive.repository, "main", label_of(newest, before), reason="taken for dead")

    with pytest.raises(ObjectExists):
        newest.back_up_when("waiting for WAL", abort)

    assert newest.labels() == listed


def test_an_object_that_got_lost_before_the_commit_is_missed(newest: Place) -> None:
    """Everything is seen in the store before the root says that it is there (pitfall 17)."""
    before, listed = all_labels(newest), newest.labels()

    def lose() -> None:
        packs = newest.archive.root / layout.backup("main", label_of(newest, before)) / "packs"
        next(packs.iterdir()).unlink()

    with pytest.raises(PgvaultError, match=r"packs/\d+': it should have \d+ bytes and has None"):
        newest.back_up_when("waiting for WAL", lose)

    assert newest.labels() == listed


def test_a_committed_backup_is_one_though_no_watermark_follows(newest: Place, caplog: pytest.LogCaptureFixture) -> None:
    """What comes after the commit can not undo it: whoever ran it must not take it for failed."""

    class WithoutWatermarks(FileStore):
        def put_if_absent(self, key: str, body: bytes) -> None:
            if "/watermarks/" in key:
                raise StoreUnreachable("gone")
            super().put_if_absent(key, body)

    store = WithoutWatermarks(newest.archive.root)
    repository = replace(newest.archive.repository, copies=(Copy("primary", store),))
    place = Place(newest.server, replace(newest.archive, repository=repository))

    assert place.back_up().label in newest.labels()
    assert "no watermark was left behind the backup: gone" in caplog.text


def test_a_file_that_can_not_be_read_is_no_backup(newest: Place) -> None:
    """It is there, and its bytes can not be had: read errors are not absence (pitfall 2)."""
    listed = newest.labels()
    path = newest.server.data / "pg_xact" / "00FF"
    path.symlink_to("/proc/self/mem")  # whose first byte is an input/output error
    try:
        with pytest.raises(SourceUnreadable, match=r"pg_xact/00FF' can not be read: Input/output error"):
            newest.back_up()
    finally:
        path.unlink()

    assert newest.labels() == listed
    assert newest.backup_sessions() == 0


def test_an_unknown_major_is_refused_in_one_sentence(newest: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is asked of the server but its facts."""
    monkeypatch.setattr("pgvault.backup.source.SUPPORTED_MAJORS", (15, 16))

    with pytest.raises(MajorUnsupported, match=f"PostgreSQL {NEWEST} is not one pgvault was tested with") as caught:
        newest.back_up()

    assert "--untested-major" in str(caught.value.hint)


KILLED = """
import os, signal, sys
from datetime import timedelta
from pathlib import Path
from pgvault.backup.take import BackupRequest, take_backup
from pgvault.instants import SystemClock
from pgvault.postgres.server import Session
from pgvault.progress import NoProgress
from pgvault.repository.keys import Credential
from pgvault.repository.copies import Copy
from pgvault.repository.repository import open_repository
from pgvault.stores.file import FileStore

root, dsn, moment, when = sys.argv[1:]

class Deadly(FileStore):
    began = False  # a put before it is the aborted record of one that was killed here earlier

    def put_if_absent(self, key, body):
        self.began = self.began or "/packs/" in key
        is_moment = self.began and "/backups/" in key and moment in key
        if is_moment and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        super().put_if_absent(key, body)
        if is_moment:
            os.kill(os.getpid(), signal.SIGKILL)

repository = open_repository([Copy("primary", Deadly(Path(root)))], Credential("raw", bytes(range(32))))
with Session(dsn) as session:
    request = BackupRequest("main", None, 2, timedelta(seconds=30))
    take_backup(repository, session, request, clock=SystemClock(), progress=NoProgress())
"""


@pytest.mark.parametrize(
    ("moment", "when"),
    [("/packs/", "after"), ("/parts/", "before"), ("/refs", "after"), ("/manifest", "before"), ("/manifest", "after")],
)
def test_a_killed_backup_is_listed_only_if_it_was_committed(newest: Place, moment: str, when: str) -> None:
    """SIGKILL around each kind of put: it is listed when its root is there, else unfinished; the next one works."""
    before, listed = all_labels(newest), newest.labels()

    killed = attempt(
        [sys.executable, "-c", KILLED, newest.archive.root, newest.server.dsn, moment, when],
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert killed.status == -signal.SIGKILL, killed.errors
    label = label_of(newest, before)
    is_committed = (moment, when) == ("/manifest", "after")
    assert (label in newest.labels()) is is_committed
    assert (label in newest.catalog().unfinished) is not is_committed
    deadline = time.monotonic() + 10
    while newest.backup_sessions() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert newest.backup_sessions() == 0
    if moment == "/refs":
        assert newest.back_up().label in newest.labels()
        assert label in newest.catalog().aborted  # its lease was taken over, at once: the process is gone
    assert set(listed) <= set(newest.labels())


def test_nothing_of_a_backup_stays_locked(newest: Place) -> None:
    """After a failure the server can be checkpointed, stopped and backed up as if nothing had been."""
    with pytest.raises(ZeroDivisionError):
        newest.back_up_when("copying", lambda: 1 / 0)

    with psycopg.connect(newest.server.dsn, autocommit=True) as other:
        (locks,) = other.execute("SELECT count(*) FROM pg_locks WHERE locktype <> 'virtualxid'").fetchall()[0]
        other.execute("CHECKPOINT")
    assert locks <= 1  # pg_locks itself
    assert not (newest.server.data / "backup_label").exists()
    with Session(newest.server.dsn) as session, pytest.raises(ServerUnfit, match="backup"):
        session.stop_backup()
