"""Recovery targets: where replay shall stop, as a value read from the command line.

    --to 2025-10-25T10:00 | '10 minutes ago' | latest      TimeTarget, LatestTarget
    --to last-good                                          LastGoodTarget
    --to-lsn 16/B374D848                                    LsnTarget
    --to-xid 4711                                           XidTarget
    --to-name before_migration                              NameTarget
    --immediate                                             ImmediateTarget

Exactly one of them. Nothing here knows whether the target can be reached; that is plan.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pgvault.errors import TargetInvalid, UsageError
from pgvault.instants import is_naive, iso, parse_instant
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import check_timeline, parse_timeline

LATEST = "latest"
LAST_GOOD = "last-good"
FIRST_NORMAL_XID = 3  # below are PostgreSQL's own
NAME_BYTES_MAX = 63  # MAXFNAMELEN - 1; a longer recovery_target_name is refused by the server
XID_TEXT = re.compile(r"[0-9]{1,19}", re.ASCII)
DECIMAL_TIMELINE = re.compile(r"[1-9][0-9]{0,6}", re.ASCII)
HEXADECIMAL_TIMELINE = re.compile(r"0x[0-9a-f]{1,8}", re.ASCII | re.IGNORECASE)

HINT = "Say where to stop with one of --to, --to-lsn, --to-xid, --to-name or --immediate."


@dataclass(frozen=True, slots=True)
class TimeTarget:
    """Everything that was committed up to an instant of the server's clock."""

    at: datetime  # aware UTC
    text: str  # as it was written
    zone_name: str | None  # the zone in which a text without offset was read; None where it named its own

    def __str__(self) -> str:
        return f"time {iso(self.at)}"


@dataclass(frozen=True, slots=True)
class LsnTarget:
    """The first record that starts at or behind a position."""

    lsn: Lsn

    def __str__(self) -> str:
        return f"LSN {self.lsn}"


@dataclass(frozen=True, slots=True)
class XidTarget:
    """The commit or abort of a transaction; others with lower numbers may commit after it."""

    xid: int  # as written; WAL holds the lower 32 bits

    @property
    def wal_xid(self) -> int:
        """The number that WAL records show."""
        return self.xid % 2**32

    def __str__(self) -> str:
        return f"transaction {self.xid}"


@dataclass(frozen=True, slots=True)
class NameTarget:
    """A restore point made with pg_create_restore_point."""

    name: str

    def __str__(self) -> str:
        return f"restore point {self.name!r}"


@dataclass(frozen=True, slots=True)
class ImmediateTarget:
    """The end of the backup itself."""

    def __str__(self) -> str:
        return "the end of the backup"


@dataclass(frozen=True, slots=True)
class LatestTarget:
    """The last record of the archived WAL."""

    def __str__(self) -> str:
        return "the end of the archived WAL"


@dataclass(frozen=True, slots=True)
class LastGoodTarget:
    """The newest position at which a drill passed; where that is, planning fills in (lastgood.py)."""

    lsn: Lsn | None = None  # the end of what is replayed
    label: str | None = None  # of the backup by which it was proven
    proven_by: str = ""  # which drill, and what moment, for people

    def __str__(self) -> str:
        return f"the last good moment ({self.proven_by})" if self.proven_by else "the last good moment"


Target = TimeTarget | LsnTarget | XidTarget | NameTarget | ImmediateTarget | LatestTarget | LastGoodTarget


class Action(StrEnum):
    """What the server does at the target; PostgreSQL's words."""

    PROMOTE = "promote"
    PAUSE = "pause"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """How to stop there."""

    is_inclusive: bool = True  # with the transaction or record that is the target; time, LSN and xid only
    timeline: int | None = None  # None: the one that leads on, see path.choose_timeline
    action: Action = Action.PROMOTE


@dataclass(frozen=True, slots=True)
class TargetWords:
    """The options of the command line, as written; at most one is given."""

    to: str | None = None
    lsn: str | None = None
    xid: str | None = None
    name: str | None = None
    is_immediate: bool = False

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the options that are given."""
        words = {"--to": self.to, "--to-lsn": self.lsn, "--to-xid": self.xid, "--to-name": self.name}
        named = tuple(option for option, text in words.items() if text is not None)
        return (*named, "--immediate") if self.is_immediate else named


def parse_target(words: TargetWords, *, zone: str, now: datetime) -> Target:
    """Read the target; a time without offset in `zone`. Raises TargetInvalid for none, several or nonsense."""
    if len(words.given) != 1:
        said = " and ".join(words.given) if words.given else "no recovery target"
        raise TargetInvalid(f"{said} given, and exactly one target is needed", hint=HINT)
    if words.to is not None:
        return parse_moment(words.to, zone=zone, now=now)
    if words.lsn is not None:
        return LsnTarget(_lsn(words.lsn))
    if words.xid is not None:
        return XidTarget(_xid(words.xid))
    if words.name is not None:
        return NameTarget(_name(words.name))
    return ImmediateTarget()


def parse_timeline_option(text: str) -> int:
    """Read --timeline: decimal `12`, hexadecimal `0xC`, or the eight digits of a file name, `0000000C`.

    Raises TargetInvalid. Eight digits are always hexadecimal: they are copied from a WAL file's name.
    """
    words = text.strip()
    try:
        if DECIMAL_TIMELINE.fullmatch(words):
            return int(words)
        if HEXADECIMAL_TIMELINE.fullmatch(words):
            timeline = int(words, 16)
            check_timeline(timeline)
            return timeline
        return parse_timeline(words.upper())
    except UsageError as error:
        raise TargetInvalid(
            f"{text!r} is not a timeline", hint="Write it decimal as 12, as 0xC, or as in file names 0000000C."
        ) from error


def parse_moment(text: str, *, zone: str, now: datetime) -> TimeTarget | LatestTarget | LastGoodTarget:
    """Read what stands behind --to. Raises TargetInvalid for nonsense."""
    word = text.strip().lower()
    if word == LATEST:
        return LatestTarget()
    if word == LAST_GOOD:
        return LastGoodTarget()
    at = parse_instant(text, zone=zone, now=now)
    return TimeTarget(at, text.strip(), zone if is_naive(text) else None)


def _lsn(text: str) -> Lsn:
    try:
        return Lsn.parse(text.strip())
    except UsageError as error:
        raise TargetInvalid(str(error), hint=error.hint) from error


def _xid(text: str) -> int:
    if XID_TEXT.fullmatch(text.strip()) and int(text) % 2**32 >= FIRST_NORMAL_XID:
        return int(text)
    raise TargetInvalid(f"{text!r} is not a transaction id", hint="It is a number, as txid_current() shows it.")


def _name(text: str) -> str:
    if not text or "\0" in text:
        raise TargetInvalid(f"{text!r} is not the name of a restore point")
    if len(text.encode("utf-8", "surrogateescape")) > NAME_BYTES_MAX:
        raise TargetInvalid(f"restore point {text!r} has a name longer than PostgreSQL's {NAME_BYTES_MAX} bytes")
    return text
