from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository, init_repository
from pgvault.repository.verified import Verified, last_verified, put_verified, read_verified
from pgvault.stores.base import Names
from tests.fakes import MemoryStore
from tests.repository.conftest import NOW

LABEL = "20260115T103000Z-f7c2"
OTHER = "20260116T103000Z-0001"
MARK = Verified(LABEL, "primary", NOW, 12, 3456, "pgvault 0")
LATER = replace(MARK, at=NOW + timedelta(days=7))


def key(number: int) -> str:
    return layout.numbered(layout.verified("main", LABEL, "primary"), number)


def test_the_newest_of_each_copy_counts(repository: Repository) -> None:
    """By label and copy; a mark says nothing about another copy."""
    marks = [MARK, LATER, replace(MARK, copy="dr"), replace(MARK, label=OTHER)]
    for mark in marks:
        put_verified(repository, "main", mark)

    assert read_verified(repository, "main") == {(mark.label, mark.copy): mark for mark in marks[1:]}
    assert read_verified(repository, "other") == {}


def test_damage_takes_a_mark_back_and_healing_gives_one(repository: Repository) -> None:
    """What was whole a week ago and is not now must not count as redundancy."""
    for mark in (MARK, replace(LATER, is_whole=False)):
        put_verified(repository, "main", mark)

    assert read_verified(repository, "main") == {}
    assert last_verified(repository, "main", LABEL, "primary") == replace(LATER, is_whole=False)
    put_verified(repository, "main", LATER)
    assert list(read_verified(repository, "main").values()) == [LATER]


def test_two_hosts_at_once_both_leave_their_mark(credential: Credential) -> None:
    """The number that the other took since the listing is passed over."""

    class Late(MemoryStore):
        def children(self, prefix: str) -> Names:
            return [] if prefix.endswith("/primary") else super().children(prefix)

    store = Late()
    repository, _ = init_repository([Copy("primary", store)], credential, now=NOW)
    for mark in (MARK, LATER):
        put_verified(repository, "main", mark)

    assert [name for name in store.objects if "/verified/" in name] == [key(0), key(1)]


def test_a_damaged_or_moved_mark_proves_nothing(repository: Repository, store: MemoryStore) -> None:
    """Nor does an older one: the newest may have taken it back."""
    for mark in (MARK, LATER):
        put_verified(repository, "main", mark)
    original = store.objects[key(1)]
    for damaged in (original[:-1], b"", store.objects[key(0)]):
        store.objects[key(1)] = damaged
        assert read_verified(repository, "main") == {}
    store.objects[key(1)] = original

    assert list(read_verified(repository, "main").values()) == [LATER]
