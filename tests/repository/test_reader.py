"""The reader: whatever one copy lacks, cut or changed comes from the next one, and no wrong byte ever does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from pgvault.errors import (
    ObjectCorrupt,
    ObjectMissing,
    PgvaultError,
    StoreDenied,
    StoreUnfit,
    StoreUnreachable,
    WrongKey,
)
from pgvault.repository.copies import Copy
from pgvault.repository.damage import sum_up
from pgvault.repository.reader import REST_SECONDS, SAID_MAX, Reader
from pgvault.stores.base import Names, ObjectEntry, ObjectVersion
from tests.fakes import MemoryStore

PATH = "clusters/main/backups/20260115T103000Z-f7c2/packs/0"
GOOD = b"good bytes"
AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


class Clock:
    """A monotonic clock that only a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Flaky(MemoryStore):
    """A store that can go silent, after a wait; `calls` counts what was asked all the same."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.error: PgvaultError | None = None
        self.wait_seconds = 20.0
        self.silent_after: int | None = None  # entries of a listing
        self._clock = clock

    def list(self, prefix: str) -> Iterator[ObjectEntry]:
        for number, entry in enumerate(super().list(prefix)):
            if number == self.silent_after:
                raise StoreUnreachable("the listing was cut")
            yield entry

    def _note(self, verb: str, key: str) -> None:
        super()._note(verb, key)
        if self.error is not None:
            if self._clock is not None:
                self._clock.seconds += self.wait_seconds
            raise self.error.__class__(str(self.error))


class Versioned(Flaky):
    """A store that keeps every version; the newest is what readers see, unless it is a delete marker (None)."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, list[bytes | None]] = {}
        self.version_error: PgvaultError | None = None

    def overwrite(self, key: str, body: bytes | None) -> None:
        self.kept.setdefault(key, [] if key not in self.objects else [self.objects[key]]).append(body)
        self.objects.pop(key, None)
        if body is not None:
            self.objects[key] = body

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        self.calls.append(("versions", prefix))
        if self.version_error is not None:
            raise self.version_error
        for key, bodies in sorted(self.kept.items()):
            if key == prefix or key.startswith(f"{prefix}/"):
                for number, body in enumerate(bodies):
                    is_latest = number == len(bodies) - 1
                    yield ObjectVersion(key, str(number), body is None, is_latest, len(body or b""), AT)

    def get_version(self, key: str, version: str) -> bytes:
        body = self.kept[key][int(version)]
        if body is None:
            raise ObjectMissing(f"version {version} of {key!r} is a delete marker")
        return body

    def delete_version(self, key: str, version: str) -> None:
        raise AssertionError("a reader removes nothing")

    def locked_until(self, key: str, version: str) -> datetime | None:
        return None


def check(body: bytes) -> bytes:
    if body != GOOD:
        raise ObjectCorrupt(f"these are {len(body)} wrong bytes")
    return body


def reader_of(*stores: MemoryStore, clock: Clock | None = None) -> Reader:
    names = ("primary", "dr", "vault")
    copies = [Copy(name, store) for name, store in zip(names, stores, strict=False)]
    return Reader(copies, monotonic=clock or Clock())


def holding(*bodies: bytes | None) -> list[Flaky]:
    """Stores that hold each of these under PATH; None: nothing."""
    stores = []
    for body in bodies:
        store = Flaky()
        if body is not None:
            store.objects[PATH] = body
        stores.append(store)
    return stores


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


@pytest.mark.parametrize("silence", [StoreUnreachable("no answer"), StoreDenied("go away")])
def test_nobody_says_absent_for_a_silent_first_copy(silence: PgvaultError) -> None:
    """Others may deliver for it; that they lack the object proves nothing."""
    primary, dr = holding(GOOD, None)
    primary.error = silence

    with pytest.raises(type(silence)):
        reader_of(primary, dr).read(PATH, check)

    dr.objects[PATH] = GOOD
    reader = reader_of(primary, dr)
    assert reader.read(PATH, check) == GOOD
    assert reader.damages == ()  # what a silent copy holds, nobody knows
    assert list(reader.silent) == ["primary"]


def test_first_copy_says_absent_while_another_is_silent() -> None:
    """The deciding copy answered: that a region is down must not make every absence doubtful."""
    primary, dr = holding(None, GOOD)
    dr.error = StoreUnreachable("no answer")

    with pytest.raises(ObjectMissing):
        reader_of(primary, dr).read(PATH, check)


def test_damaged_in_the_first_and_unreachable_elsewhere_is_damaged() -> None:
    """What is known for certain is said."""
    primary, dr = holding(b"bad", GOOD)
    dr.error = StoreUnreachable("no answer")

    with pytest.raises(ObjectCorrupt):
        reader_of(primary, dr).read(PATH, check)


def test_only_copy_is_asked_each_time() -> None:
    """Where there is nothing to be had elsewhere, waiting again is all that is left."""
    clock = Clock()
    store = Flaky(clock)
    store.error = StoreUnreachable("no answer")
    reader = reader_of(store, clock=clock)

    for _ in range(3):
        with pytest.raises(StoreUnreachable):
            reader.read(PATH, check)

    assert len(store.calls) == 3
    store.error = None
    store.objects[PATH] = GOOD
    assert reader.read(PATH, check) == GOOD
    assert reader.silent == {}


def test_copy_that_made_us_wait_is_left_alone() -> None:
    """A dead region costs one wait, not one for each object; when its rest is over it is asked again."""
    clock = Clock()
    primary, dr = Flaky(clock), Flaky(clock)
    primary.error = StoreUnreachable("no answer")
    for number in range(100):
        dr.objects[f"p/{number}"] = GOOD
    reader = reader_of(primary, dr, clock=clock)

    for number in range(100):
        assert reader.read(f"p/{number}", check) == GOOD

    assert len(primary.calls) == 1
    primary.error = None
    primary.objects["p/0"] = GOOD
    clock.seconds += REST_SECONDS
    reader.read("p/0", check)
    assert len(primary.calls) == 2
    assert reader.silent == {}
    reader.read("p/0", check)
    assert len(primary.calls) == 3


def test_copy_that_fails_at_once_needs_no_rest() -> None:
    """One sector that can not be read is no reason to go without the copy: its next object may be the only good one."""
    primary, dr = holding(GOOD, GOOD)
    reader = reader_of(primary, dr)
    primary.error = StoreUnreachable("could not read: Input/output error")
    assert reader.read(PATH, check) == GOOD
    primary.error = None
    dr.objects.clear()

    assert reader.read(PATH, check) == GOOD


def test_first_copy_is_asked_in_its_rest_where_no_other_has_the_object() -> None:
    """The newest objects are in the first copy alone: a hiccup of it must not end a restore that needs them."""
    clock = Clock()
    primary, dr = Flaky(clock), Flaky(clock)
    primary.error = StoreUnreachable("no answer")
    dr.objects["p/0"] = GOOD
    reader = reader_of(primary, dr, clock=clock)
    assert reader.read("p/0", check) == GOOD

    primary.error = None
    primary.objects["p/1"] = GOOD

    assert reader.read("p/1", check) == GOOD
    assert reader.silent == {}


def test_one_thread_at_a_time_tries_a_copy_whose_rest_is_over() -> None:
    """Sixteen workers must not all wait for the dead region again."""
    clock = Clock()
    primary, dr = Flaky(clock), Flaky(clock)
    primary.error = StoreUnreachable("no answer")
    dr.objects[PATH] = GOOD
    reader = reader_of(primary, dr, clock=clock)
    reader.read(PATH, check)
    clock.seconds += REST_SECONDS
    primary.wait_seconds = 0.0  # so that the clock does not tell the second one that it rests again

    held: list[int] = []

    def get(key: str) -> bytes:
        held.append(len(primary.calls))
        if len(held) == 1:  # while the first waits for an answer, the others come
            with ThreadPoolExecutor(8) as pool:
                assert set(pool.map(lambda _: reader.read(PATH, check), range(8))) == {GOOD}
        raise StoreUnreachable("no answer")

    primary.get = get  # type: ignore[method-assign]
    assert reader.read(PATH, check) == GOOD

    assert len(held) == 1


def test_told_to_leave_a_copy_alone() -> None:
    """Whoever opened the repository has waited already."""
    primary, dr = holding(GOOD, GOOD)
    reader = reader_of(primary, dr)

    reader.leave_alone("dr", StoreUnreachable("no answer"))

    primary.objects[PATH] = b"bad"
    with pytest.raises(ObjectCorrupt):
        reader.read(PATH, check)
    assert dr.calls == []
    assert list(reader.silent) == ["dr"]


def test_names_are_those_of_all_copies() -> None:
    """What one copy lost another still lists; each name once, in order."""
    primary, dr = Flaky(), Flaky()
    primary.objects |= {"a/1": b"", "a/3/x": b""}
    dr.objects |= {"a/1": b"", "a/2": b"", "b/9": b""}

    assert reader_of(primary, dr).names("a") == ["1", "2", "3"]


@pytest.mark.parametrize("listing", [lambda r: r.names("a"), lambda r: [e.key for e in r.entries("a")]])
def test_listing_without_a_copy_is_visible(listing: Callable[[Reader], Names]) -> None:
    """Whoever lists must be able to say whose names are not among them."""
    primary, dr = Flaky(), Flaky()
    dr.objects["a/2"] = b""
    primary.error = StoreUnreachable("no answer")
    reader = reader_of(primary, dr)

    assert listing(reader) in (["2"], ["a/2"])
    assert list(reader.silent) == ["primary"]


@pytest.mark.parametrize("listing", [lambda r: r.names("a"), lambda r: list(r.entries("a"))])
def test_listing_that_nobody_answers_is_an_error(listing: Callable[[Reader], object]) -> None:
    """An empty list would be a lie; and those that rest are asked again before that is said."""
    clock = Clock()
    primary, dr = Flaky(clock), Flaky(clock)
    primary.error, dr.error = StoreUnreachable("no answer"), StoreDenied("go away")
    reader = reader_of(primary, dr, clock=clock)

    with pytest.raises(StoreUnreachable):
        listing(reader)
    asked = len(primary.calls)
    with pytest.raises((StoreUnreachable, StoreDenied)):
        listing(reader)
    primary.error = None

    assert listing(reader) == []
    assert len(primary.calls) > asked


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


def test_listing_that_is_cut_goes_on_with_the_others() -> None:
    """A copy that falls silent in the middle is one that does not answer; the last one's silence is an error."""
    primary, dr = Flaky(), Flaky()
    primary.objects |= {"a/1": b"", "a/3": b""}
    dr.objects |= {"a/2": b"", "a/4": b""}
    primary.silent_after = 1
    reader = reader_of(primary, dr)

    assert [entry.key for entry in reader.entries("a")] == ["a/1", "a/2", "a/4"]
    assert list(reader.silent) == ["primary"]

    dr.silent_after = 1
    with pytest.raises(StoreUnreachable):
        list(reader_of(primary, dr).entries("a"))


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


def test_oldest_whole_version_is_read() -> None:
    """Somebody put other bytes over a locked key, twice: reading comes back to what was written first."""
    store = Versioned()
    store.objects[PATH] = GOOD
    store.overwrite(PATH, b"ransom")
    store.overwrite(PATH, b"ransom, more of it")
    store.overwrite(f"{PATH}/below", GOOD)
    reader = reader_of(store)

    assert reader.read(PATH, check) == GOOD
    assert reader.read_range(PATH, 0, len(GOOD), check) == GOOD

    (damage,) = reader.damages
    assert (damage.copy, damage.taken_from, damage.is_older) == ("primary", "primary", True)


def test_damaged_first_version_is_passed_over() -> None:
    """The oldest one that passes the check, not the oldest one."""
    store = Versioned()
    for body in (b"cut", None, GOOD, b"ransom"):
        store.overwrite(PATH, body)

    assert reader_of(store).read(PATH, check) == GOOD


def test_deleted_object_comes_back_from_below_its_delete_marker() -> None:
    """Deleting in a versioned bucket only hides."""
    store = Versioned()
    store.objects[PATH] = GOOD
    store.overwrite(PATH, None)
    reader = reader_of(store)

    assert reader.read(PATH, check) == GOOD
    assert reader.damages[0].is_missing


def test_other_copies_go_before_older_versions() -> None:
    """A copy that is whole as it is needs no look into the past, which costs a listing."""
    store = Versioned()
    store.objects[PATH] = GOOD
    store.overwrite(PATH, b"ransom")
    (dr,) = holding(GOOD)
    reader = reader_of(store, dr)

    assert reader.read(PATH, check) == GOOD
    assert reader.damages[0].taken_from == "dr"
    assert ("versions", PATH) not in store.calls


def test_older_versions_of_a_further_copy_count() -> None:
    """Copy by copy: the first has none, the second does."""
    (primary,) = holding(b"bad")
    dr = Versioned()
    dr.objects[PATH] = GOOD
    dr.overwrite(PATH, None)
    reader = reader_of(primary, dr)

    assert reader.read(PATH, check) == GOOD
    assert {(d.copy, d.taken_from, d.is_older) for d in reader.damages} == {
        ("primary", "dr", True),
        ("dr", "dr", True),
    }


@pytest.mark.parametrize("error", [StoreDenied("no"), StoreUnreachable("no answer"), StoreUnfit("no versions here")])
def test_versions_that_can_not_be_listed_change_nothing(error: PgvaultError) -> None:
    """It is a right of its own: without it an absent object is absent, and nobody asks a second time."""
    store = Versioned()
    store.version_error = error
    reader = reader_of(store)

    for _ in range(3):
        with pytest.raises(ObjectMissing):
            reader.read(PATH, check)

    assert store.calls.count(("versions", PATH)) == 1
    assert reader.silent == {}


def test_silent_copies_versions_are_not_asked_for() -> None:
    """One wait is enough."""
    store = Versioned()
    store.error = StoreUnreachable("no answer")
    (dr,) = holding(None)

    with pytest.raises(StoreUnreachable):
        reader_of(store, dr).read(PATH, check)

    assert ("versions", PATH) not in store.calls


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
