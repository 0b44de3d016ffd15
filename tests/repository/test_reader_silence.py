"""Copies that do not answer: what is known without them, who is asked again and when, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgvault.errors import ObjectCorrupt, ObjectMissing, PgvaultError, StoreDenied, StoreUnreachable
from pgvault.repository.reader import REST_SECONDS, Reader
from pgvault.stores.base import Names
from tests.repository.copies import GOOD, PATH, Clock, Flaky, check, holding, reader_of


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
    primary, dr = holding(b"bad", GOOD)
    reader = reader_of(primary, dr)
    dr.error = StoreUnreachable("could not read: Input/output error")
    with pytest.raises(ObjectCorrupt):
        reader.read(PATH, check)
    dr.error = None

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
