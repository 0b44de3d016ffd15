from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.repository.walindex import WalInventory
from pgvault.wal.fork import forks
from tests.archive import SYSTEM, small

ONE = [small(number) for number in (5, 6, 7)]  # archived on timeline 1: up to 0/800000


@dataclass(frozen=True)
class Backup:
    """What counts of one."""

    timeline: int
    system_identifier: int = SYSTEM


def history(timeline: int, *entries: tuple[int, int]) -> TimelineHistory:
    """(ancestor, MiB at which it was left) each."""
    return TimelineHistory(timeline, tuple(HistoryEntry(left, Lsn(mib * MIB), "x") for left, mib in entries))


def found(histories: Sequence[TimelineHistory], *backups: Backup) -> list[str]:
    """Each open fork as child<parent."""
    segments = frozenset([*ONE, small(9, 2)])
    inventory = WalInventory(SYSTEM, MIB, segments, {each.timeline: each for each in histories})
    return [f"{fork.timeline}<{fork.parent}" for fork in forks(inventory, backups)]


@pytest.mark.parametrize(("mib", "expected"), [(9, []), (8, []), (7, ["2<1"]), (1, ["2<1"])])
def test_a_fork_leaves_before_the_end_of_what_is_archived(mib: int, expected: list[str]) -> None:
    """At or behind the last segment's end it is a promotion."""
    assert found([history(2, (1, mib))], Backup(1)) == expected


def test_a_backup_on_it_settles_a_fork() -> None:
    """Or on a timeline that came from it; one of another system, or of a sibling, does not."""
    two, three, sibling = history(2, (1, 7)), history(3, (1, 7), (2, 10)), history(4, (1, 6))

    assert found([two, three], Backup(1)) == ["2<1"]
    assert found([two, three], Backup(2)) == []
    assert found([two, three], Backup(1), Backup(3)) == []
    assert found([two, three, sibling], Backup(3)) == ["4<1"]
    assert found([two], Backup(2, SYSTEM + 1)) == ["2<1"]


def test_each_fork_is_told_once() -> None:
    """A timeline that continues a fork is none itself; if the fork's own history is missing, it stands for it."""
    three = history(3, (1, 7), (2, 10))

    assert found([history(2, (1, 7)), three]) == ["2<1"]
    assert found([three]) == ["2<1"]
    assert found([history(2, (1, 7)), history(3, (1, 7), (2, 9))]) == ["2<1", "3<2"]
    assert found([]) == []


def test_a_fork_says_what_it_is() -> None:
    """Both timelines, the place and the segment behind it."""
    inventory = WalInventory(SYSTEM, MIB, frozenset(ONE), {2: history(2, (1, 6))})

    assert str(forks(inventory, [])[0]) == (
        "timeline 2 leaves timeline 1 at 0/600000, but 000000010000000000000007 is archived: "
        "they are two futures of one cluster"
    )
