from __future__ import annotations

import pytest

from pgvault.errors import ServerUnfit
from pgvault.logical.replica import Found, judge
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.rowversions import Reading, Snapshot, Version, has_replayed

OLD = Snapshot(100, 100, frozenset())
ROW, NEXT, THIRD, FOURTH = ("(0,1)", 10), ("(0,2)", 20), ("(0,3)", 30), ("(0,4)", 40)
FIFTH, SIXTH = ("(0,5)", 50), ("(0,6)", 60)
SAME, OTHER = (1, 1), (2, 2)


def reading(versions: dict[Version, tuple[int, int]], filenode: int = 1) -> Reading:
    return Reading(versions, OLD, None, filenode)


def verdict(*contents: dict[Version, tuple[int, int]]) -> tuple[Found, list[int]]:
    """What is found when primary and replica are read in turn, and which blocks are not settled."""
    first, second, third, fourth, *more = [reading(content) for content in contents]
    found = Found()
    return found, judge([0], (first, second, third, fourth), (more[::2], more[1::2]), found)


def test_equal_readings_are_settled() -> None:
    """Also when the row was replaced between them, as long as both sides showed both."""
    assert verdict({ROW: SAME}, {ROW: SAME}, {ROW: SAME}, {ROW: SAME}) == (Found(), [])
    assert verdict({ROW: SAME}, {NEXT: SAME}, {NEXT: SAME}, {THIRD: SAME}) == (Found(), [])
    assert verdict({ROW: SAME}, {ROW: SAME}, {NEXT: SAME}, {NEXT: SAME}) == (Found(), [])


def test_a_version_with_other_content_is_changed() -> None:
    """Whenever it was seen: a version never changes."""
    found, _ = verdict({ROW: SAME}, {}, {}, {ROW: OTHER})

    assert found.changed == {ROW}
    assert str(found) == "at least 1 row changed on the replica, ctid (0,1)"


def test_a_version_that_stayed_must_be_on_the_replica_between() -> None:
    """Missing if the primary had it before and after; not if it was replaced meanwhile."""
    found, _ = verdict({ROW: SAME}, {}, {ROW: SAME}, {})
    assert found.missing == {ROW}

    found, unsettled = verdict({ROW: SAME}, {NEXT: SAME}, {THIRD: SAME}, {FOURTH: SAME})
    assert not found.is_different
    assert unsettled == [0]


def test_readings_made_at_any_time_settle_a_busy_block() -> None:
    """As soon as the replica has shown what the primary did, and the other way round; and they show what is changed."""
    turns = ({ROW: SAME}, {NEXT: SAME}, {THIRD: SAME}, {FOURTH: SAME})

    assert verdict(*turns, {NEXT: SAME}, {})[1] == []
    assert verdict(*turns, {FIFTH: SAME}, {SIXTH: SAME})[1] == [0]
    assert verdict(*turns, {FIFTH: SAME}, {FIFTH: OTHER})[0].changed == {FIFTH}


def test_a_version_that_stays_on_the_replica_must_be_on_the_primary_between() -> None:
    """Too much if the replica had it before and after; not if it came later."""
    found, _ = verdict({}, {ROW: SAME}, {}, {ROW: SAME})
    assert found.extra == {ROW}

    assert not verdict({}, {ROW: SAME}, {ROW: SAME}, {ROW: SAME})[0].is_different
    assert not verdict({}, {}, {}, {ROW: SAME})[0].is_different


def test_a_table_that_was_rewritten_is_not_judged() -> None:
    """Its rows lie elsewhere, under names of others."""
    before, after = reading({ROW: SAME}), reading({ROW: OTHER}, filenode=2)

    with pytest.raises(ServerUnfit, match="rewritten"):
        judge([0], (before, after, before, after), ([], []), Found())


def test_what_a_snapshot_does_not_see() -> None:
    """What ran, and what began after it: the suspects of a later one."""
    snapshot = Snapshot.parse("10:20:10,14")

    assert snapshot == Snapshot(10, 20, frozenset({10, 14}))
    assert sorted(snapshot.unseen_below(14)) == [10]
    assert sorted(snapshot.unseen_below(22)) == [10, 14, 20, 21]
    assert Snapshot.parse("10:10:").unseen_below(10) == []


def test_the_header_of_an_empty_page_is_never_replayed() -> None:
    """An insert position right behind it is reached by whoever is at the page's start."""
    page = 0x3000000 + 8192

    assert has_replayed(Lsn(page), Lsn(page + 24), 8192)
    assert not has_replayed(Lsn(page - 8), Lsn(page + 24), 8192)
    assert not has_replayed(Lsn(page), Lsn(page + 48), 8192)
