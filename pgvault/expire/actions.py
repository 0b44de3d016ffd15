"""What an expiry is going to do, label by label and range by range, and why what stays does.

The order in which it is applied: tombstones and withdrawals, aborts, removals of labels (each copy but the deciding
one first), WAL. If a label that was to be removed is still there afterwards (somebody pinned it meanwhile, a store
refused), no WAL is removed in that run: the WAL of such a label is among what was to go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pgvault.postgres.walname import WalSegment
from pgvault.postgres.walrange import SegmentRange
from pgvault.recovery.window import RecoveryWindow

EXPIRED = "no rule of retention wants it any more"  # a mark's reason; any other one is the operator's


@dataclass(frozen=True, slots=True)
class ExpireRequest:
    """What the operator asked for beside what policy says."""

    delete: tuple[str, ...] = ()  # labels to mark deliberately; then policy is not looked at in this run
    shrink_window_to: datetime | None = None  # as a dry run printed it
    abandoned: frozenset[str] = frozenset()  # copies whose content hinders nothing


@dataclass(frozen=True, slots=True)
class Mark:
    """A tombstone to be put."""

    label: str
    is_deliberate: bool
    why: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup that stays, with every reason for it."""

    label: str
    reasons: tuple[str, ...]  # "full 2 of 4 in copy 'dr'", "daily 2025-10-25", "hold X", …
    restores_to_end_only: bool = False  # WAL behind its stop is not kept for it


@dataclass(frozen=True, slots=True)
class Waiting:
    """A marked backup that is not removed yet."""

    label: str
    why: str  # "in grace", "pinned by …", "copy 'dr' never got it"
    removable_at: datetime | None  # end of grace; None: that is over, something else hinders


@dataclass(frozen=True, slots=True)
class Removal:
    """A marked backup whose grace is over: root, refs, and what no other root of the copy refers to."""

    label: str
    copies: tuple[str, ...]  # that hold something of it; the deciding one last
    stored_bytes: int  # of objects below its label, in all these copies; some may stay for other backups


@dataclass(frozen=True, slots=True)
class Sweep:
    """An unfinished or aborted label whose data goes."""

    label: str
    is_to_be_aborted: bool  # put the aborted record first
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class WalRemoval:
    """WAL files of one system that go, in whichever copy holds them."""

    system_identifier: int
    ranges: tuple[SegmentRange, ...]  # whole segments, as far as they are stored
    tails: tuple[WalSegment, ...]  # segments whose tails go, all of them
    others: tuple[str, ...]  # .partial, .backup and .history files
    stored_bytes: int  # in all copies together


@dataclass(frozen=True, slots=True)
class WindowChange:
    """What one system in one copy can be restored to, before and after; after: without what is marked."""

    copy: str
    system_identifier: int
    before: RecoveryWindow
    after: RecoveryWindow

    @property
    def begins_before(self) -> datetime | None:
        """Since when every moment can be restored up to the latest one, before."""
        return begin_of(self.before)

    @property
    def begins_after(self) -> datetime | None:
        """Since when every moment can be restored up to the latest one, after."""
        return begin_of(self.after)


@dataclass(frozen=True, slots=True)
class ExpirePlan:
    """All that an expiry does."""

    cluster: str
    now: datetime
    marks: tuple[Mark, ...] = ()
    withdrawals: Mapping[str, str] = field(default_factory=dict)  # labels to be taken back, and why
    removals: tuple[Removal, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    wal: tuple[WalRemoval, ...] = ()
    kept: tuple[Kept, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    windows: tuple[WindowChange, ...] = ()
    notes: tuple[str, ...] = ()
    needs_window: bool = False  # a deletion that takes --shrink-window-to; the last note says which value

    @property
    def bytes_won(self) -> int:
        """Stored bytes that go in this run, in all copies together; an upper bound where backups share objects."""
        labels: tuple[Removal | Sweep, ...] = (*self.removals, *self.sweeps)
        return sum(each.stored_bytes for each in labels) + sum(each.stored_bytes for each in self.wal)

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to do."""
        return not (self.marks or self.withdrawals or self.removals or self.sweeps or self.wal)


def begin_of(window: RecoveryWindow) -> datetime | None:
    """Return since when every moment can be restored up to the latest one; None where nothing can."""
    latest = [found for timeline in window.leading for found in window.ways.get(timeline, ())[-1:]]
    return min((found.starts_at for found in latest), default=None)
