"""Everything is asked at once, and one that fails or hangs keeps nobody else from being heard."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

from pgvault.doctor.examine import Look, Once, Told, examine, is_well
from pgvault.errors import StoreUnreachable
from pgvault.monitor.finding import Finding, Level, ok, warn


def failing() -> Iterator[Finding]:
    yield ok("before", "fine")
    raise StoreUnreachable("the store is away", hint="Wait.")


def test_a_look_that_fails_is_a_finding_and_the_others_go_on() -> None:
    """With its hint, and in their order."""

    def missing() -> list[Finding]:
        raise FileNotFoundError("no such file")

    looks = [Look("a", "one", failing), Look("b", "two", missing), Look("c", "three", lambda: [ok("x", "fine")])]

    told = examine(looks)

    assert [(each.where, each.finding.name, each.finding.level) for each in told] == [
        ("a", "one", Level.RED),
        ("b", "two", Level.RED),
        ("c", "x", Level.OK),
    ]
    assert told[0].finding.hint == "Wait."


def test_a_look_that_hangs_is_left_behind() -> None:
    """What waits for a dead network is told as that, once the time is up."""
    gate = Event()

    def hanging() -> list[Finding]:
        gate.wait()
        return []

    told = examine([Look("a", "slow", hanging), Look("b", "quick", lambda: [ok("x", "fine")])], deadline_seconds=1.0)
    gate.set()

    assert [(each.finding.name, each.finding.level) for each in told] == [("slow", Level.RED), ("x", Level.OK)]
    assert "no answer" in told[0].finding.detail


def test_a_time_out_of_its_own_is_said_in_its_own_words() -> None:
    def late() -> list[Finding]:
        raise TimeoutError("the disk slept")

    (told,) = examine([Look("a", "disk", late)])

    assert told.finding.detail == "the disk slept"


def test_many_more_looks_than_threads_are_all_told() -> None:
    """A fleet's."""
    looks = [Look(str(number), "x", lambda: [ok("x", "fine")]) for number in range(100)]

    assert [each.where for each in examine(looks)] == [str(number) for number in range(100)]


def test_nothing_looked_at_is_not_well() -> None:
    """A warning alone is: it fails nothing."""
    assert not is_well([])
    assert is_well([Told("a", ok("x", "")), Told("a", warn("y", ""))])


def test_what_is_asked_once_answers_everybody_alike() -> None:
    """An error, too: two looks that open one repository wait for it once."""
    asked = []

    def ask() -> int:
        asked.append(1)
        raise StoreUnreachable("away")

    once = Once(ask)
    told = examine([Look("a", "one", lambda: [ok("x", str(once()))]), Look("b", "two", lambda: [ok("x", str(once()))])])

    assert [each.finding.detail for each in told] == ["away", "away"]
    assert len(asked) == 1
