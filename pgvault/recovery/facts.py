"""What planning a restore needs to know: seams by shape, so that plans are tested without a repository.

`Backup`, `Inventory` and `Watermark` name the few fields that count of repository/manifest.py, walindex.py and
watermark.py. `WalReader` reads records out of archived WAL. It is a fact too: archived WAL never changes, so the
same facts make the same plan; but each call fetches a segment and runs pg_waldump (~100 ms), so planning asks
for few, and for each once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pgvault.errors import PgvaultError
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.waldump import Changes
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.proofs import Proof
from pgvault.recovery.windowparts import GapRecord
from pgvault.repository.tails import Span


class Backup(Protocol):
    """A committed backup."""

    @property
    def label(self) -> str: ...
    @property
    def system_identifier(self) -> int: ...
    @property
    def timeline(self) -> int: ...  # of start and stop
    @property
    def start_lsn(self) -> Lsn: ...  # redo: WAL is needed from here
    @property
    def stop_lsn(self) -> Lsn: ...  # consistent from here on
    @property
    def stopped_at(self) -> datetime: ...  # server clock; no commit before `stop_lsn` is stamped later
    @property
    def is_from_standby(self) -> bool: ...  # then commits stamped before `stopped_at` may lie behind `stop_lsn`
    @property
    def time_zone(self) -> str: ...
    @property
    def log_time_zone(self) -> str: ...
    @property
    def stored_bytes(self) -> int: ...
    @property
    def total_bytes(self) -> int: ...


class Inventory(Protocol):
    """The WAL files of one system that the repository lists."""

    @property
    def system_identifier(self) -> int: ...
    @property
    def segment_size(self) -> int: ...
    @property
    def segments(self) -> frozenset[WalSegment]: ...
    @property
    def histories(self) -> Mapping[int, TimelineHistory]: ...
    @property
    def unreadable(self) -> Mapping[int, PgvaultError]: ...  # histories that are there and do not open
    @property
    def tails(self) -> Mapping[WalSegment, Lsn]: ...  # not archived whole; streamed without a hole to here
    @property
    def tail_spans(self) -> Mapping[WalSegment, tuple[Span, ...]]: ...  # the objects to read for that, in order


class Watermark(Protocol):
    """A moment of the server's clock at which no transaction had a number.

    When `is_idle`, every transaction that took its commit time at or before `server_at` ended before `lsn`.
    """

    @property
    def server_at(self) -> datetime: ...
    @property
    def lsn(self) -> Lsn: ...
    @property
    def timeline(self) -> int: ...
    @property
    def is_idle(self) -> bool: ...
    @property
    def next_xid(self) -> int | None: ...  # 64-bit; xmax of the snapshot; None where it was not noted


class Transaction(Protocol):
    """A commit or abort record; also of a prepared transaction."""

    @property
    def lsn(self) -> Lsn: ...  # where the record starts
    @property
    def xid(self) -> int: ...  # 32 bits
    @property
    def at(self) -> datetime: ...
    @property
    def is_commit(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """A record of pg_create_restore_point."""

    lsn: Lsn
    name: str


class WalReader(Protocol):
    """Reads records of archived WAL, in LSN order.

    A record belongs to the segment in which it *starts* and may end in a later one; so `following`, the segment
    behind, is passed wherever it is archived. A record that is cut by the end of what is passed does not count:
    recovery can not replay it either.
    """

    def transactions(self, segment: WalSegment, following: WalSegment | None) -> Sequence[Transaction]:
        """Every commit and abort record that starts in `segment`."""

    def restore_points(self, segment: WalSegment, following: WalSegment | None) -> Sequence[RestorePoint]:
        """Every restore point whose record starts in `segment`."""

    def last_record(self, segments: Sequence[WalSegment]) -> Lsn | None:
        """Where the last whole record starts among those that start in the first of `segments`.

        `segments` are contiguous, and only the first few may be needed. None when no whole record starts there.
        """

    def first_record(self, segments: Sequence[WalSegment], lsn: Lsn) -> tuple[Lsn, Lsn] | None:
        """Where the first whole record at or behind `lsn` starts, and a position close behind its end.

        `segments` are contiguous, the first holds `lsn`; only as many as the record takes are looked into.
        """

    def changes(self, segments: Sequence[WalSegment], ended_by: Lsn) -> Changes:
        """What the transaction whose end begins at `ended_by` does to tables, as far as `segments` tell.

        `segments` are contiguous, and end with the one that holds `ended_by` or the one behind it.
        """


@dataclass(frozen=True, slots=True)
class RestoreFacts:
    """All that is known about one system of one cluster."""

    backups: Sequence[Backup]
    inventory: Inventory
    watermarks: Sequence[Watermark]
    reader: WalReader
    gaps: Sequence[GapRecord] = ()  # they explain, and decide nothing
    proofs: Sequence[Proof] = ()  # of drills, newest first; read only where `last-good` is asked for
