"""A run that finds another of its kind at work, and what a run that went well prints."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from pgvault.cli.alone import alone_here
from pgvault.errors import AlreadyRunning
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import acquire
from pgvault.repository.notices import LEASE
from pgvault.wal.streaming.spooldir import locked_spool
from tests.archive import Archive
from tests.cli.here import pgvault


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What this host keeps, for this test alone."""
    directory = tmp_path / "state"
    monkeypatch.setenv("PGVAULT_STATE", str(directory))
    return directory


def test_two_things_of_one_kind_exclude_each_other_and_others_do_not() -> None:
    """Until the first one ends, however it does."""
    with alone_here("copy", "a"):
        with alone_here("copy", "b"), alone_here("check", "a"):
            pass
        with pytest.raises(AlreadyRunning, match="another copy is at work on this host"), alone_here("copy", "a"):
            pass
    with alone_here("copy", "a"):
        pass


def test_a_host_that_keeps_nothing_keeps_nobody_out(state: Path) -> None:
    """As a container whose file system is read-only: its scheduler sees to it."""
    state.write_text("no directory")

    with alone_here("copy", "a"), alone_here("copy", "a"):
        pass


def test_a_file_system_without_locks_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS without its lock service: a copy twice is better than none."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    ran = []
    with alone_here("copy", "a"):
        ran.append("copy")

    assert ran == ["copy"]


def test_expiry_beside_another_ends_with_40_and_one_line(archive: Archive) -> None:
    """The lease is in the repository: wherever the other one runs."""
    with acquire(archive.repository, "expire-main", Claim(), command="expire"):
        finished = pgvault("--config", archive.config, "expire")

    assert (finished.status, finished.output) == (40, "")
    assert finished.errors.count("\n") == 1
    assert finished.errors.startswith("error: lease 'expire-main' is held by ")


def test_a_stream_beside_another_ends_with_40_and_one_line(archive: Archive, tmp_path: Path) -> None:
    """Before any server is asked."""
    with locked_spool(tmp_path / "spool"):
        finished = pgvault("--config", archive.config, "wal", "stream", "--spool", tmp_path / "spool")

    told = [line for line in finished.errors.splitlines() if "WARNING" not in line]
    assert finished.status == 40
    assert len(told) == 1
    assert "another pgvault wal stream uses the spool" in told[0]


def test_the_notifier_that_finds_another_at_it_says_so(archive: Archive) -> None:
    """Whether everybody was told is not known to it."""
    archive.config.write_text(archive.config.read_text() + "alerts:\n  receivers: {ops: {command: [/bin/true]}}\n")
    with acquire(archive.repository, LEASE, Claim(), command="alert run"):
        finished = pgvault("--config", archive.config, "alert", "run")

    assert finished.status == 40, finished
    assert finished.errors.count("\n") == 1


def test_what_went_well_is_said_to_a_terminal_alone(archive: Archive) -> None:
    """And with --verbose, and as JSON: cron mails everything else."""
    assert pgvault("--config", archive.config, "expire").output == ""
    assert "nothing to do" in pgvault("-v", "--config", archive.config, "expire").output
    assert "nothing to do" in pgvault("--config", archive.config, "expire", "--dry-run").output
    assert pgvault("--config", archive.config, "expire", "--json").output.startswith("{")
