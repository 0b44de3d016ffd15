"""What planning an expiry needs to know: values, so that the plan is tested without a repository.

    ExpireFacts ── tombstones, holds, pins, unfinished labels      of the cluster: the same whichever copy is looked at
       └── CopyFacts ── backups, verified labels                   by what this copy alone lists and opens
              └── WalFacts ── inventory, sizes, times              … for each system of which it has WAL or a backup

Each copy is judged by itself, since any of them may be the only one left one day. A copy that did not answer has
`silence`, and nothing else. gather.py reads all of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.facts import Inventory
from pgvault.repository.measures import Measures


@dataclass(frozen=True, slots=True)
class PhysicalBackup:
    """A committed backup that WAL goes with; a `recovery.facts.Backup`."""

    label: str
    is_full: bool  # false: an incremental, which never counts as redundancy
    system_identifier: int
    timeline: int
    start_lsn: Lsn
    stop_lsn: Lsn
    started_at: datetime  # server clock
    stopped_at: datetime
    has_page_errors: bool = False  # such a one never counts as verified
    needs: frozenset[str] = frozenset()  # other labels below which objects lie that its refs name
    wal_names: frozenset[str] = frozenset()  # WAL files that its root names, histories too
    time_zone: str = "UTC"
    log_time_zone: str = "UTC"
    stored_bytes: int = 0
    total_bytes: int = 0
    measures: Measures | None = None  # None: taken by an older pgvault
    is_from_standby: bool = False  # its primary may have been further at each of these moments


@dataclass(frozen=True, slots=True)
class LogicalBackup:
    """A committed logical or schema backup."""

    label: str
    is_schema: bool
    started_at: datetime  # server clock
    stopped_at: datetime
    class_name: str | None = None  # the data class it was limited to
    needs: frozenset[str] = frozenset()
    stored_bytes: int = 0
    measures: Measures | None = None


BackupFacts = PhysicalBackup | LogicalBackup


@dataclass(frozen=True, slots=True)
class WalFacts:
    """The WAL files of one system in one copy."""

    inventory: Inventory
    stored_bytes: Mapping[str, int] = field(default_factory=dict)  # of segments, .partial, .backup and .history files
    tail_bytes: Mapping[WalSegment, int] = field(default_factory=dict)  # of all tails of a segment together
    # When the last segments of runs were last written, by the archiving host's clock; absent: not known.
    last_writes: Mapping[WalSegment, datetime] = field(default_factory=dict)

    @property
    def system_identifier(self) -> int:
        """Whose WAL it is."""
        return self.inventory.system_identifier


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """What one copy holds of the cluster."""

    name: str
    backups: tuple[BackupFacts, ...] = ()  # whose root is here and opens
    verified: frozenset[str] = frozenset()  # labels that were read back whole in this copy
    unreadable: tuple[str, ...] = ()  # labels whose root is here and does not open
    wal: tuple[WalFacts, ...] = ()
    label_bytes: Mapping[str, int] = field(default_factory=dict)  # of all objects below a label, as listed here
    spoken_of: frozenset[str] = frozenset()  # labels with tombstones, or marks of having been verified or drilled
    silence: str | None = None  # why it could not be looked at


@dataclass(frozen=True, slots=True)
class TombstoneFacts:
    """The highest tombstone of a label says that it is to be removed."""

    at: datetime  # grace counts from here
    is_deliberate: bool  # `pgvault delete` put it: policy does not take it back. False: `pgvault expire` did
    is_begun: bool = False  # its removal has begun: it can not be restored any more


@dataclass(frozen=True, slots=True)
class HoldFacts:
    """A hold that is neither released nor past its `--until`: of labels, or of a range of time."""

    hold_id: str
    labels: frozenset[str] = frozenset()
    since: datetime | None = None  # both or neither
    until: datetime | None = None  # the last moment that must stay reachable


@dataclass(frozen=True, slots=True)
class PinFacts:
    """A live lease of somebody who reads: a restore, a drill, an incremental that refers to older objects."""

    name: str
    labels: frozenset[str] = frozenset()
    wal_from: Mapping[int, Lsn] = field(default_factory=dict)  # system → WAL from here on stays, on all timelines


@dataclass(frozen=True, slots=True)
class UnfinishedFacts:
    """A label without a root in the deciding copy, or with an aborted record there."""

    label: str
    started_at: datetime  # as its label says
    is_live: bool = False  # a live lease says that somebody works on it
    is_aborted: bool = False  # its record is there; what is left of its data may be swept
    system_identifier: int | None = None
    start_lsn: Lsn | None = None  # of a live one, where its holder wrote it down
    stored_bytes: int = 0  # of what lies below the label, besides an aborted record, in all copies together


@dataclass(frozen=True, slots=True)
class ExpireFacts:
    """All that is known about one cluster."""

    cluster: str
    now: datetime
    copies: tuple[CopyFacts, ...]  # the deciding one first
    tombstones: Mapping[str, TombstoneFacts] = field(default_factory=dict)  # of labels that are marked now
    holds: tuple[HoldFacts, ...] = ()
    pins: tuple[PinFacts, ...] = ()
    unfinished: tuple[UnfinishedFacts, ...] = ()
