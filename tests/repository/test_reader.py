"""The reader: whatever one copy lacks, cut or changed comes from the next one, and no wrong byte ever does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgvault.errors import ObjectCorrupt, ObjectMissing, PgvaultError, WrongKey
from pgvault.repository.damage import sum_up
from pgvault.repository.reader import SAID_MAX
from pgvault.stores.base import ObjectEntry
from tests.repository.copies import GOOD, PATH, Flaky, check, holding, reader_of


@pytest.mark.parametrize("wrong", [None, b"", GOOD[:-1], b"good bytez"])
def test_what_one_copy_lacks_or_holds_damaged_comes_from_the_next(wrong: bytes | None) -> None:
    """Missing, empty, cut or changed: the next copy gives it, and what was wrong is kept."""
    reader = reader_of(*holding(wrong, GOOD))

    assert reader.read(PATH, check) == GOOD

    (damage,) = reader.damages
    assert (damage.copy, damage.path, damage.taken_from, damage.is_older) == ("primary", PATH, "dr", False)
    assert damage.is_missing == (wrong is None)


def test_whole_object_asks_no_other_copy() -> None:
    """As long as the first copy is whole, nobody else is asked and nothing is noted."""
    primary, dr = holding(GOOD, b"other")
    reader = reader_of(primary, dr)

    assert reader.read(PATH, check) == GOOD
    assert reader.read_range(PATH, 0, 64, check) == GOOD
    assert reader.size(PATH) == len(GOOD)
    assert dr.calls == []
    assert reader.damages == ()


def test_ranges_heal_too() -> None:
    """What is checked is the range; an object cut before it is damage like any other."""
    reader = reader_of(*holding(b"xx", b"xx" + GOOD + b"yy"))

    assert reader.read_range(PATH, 2, len(GOOD), check) == GOOD
    assert [damage.copy for damage in reader.damages] == ["primary"]


def test_each_damage_counts_once() -> None:
    """A pack that is read again and again is one damaged object."""
    reader = reader_of(*holding(b"bad", None, GOOD))

    for _ in range(3):
        reader.read(PATH, check)

    assert [(d.copy, d.taken_from) for d in reader.damages] == [("primary", "vault"), ("dr", "vault")]


def test_kept_damage_does_not_keep_what_was_read() -> None:
    """An error drags the frames it came through along, and with them 64 MiB of a bad pack."""

    def check_and_chain(body: bytes) -> bytes:
        try:
            return check(body)
        except ObjectCorrupt as error:
            raise ObjectCorrupt("wrong") from error

    reader = reader_of(*holding(b"bad", GOOD))

    reader.read(PATH, check_and_chain)

    (damage,) = reader.damages
    assert damage.error.__traceback__ is None
    assert damage.error.__cause__ is None
    assert damage.error.__context__ is None


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (None, None, ObjectMissing),
        (None, b"bad", ObjectMissing),
        (b"bad", None, ObjectCorrupt),
        (b"bad", b"worse", ObjectCorrupt),
    ],
)
def test_what_is_wrong_everywhere_is_what_is_wrong_in_the_first(
    first: bytes | None, second: bytes | None, expected: type[PgvaultError]
) -> None:
    """The first copy decides whether an object exists; nothing is healed, so nothing is noted."""
    reader = reader_of(*holding(first, second))

    with pytest.raises(expected):
        reader.read(PATH, check)

    assert reader.damages == ()


def test_wrong_key_in_one_copy_is_damage() -> None:
    """A flipped key id in the header says "another key": the next copy knows better."""

    def check_key(body: bytes) -> bytes:
        if body != GOOD:
            raise WrongKey("sealed with key 77")
        return body

    assert reader_of(*holding(b"bad", GOOD)).read(PATH, check_key) == GOOD


def test_names_are_those_of_all_copies() -> None:
    """What one copy lost another still lists; each name once, in order."""
    primary, dr = Flaky(), Flaky()
    primary.objects |= {"a/1": b"", "a/3/x": b""}
    dr.objects |= {"a/1": b"", "a/2": b"", "b/9": b""}

    assert reader_of(primary, dr).names("a") == ["1", "2", "3"]


def test_entries_are_those_of_all_copies_with_the_first_ones_size() -> None:
    """One line for each key, in order of keys: a cut object shows its size in the first copy that lists it."""
    primary, dr = Flaky(), Flaky()
    primary.objects |= {"a/1": b"1", "a/4": b"4"}
    dr.objects |= {"a/1": b"1111", "a/2": b"22", "a/5": b"5"}

    assert [(e.key, e.size) for e in reader_of(primary, dr).entries("a")] == [
        ("a/1", 1),
        ("a/2", 2),
        ("a/4", 1),
        ("a/5", 1),
    ]


def test_entries_hold_no_listing() -> None:
    """A million WAL segments are looked at one by one, not three times in memory."""
    primary = Flaky()
    taken = 0

    def listed(prefix: str) -> Iterator[ObjectEntry]:
        nonlocal taken
        for number in range(1_000_000):
            taken += 1
            yield ObjectEntry(f"{prefix}/{number:07}", 1)

    primary.list = listed  # type: ignore[method-assign]

    entries = reader_of(primary, Flaky()).entries("a")

    assert next(entries).key == "a/0000000"
    assert taken < 10


def test_result_may_be_none() -> None:
    """An aborted record reads as None: that is an answer like any other."""
    primary, dr = holding(b"aborted", GOOD)

    assert reader_of(primary, dr).read(PATH, lambda _: None) is None
    assert dr.calls == []


def test_log_names_the_first_few_objects(caplog: pytest.LogCaptureFixture) -> None:
    """Ten thousand damaged objects are one disaster, not ten thousand lines."""
    primary, dr = Flaky(), Flaky()
    for number in range(50):
        dr.objects[f"p/{number}"] = GOOD
    reader = reader_of(primary, dr)

    with caplog.at_level(logging.WARNING):
        for number in range(50):
            reader.read(f"p/{number}", check)

    assert len(caplog.records) == SAID_MAX + 1
    assert "counted, not named" in caplog.messages[-1]
    assert len(reader.damages) == 50


def test_damages_are_summed_up_by_where_they_are_and_who_helped() -> None:
    """One line for each pair of copies, with how many were missing and how many damaged."""
    primary, dr = Flaky(), Flaky()
    for number in range(5):
        dr.objects[f"p/{number}"] = GOOD
    primary.objects |= {"p/0": b"bad", "p/1": GOOD}
    reader = reader_of(primary, dr)

    for number in range(5):
        reader.read(f"p/{number}", check)

    (healed,) = sum_up(reader.damages)
    assert str(healed) == "4 objects came from copy 'dr': 3 missing and 1 damaged in copy 'primary', first 'p/0'"
    assert healed.to_json() == {
        "copy": "primary",
        "taken_from": "dr",
        "older_versions": False,
        "objects": 4,
        "missing": 3,
        "damaged": 1,
        "first": ["p/0", "p/2", "p/3", "p/4"],
    }
    assert sum_up(()) == ()


def test_many_threads_read_through_one_reader() -> None:
    """Workers share it: each gets good bytes, and every damage is kept once."""
    primary, dr = Flaky(), Flaky()
    for number in range(200):
        (primary if number % 2 else dr).objects[f"p/{number}"] = GOOD
    reader = reader_of(primary, dr)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: reader.read(f"p/{n % 200}", check), range(1000)))

    assert set(found) == {GOOD}
    assert len(reader.damages) == 100
