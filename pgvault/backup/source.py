"""What a backup reads: a server's files, wherever they are, between the start and the end of one backup.

    start ─► pieces … ─► control ─► stop         local.py: the data directory on this host
                                                 remote.py: base backups by the replication protocol

A source gives pieces in an order of its own; pg_control comes behind everything else (pitfall 7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pgvault.backup.batches import Piece
from pgvault.backup.inventory import Before
from pgvault.errors import MajorUnsupported, ServerUnfit
from pgvault.postgres.backuplabel import BackupLabel
from pgvault.postgres.control import ClusterState, ControlData
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import ServerFacts, StoppedBackup
from pgvault.repository.filelist import FileRecord
from pgvault.repository.manifest import Owner, PostgresFacts

SUPPORTED_MAJORS = (15, 16, 17, 18)


@dataclass(frozen=True, slots=True)
class Started:
    """What is known when the backup has begun."""

    start_lsn: Lsn  # where its WAL begins; what counts in the end is the backup_label
    facts: ServerFacts  # of right after the start: proving that archiving works took its time
    layout: PageLayout


@dataclass(frozen=True, slots=True)
class PageLayout:
    """How the cluster's relations lie in files."""

    has_data_checksums: bool
    relseg_size: int  # blocks per file of a large relation


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known when the backup is over and everything was copied."""

    stopped: StoppedBackup
    before: Before  # what the server held at a moment before the stop
    control: ControlData  # the one that was copied
    owner: Owner


class Source(Protocol):
    """One backup's source: each method once, in this order."""

    kind: str  # for the manifest
    batch_bytes: int  # of plaintext, in one pack

    def start(self, label: str, look_after: Callable[[], None]) -> Started:
        """Start the backup; `look_after` is called every few seconds while the server keeps us waiting, and may raise.

        Raises OtherCluster, ServerUnfit, ServerUnreachable.
        """

    def ahead(self, jobs: int) -> int:
        """Return how many batches may be under way with that many workers."""

    def pieces(self) -> Iterator[Piece]:
        """Yield everything but pg_control."""

    def control(self) -> Piece:
        """Return pg_control, when everything else was copied."""

    def copied(self, records: Iterable[FileRecord]) -> None:
        """Hear what was stored, in the order of the pieces."""

    def stop(self) -> Ended:
        """End the backup. Raises ServerUnfit, ServerUnreachable: then there is none."""

    def history_file(self, timeline: int, scratch: Path) -> Path | None:
        """Return where the history file of a timeline lies, None where the server has it no more.

        One that has to be fetched is put into the directory `scratch`.
        """

    def close(self) -> None:
        """Leave nothing open, however it went."""


def check_server(
    facts: ServerFacts,
    *,
    is_untested_major_allowed: bool,
    is_streamed: bool = False,
    primary: ServerFacts | None = None,
) -> None:
    """Refuse a server that we can not back up. Raises MajorUnsupported, ServerUnfit.

    Where `pgvault wal stream` brings the WAL, no server need archive; that of a standby is archived by its `primary`.
    """
    if facts.major not in SUPPORTED_MAJORS and not is_untested_major_allowed:
        raise MajorUnsupported(
            f"PostgreSQL {facts.major} is not one pgvault was tested with ({', '.join(map(str, SUPPORTED_MAJORS))})",
            hint="--untested-major tries all the same.",
        )
    writer = primary if facts.in_recovery else facts
    if is_streamed or writer is None or is_archiving(writer) or is_archiving(facts):
        return
    raise ServerUnfit(
        f"the {'primary' if facts.in_recovery else 'server'} does not archive WAL: archive_mode is "
        f"{writer.archive_mode!r}, archive_command is {writer.archive_command!r}",
        hint="Set archive_mode = on and archive_command = 'pgvault wal push %p', then restart the server:"
        " pgvault check --print-settings writes the lines. Or stream: see pgvault wal stream.",
    )


def is_archiving(facts: ServerFacts) -> bool:
    """Tell whether a server archives WAL by itself, as it is set; a standby does when archive_mode is `always`."""
    modes = ("always",) if facts.in_recovery else ("on", "always")
    return facts.archive_mode in modes and bool(facts.archive_command or facts.archive_library)


def check_ended(ended: Ended, label: BackupLabel, *, in_recovery: bool) -> None:
    """See that what was copied belongs to what the label says. Raises ServerUnfit.

    A standby writes no record where a backup ends: recovery finds that end in the copied pg_control, whose minimum
    recovery point is behind every page that was copied before it, and is no further than the stop.
    """
    control, stop_lsn = ended.control, ended.stopped.stop_lsn
    if stop_lsn <= label.start_lsn:
        raise ServerUnfit(f"the backup stops at {stop_lsn}, before its start at {label.start_lsn}")
    if label.is_from_standby != in_recovery:
        raise ServerUnfit("the server left recovery, or was replaced, while the backup ran")
    if not in_recovery:
        return
    if control.state is not ClusterState.IN_ARCHIVE_RECOVERY or control.min_recovery_timeline != label.timeline:
        raise ServerUnfit(
            f"the copied pg_control is of a server {control.state.value}, on timeline {control.min_recovery_timeline}, "
            f"and not of a standby on timeline {label.timeline}"
        )
    if not label.start_lsn < control.min_recovery_lsn <= stop_lsn:
        raise ServerUnfit(
            f"the copied pg_control says that it is whole at {control.min_recovery_lsn}, and the backup goes from "
            f"{label.start_lsn} to {stop_lsn}"
        )


def postgres_facts(facts: ServerFacts, control: ControlData) -> PostgresFacts:
    """Return what a restored server needs to be."""
    settings = {name: str(value) for name, value in facts.standby_minima.items()}
    settings |= facts.session_settings
    settings |= {
        "wal_level": facts.wal_level,
        "shared_preload_libraries": facts.shared_preload_libraries,
        "archive_command": facts.archive_command,
        "server_version": facts.version_text,
    }
    return PostgresFacts(
        major=facts.major,
        version_num=facts.version_num,
        catalog_version=control.catalog_version,
        control_version=control.pg_control_version,
        block_size=facts.block_size,
        relation_segment_blocks=control.relseg_size,
        wal_segment_size=facts.wal_segment_size,
        data_checksums=control.has_data_checksums,
        superuser=facts.bootstrap_superuser,
        settings=settings,
    )
