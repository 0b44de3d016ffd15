"""Judge, of each copy that is read, when a backup was last read back there by `verify`, and with what result.

A mark says what was true when it was made. Without any mark a copy is believed in, and not known; where the newest mark
of a backup takes its proof back, that copy holds a damaged backup until `verify` finds it whole again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from pgvault.instants import iso
from pgvault.monitor.finding import Figures, Finding, ok, red, span, warn
from pgvault.repository.repository import Repository
from pgvault.repository.verified import Verified, read_marks

NAME = "verify"
USUAL_AGE = timedelta(days=8)  # a week is what was promised, and a day for the run itself
HINT = "Run it, from cron every week: pgvault verify"


def look_at_verified(
    repository: Repository, cluster: str, labels: Sequence[str], *, now: datetime
) -> Iterator[Finding]:
    """Judge every copy that is read by the marks of the backups `labels`. Raises what reading a store raises."""
    marks = list(read_marks(repository, cluster, labels))
    for copy in repository.copies:
        if copy.name not in repository.unread:
            of_copy = [mark for mark in marks if mark.copy == copy.name]
            yield judge_verified(copy.name, of_copy, labels, now=now)


def judge_verified(copy: str, marks: Sequence[Verified], labels: Sequence[str], *, now: datetime) -> Finding:
    """Judge one copy by the newest mark of each backup in it."""
    figures: Figures = {"copy": copy, "backups": len(labels), "count": len(marks), "damaged_backups": 0}
    newest = max(marks, key=lambda mark: mark.at, default=None)
    if newest is None:
        what = "no backup was ever read back there" if labels else "there is no backup to read back"
        return warn(NAME, f"unknown: {copy}: {what}", figures, hint=HINT)
    whole = [mark for mark in marks if mark.is_whole]
    bad = sorted(mark.label for mark in marks if not mark.is_whole)
    passed_at = max((mark.at for mark in whole), default=None)
    figures = {
        **figures,
        "at": iso(newest.at),
        "passed_at": None if passed_at is None else iso(passed_at),
        "is_whole": newest.is_whole,
        "damaged_backups": len(bad),
    }
    said = f"{copy}: {len(whole)} of {len(labels)} backups were whole when read back, last {span(now - newest.at)} ago"
    if bad:
        more = f" and {len(bad) - 1} more" * (len(bad) > 1)
        hint = "Heal it: pgvault verify --repair, then take a backup if it says that nothing can."
        return red(NAME, f"{copy}: backup {bad[0]}{more} was damaged when it was last read back", figures, hint=hint)
    if now - newest.at > USUAL_AGE:
        return warn(NAME, said, figures, hint=HINT)
    return ok(NAME, said, figures)
