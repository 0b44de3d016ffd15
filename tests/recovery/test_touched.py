from __future__ import annotations

from pgvault.postgres.waldump import Changes, RelationFile
from pgvault.recovery.plan import RestorePlan, RestoreRequest, plan_restore
from pgvault.recovery.target import LatestTarget, TimeTarget
from pgvault.recovery.touched import LOOK_BACK, Names, landing_line, next_commit
from tests.recovery.fakes import Archive, FakeBackup, Record, lsn_in, minute

ORDERS, ITEMS, DROPPED, CATALOG = (RelationFile(5, number) for number in (16400, 16405, 16410, 1259))
NAMES = Names({ORDERS: "public.orders", ITEMS: "public.items", DROPPED: "public.old"})


def archive_of(*, end: int = 3) -> Archive:
    """Commits at minutes 1, 2 and 2:03, the last one in segment `end`."""
    archive = Archive(backups=[FakeBackup("b", lsn_in(1, 40), lsn_in(1, 200), minute(0))])
    archive.add_segment(1, *range(1, end + 2))
    archive.add(
        Record(lsn_in(1, 1000), 700, minute(1)),
        Record(lsn_in(2, 1000), 701, minute(2)),
        Record(lsn_in(end, 1000), 702, minute(2.05)),
    )
    return archive


def planned(archive: Archive, at: float) -> RestorePlan:
    target = TimeTarget(minute(at), "", None)
    return plan_restore(archive.facts, RestoreRequest(target))


def test_the_next_commit_and_what_it_does() -> None:
    """The line names both commits, how far they are apart, and tables by name."""
    archive = archive_of()
    archive.changed[lsn_in(3, 1000)] = Changes(frozenset({ORDERS, ITEMS, CATALOG}), frozenset({DROPPED}))
    plan = planned(archive, 2.01)

    line = landing_line(plan, next_commit(archive.facts, plan), NAMES)

    assert line == (
        "the last commit is of 2025-10-25T08:02:00+00:00; the next commit is of 2025-10-25T08:02:03+00:00, 3 s later, "
        "and touches public.items, public.orders, the catalogs and removes public.old"
    )


def test_what_has_no_name_is_counted() -> None:
    """A table that was made after the backup."""
    archive = archive_of()
    archive.changed[lsn_in(3, 1000)] = Changes(frozenset({RelationFile(5, 99999)}), frozenset())
    plan = planned(archive, 2.01)

    assert landing_line(plan, next_commit(archive.facts, plan), NAMES).endswith("touches 1 file without a known name")


def test_many_names_are_cut() -> None:
    """Five, and how many more."""
    files = {RelationFile(5, 20000 + number): f"public.t{number}" for number in range(9)}

    assert Names(files).told(files) == (*(f"public.t{number}" for number in range(5)), "4 more")


def test_only_a_few_segments_are_looked_at() -> None:
    """And where the transaction may have begun before, that is said."""
    archive = archive_of(end=12)
    plan = planned(archive, 2.01)
    archive.reads.clear()

    found = next_commit(archive.facts, plan)

    assert found is not None
    assert len(archive.reads) <= LOOK_BACK + 1
    assert landing_line(plan, found, NAMES).endswith(f"touches no table (its last {LOOK_BACK} segments were looked at)")


def test_nothing_is_said_of_what_can_not_be_read() -> None:
    """The plan stands without it."""
    archive = archive_of()
    plan = planned(archive, 2.01)
    archive.damaged |= set(archive.segments)

    found = next_commit(archive.facts, plan)

    assert found is None
    assert landing_line(plan, found, NAMES).endswith("the next commit is of 2025-10-25T08:02:03+00:00, 3 s later")


def test_the_end_of_the_wal() -> None:
    """Nothing comes behind it, and so nothing is said of what does."""
    archive = archive_of()
    plan = plan_restore(archive.facts, RestoreRequest(LatestTarget()))

    line = landing_line(plan, next_commit(archive.facts, plan), NAMES)

    assert line == "the last commit is of 2025-10-25T08:02:03+00:00, and nothing behind it is archived"
