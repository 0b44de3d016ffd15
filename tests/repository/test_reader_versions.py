"""Older versions: a lock protects a version and not its key, so reading comes back to the oldest whole one."""

from __future__ import annotations

import pytest

from pgvault.errors import ObjectMissing, PgvaultError, StoreDenied, StoreUnfit, StoreUnreachable
from tests.repository.copies import GOOD, PATH, Versioned, check, holding, reader_of


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
