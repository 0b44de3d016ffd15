"""The moments that can be restored, as spans of time: what a drill draws one from at random, and the oldest of all.

    way        ●═══════════╡  gap  ●═════════════════╡            ● stop of a range's first backup
    spans      └───────────┘       └─────────────────┘            up to its last transaction, or proven idleness
    drawn                              ▲                          every microsecond of them equally likely

Only what a restore follows counts: WAL of a timeline that was left does not. Times are the server's. A span ends where
the next transaction record would have to come to stop recovery there, or where a watermark proves that none came; what
nobody could restore to is in none of them, as far as names and the ends of ranges tell.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from pgvault.errors import TargetInvalid, TargetTooEarly
from pgvault.recovery.covered import CoveredWal, RememberingReader
from pgvault.recovery.facts import RestoreFacts
from pgvault.recovery.idleness import Proofs
from pgvault.recovery.path import RecoveryPath, cover, find_path, leading_timelines
from pgvault.recovery.stop import RESOLUTION
from pgvault.recovery.window import recovery_window
from pgvault.recovery.windowparts import WindowRange

MOST_READS = 64  # ranges whose last transaction is looked for, the newest: each takes a run of pg_waldump


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """Moments that can be restored, without a hole."""

    after: datetime  # not this one itself: a backup stopped then
    until: datetime  # this one too

    @property
    def count(self) -> int:
        """How many moments it has, a microsecond apart."""
        return (self.until - self.after) // RESOLUTION


def draw_instant(spans: Sequence[TimeSpan], *, seed: int, number: int = 0) -> datetime:
    """Return a moment of `spans`, each as likely as any other: the same for the same seed and number.

    Raises TargetTooEarly when there is none.
    """
    total = sum(span.count for span in spans)
    if not total:
        raise TargetTooEarly(
            "the recovery window holds no moment to choose from", hint="A backup needs archived WAL behind it."
        )
    return instant_at(spans, random.Random(f"{seed} {number}").randrange(total))


def instant_at(spans: Sequence[TimeSpan], index: int) -> datetime:
    """Return the moment of that number, counted from 0 over all of `spans`."""
    for span in spans:
        if index < span.count:
            return span.after + (index + 1) * RESOLUTION
        index -= span.count
    raise IndexError(index)


def oldest_label(facts: RestoreFacts, *, timeline: int | None = None) -> str:
    """Return the backup whose end is the oldest moment that can be restored on the way that is followed.

    Raises TargetTooEarly when nothing can be restored, TargetInvalid where several timelines went on.
    """
    path = _followed(facts, timeline)
    ranges = _ranges(facts, path)
    if not ranges:
        raise TargetTooEarly(f"no backup can be restored on the way to timeline {path.timeline}")
    return ranges[0].backups[0].label


def reachable_spans(facts: RestoreFacts, *, timeline: int | None = None) -> tuple[TimeSpan, ...]:
    """Return the moments that can be restored on the way that is followed, oldest first, no two of them overlapping.

    Raises TargetInvalid where several timelines went on, and what reading WAL raises.
    """
    facts = RestoreFacts(
        facts.backups, facts.inventory, facts.watermarks, RememberingReader(facts.reader), facts.gaps, facts.proofs
    )
    path = _followed(facts, timeline)
    proofs = Proofs(path, facts.watermarks)
    newest_first = reversed(_ranges(facts, path))
    ends = {found: _last_transaction_at(facts, path, found) for found in islice(newest_first, MOST_READS)}
    spans = list(_spans(facts, path, proofs, ends))
    return tuple(sorted(spans, key=lambda span: span.after))


def _spans(
    facts: RestoreFacts, path: RecoveryPath, proofs: Proofs, ends: dict[WindowRange, datetime | None]
) -> Iterator[TimeSpan]:
    held = [backup for backup in facts.backups if path.holds(backup)]
    taken: list[TimeSpan] = []
    for found in _ranges(facts, path):
        known = [at for at in (ends.get(found), proofs.until(found.end_lsn)) if at is not None]
        # A later backup is what a restore would begin with from its stop on, and it is of another range, or of none.
        begins = [
            backup.stopped_at
            for backup in held
            if backup.stop_lsn > found.start_lsn and backup.label not in found.labels
        ]
        until = min([max(known, default=found.starts_at), *begins])
        after = max([found.starts_at, *(span.until for span in taken)])  # clocks are set back
        if after < until:
            taken.append(TimeSpan(after, until))
            yield taken[-1]


def _last_transaction_at(facts: RestoreFacts, path: RecoveryPath, found: WindowRange) -> datetime | None:
    """Return the last moment that a transaction at the end of a range proves to be reachable."""
    first = next(backup for backup in facts.backups if backup.label == found.backups[0].label)
    inventory = facts.inventory
    covered = cover(path, first.start_lsn, archived=inventory.segments, tails=inventory.tails)
    wal = CoveredWal(covered, first.start_lsn, facts.reader)
    last = next(wal.transactions_before(len(wal.segments)), None)
    if last is None or last.lsn < first.stop_lsn:
        return None
    return last.at - RESOLUTION  # recovery stops before the first record that is later than the target


def _followed(facts: RestoreFacts, timeline: int | None) -> RecoveryPath:
    if timeline is not None:
        return find_path(timeline, facts.inventory)
    leading = leading_timelines(facts.inventory, facts.backups)
    if len(leading) > 1:
        said = " and ".join(f"timeline {each}" for each in sorted(leading))
        raise TargetInvalid(
            f"the recovery window is not one: {said} both went on from the same backup",
            hint="Say which with --timeline; pgvault list shows where they part.",
        )
    return find_path(leading[0], facts.inventory)


def _ranges(facts: RestoreFacts, path: RecoveryPath) -> tuple[WindowRange, ...]:
    window = recovery_window(facts.backups, facts.inventory, facts.watermarks, facts.gaps)
    return window.ways.get(path.timeline, ())
