"""What is red, and why; every rule on a healthy cluster with one thing changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pgvault.errors import ObjectCorrupt, ServerUnreachable, StoreUnreachable
from pgvault.monitor.finding import Level, worst
from pgvault.monitor.walfacts import BackupFact, ClusterFacts, DiskFacts, TimedPosition
from pgvault.monitor.walstatus import is_broken, judge
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walstate import WalState
from tests.monitor.healthy import (
    ARCHIVER,
    DISK,
    END,
    GAP,
    GIB,
    HEALTHY,
    HELD,
    NOW,
    SERVER,
    SLOT,
    ago,
    found,
    levels,
    lsn_in,
    segment,
    with_held,
    with_server,
)

STREAMED = replace(HEALTHY, is_streamed=True, server=replace(SERVER, slot=SLOT))


def failed(at: float, *, archived: float | None) -> Any:
    return replace(
        ARCHIVER,
        failed_count=3,
        last_failed_name=segment(10).name,
        last_failed_at=ago(seconds=at),
        last_archived_at=None if archived is None else ago(seconds=archived),
    )


def test_a_healthy_cluster_is_green_throughout() -> None:
    """Every rule is asked, and none complains."""
    assert levels(HEALTHY) == {}
    assert worst(judge(HEALTHY)) is Level.OK
    assert not is_broken(judge(HEALTHY))
    assert {each.name for each in judge(HEALTHY)} >= {
        "server",
        "backup",
        "last segment",
        "WAL lag",
        "gaps",
        "pg_wal disk",
    }


def test_a_healthy_stream_is_green_without_archiving() -> None:
    """The slot stands for the archiver."""
    server = replace(SERVER, slot=SLOT, archive_mode="off", archive_command="", archive_timeout=timedelta(0))

    assert levels(replace(STREAMED, server=server)) == {}


def test_a_lost_backup_is_a_warning_once_a_newer_one_is_whole() -> None:
    """What is healed must not stay red for ever: nobody would look any more."""
    assert levels(with_held(lost=("older: segment missing",))) == {"not restorable": Level.WARN}


def test_nothing_looked_at_is_broken() -> None:
    """A claim over nothing is never green."""
    assert is_broken(())
    assert worst(()) is Level.RED


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        pytest.param("backup", with_held(backups=()), id="no backup"),
        pytest.param("backup", with_held(backups=(BackupFact("old", ago(hours=24, seconds=1), 0),)), id="stale"),
        pytest.param("pages", with_held(backups=(BackupFact("bad", ago(hours=3), 2),)), id="bad pages"),
        pytest.param("unreadable", with_held(unreadable=("backup x (cut)",)), id="a root does not open"),
        pytest.param(
            "not restorable",
            with_held(backups=(BackupFact("x", ago(hours=3), 0, is_whole=False),), lost=("x: segment missing",)),
            id="the newest backup without its WAL",
        ),
        pytest.param("system", with_held(is_system_known=False), id="another system"),
        pytest.param("protection", with_held(unprotected="timeline 2 has no backup yet"), id="unprotected"),
        pytest.param("forks", with_held(forks=("timeline 2 leaves timeline 1",)), id="fork"),
        pytest.param("archiving", with_server(archive_mode="off", archive_command=""), id="archive_mode off"),
        pytest.param("archiving", with_server(archive_command=""), id="no archive_command"),
        pytest.param("archiving", with_server(archive_timeout=timedelta(0)), id="archive_timeout 0"),
        pytest.param("archiver", with_server(archiver=failed(5, archived=None)), id="never succeeded"),
        pytest.param("archiver", with_server(archiver=failed(5, archived=30)), id="fails now"),
        pytest.param("archive", with_held(names=frozenset()), id="archived elsewhere"),
        pytest.param("gap", with_held(gaps=(GAP,)), id="gap without a backup behind it"),
        pytest.param("gap", with_held(gaps=(replace(GAP, is_healed=True),)), id="unexplained gap in the window"),
        pytest.param("gap", with_held(gaps=(replace(GAP, is_recorded=True),)), id="recorded gap, no backup yet"),
        pytest.param("slot", replace(STREAMED, server=SERVER), id="slot missing"),
    ],
)
def test_one_thing_is_red(name: str, facts: ClusterFacts) -> None:
    """It, and nothing else."""
    assert levels(facts) == {name: Level.RED}
    assert is_broken(judge(facts))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"is_active": False}, "inactive"),
        ({"wal_status": "lost"}, "lost"),
        ({"wal_status": "unreserved"}, "about to be lost"),
        ({"invalidation_reason": "idle_timeout"}, "idle_timeout"),
        ({"restart_lsn": None}, "reserves no WAL"),
    ],
)
def test_a_slot_that_does_not_hold_wal_is_red(changes: dict[str, Any], said: str) -> None:
    """It is there, and of no use."""
    facts = replace(STREAMED, server=replace(SERVER, slot=replace(SLOT, **changes)))

    assert levels(facts) == {"slot": Level.RED}
    assert said in found(facts, "slot").detail


def test_a_stray_future_is_told_for_ever_but_breaks_nothing() -> None:
    """Production is elsewhere and backed up; its standbys may still run into that timeline's number."""
    facts = with_held(strays=("timeline 2 leaves timeline 1",))

    assert levels(facts) == {"strays": Level.WARN}
    assert "standby" in str(found(facts, "strays").hint)


def test_past_failures_of_the_archiver_are_past() -> None:
    """What counts is whether something was stored since."""
    assert levels(with_server(archiver=failed(30, archived=5))) == {}


@pytest.mark.parametrize(
    "name", ["000000010000000000000009.00000028.backup", "000000010000000000000009.partial", "nonsense"]
)
def test_files_that_no_listing_tells_of_are_not_missed(name: str) -> None:
    """The last archived file need not be a segment."""
    assert levels(with_server(archiver=replace(ARCHIVER, last_archived_name=name))) == {}


def test_a_history_file_that_was_archived_nowhere_is_missed() -> None:
    """It is what a restore finds the new timeline by."""
    facts = with_server(archiver=replace(ARCHIVER, last_archived_name="00000002.history"))

    assert levels(facts) == {"archive": Level.RED}


def test_no_wal_at_all_is_red() -> None:
    """Neither a segment nor a lag can be told, and no gap is a claim over nothing."""
    facts = with_held(end=None, positions=(), names=frozenset({segment(9).name}))

    assert levels(facts) == {"last segment": Level.RED, "WAL lag": Level.RED}
    assert "gaps" not in {each.name for each in judge(facts)}


def test_a_last_segment_that_does_not_open_is_red() -> None:
    """Its name in a listing proves nothing."""
    end = replace(END, written_at=None, error=ObjectCorrupt("object is cut"))
    facts = with_held(end=end)

    assert levels(facts) == {"last segment": Level.RED}


def test_a_timeline_of_which_nothing_is_stored_is_red() -> None:
    """After a promotion the parent's WAL protects nothing that is written now."""
    facts = replace(HEALTHY, server=replace(SERVER, timeline=2), repository=replace(HELD, timeline=2, end=None))

    assert "timeline 2" in found(facts, "WAL lag").detail
    assert levels(facts)["WAL lag"] is Level.RED


def test_the_objective_breaks_at_its_own_second() -> None:
    """A bound equal to the objective keeps it; what is more breaks it, and the figures say that it is a bound."""
    facts = with_server(archive_timeout=timedelta(hours=1), redo_at=ago(hours=1))
    kept = replace(facts, rpo=timedelta(seconds=45))
    broken = replace(facts, rpo=timedelta(seconds=44))

    assert levels(kept) == {}
    assert levels(broken) == {"WAL lag": Level.RED}
    assert found(broken, "WAL lag").figures == {
        "bytes": 8 * MIB,
        "seconds": 45.0,
        "is_upper_bound": True,
        "limit_seconds": 44.0,
    }


def test_without_an_objective_the_usual_one_counts() -> None:
    """A quarter of an hour, or twice archive_timeout where that is more: a hung archiver fails nothing."""
    late = replace(HELD, positions=(TimedPosition(lsn_in(9), ago(minutes=16)),), end=replace(END, end_lsn=lsn_in(9)))
    facts = replace(with_server(redo_lsn=lsn_in(10)), repository=late, rpo=None)

    assert levels(facts) == {"WAL lag": Level.RED}
    assert "no objective is set" in found(facts, "WAL lag").detail
    slow = replace(facts, server=replace(SERVER, redo_lsn=lsn_in(10), archive_timeout=timedelta(minutes=10)))
    assert levels(slow) == {}


def test_what_was_stored_while_we_waited_lags_by_that() -> None:
    """A stream brings the last commits a few seconds later."""
    server = replace(SERVER, slot=SLOT, end_lsn=lsn_in(10))
    facts = replace(STREAMED, server=server, waited=timedelta(seconds=4))

    assert found(facts, "WAL lag").figures["seconds"] == 4.0
    assert found(facts, "WAL lag").figures["is_upper_bound"] is True


def test_a_healed_gap_that_was_recorded_is_a_warning() -> None:
    """Who lost it said so, and a backup is behind it: nothing is left to do."""
    assert levels(with_held(gaps=(replace(GAP, is_healed=True, is_recorded=True),))) == {"gap": Level.WARN}


def test_a_server_that_does_not_answer_is_red_and_the_rest_is_told() -> None:
    """The repository is judged all the same; what only the server knows is unknown, and not green."""
    facts = replace(HEALTHY, server=ServerUnreachable("down"), disk="the server is not reached")

    assert levels(facts) == {"server": Level.RED, "WAL lag": Level.WARN, "pg_wal disk": Level.WARN}
    assert found(facts, "backup").level is Level.OK
    assert found(facts, "WAL lag").detail.startswith("unknown")


def test_a_repository_that_does_not_answer_is_red_and_the_rest_is_told() -> None:
    """The server's own trouble is told all the same."""
    facts = replace(with_server(archiver=failed(5, archived=None)), repository=StoreUnreachable("gone"))

    assert levels(facts) == {"repository": Level.RED, "archiver": Level.RED}


def test_neither_answers() -> None:
    """Two errors are two findings, and no crash."""
    facts = replace(HEALTHY, server=ServerUnreachable("down"), repository=StoreUnreachable("gone"), disk="unknown")

    assert {name for name, level in levels(facts).items() if level is Level.RED} == {"server", "repository"}


def test_a_full_disk_is_red_before_it_is_full() -> None:
    """Less than four hours at the last hour's pace; the pace is that of what was written, stored or not."""
    # Since 61 minutes: from segment 5 to the middle of 10, so 88 MiB in at most an hour.
    four_hours = 4 * 88 * MIB
    enough = replace(HEALTHY, disk=replace(DISK, free_bytes=four_hours + MIB))
    too_little = replace(HEALTHY, disk=replace(DISK, free_bytes=four_hours - MIB))

    assert levels(enough) == {}
    assert levels(too_little) == {"pg_wal disk": Level.RED}
    assert found(too_little, "pg_wal disk").figures["bytes_per_second"] == pytest.approx(88 * MIB / 3600)


def test_how_long_a_disk_lasts_is_not_guessed() -> None:
    """Without a position of a minute ago it is unknown, and the free space is told."""
    facts = replace(with_held(positions=()), server=replace(SERVER, redo_at=ago(seconds=59)))

    finding = found(facts, "pg_wal disk")
    assert finding.level is Level.WARN
    assert "unknown" in finding.detail
    assert finding.figures["free_bytes"] == 100 * GIB


def test_an_idle_server_fills_no_disk() -> None:
    """No division by nothing."""
    still = (TimedPosition(SERVER.end_lsn, ago(hours=5)),)
    facts = replace(with_held(positions=still), disk=replace(DISK, free_bytes=0))

    assert found(facts, "pg_wal disk").level is Level.OK


def test_a_tiny_pace_lasts_longer_than_time_can_tell() -> None:
    """A byte an hour on a large disk is no overflow."""
    slow = (TimedPosition(SERVER.end_lsn + -1, ago(hours=5)),)
    facts = replace(with_held(positions=slow), disk=DiskFacts(DISK.path, 2**62, 2**63, 0, 0))

    assert found(facts, "pg_wal disk").level is Level.OK


def test_clocks_that_differ_are_told() -> None:
    """Ages would be wrong by that much."""
    assert levels(replace(HEALTHY, host_at=ago(seconds=6))) == {"clocks": Level.WARN}
    assert levels(replace(HEALTHY, host_at=ago(seconds=4))) == {}


def test_a_standby_is_not_taken_for_its_primary() -> None:
    """It replays, and its primary archives: neither is green."""
    facts = with_server(is_standby=True, next_xid=None)

    assert levels(facts) == {"server": Level.WARN, "archiving": Level.WARN, "WAL lag": Level.WARN}
    always = with_server(is_standby=True, next_xid=None, archive_mode="always")
    assert levels(always) == {"server": Level.WARN, "WAL lag": Level.WARN}
    assert found(facts, "WAL lag").figures == {}  # no lag of a standby is its primary's


def test_a_standby_is_judged_by_what_its_primary_says() -> None:
    """Where there is a way to it, that is; where that leads nowhere, nobody may think it did."""
    primary = HEALTHY.server
    assert isinstance(primary, WalState)
    standby = replace(primary, is_standby=True, next_xid=None, end_lsn=Lsn(primary.end_lsn.value - 2048))

    assert levels(replace(HEALTHY, standby=standby)) == {}
    assert "all but 2" in found(replace(HEALTHY, standby=standby), "server").detail
    lost = replace(with_server(is_standby=True, next_xid=None), primary_error=ServerUnreachable("it is gone"))
    assert levels(lost)["primary"] is Level.RED


def test_a_window_that_retention_made_is_told_and_is_well() -> None:
    """WAL behind an older backup was removed on purpose: no gap, and said."""
    facts = with_held(begins_at=ago(hours=3), has_expired=True)
    told = {each.name: each for each in judge(facts)}

    assert (told["window"].level, told["window"].detail) == (Level.OK, "begins 2026-11-21 09:00:00+00:00")
    assert told["gaps"].level is Level.OK
    assert told["gaps"].detail.endswith("but for WAL that retention removed")


def test_a_backup_of_a_clock_far_ahead_hides_no_other() -> None:
    """It is the newest for as long; what came by right clocks is judged, and without any it is red."""
    ahead = BackupFact("ahead", NOW + timedelta(days=300), 0)

    assert found(with_held(backups=(*HELD.backups, ahead)), "backup").figures["label"] == "newest"
    assert found(with_held(backups=(ahead,)), "backup").level is Level.RED
