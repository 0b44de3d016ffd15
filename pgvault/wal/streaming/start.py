"""Where streaming must begin, and what makes pg_receivewal begin there. Pure: facts in, plan out.

    archived    1/3  1/4  1/5        the first segment of the server's path that nobody holds: 1/7
    spool                     1/6
    server            ── removed ──  1/8  1/9  1/A·      1/7 is gone: a gap [1/7, 1/8), begin at 1/8

pg_receivewal begins behind the newest file of its directory (by number, then by timeline), at the beginning of that
file where it is a `.partial`; tried on 15, 17 and 18: an *empty* `.partial` will do. So wherever it would begin
elsewhere the plan takes misleading files aside and puts an empty `<segment>.partial` there. Beginning before the
slot's restart_lsn is allowed as long as the server still has that WAL.

A hole before the newest backup is nobody's business any more, and one that was recorded as a gap is not looked for
again. What this does not judge: whether archived objects open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment

PARTIAL = ".partial"


@dataclass(frozen=True, order=True, slots=True)
class SpoolFile:
    """A segment in pg_receivewal's directory: whole, or begun and of the size that it can go on with."""

    segment: WalSegment
    is_partial: bool

    @property
    def name(self) -> str:
        return self.segment.name + (PARTIAL if self.is_partial else "")


@dataclass(frozen=True, slots=True)
class Hole:
    """WAL of one timeline that nobody has any more."""

    timeline: int
    start_lsn: Lsn
    end_lsn: Lsn  # the first byte that is there again


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup, as far as it tells from where WAL is needed."""

    timeline: int
    start_lsn: Lsn
    stop_lsn: Lsn


@dataclass(frozen=True, slots=True)
class StartFacts:
    """All that the beginning depends on."""

    history: TimelineHistory  # of the timeline the server is on
    current_lsn: Lsn  # how far the server can send
    reserved_lsn: Lsn  # the slot's restart_lsn
    segment_size: int  # bytes
    archived: frozenset[WalSegment]  # whole, on any timeline
    spool: Sequence[SpoolFile]
    backups: Sequence[Kept] = ()
    holes: Sequence[Hole] = ()  # recorded before

    def segment(self, number: int) -> WalSegment:
        """The segment of that number that recovery to the server's timeline takes."""
        last_byte = Lsn((number + 1) * self.segment_size - 1)
        return WalSegment(self.history.timeline_of(last_byte), number, self.segment_size)

    @property
    def current_number(self) -> int:
        """Of the segment that the server writes."""
        return self.current_lsn.value // self.segment_size

    def is_on_path(self, segment: WalSegment) -> bool:
        """Tell whether recovery to the server's timeline takes that segment, and not another timeline's."""
        return self.segment(segment.number) == segment


@dataclass(frozen=True, slots=True)
class StartPlan:
    """What to do before pg_receivewal is started, in this order."""

    begin: WalSegment  # the first that it must receive
    holes: tuple[Hole, ...]  # to be recorded first
    aside: tuple[SpoolFile, ...]  # files that would make it begin elsewhere; what they hold is stored from there
    needs_seed: bool  # an empty .partial of `begin`

    def is_ahead_of(self, current_lsn: Lsn) -> bool:
        """Tell whether the server has not come so far yet."""
        return self.begin.start_lsn > current_lsn


def plan_start(facts: StartFacts, *, can_send: Callable[[WalSegment], bool]) -> StartPlan:
    """Decide where to begin. `can_send` asks the server for a segment; once it can send one, it can all later ones."""
    begin, holes = _find_begin(facts, can_send)
    aside = tuple(file for file in facts.spool if _misleads(file, begin))
    kept = [file for file in facts.spool if file not in aside]
    return StartPlan(begin, tuple(holes), aside, receiver_start(kept) != begin)


def receiver_start(files: Sequence[SpoolFile]) -> WalSegment | None:
    """Where pg_receivewal begins by itself with these files; None: where the slot says, or the server stands."""
    if not files:
        return None
    # A whole segment beats its own .partial.
    newest = max(files, key=lambda file: (file.segment.number, file.segment.timeline, not file.is_partial))
    return newest.segment if newest.is_partial else newest.segment.next()


def needed_number(facts: StartFacts) -> int:
    """The number of the first segment that matters: the newest backup's, else the first that is archived."""
    starts = [backup.start_lsn for backup in facts.backups if _holds(facts.history, backup)]
    if starts:
        return max(starts).value // facts.segment_size
    held = [segment.number for segment in facts.archived if facts.is_on_path(segment)]
    return min(held, default=facts.reserved_lsn.value // facts.segment_size)


def _find_begin(facts: StartFacts, can_send: Callable[[WalSegment], bool]) -> tuple[WalSegment, list[Hole]]:
    held = {segment.number for segment in facts.archived if facts.is_on_path(segment)}
    held |= {file.segment.number for file in facts.spool if not file.is_partial and facts.is_on_path(file.segment)}
    settled = held | _recorded(facts, up_to=max(held, default=0) + 1)
    number = _first_missing(settled, needed_number(facts))
    holes: list[Hole] = []
    while number < facts.current_number and not can_send(facts.segment(number)):
        available = _first_available(facts, number, can_send)
        stop = min([other for other in held if number < other < available], default=available)
        holes += _split(facts, number, stop)
        number = _first_missing(settled, stop)
    return facts.segment(number), holes


def _first_missing(settled: set[int], number: int) -> int:
    while number in settled:
        number += 1
    return number


def _first_available(facts: StartFacts, missing: int, can_send: Callable[[WalSegment], bool]) -> int:
    """Bisect between a segment that is gone and the one that is being written."""
    gone, there = missing, facts.current_number
    while there - gone > 1:
        middle = (gone + there) // 2
        if can_send(facts.segment(middle)):
            there = middle
        else:
            gone = middle
    return there


def _split(facts: StartFacts, start: int, stop: int) -> list[Hole]:
    """Return the holes from segment `start` up to, without, `stop`: one per timeline."""
    holes: list[Hole] = []
    for number in range(start, stop):
        segment = facts.segment(number)
        if holes and holes[-1].timeline == segment.timeline:
            holes[-1] = Hole(segment.timeline, holes[-1].start_lsn, segment.end_lsn)
        else:
            holes.append(Hole(segment.timeline, segment.start_lsn, segment.end_lsn))
    return holes


def _recorded(facts: StartFacts, *, up_to: int) -> set[int]:
    """The numbers that recorded holes explain, also behind all that is archived."""
    numbers: set[int] = set()
    size = facts.segment_size
    for hole in facts.holes:
        # A hole may begin within a segment, where tails cover its front.
        first, last = hole.start_lsn.value // size, (hole.end_lsn.value - 1) // size
        if hole.end_lsn > hole.start_lsn and first <= max(up_to, facts.current_number):
            numbers |= {number for number in range(first, last + 1) if facts.segment(number).timeline == hole.timeline}
    return numbers


def _misleads(file: SpoolFile, begin: WalSegment) -> bool:
    if file.is_partial:
        return file.segment != begin
    return (file.segment.number, file.segment.timeline) >= (begin.number, begin.timeline)


def _holds(history: TimelineHistory, backup: Kept) -> bool:
    if not history.holds_timeline(backup.timeline):
        return False
    left_at = history.end_of(backup.timeline)
    return history.timeline_of(backup.start_lsn) == backup.timeline and (left_at is None or backup.stop_lsn <= left_at)
