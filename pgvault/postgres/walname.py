"""The names of files in pg_wal, and the arithmetic between names and LSNs.

    000000010000000A000000FE                      segment: timeline, log (LSN / 4 GiB), segment within
    000000010000000A000000FE.partial              a segment cut by a promotion; never the segment itself
    000000010000000A000000FE.00000028.backup      backup history file: segment and offset of its start
    00000002.history                              timeline history file

Eight hexadecimal capitals per number: timeline 10 is 0000000A. The grammar is PostgreSQL's own and strict,
since an archive that guesses stores files nobody asks for. How many segments fit into one 4 GiB log depends
on the segment size (4096 of 1 MiB, 4 of 1 GiB), which no name tells; so a parsed name knows no LSN until it
is given a size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pgvault.errors import UsageError
from pgvault.postgres.lsn import MIB, Lsn

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG_BYTES = 2**32  # of WAL that share the middle eight digits
SMALLEST_SEGMENT = MIB
LARGEST_SEGMENT = 1024 * MIB

TIMELINE_TEXT = re.compile(r"[0-9A-F]{8}", re.ASCII)
WAL_NAME = re.compile(
    r"""
    (?P<timeline>[0-9A-F]{8})
    (?:
        (?P<log>[0-9A-F]{8})
        (?P<seg_low>[0-9A-F]{8})
        (?: (?P<partial>\.partial) | \.(?P<offset>[0-9A-F]{8})\.backup )?
      | (?P<history>\.history)
    )
    """,
    re.ASCII | re.VERBOSE,
)


def check_segment_size(size: int) -> None:
    """Raise UsageError unless `size` is a power of two from 1 MiB to 1 GiB, in bytes."""
    if not (SMALLEST_SEGMENT <= size <= LARGEST_SEGMENT and size & (size - 1) == 0):
        raise UsageError(f"WAL segment size {size} is not a power of two from 1 MiB to 1 GiB")


def check_timeline(timeline: int) -> None:
    """Raise UsageError unless 1 <= `timeline` < 2**32."""
    if not 1 <= timeline < 2**32:
        raise UsageError(f"timeline {timeline} does not exist, timelines count from 1")


def format_timeline(timeline: int) -> str:
    """Print a timeline as file names have it: 10 is '0000000A'."""
    return f"{timeline:08X}"


def parse_timeline(text: str) -> int:
    """Read a timeline as file names have it, eight hexadecimal capitals. Raises UsageError otherwise."""
    if TIMELINE_TEXT.fullmatch(text) is None:
        raise UsageError(f"{text!r} is not a timeline of a WAL file name")
    timeline = int(text, 16)
    check_timeline(timeline)
    return timeline


@dataclass(frozen=True, order=True, slots=True)
class WalSegment:
    """One WAL file: the `size` bytes that start at LSN `number * size` on `timeline`."""

    timeline: int  # 1 <= timeline < 2**32
    number: int  # counted from LSN 0
    size: int = 16 * MIB  # bytes; a power of two, 1 MiB to 1 GiB

    def __post_init__(self) -> None:
        check_segment_size(self.size)
        check_timeline(self.timeline)
        if not 0 <= self.number < 2**64 // self.size:
            raise UsageError(f"WAL segment number {self.number} lies outside the 64-bit WAL")

    @classmethod
    def parse(cls, name: str, size: int) -> Self:
        """Read a plain segment name. Raises UsageError for any other name, or one impossible with `size`."""
        file = parse_wal_name(name)
        if not isinstance(file, SegmentFile):
            raise UsageError(f"{name!r} is not the name of a WAL segment")
        return cls(file.timeline, file.segment(size).number, size)

    @property
    def name(self) -> str:
        """The file name."""
        log, seg_low = divmod(self.number, LOG_BYTES // self.size)
        return f"{self.timeline:08X}{log:08X}{seg_low:08X}"

    @property
    def directory(self) -> str:
        """The first 16 digits: timeline and log."""
        return self.name[:16]

    @property
    def start_lsn(self) -> Lsn:
        """Its first LSN."""
        return Lsn(self.number * self.size)

    @property
    def end_lsn(self) -> Lsn:
        """The first LSN behind it. Raises UsageError for the very last segment of the 64-bit WAL."""
        return Lsn((self.number + 1) * self.size)

    def holds(self, lsn: Lsn) -> bool:
        """Tell whether the byte at `lsn` lies in this segment."""
        return lsn.value // self.size == self.number

    def next(self) -> WalSegment:
        """The segment that follows on the same timeline."""
        return WalSegment(self.timeline, self.number + 1, self.size)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, order=True, slots=True)
class SegmentFile:
    """The name of a segment, as long as the segment size is not known."""

    timeline: int  # 1 <= timeline < 2**32
    log: int  # LSN / 4 GiB, below 2**32
    seg_low: int  # segment within that log, below 4096 (segments of 1 MiB)

    @property
    def name(self) -> str:
        """The file name."""
        return f"{self.timeline:08X}{self.log:08X}{self.seg_low:08X}"

    @property
    def directory(self) -> str:
        """The first 16 digits: timeline and log."""
        return self.name[:16]

    def segment(self, size: int) -> WalSegment:
        """Place it in the WAL. Raises UsageError where no segment of `size` bytes has this name."""
        check_segment_size(size)
        per_log = LOG_BYTES // size
        if self.seg_low >= per_log:
            raise UsageError(f"{self.name!r} is not the name of a {size // MIB} MiB segment")
        return WalSegment(self.timeline, self.log * per_log + self.seg_low, size)


@dataclass(frozen=True, order=True, slots=True)
class PartialFile:
    """The last segment of a timeline that a promotion left: whole in size, not in content."""

    of: SegmentFile

    @property
    def name(self) -> str:
        """The file name."""
        return f"{self.of.name}.partial"


@dataclass(frozen=True, order=True, slots=True)
class BackupHistoryFile:
    """The label of a finished backup: `offset` bytes into `of` it started."""

    of: SegmentFile
    offset: int  # bytes, below the segment size

    @property
    def name(self) -> str:
        """The file name."""
        return f"{self.of.name}.{self.offset:08X}.backup"


@dataclass(frozen=True, order=True, slots=True)
class TimelineHistoryFile:
    """Where `timeline` comes from."""

    timeline: int

    @property
    def name(self) -> str:
        """The file name."""
        return f"{self.timeline:08X}.history"


WalFile = SegmentFile | PartialFile | BackupHistoryFile | TimelineHistoryFile


def parse_wal_name(text: str) -> WalFile:
    """Read the name, without directory, of a file that PostgreSQL archives. Raises UsageError otherwise."""
    match = WAL_NAME.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not the name of a WAL file")
    timeline = int(match["timeline"], 16)
    check_timeline(timeline)
    if match["history"]:
        return TimelineHistoryFile(timeline)
    of = SegmentFile(timeline, int(match["log"], 16), int(match["seg_low"], 16))
    if of.seg_low >= LOG_BYTES // SMALLEST_SEGMENT:
        raise UsageError(f"{text!r} is not the name of a WAL file of any segment size")
    if match["partial"]:
        return PartialFile(of)
    if match["offset"]:
        return BackupHistoryFile(of, int(match["offset"], 16))
    return of


def segment_at(timeline: int, lsn: Lsn, size: int) -> WalSegment:
    """The segment that holds the byte at `lsn`.

    For a position that ends something (a stop LSN) ask for the byte before it: a backup that stops exactly
    on a boundary does not need the segment behind. Servers disagree on that, so they are not asked:
    pg_walfile_name of a boundary is the segment before it until 16, the one behind it from 17 on.
    """
    check_segment_size(size)
    return WalSegment(timeline, lsn.value // size, size)


def segments_between(timeline: int, start_lsn: Lsn, stop_lsn: Lsn, size: int) -> Iterator[WalSegment]:
    """Every segment with a byte of [start_lsn, stop_lsn), in order; none when stop is not behind start."""
    check_segment_size(size)
    if stop_lsn <= start_lsn:
        return
    for number in range(start_lsn.value // size, (stop_lsn.value - 1) // size + 1):
        yield WalSegment(timeline, number, size)
