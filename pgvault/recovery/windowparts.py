"""What a recovery window is made of: ranges in which every moment can be restored, gaps between, lost backups.

Values only; window.py makes them, and says what their times are worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment


class GapRecord(Protocol):
    """What somebody who saw WAL go missing wrote down; it explains, and makes nothing unrecoverable by itself."""

    @property
    def timeline(self) -> int: ...
    @property
    def start_lsn(self) -> Lsn: ...
    @property
    def end_lsn(self) -> Lsn: ...
    @property
    def cause(self) -> str: ...
    @property
    def noticed_at(self) -> datetime: ...


class Standing(StrEnum):
    """Whether a restore without --timeline comes to a range."""

    FOLLOWED = "followed"  # it lies on the way to where the story went on
    CONTESTED = "contested"  # several timelines went on, and no backup tells which is production's
    LEFT = "left"  # the story went on elsewhere: only with --timeline


@dataclass(frozen=True, slots=True)
class Branch:
    """Where a range's timeline left another one: bytes before `lsn` are shared with that one's range."""

    timeline: int  # the parent
    lsn: Lsn


@dataclass(frozen=True, slots=True)
class BackupPoint:
    """A backup in a range: recovery can begin here."""

    label: str
    stop_lsn: Lsn
    stopped_at: datetime


@dataclass(frozen=True, slots=True)
class WindowRange:
    """One run without a hole. It may be empty: a backup that can be restored, and no moment after it."""

    timeline: int  # --timeline that leads to all of it
    start_lsn: Lsn  # stop of the first backup in it
    end_lsn: Lsn  # first byte not archived; streamed tails count
    starts_at: datetime  # any instant after this one
    proven_until: datetime
    backups: tuple[BackupPoint, ...]  # that lie in it, by stop LSN
    has_gap_behind: bool  # WAL of this timeline goes on behind what is missing
    branch: Branch | None  # where it leaves the timeline it begins on; None: it begins on its own
    standing: Standing
    last_segment: WalSegment  # the last of which bytes are archived
    is_tail: bool  # … by a streamed tail only
    has_expired_behind: bool = False  # retention removed what followed: it was meant to end here
    last_write_at: datetime | None = None  # of `last_segment`, by the archiving host's clock; None: not asked

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its backups."""
        return tuple(backup.label for backup in self.backups)

    @property
    def own_start_lsn(self) -> Lsn:
        """Where the part begins that it shares with no parent."""
        return self.start_lsn if self.branch is None else max(self.start_lsn, self.branch.lsn)

    @property
    def is_contested(self) -> bool:
        """Tell whether another timeline went on beside it, and nothing says which is production's."""
        return self.standing is Standing.CONTESTED


@dataclass(frozen=True, slots=True)
class WindowGap:
    """WAL behind a first backup that is not there, though it goes on behind; or of which a record says so."""

    timeline: int
    start_lsn: Lsn  # first byte that is missing
    end_lsn: Lsn  # first byte that is archived again; of a recorded gap at the end: where that ends
    segment_count: int  # segments that are not archived whole
    cause: str
    noticed_at: datetime | None  # of the gap record that told the cause
    before: WalSegment | None  # the last archived segment before it
    behind: WalSegment | None  # the first one behind it; None: nothing arrived since
    reachable_again_lsn: Lsn | None  # stop of the next backup behind it; None: no backup was taken since
    before_at: datetime | None = None  # last writes of these two, by the archiving host's clock; None: not asked
    behind_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LostBackup:
    """A committed backup that no archived WAL makes whole: it can not be restored."""

    label: str
    reason: str
