from __future__ import annotations

from datetime import timedelta

from pgvault.anomaly.judge import Taken
from pgvault.config.anomaly import AnomalyConfig
from pgvault.monitor.anomalystatus import judge_backups
from pgvault.monitor.finding import Finding, Level
from pgvault.repository.catalog import Root
from tests.anomaly.days import DAY, DEFAULT, GIB, follow, values
from tests.repository.logicals import make_logical
from tests.repository.samples import make_manifest

USUAL = values()


def root(taken: Taken) -> Root:
    return make_manifest(label=taken.label, started_at=taken.at, measures=taken.measures)


def look(made: list[Taken], config: AnomalyConfig = DEFAULT, *, days: float = 0) -> list[Finding]:
    return list(judge_backups([root(each) for each in made], config, now=made[-1].at + days * DAY))


def test_one_that_is_like_the_others_is_well() -> None:
    """With what it was measured by."""
    (found,) = look(follow([USUAL] * 9))

    assert (found.level, found.detail) == (Level.OK, "full: d8 is like the 7 before it")
    assert found.figures["anomalous"] == 0
    assert found.figures["judged"] is True
    assert found.figures["size_bytes"] == 100 * GIB
    assert found.figures["compression_ratio"] == 4.0


def test_too_few_are_not_judged() -> None:
    """That is no praise, and says so; nor is one that was not measured; and nothing at all is unknown."""
    (few,) = look(follow([USUAL] * 3))
    (bare,) = judge_backups([make_manifest()], DEFAULT, now=make_manifest().started_at)
    (nothing,) = judge_backups([], DEFAULT, now=make_manifest().started_at)

    assert few.detail == "full: not judged: too few to compare backup d2 with (2 of 3 normal ones before it)"
    assert few.figures["judged"] is False
    assert "was not measured" in bare.detail
    assert (nothing.level, nothing.detail[:8]) == (Level.WARN, "unknown:")


def test_each_measure_that_is_off_is_told() -> None:
    """With value, median, share, the last normal one, and what to write if it is right."""
    made = follow([USUAL] * 9 + [values(size=30 * GIB, databases=2)])

    size, databases = look(made)

    assert size.level is databases.level is Level.WARN
    assert size.detail == "full: size of d9 is 30.0 GiB, 70% off the usual 100.0 GiB; d8 is the last normal one"
    assert size.hint is not None
    assert "anomaly.normal_since: 2026-01-10T01:00:00+00:00" in size.hint
    figures = size.figures
    assert (figures["kind"], figures["backup"], figures["measure"], figures["anomalous"]) == ("full", "d9", "size", 1)
    assert (figures["value"], figures["median"], figures["off_share"]) == (30 * GIB, 100 * GIB, 0.7)
    assert (figures["limit_share"], figures["suspicious"], figures["last_normal"]) == (0.5, True, "d8")
    assert databases.detail.startswith("full: databases of d9 is 2, 33% off the usual 3;")


def test_growth_is_told_without_alarm() -> None:
    """Nothing is kept for it."""
    (found,) = look(follow([USUAL] * 9 + [values(size=200 * GIB)]))

    assert (found.level, found.figures["suspicious"], found.figures["last_normal"]) == (Level.WARN, False, None)
    assert found.hint is not None
    assert found.hint.startswith("If that is right")


def test_what_was_rewritten_is_told_over_a_weekend() -> None:
    """The next backups look as usual; three days after it status does so, too."""
    made = follow([USUAL] * 8 + [values(changed=0.9), USUAL, USUAL])

    (found,) = look(made)
    (later,) = look(made, days=1.5)

    assert (found.level, found.figures["backup"]) == (Level.WARN, "d8")
    assert "changed of d8 is 90%, 1700% off the usual 5%; d7 is the last normal one" in found.detail
    assert (later.level, later.figures["backup"]) == (Level.OK, "d10")


def test_one_that_goes_on_is_told_once_by_its_newest() -> None:
    """Not once for each day."""
    made = follow([USUAL] * 8 + [values(compression=1.1, changed=0.9), values(compression=1.1)])

    found = {each.figures["measure"]: each.figures["backup"] for each in look(made)}

    assert found == {"compression": "d9", "changed": "d8"}


def test_an_old_one_is_not_told_for_ever() -> None:
    """Definitions from which a table was dropped are the newest for years; that the backup is old, others tell."""
    made = follow([USUAL] * 8 + [values(size=30 * GIB)])

    (told,) = look(made, days=30)
    (found,) = look(made, days=31)

    assert (told.level, found.level, found.detail) == (
        Level.WARN,
        Level.OK,
        "full: d8 was off, and that was told long enough",
    )


def test_kinds_are_judged_apart() -> None:
    """Dumps, dumps of some databases, of a class, definitions, fulls."""
    made = follow([USUAL] * 5)
    dumps = [make_logical(label=f"l{each.label}", started_at=each.at + timedelta(hours=2)) for each in made]
    classes = [make_logical(class_name="critical")]
    roots: list[Root] = [*map(root, made), *dumps, *classes]

    found = judge_backups(roots, DEFAULT, now=made[-1].at)

    assert [each.figures["kind"] for each in found] == ["full", "logical", "logical, class critical"]


def test_the_operators_word_ends_it() -> None:
    """From that backup on things are as they should be."""
    made = follow([USUAL] * 8 + [values(size=30 * GIB)])

    (found,) = look(made, AnomalyConfig(normal_since=made[-1].at))

    assert (found.level, found.figures["judged"]) == (Level.OK, False)
