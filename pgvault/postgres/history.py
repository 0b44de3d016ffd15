"""Timeline history files: which timelines lead to this one, and where each was left.

    1<TAB>0/9000000<TAB>no recovery target specified        00000003.history: timeline 1 until 0/9000000,
    2<TAB>0/A0000A0<TAB>before transaction 742              then 2 until 0/A0000A0, then 3

Timelines are decimal inside the file and hexadecimal in its name. Empty lines and lines that begin with `#`
are skipped, white space around the fields is tolerated as PostgreSQL tolerates it; anything else that is
not a timeline, an LSN and a reason makes the file corrupt. Switch points that fall are evened out when read.
Timeline 1 has no file: its history is empty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self

from pgvault.errors import ObjectCorrupt, UsageError
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import check_timeline, format_timeline

HISTORY_LINE = re.compile(rb"\s*([0-9]{1,10})\s+([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})(?:\s+(.*?))?\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One ancestor: `timeline` was followed up to `switch_lsn`, which is the first byte not taken from it."""

    timeline: int
    switch_lsn: Lsn
    reason: str  # for people; bytes that are not UTF-8 are replaced


@dataclass(frozen=True, slots=True)
class TimelineHistory:
    """The ancestors of `timeline`, oldest first: timelines rise, switch points never fall."""

    timeline: int
    entries: tuple[HistoryEntry, ...] = ()

    @classmethod
    def parse(cls, content: bytes, timeline: int) -> Self:
        """Read the content of `timeline`'s history file. Raises ObjectCorrupt unless it is one."""
        check_timeline(timeline)
        name = f"{format_timeline(timeline)}.history"
        entries: list[HistoryEntry] = []
        for line in content.split(b"\n"):
            text = line.strip()
            if not text or text.startswith(b"#"):
                continue
            entry = _parse_line(text, name)
            if entries and entry.timeline <= entries[-1].timeline:
                raise ObjectCorrupt(f"{name!r} lists timeline {entry.timeline} after a later one")
            # A recovery that follows timeline 2 and stops before 2 began writes "1 until 9, 2 until 7": its way is 1
            # until 7, and 2 never had a byte on it (tried on 15 and 18).
            entries = [replace(earlier, switch_lsn=min(earlier.switch_lsn, entry.switch_lsn)) for earlier in entries]
            entries.append(entry)
        if not entries:
            raise ObjectCorrupt(f"{name!r} lists no timeline")
        if entries[-1].timeline >= timeline:
            raise ObjectCorrupt(f"{name!r} lists timeline {entries[-1].timeline}, which is no ancestor")
        return cls(timeline, tuple(entries))

    @property
    def ancestors(self) -> tuple[int, ...]:
        """Timelines that lead here, oldest first, without this one."""
        return tuple(entry.timeline for entry in self.entries)

    @property
    def start_lsn(self) -> Lsn:
        """Where this timeline left its parent; 0/0 without a parent."""
        return self.entries[-1].switch_lsn if self.entries else Lsn(0)

    def holds_timeline(self, timeline: int) -> bool:
        """Tell whether `timeline` is this one or an ancestor."""
        return timeline == self.timeline or timeline in self.ancestors

    def end_of(self, timeline: int) -> Lsn | None:
        """Where `timeline` was left on the way here; None for this timeline itself, which has no end.

        Raises UsageError when `timeline` does not lead here.
        """
        if timeline == self.timeline:
            return None
        for entry in self.entries:
            if entry.timeline == timeline:
                return entry.switch_lsn
        raise UsageError(f"timeline {timeline} does not lead to timeline {self.timeline}")

    def timeline_of(self, lsn: Lsn) -> int:
        """The timeline on which the byte at `lsn` was written, on the way here.

        A switch point itself belongs to the timeline that begins there. For the last byte before a position
        ask with the position minus one.
        """
        for entry in self.entries:
            if lsn < entry.switch_lsn:
                return entry.timeline
        return self.timeline


def _parse_line(text: bytes, name: str) -> HistoryEntry:
    match = HISTORY_LINE.fullmatch(text)
    if match is None:
        raise ObjectCorrupt(f"{name!r} holds a line that is no history entry: {text[:80]!r}")
    timeline = int(match[1])
    if not 1 <= timeline < 2**32:
        raise ObjectCorrupt(f"{name!r} lists timeline {timeline}, which can not exist")
    switch_lsn = Lsn((int(match[2], 16) << 32) | int(match[3], 16))
    return HistoryEntry(timeline, switch_lsn, (match[4] or b"").decode(errors="replace"))
