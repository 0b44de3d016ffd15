"""What an expiry does in the cases that operators meet: failover, a new system, a deletion, a copy that lags."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pgvault.config import RetentionConfig
from pgvault.errors import ObjectMissing, Refused
from pgvault.expire.actions import ExpirePlan, ExpireRequest
from pgvault.expire.facts import (
    CopyFacts,
    ExpireFacts,
    HoldFacts,
    PhysicalBackup,
    PinFacts,
    TombstoneFacts,
    UnfinishedFacts,
    WalFacts,
)
from pgvault.expire.plan import plan_expire
from pgvault.expire.policy import Policy
from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.repository.walindex import WalInventory

SIZE = 16 * MIB
NOW = datetime(2025, 10, 25, 12, 0, tzinfo=UTC)
OLD, NEW = 7400000000000000001, 7400000000000000002
DAY = timedelta(days=1)


def day(number: float) -> datetime:
    """Segment n is written on day n; now is noon of day 30."""
    return NOW - (30 - number) * DAY


def full(number: int, *, timeline: int = 1, system: int = OLD, **more: object) -> PhysicalBackup:
    """A backup within segment `number`."""
    start = Lsn(number * SIZE + 40)
    made = PhysicalBackup(
        f"f{number}", True, system, timeline, start, start + 4000, day(number), day(number) + timedelta(minutes=9)
    )
    return replace(made, **more)  # type: ignore[arg-type]


def wal(
    *numbers: int,
    system: int = OLD,
    timeline: int = 1,
    more: Iterable[WalSegment] = (),
    histories: dict[int, TimelineHistory] | None = None,
    names: Iterable[str] = (),
) -> WalFacts:
    segments = frozenset({*(WalSegment(timeline, number) for number in numbers), *more})
    inventory = WalInventory(system, SIZE, segments, histories or {})
    sizes = dict.fromkeys([*(each.name for each in segments), *names], 100)
    return WalFacts(inventory, sizes, last_writes={each: day(each.number + 1) for each in segments})


def copy(name: str, backups: Iterable[PhysicalBackup], *stored: WalFacts, verified: str | None = None) -> CopyFacts:
    held = tuple(backups)
    labels = [each.label for each in held]
    return CopyFacts(
        name,
        held,
        frozenset(labels if verified is None else verified.split()),
        wal=stored,
        label_bytes=dict.fromkeys(labels, 5000),
    )


def facts(*copies: CopyFacts, **more: object) -> ExpireFacts:
    return replace(ExpireFacts("main", NOW, copies), **more)  # type: ignore[arg-type]


def weekly() -> CopyFacts:
    """A full each week, and WAL of 30 days."""
    return copy("primary", [full(2), full(9), full(16), full(23)], wal(*range(1, 31)))


WINDOW = Policy(RetentionConfig(full=2, window=timedelta(days=5)))


def gone(plan: ExpirePlan) -> str:
    return " ".join(str(each) for removal in plan.wal for each in (*removal.ranges, *removal.tails, *removal.others))


def test_marking_comes_first() -> None:
    """Two fulls go in three days, and with them the WAL that they lead through; none lead to segment 1."""
    plan = plan_expire(facts(weekly()), WINDOW)

    assert [mark.label for mark in plan.marks] == ["f2", "f9"]
    assert plan.removals == ()
    assert gone(plan) == "000000010000000000000001"
    kept = {each.label: each for each in plan.kept}
    assert kept["f23"].reasons == ("full 1 of 2", "reaches into the 120 h window")
    assert kept["f16"].reasons == ("full 2 of 2",)
    assert kept["f16"].restores_to_end_only
    assert not kept["f23"].restores_to_end_only
    assert plan.windows[0].begins_before == day(2) + timedelta(minutes=9)
    assert plan.windows[0].begins_after == day(16) + timedelta(minutes=9)  # of the backups that are not marked


def test_removal_follows_grace() -> None:
    """After 72 hours the backup goes, and in the same run its WAL up to the next one that is left."""
    marks = {"f2": TombstoneFacts(NOW - 4 * DAY, is_deliberate=False), "f9": TombstoneFacts(NOW - DAY, False)}

    plan = plan_expire(facts(weekly(), tombstones=marks), WINDOW)

    assert [each.label for each in plan.removals] == ["f2"]
    assert gone(plan) == "000000010000000000000001..000000010000000000000008"
    assert [(each.label, each.removable_at) for each in plan.waiting] == [("f9", NOW + 2 * DAY)]
    assert plan.bytes_won == 5000 + 100 * 8


def test_wal_that_left_the_window_goes_after_the_grace() -> None:
    """A window of five days, and three of grace: what lies before the full of day 16 goes, as day 22 counts still."""
    marks = {label: TombstoneFacts(NOW - 4 * DAY, is_deliberate=False) for label in ("f2", "f9")}
    short = Policy(RetentionConfig(full=2, window=timedelta(days=5), grace=timedelta(days=1)))

    assert gone(plan_expire(facts(weekly(), tombstones=marks), WINDOW)) == (
        "000000010000000000000001..00000001000000000000000F"
    )
    assert gone(plan_expire(facts(weekly(), tombstones=marks), short)) == (
        "000000010000000000000001..00000001000000000000000F 000000010000000000000011..000000010000000000000016"
    )


def test_a_mark_is_withdrawn_when_policy_wants_the_backup_again() -> None:
    """… but not one that an operator put."""
    tombstones = {"f16": TombstoneFacts(NOW, is_deliberate=False), "f23": TombstoneFacts(NOW, is_deliberate=True)}

    plan = plan_expire(facts(weekly(), tombstones=tombstones), WINDOW)

    assert plan.withdrawals == {"f16": "full 1 of 2"}
    assert {"f9", "f16"} <= {each.label for each in plan.kept}


def test_redundancy_is_counted_copy_by_copy() -> None:
    """A second region in which nothing was verified keeps every full in all copies, and the plan says so."""
    primary, backups = weekly(), weekly().backups
    second = replace(primary, name="dr", backups=backups, verified=frozenset({"f23"}))

    plan = plan_expire(facts(primary, second), WINDOW)

    assert plan.marks == ()
    assert plan.notes == (
        "copy 'dr' holds 1 of 2 verified fulls: no full that it holds expires until pgvault verify --copy dr",
    )
    assert "only 1 of 2 fulls are verified in copy 'dr'" in next(e for e in plan.kept if e.label == "f2").reasons


def test_a_copy_that_never_got_a_backup_hinders_its_removal() -> None:
    """Until it is abandoned."""
    lagging = copy("dr", [full(9), full(16), full(23)], wal(*range(9, 31)))
    known = facts(weekly(), lagging, tombstones={"f2": TombstoneFacts(NOW - 9 * DAY, is_deliberate=False)})

    blocked = plan_expire(known, WINDOW)
    abandoned = plan_expire(known, WINDOW, ExpireRequest(abandoned=frozenset({"dr"})))

    assert [(each.label, each.why) for each in blocked.waiting] == [("f2", "copy 'dr' never got it")]
    assert [(each.label, each.copies) for each in abandoned.removals] == [("f2", ("primary",))]


def test_a_removal_that_has_begun_goes_on() -> None:
    """The root is gone here already; what is left of the label goes, in the deciding copy last."""
    rest = replace(weekly(), backups=weekly().backups[1:])
    known = facts(rest, replace(weekly(), name="dr"), tombstones={"f2": TombstoneFacts(NOW, False, is_begun=True)})

    plan = plan_expire(known, WINDOW)

    assert [(each.label, each.copies) for each in plan.removals] == [("f2", ("dr", "primary"))]


def test_a_root_that_does_not_open_stops_all_removals() -> None:
    """Nobody knows what it refers to. Marking goes on."""
    marks = {"f2": TombstoneFacts(NOW - 9 * DAY, is_deliberate=False)}

    plan = plan_expire(facts(replace(weekly(), unreadable=("f7",)), tombstones=marks), WINDOW)

    assert not plan.removals
    assert not plan.wal
    assert [mark.label for mark in plan.marks] == ["f9"]
    assert "the root of backup 'f7' does not open in copy 'primary'" in plan.notes[-1]


def test_a_dead_timeline_goes_when_it_is_past_the_window() -> None:
    """After a failover in segment 12 both went on; the old branch stays as long as the window reaches it."""
    history = {2: TimelineHistory(2, (HistoryEntry(1, Lsn(12 * SIZE + 5000), "promoted"),))}
    stored = wal(
        *range(12, 31),
        timeline=2,
        more=[WalSegment(1, number) for number in range(1, 15)],
        histories=history,
        names=["00000002.history", "00000001000000000000000F.partial"],
    )
    backups = [full(10), full(20, timeline=2), full(23, timeline=2)]
    marks = {"f10": TombstoneFacts(NOW - 4 * DAY, is_deliberate=False)}

    marked = plan_expire(facts(copy("primary", backups, stored)), WINDOW)
    late = plan_expire(facts(copy("primary", backups, stored), tombstones=marks), WINDOW)
    early = plan_expire(
        facts(copy("primary", backups, stored)), Policy(RetentionConfig(full=2, window=timedelta(days=14)))
    )

    assert gone(marked) == "000000010000000000000001..000000010000000000000009"
    assert "000000010000000000000001..00000001000000000000000E" in gone(late)
    assert "00000002.history" not in gone(late)
    assert "00000001000000000000000B" not in gone(early)


def test_wal_of_another_system_goes_with_its_last_backup() -> None:
    """After pg_upgrade the old system keeps its backups' WAL, then nothing, not even histories."""
    history = {2: TimelineHistory(2, (HistoryEntry(1, Lsn(3 * SIZE), "promoted"),))}
    old = wal(*range(1, 9), histories=history, names=["00000002.history"])
    new = wal(*range(15, 31), system=NEW)
    backups = [full(16, system=NEW), full(23, system=NEW)]

    with_backup = plan_expire(facts(copy("primary", [full(2), *backups], old, new)), WINDOW)
    without = plan_expire(facts(copy("primary", backups, old, new)), WINDOW)

    assert [mark.label for mark in with_backup.marks] == ["f2"]
    assert gone(with_backup).startswith("000000010000000000000001 00000001")  # f2 can be taken back, with its WAL
    assert "history" not in gone(with_backup)
    assert gone(without).startswith("000000010000000000000001..000000010000000000000008 00000002.history")


def test_a_server_that_is_down_loses_nothing() -> None:
    """No WAL for ten days: the last state and the way there stay, though the window lies behind it."""
    plan = plan_expire(facts(copy("primary", [full(9), full(16)], wal(*range(8, 21)))), WINDOW)

    assert plan.marks == ()
    assert "000000010000000000000011" not in gone(plan)


def test_what_a_running_backup_may_need_stays() -> None:
    """From its start on where that is known, else whatever is younger than it by the grace."""
    known = UnfinishedFacts("u", day(29), is_live=True, system_identifier=OLD, start_lsn=Lsn(11 * SIZE))
    unknown = UnfinishedFacts("u", day(8), is_live=True)

    old = {label: TombstoneFacts(NOW - 4 * DAY, is_deliberate=False) for label in ("f2", "f9")}

    assert gone(plan_expire(facts(weekly(), tombstones=old, unfinished=(known,)), WINDOW)) == (
        "000000010000000000000001..00000001000000000000000A"
    )
    assert gone(plan_expire(facts(weekly(), tombstones=old, unfinished=(unknown,)), WINDOW)) == (
        "000000010000000000000001..000000010000000000000003"
    )


def test_unfinished_labels_are_aborted_and_swept_when_nobody_works_on_them() -> None:
    """Not before the grace is over, and never a live one."""
    labels = (
        UnfinishedFacts("killed", NOW - 4 * DAY, stored_bytes=7),
        UnfinishedFacts("recent", NOW - 2 * DAY),
        UnfinishedFacts("live", NOW - 9 * DAY, is_live=True, system_identifier=OLD, start_lsn=Lsn(SIZE)),
        UnfinishedFacts("aborted", NOW - 9 * DAY, is_aborted=True, stored_bytes=3),
        UnfinishedFacts("clean", NOW - 9 * DAY, is_aborted=True),
    )

    plan = plan_expire(facts(weekly(), unfinished=labels), WINDOW)

    assert [(each.label, each.is_to_be_aborted) for each in plan.sweeps] == [("killed", True), ("aborted", False)]


def test_without_window_wal_begins_with_the_oldest_kept_full() -> None:
    """`full: 2` alone: the second newest and everything since; and what is marked reaches as far as before."""
    marks = {label: TombstoneFacts(NOW - 4 * DAY, is_deliberate=False) for label in ("f2", "f9")}

    marked = plan_expire(facts(weekly()), Policy(RetentionConfig(full=2)))
    later = plan_expire(facts(weekly(), tombstones=marks), Policy(RetentionConfig(full=2)))

    assert gone(marked) == "000000010000000000000001"
    assert gone(later) == "000000010000000000000001..00000001000000000000000F"


def test_without_retention_nothing_expires() -> None:
    """It is said; what an operator marked goes all the same, after the usual grace."""
    marks = {"f2": TombstoneFacts(NOW - 4 * DAY, is_deliberate=True)}

    plan = plan_expire(facts(weekly(), tombstones=marks), Policy(None))

    assert not plan.marks
    assert not plan.wal
    assert [each.label for each in plan.removals] == ["f2"]
    assert plan.notes == ("cluster 'main' has no retention section: nothing expires",)


def test_a_hold_keeps_the_way_to_every_moment() -> None:
    """From day 5 to day 11: the backup before, those in between, the WAL up to the first backup after."""
    hold = HoldFacts("42", since=day(5), until=day(11))

    plan = plan_expire(facts(weekly(), holds=(hold,)), WINDOW)

    assert plan.marks == ()
    assert {each.label for each in plan.kept if "wanted by hold 42" in each.reasons} == {"f2", "f9"}
    assert gone(plan) == "000000010000000000000001"  # the full of day 16 leads into the window and its grace


@pytest.mark.parametrize(
    ("asked", "more", "message"),
    [
        (["f2"], {"holds": (HoldFacts("42", frozenset({"f2"})),)}, "is held"),
        (
            ["f2"],
            {"holds": (HoldFacts("42", frozenset({"f2"})), HoldFacts("7", since=day(16), until=day(17)))},
            "held: 42$",
        ),
        (["f2"], {"pins": (PinFacts("restore on db7", frozenset({"f2"})),)}, "is read by restore on db7"),
        (["f2", "f9", "f16", "f23"], {}, "no full would be left"),
    ],
)
def test_a_deletion_is_refused(asked: list[str], more: dict[str, object], message: str) -> None:
    """What is held or read, and the last of all."""
    with pytest.raises(Refused, match=message):
        plan_expire(facts(weekly(), **more), WINDOW, ExpireRequest(tuple(asked)))


def test_a_deletion_marks_and_removes_nothing() -> None:
    """One of four: no more is asked for."""
    plan = plan_expire(facts(weekly()), WINDOW, ExpireRequest(("f9",)))

    assert [(mark.label, mark.is_deliberate) for mark in plan.marks] == [("f9", True)]
    assert not plan.removals
    assert not plan.wal
    assert not plan.needs_window


def test_deleting_much_at_once_names_where_the_window_begins() -> None:
    """Half of the backups: the value of the dry run, or no."""
    asked = ("f2", "f9")
    dry = plan_expire(facts(weekly()), WINDOW, ExpireRequest(asked))
    begin = dry.windows[0].begins_after
    assert begin == day(16) + timedelta(minutes=9)

    assert dry.needs_window
    assert plan_expire(facts(weekly()), WINDOW, ExpireRequest(asked, shrink_window_to=begin)).marks == dry.marks
    with pytest.raises(Refused, match="the recovery window would begin at"):
        plan_expire(facts(weekly()), WINDOW, ExpireRequest(asked, shrink_window_to=day(2)))


def test_deleting_much_one_after_the_other_names_where_the_window_begins() -> None:
    """What was marked by name, and is there still, counts with what is asked for; naming it again asks for nothing."""
    known = facts(weekly(), tombstones={"f2": TombstoneFacts(NOW, is_deliberate=True)})

    plan = plan_expire(known, WINDOW, ExpireRequest(("f9",)))

    assert plan.needs_window
    assert "2 of 4 backups, 1 marked before" in plan.notes[0]
    assert not plan_expire(known, WINDOW, ExpireRequest(("f2",))).needs_window


def test_deleting_the_last_verified_full_names_where_the_window_begins() -> None:
    """Others are left, but nobody has read them back."""
    known = facts(replace(weekly(), verified=frozenset({"f23"})))

    assert plan_expire(known, WINDOW, ExpireRequest(("f23",))).needs_window
    assert not plan_expire(known, WINDOW, ExpireRequest(("f9",))).needs_window


def test_what_others_need_is_not_deleted_without_them() -> None:
    """An incremental refers to its full."""
    incremental = full(10, is_full=False, needs=frozenset({"f9"}))
    known = facts(copy("primary", [full(2), full(9), incremental, full(16), full(23)], wal(*range(1, 31))))

    with pytest.raises(Refused, match="needed by 1 others, one is 'f10'"):
        plan_expire(known, WINDOW, ExpireRequest(("f9",)))
    assert len(plan_expire(known, WINDOW, ExpireRequest(("f9", "f10"))).marks) == 2
    with pytest.raises(ObjectMissing):
        plan_expire(known, WINDOW, ExpireRequest(("f99",)))
