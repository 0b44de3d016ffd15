from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pgvault.errors import TargetInvalid, TargetTooEarly, WalGap
from pgvault.postgres.lsn import Lsn
from pgvault.recovery.plan import RestorePlan
from pgvault.recovery.proofs import Proof, proof_of
from pgvault.recovery.target import LastGoodTarget
from tests.recovery.fakes import SYSTEM, Archive, FakeBackup, lsn_in, minute
from tests.recovery.planning import make_archive, plan, promoted

LAST_GOOD = LastGoodTarget()


def proof(at: Lsn, *, drilled: float = 100, good: bool = True, timeline: int = 1, label: str = "early") -> Proof:
    """A drill that ended behind `at`, `drilled` minutes after the beginning."""
    reason = None if good else "check 'orphans': 3 is above 0"
    return Proof(f"drill-{drilled:g}", minute(drilled), label, SYSTEM, timeline, at, None, good, reason)


def stops(found: RestorePlan) -> tuple[str, dict[str, str]]:
    """Which backup, and what PostgreSQL is told but for the timeline."""
    kept = {name: value for name, value in found.settings.items() if name.startswith("recovery_target_lsn")}
    return found.backup_label, kept | {"inclusive": found.settings["recovery_target_inclusive"]}


def drilled(*proofs: Proof) -> Archive:
    """Segments 2 to 9, backups in 2 and 6, and these drills; a record ends in the middle of each segment."""
    archive = make_archive()
    archive.proofs += proofs
    return archive


def test_recovery_stops_where_the_drill_did_from_the_same_backup() -> None:
    """Exactly there, though a newer backup leads there too: that one nobody has seen to be good."""
    found = plan(drilled(proof(lsn_in(7, 6000))), LAST_GOOD)

    assert stops(found) == ("early", {"recovery_target_lsn": str(lsn_in(7, 6000)), "inclusive": "off"})
    assert found.stop.before is not None
    assert found.stop.before >= lsn_in(7, 6000) > found.stop.at_least
    assert found.last_commit is not None
    assert found.last_commit.at == minute(7)
    assert "drill drill-100" in str(found.target)
    assert any("the last good moment is LSN" in note for note in found.notes)


def test_newest_is_the_position_and_not_the_drill() -> None:
    """A drill of this morning that went to the oldest moment proves that moment."""
    archive = drilled(proof(lsn_in(8, 6000), drilled=100), proof(lsn_in(3, 6000), drilled=200))

    assert stops(plan(archive, LAST_GOOD))[1]["recovery_target_lsn"] == str(lsn_in(8, 6000))


@pytest.mark.parametrize(("asked", "good"), [((), 3), (("totals",), 3), (("orphans", "totals"), 7)])
def test_a_drill_that_asks_less_makes_nothing_good(asked: tuple[str, ...], good: int) -> None:
    """One on a machine without the configuration has no checks: what failed there before is still wrong."""
    bad = replace(proof(lsn_in(7, 6000), drilled=200, good=False), failed=frozenset({"orphans"}))
    again = replace(proof(lsn_in(7, 6000), drilled=300), asked=frozenset(asked))

    found = plan(drilled(proof(lsn_in(3, 6000)), bad, again), LAST_GOOD)

    assert stops(found)[1]["recovery_target_lsn"] == str(lsn_in(good, 6000))


def test_a_moment_that_a_check_found_bad_is_passed_over_and_told() -> None:
    """That is what it is for: the state before the damage."""
    archive = drilled(
        proof(lsn_in(7, 6000), drilled=100),
        proof(lsn_in(8, 6000), drilled=200, good=False),
        proof(lsn_in(9, 6000), drilled=300, good=False),
    )

    found = plan(archive, LAST_GOOD)

    assert stops(found)[1]["recovery_target_lsn"] == str(lsn_in(7, 6000))
    assert (
        f"the next moment that was drilled, LSN {lsn_in(8, 6000)}, failed: check 'orphans': 3 is above 0" in found.notes
    )


@pytest.mark.parametrize(("first", "second", "expected"), [(True, False, 3), (False, True, 7)])
def test_at_one_position_the_newest_drill_counts(first: bool, second: bool, expected: int) -> None:
    """A check that was added since may see more; one that was wrong may have been mended."""
    archive = drilled(
        proof(lsn_in(3, 6000), drilled=50),
        proof(lsn_in(7, 6000), drilled=100, good=first),
        proof(lsn_in(7, 6000), drilled=200, good=second),
    )

    assert stops(plan(archive, LAST_GOOD))[1]["recovery_target_lsn"] == str(lsn_in(expected, 6000))


def test_a_later_failure_at_an_earlier_moment_is_told() -> None:
    """It may have been bad before the drill that passed, with fewer checks."""
    archive = drilled(proof(lsn_in(7, 6000), drilled=100), proof(lsn_in(3, 6000), drilled=200, good=False))

    assert any("drill drill-200 failed later at an earlier moment" in note for note in plan(archive, LAST_GOOD).notes)


def test_at_the_end_of_the_wal_there_is_no_record_to_stop_before() -> None:
    """A drill to latest, and nothing archived since: PostgreSQL would wait for a record that never comes."""
    archive = drilled(proof(lsn_in(10)))  # a switch: the last record ends with its segment

    found = plan(archive, LAST_GOOD)

    assert stops(found) == ("early", {"recovery_target_lsn": str(lsn_in(10) + -32), "inclusive": "on"})
    archive.add_segment(1, 10)
    assert stops(plan(archive, LAST_GOOD))[1] == {"recovery_target_lsn": str(lsn_in(10)), "inclusive": "off"}


def test_another_backup_leads_there_when_that_one_has_expired() -> None:
    """The position is what was proven."""
    archive = drilled(proof(lsn_in(7, 6000), label="gone"))

    assert stops(plan(archive, LAST_GOOD))[0] == "late"


def test_another_backup_leads_there_when_the_wal_behind_that_one_has_expired() -> None:
    """Likewise."""
    archive = drilled(proof(lsn_in(7, 6000)))
    archive.segments = {segment for segment in archive.segments if segment.number != 4}

    assert stops(plan(archive, LAST_GOOD))[0] == "late"


def test_a_backup_that_is_named_is_the_one() -> None:
    """Also where that can not do it."""
    archive = drilled(proof(lsn_in(7, 6000)), proof(lsn_in(3, 6000), good=False))

    assert plan(archive, LAST_GOOD, label="late").backup_label == "late"
    archive.proofs = [proof(lsn_in(3, 6000))]
    with pytest.raises(TargetTooEarly, match=r"the last good moment \(drill drill-100"):
        plan(archive, LAST_GOOD, label="late")


def test_what_has_expired_since_is_an_error() -> None:
    """An older good moment is not taken in its place without a word."""
    archive = drilled(proof(lsn_in(5, 6000)), proof(lsn_in(3, 6000), drilled=50))
    archive.segments = {segment for segment in archive.segments if segment.number != 5}
    with pytest.raises(WalGap, match="between backup 'early' and the last good moment"):
        plan(archive, LAST_GOOD)

    archive.backups = [backup for backup in archive.backups if backup.label == "late"]
    with pytest.raises(TargetTooEarly, match=r"the last good moment .* lies before the end of the oldest backup"):
        plan(archive, LAST_GOOD)


@pytest.mark.parametrize("proofs", [[], [proof(lsn_in(7, 6000), good=False)]])
def test_without_a_passed_drill_there_is_none(proofs: list[Proof]) -> None:
    """Said in one sentence."""
    with pytest.raises(TargetInvalid, match="no drill has passed yet"):
        plan(drilled(*proofs), LAST_GOOD)


def test_an_abandoned_timeline_is_not_on_the_way() -> None:
    """After a failover only what the new timeline goes through counts; the rest is told."""
    archive = promoted(drilled(proof(lsn_in(8, 6000)), proof(lsn_in(4, 6000))), at=lsn_in(7))
    archive.backups.append(FakeBackup("new", lsn_in(9, 40), lsn_in(9, 400), minute(11), timeline=2))

    found = plan(archive, LAST_GOOD)

    assert (found.timeline, stops(found)[1]["recovery_target_lsn"]) == (2, str(lsn_in(4, 6000)))
    assert any("passed at LSN 0/8001770 of timeline 1, which is not on the way; --timeline 1" in n for n in found.notes)
    assert stops(plan(archive, LAST_GOOD, timeline=1))[1]["recovery_target_lsn"] == str(lsn_in(8, 6000))
    archive.proofs = archive.proofs[:1]
    with pytest.raises(TargetInvalid, match="no drill has passed on the way to timeline 2; drill drill-100"):
        plan(archive, LAST_GOOD)


def test_a_drill_that_followed_a_timeline_and_stopped_before_it_began_is_of_its_parent() -> None:
    """PostgreSQL names what it followed, not what the last byte was written on."""
    archive = promoted(drilled(proof(lsn_in(4, 6000), timeline=2)), at=lsn_in(7))
    archive.backups.append(FakeBackup("new", lsn_in(9, 40), lsn_in(9, 400), minute(11), timeline=2))

    assert stops(plan(archive, LAST_GOOD, timeline=1))[1]["recovery_target_lsn"] == str(lsn_in(4, 6000))


def test_where_two_timelines_went_on_what_both_have_counts() -> None:
    """No --timeline is needed for a moment before they part."""
    archive = promoted(drilled(proof(lsn_in(8, 6000)), proof(lsn_in(6, 6000), drilled=50)), at=lsn_in(7))

    assert stops(plan(archive, LAST_GOOD))[1]["recovery_target_lsn"] == str(lsn_in(6, 6000))


REPORT: dict[str, Any] = {
    "id": "drill-100",
    "started_at": "2025-10-25T09:40:00+00:00",
    "backup": "early",
    "reached": {"system_identifier": str(SYSTEM), "timeline": 1, "lsn": "0/7001770"},
    "as_of": None,
    "outcome": "passed",
    "error": None,
}


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"outcome": "objective missed", "error": "rto"}, True),
        ({"outcome": "failed", "error": "x"}, False),
    ],
)
def test_a_report_is_a_proof(changes: dict[str, Any], good: bool) -> None:
    """A restore that was right and late is right."""
    found = proof_of(REPORT | changes)

    assert found is not None
    assert replace(found, is_good=True, reason=None) == proof(Lsn(0x7001770))
    assert found.is_good is good


@pytest.mark.parametrize(
    "changes", [{"reached": None}, {"reached": {"snapshot_at": "x"}}, {"outcome": "splendid"}, {"started_at": "10:00"}]
)
def test_a_report_that_says_too_little_is_none(changes: dict[str, Any]) -> None:
    """A logical drill, one that never arrived, one of an older pgvault."""
    assert proof_of(REPORT | changes) is None
    assert proof_of({name: value for name, value in REPORT.items() if name != "as_of"}) is None
