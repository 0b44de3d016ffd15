from __future__ import annotations

from datetime import timedelta

from pgvault.postgres.lsn import Lsn
from pgvault.recovery.window import RecoveryWindow
from pgvault.recovery.windowparts import LostBackup, Standing, WindowGap, WindowRange
from pgvault.report.coverage import LONGEST, MARKS, SHORTEST, make_lane, make_window, older_count, silent_lane
from pgvault.report.document import Lane, Mark
from pgvault.report.gather import drill_of
from tests.archive import small
from tests.report.sample import NOW, days, drill
from tests.repository.samples import make_manifest

RANGE = WindowRange(
    timeline=1,
    start_lsn=Lsn(100),
    end_lsn=Lsn(200),
    starts_at=days(9),
    proven_until=days(5),
    backups=(),
    has_gap_behind=True,
    branch=None,
    standing=Standing.FOLLOWED,
    last_segment=small(1),
    is_tail=False,
    last_write_at=days(4.9),
)
GAP = WindowGap(1, Lsn(200), Lsn(300), 3, "lost", None, small(1), small(5), Lsn(400), days(4.9), days(4.5))


def lane(copy: str = "primary") -> Lane:
    """A copy with a gap, a backup behind it and one that is lost."""
    again = make_manifest(label="again", stop_lsn=Lsn(400), started_at=days(4.1), stopped_at=days(4))
    first = make_manifest(label="first", stop_lsn=Lsn(100), started_at=days(9.1), stopped_at=days(9))
    window = RecoveryWindow((RANGE,), (GAP,), (LostBackup("gone", "its WAL is missing"),), (1,))
    drills = [drill_of(each) for each in (drill(1), drill(2, copies=["dr"]), drill(3, as_of=None))]
    return make_lane(copy, [again, first], [window], drills)


def test_a_lane_says_what_a_copy_covers() -> None:
    """Backups in the order of their ends, stretches, holes to where one can restore again, drills that read it."""
    found = lane()

    assert [mark.label for mark in found.backups] == ["first", "again"]
    (bar,), (hole,) = found.bars, found.holes
    assert (bar.starts_at, bar.proven_until, bar.last_write_at) == (days(9), days(5), days(4.9))
    assert (hole.from_at, hole.until_at, hole.restorable_again_at) == (days(4.9), days(4.5), days(4))
    assert found.not_restorable == ("gone: its WAL is missing",)
    assert [proof.drill for proof in found.proofs] == ["drill-1"]
    assert [proof.drill for proof in lane("dr").proofs] == ["drill-2"]


def test_a_drill_counts_for_the_copy_that_was_there() -> None:
    """Not for the first one where that did not answer."""
    read_elsewhere = drill_of(drill(1, unread_copies=[{"copy": "primary", "error": "gone"}]))

    assert read_elsewhere.copies == ("dr",)


def test_the_picture_holds_everything_but_what_is_too_old() -> None:
    """It ends now, begins with the oldest of all copies, and never spans less than some minutes or over a quarter."""
    old = Lane("dr", None, 2, (Mark("old", "full", days(400)), Mark("new", "full", days(1))), (), (), (), ())

    plain, wide = make_window([lane()], now=NOW), make_window([lane(), old], now=NOW)
    empty = make_window([silent_lane("primary", "gone")], now=NOW)

    assert (plain.from_at, plain.to_at) == (days(9), NOW)
    assert wide.from_at == NOW - LONGEST
    assert older_count(wide) == 1
    assert empty.to_at - empty.from_at == SHORTEST
    assert timedelta(0) < SHORTEST


def test_a_lane_of_very_many_backups_counts_them_all() -> None:
    """And draws the newest."""
    many = [make_manifest(label=str(each), stopped_at=days(each / 100)) for each in range(MARKS + 50)]

    found = make_lane("primary", many, [], [])

    assert (found.backup_count, len(found.backups), found.backups[-1].at) == (MARKS + 50, MARKS, NOW)
