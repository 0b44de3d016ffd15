"""The last normal backup stays: examples with days, and a property over whatever comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.anomaly.judge import Taken, course_behind, judge
from pgvault.config import RetentionConfig
from pgvault.config.anomaly import AnomalyConfig
from pgvault.expire.facts import BackupFacts, LogicalBackup, PhysicalBackup
from pgvault.expire.policy import Policy
from pgvault.expire.rules import Judged, apply_rules
from pgvault.postgres.lsn import Lsn
from pgvault.repository.measures import Measures
from tests.anomaly.days import DAY, DEFAULT, GIB, follow, values

USUAL, DROPPED, REWRITTEN = values(), values(size=30 * GIB, databases=2), values(changed=0.9)
ENCRYPTED = values(compression=1.05)
TWO = RetentionConfig(full=2)


def full(taken: Taken, number: int) -> PhysicalBackup:
    start = Lsn(1000 + number * 100)
    return PhysicalBackup(
        taken.label, True, 1, 1, start, start + 10, taken.at, taken.at + timedelta(minutes=9), measures=taken.measures
    )


def dump(taken: Taken, kind: str) -> LogicalBackup:
    measures = replace(taken.measures, kind=kind)
    return LogicalBackup(taken.label, False, taken.at, taken.at + timedelta(minutes=9), measures=measures)


def kept(
    backups: Sequence[BackupFacts], *, unverified: str = "", config: AnomalyConfig = DEFAULT, days: float = 0
) -> dict[str, list[str]]:
    """What a policy of two fulls keeps, some days after the newest backup."""
    whole = frozenset(each.label for each in backups) - frozenset(unverified.split())
    judged = Judged("primary", tuple(backups), whole, whole)
    now = max(each.stopped_at for each in backups) + days * DAY
    found: dict[str, list[str]] = {}
    for label, why in apply_rules(judged, Policy(TWO, anomaly=config), now=now):
        found.setdefault(label, []).append(why)
    return found


def fulls(days: list[dict[str, float]], config: AnomalyConfig = DEFAULT) -> list[BackupFacts]:
    return [full(each, number) for number, each in enumerate(follow(days, config))]


def test_the_last_one_before_a_dropped_database_stays() -> None:
    """Two fulls are wanted, and all that are newer lack the database."""
    backups = fulls([USUAL] * 5 + [DROPPED] * 5)

    found = kept(backups)

    assert found == {
        "d4": ["last normal one before d5, which is anomalous"],
        "d8": ["full 2 of 2"],
        "d9": ["full 1 of 2", "newest of its kind behind d5, which is anomalous"],
    }


def test_it_stays_when_all_the_others_are_gone() -> None:
    """A policy of two has removed what came between: what was normal stands in the newest root."""
    everything = fulls([USUAL] * 5 + [DROPPED] * 20)
    left = [each for each in everything if each.label in ("d4", "d23", "d24")]

    assert kept(left).keys() == {"d4", "d23", "d24"}


def test_without_anomalies_nothing_more_stays() -> None:
    """And growth is none."""
    assert kept(fulls([USUAL] * 6 + [values(size=300 * GIB)] * 2)).keys() == {"d6", "d7"}


def test_after_one_that_was_rewritten_it_stays_for_a_month() -> None:
    """The next ones look normal, and hold the same."""
    backups = fulls([USUAL] * 5 + [REWRITTEN] + [USUAL] * 20)

    assert "last normal one before d5, which is anomalous" in kept(backups)["d4"]
    assert kept(backups, days=9).keys() == {"d4", "d24", "d25"}
    assert kept(backups, days=11).keys() == {"d24", "d25"}


def test_a_month_of_the_same_ends_it() -> None:
    """And so does the operator's word."""
    backups = fulls([USUAL] * 5 + [ENCRYPTED] * 29)
    (first,) = [each for each in backups if each.label == "d5"]

    assert "d4" in kept(backups)
    assert "d4" not in kept(fulls([USUAL] * 5 + [ENCRYPTED] * 34))
    assert "d4" not in kept(backups, config=AnomalyConfig(normal_since=first.started_at))


def test_one_that_was_verified_stays_beside_it() -> None:
    """What nobody has read back is a hope."""
    backups = fulls([USUAL] * 5 + [DROPPED] * 5)

    found = kept(backups, unverified="d3 d4 d5 d6")

    assert found["d2"] == ["last normal one that was verified, before d5, which is anomalous"]
    assert found.keys() == {"d2", "d4", "d8", "d9"}


def test_if_it_is_gone_the_one_before_it_stays() -> None:
    """Somebody deleted it by name."""
    backups = [each for each in fulls([USUAL] * 5 + [DROPPED] * 5) if each.label != "d4"]

    assert kept(backups).keys() == {"d3", "d8", "d9"}


def test_what_was_anomalous_itself_is_no_substitute() -> None:
    """Of two that are left from before, the one that was rewritten is passed over."""
    everything = fulls([USUAL] * 5 + [REWRITTEN, USUAL, DROPPED, DROPPED])

    found = kept([each for each in everything if each.label != "d6"])

    assert found["d4"] == [f"last normal one before {label}, which is anomalous" for label in ("d5", "d7")]
    assert found.keys() == {"d4", "d7", "d8"}


def test_kinds_are_kept_apart() -> None:
    """A dump of one database is compared with dumps of that one."""
    shop = [dump(each, "logical of shop") for each in follow([USUAL] * 5 + [DROPPED] * 2)]
    crm = [replace(dump(each, "logical of crm"), label=f"c{each.label}") for each in follow([USUAL] * 7)]
    rules = RetentionConfig.model_validate({"logical": {"count": 1}})
    judged = Judged("primary", (*shop, *crm), frozenset(), frozenset(each.label for each in (*shop, *crm)))

    found = {
        label: why for label, why in apply_rules(judged, Policy(rules), now=shop[-1].stopped_at) if "normal" in why
    }

    assert found == {"d4": "last normal one before d5, which is anomalous"}
    assert "d6" in {label for label, _ in apply_rules(judged, Policy(rules), now=shop[-1].stopped_at)}


def test_older_pgvaults_backups_are_normal() -> None:
    """They carry nothing: neither do they keep anything, nor are they passed over."""
    plain = [replace(each, measures=None) for each in fulls([USUAL] * 5)]
    rest = fulls([USUAL] * 5 + [DROPPED] * 3)[5:]

    assert kept(plain).keys() == {"d3", "d4"}
    assert "d4" in kept([*plain, *rest])


DAYS = st.lists(
    st.sampled_from([USUAL, USUAL, DROPPED, ENCRYPTED, REWRITTEN, values(size=200 * GIB)]), min_size=1, max_size=45
)


@settings(max_examples=60, deadline=None)
@given(DAYS, st.integers(1, 3), st.booleans())
def test_whatever_comes_a_normal_one_from_before_is_left(
    days: list[dict[str, float]], count: int, is_daily: bool
) -> None:
    """Backups come, expiries run: what was normal before any run that counts is there, and little else."""
    left: list[BackupFacts] = []
    for number, taken in enumerate(follow(days, every=DAY if is_daily else timedelta(days=4))):
        left.append(full(taken, number))
        suspects = course_behind(taken, now=taken.at + DAY / 2).suspects
        left = expired(left, count, taken)

        # Of three runs the middle one's may be gone when the first one's time is over: then that of the first stays on.
        normal = [each.started_at for each in left if not judge(measures_of(each)).is_suspicious]
        assert all(any(at <= suspect.normal_at for at in normal) for suspect in suspects)
        assert len(left) <= count + 2
        assert expired(left, count, taken) == left, "once more changed something"


def measures_of(backup: BackupFacts) -> Measures:
    assert backup.measures is not None
    return backup.measures


def expired(backups: list[BackupFacts], count: int, newest: Taken) -> list[BackupFacts]:
    """What is left half a day after the newest."""
    whole = frozenset(each.label for each in backups)
    judged = Judged("primary", tuple(backups), whole, whole)
    wanted = {label for label, _ in apply_rules(judged, Policy(RetentionConfig(full=count)), now=newest.at + DAY / 2)}
    return [each for each in backups if each.label in wanted]


def test_measures_without_others_keep_nothing() -> None:
    """The first backup of all."""
    assert kept([full(Taken("d0", follow([USUAL])[0].at, Measures("full", USUAL)), 0)]).keys() == {"d0"}
