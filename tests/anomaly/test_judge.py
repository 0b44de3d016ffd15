from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.anomaly.judge import COMPARED, Course, Taken, course_behind, judge
from pgvault.config.anomaly import AnomalyConfig
from pgvault.repository.measures import Measures
from tests.anomaly.days import DAY, DEFAULT, FIRST, GIB, MIB, USUAL, follow, go_on, values

ENCRYPTED = values(compression=1.05, changed=0.9)
TINY = {"size": 30 * MIB, "files": 30, "relations": 10, "wal": 0.0}


def off(taken: Taken, config: AnomalyConfig = DEFAULT) -> list[str]:
    return [each.measure.name for each in judge(taken.measures, config).deviations]


def suspicious(made: list[Taken], config: AnomalyConfig = DEFAULT) -> list[int]:
    return [number for number, each in enumerate(made) if judge(each.measures, config).is_suspicious]


def normals(course: Course) -> list[str]:
    return [each.label for each in course.before]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        ({"size": 50 * GIB}, []),
        ({"size": 49 * GIB}, ["size"]),  # a table emptied, a database dropped
        ({"size": 151 * GIB}, ["size"]),
        ({"files": 900, "relations": 199}, ["files", "relations"]),
        ({"databases": 2}, ["databases"]),  # any of them, however small
        ({"databases": 4}, []),
        ({"compression": 1.1}, ["compression"]),
        ({"compression": 2.7}, []),
        ({"compression": 2.6}, ["compression"]),  # a sixth of all bytes turned into noise
        ({"compression": 9.0}, ["compression"]),
        ({"changed": 0.14}, []),
        ({"changed": 0.16}, ["changed"]),
        ({"changed": 0.0, "wal": 0.0}, []),  # a weekend
        ({"wal": 2.9 * GIB}, []),
        ({"wal": 3.1 * GIB}, ["wal"]),
    ],
)
def test_what_is_off(changes: dict[str, float], names: list[str]) -> None:
    """More than half off the median of the seven days before, in the direction that means something."""
    made = follow([values()] * 8)

    assert off(go_on(made, values(**changes), DEFAULT, at=FIRST + 8 * DAY)) == names


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 45 * MIB},
        {"size": 15 * MIB},
        {"files": 11, "relations": 29},
        {"changed": 0.5},
        {"compression": 1.5},
        {"wal": 960 * MIB},  # one commit a minute, archive_timeout = 60s
    ],
)
def test_tiny_clusters_are_quiet(changes: dict[str, float]) -> None:
    """Half of nothing is nothing."""
    made = follow([values(**TINY)] * 8)

    assert off(go_on(made, values(**{**TINY, **changes}), DEFAULT, at=FIRST + 8 * DAY)) == []


def test_incompressible_data_that_is_encrypted_shows_in_what_changed() -> None:
    """Compression says nothing there, and nothing divides by what is not known."""
    made = follow([values(compression=1.0)] * 4)
    last = go_on(made, values(compression=1.0, changed=1.0), DEFAULT, at=FIRST + 4 * DAY)

    assert off(last) == ["changed"]
    assert off(go_on(made, {"size": 0}, DEFAULT, at=FIRST + 4 * DAY)) == ["size"]


def test_two_before_it_are_too_few() -> None:
    """Not judged, which is not the same as normal, but all there is to begin with."""
    made = follow([values(), values(size=1), values(size=500 * GIB), values()])

    assert [judge(each.measures).is_judged for each in made] == [False, False, False, True]
    assert off(made[-1]) == []


def test_what_is_not_known_is_not_judged() -> None:
    """A measure that an older pgvault did not take, or that could not be taken, is off by nothing."""
    bare = {"size": float(100 * GIB), "files": 2000.0}
    made = follow([bare] * 4)

    assert off(go_on(made, values(relations=1), DEFAULT, at=FIRST + 4 * DAY)) == []


def test_limits_are_those_of_the_configuration() -> None:
    """Each measure has its own, and none where it is off."""
    made = follow([values()] * 8)
    last = go_on(made, values(size=75 * GIB, changed=0.9, databases=2), DEFAULT, at=FIRST + 8 * DAY)
    config = AnomalyConfig.model_validate({"size": "20%", "changed": "off", "databases": "40%"})

    assert off(last) == ["databases", "changed"]
    assert off(last, config) == ["size"]


def test_encrypted_tables_never_become_normal_by_being_there() -> None:
    """Not on the fourth day, by which they would be the median of seven, nor on the twenty-ninth."""
    made = follow([values()] * 10 + [ENCRYPTED] + [values(compression=1.05)] * 28)

    assert suspicious(made) == list(range(10, 39))
    assert normals(course_behind(made[-1], now=made[-1].at + DAY))[-1] == "d9"


def test_after_a_month_they_do() -> None:
    """What was told for thirty days is what there is; from then on it is compared with itself."""
    made = follow([values()] * 10 + [ENCRYPTED] + [values(compression=1.05)] * 40)

    assert suspicious(made) == list(range(10, 40))
    assert judge(made[40].measures).compared == COMPARED
    assert course_behind(made[-1], now=made[-1].at).suspects == ()


def test_an_operators_word_makes_them_normal_at_once() -> None:
    """What came since is normal; what is off from that is told again as soon as three are there."""
    made = follow([values()] * 10 + [ENCRYPTED, values(compression=1.05), values(compression=1.05)])
    config = AnomalyConfig(normal_since=made[10].at)

    assert suspicious(made, config) == []
    assert course_behind(made[-1], config, now=made[-1].at).suspects == ()
    for number in range(3):
        made.append(go_on(made, values(compression=1.05), config, at=FIRST + (13 + number) * DAY))
    assert suspicious(made, config) == []
    made.append(go_on(made, values(compression=1.05, size=GIB), config, at=FIRST + 16 * DAY))
    assert off(made[-1], config) == ["size"]
    (suspect,) = course_behind(made[-1], config, now=made[-1].at).suspects
    assert (suspect.label, suspect.normal) == ("d16", "d15")


def test_growth_is_told_and_enters_the_median() -> None:
    """Nothing is gone: told until it is what is usual, and never suspicious."""
    made = follow([values()] * 8 + [values(size=200 * GIB)] * 6)

    assert [number for number, each in enumerate(made) if off(each)] == [8, 9, 10, 11]
    assert suspicious(made) == []


def test_one_spike_is_remembered() -> None:
    """The next backup looks like the day before it, and holds what was rewritten all the same."""
    made = follow([values()] * 8 + [values(changed=0.9)] + [values()] * 40)

    assert suspicious(made) == [8]
    for number, each in enumerate(made):
        suspects = course_behind(each, now=each.at).suspects
        assert [(one.label, one.normal) for one in suspects] == ([("d8", "d7")] if 8 <= number < 38 else []), number


def test_of_many_runs_the_first_and_the_newest_are_remembered() -> None:
    """A database that is rewritten every few days does not fill the store."""
    made = follow([values()] * 4 + ([values(changed=0.9)] + [values()] * 3) * 5)

    suspects = course_behind(made[-1], now=made[-1].at).suspects

    assert [(each.label, each.normal) for each in suspects] == [("d4", "d3"), ("d20", "d19")]


DAYS = st.lists(
    st.sampled_from(
        [values(), values(), values(size=40 * GIB), ENCRYPTED, values(size=170 * GIB), values(changed=0.5)]
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(DAYS, st.sampled_from([timedelta(hours=1), DAY, timedelta(days=9)]))
def test_whatever_comes_what_is_carried_is_bounded_and_true(days: list[dict[str, float]], every: timedelta) -> None:
    """At most seven, seven and two; a normal one before a run is normal, and never newer than the run."""
    made = follow(days, every=every)
    times = {each.label: each.at for each in made}
    bad = {made[number].label for number in suspicious(made)}
    for each in made:
        course = course_behind(each, now=each.at)
        accepted = judge(each.measures).is_suspicious and not course.since
        assert len(course.before) <= COMPARED
        assert len(course.since) <= COMPARED
        assert len(course.suspects) <= 2
        assert all(one.at == times[one.label] for one in (*course.before, *course.since))
        assert [one.at for one in course.before] == sorted(one.at for one in course.before)
        assert bool(course.since) == (each.label in bad and not accepted)
        for suspect in course.suspects:
            assert suspect.label in bad
            assert suspect.normal_at == times[suspect.normal] < times[suspect.label] <= suspect.at
        if course.since:
            assert course.suspects[-1].label == course.since[0].label


def test_a_root_that_says_nothing_of_others_is_not_judged() -> None:
    """As the first backup of all."""
    assert not judge(Measures("full", USUAL)).is_judged
