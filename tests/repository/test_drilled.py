from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pgvault.mirror.plan import MirrorFacts, plan_backups
from pgvault.pipeline.header import Kind
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.drilled import Drilled, Outcome, last_proof, marks_of, put_drilled, read_drilled
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository, init_repository
from pgvault.stores.base import Names
from pgvault.verify.records import list_records
from tests.fakes import MemoryStore
from tests.repository.conftest import NOW

LABEL = "20260115T103000Z-f7c2"
OTHER = "20260116T103000Z-0001"
PASSED = Drilled(
    LABEL, "20260117T050000Z-0001", NOW, "latest", NOW, Lsn(0x5000000), 1, Outcome.PASSED, ("primary",), 12.5, 0.0
)
FAILED = replace(PASSED, outcome=Outcome.FAILED, at=NOW + timedelta(days=7), lsn=None, timeline=None, as_of=None)
LOGICAL = replace(PASSED, label=OTHER, lsn=None, timeline=None, rto_seconds=None, rpo_seconds=None)


def key(number: int) -> str:
    return layout.numbered(layout.drilled("main", LABEL), number)


def test_all_that_a_mark_says_comes_back(repository: Repository) -> None:
    """By label, newest first, to the last proof."""
    for mark in (FAILED, PASSED, FAILED, LOGICAL):
        put_drilled(repository, "main", mark)

    assert read_drilled(repository, "main") == {LABEL: (FAILED, PASSED), OTHER: (LOGICAL,)}
    assert list(marks_of(repository, "main", LABEL)) == [FAILED, PASSED, FAILED]
    assert read_drilled(repository, "other") == {}


@pytest.mark.parametrize(
    ("outcome", "proves"), [(Outcome.PASSED, True), (Outcome.MISSED, True), (Outcome.FAILED, False)]
)
def test_a_late_restore_proves_a_backup_and_a_wrong_one_does_not(outcome: Outcome, proves: bool) -> None:
    """An objective says how fast, not whether."""
    mark = replace(PASSED, outcome=outcome)

    assert (last_proof((FAILED, mark)) == mark) is proves


def test_two_hosts_at_once_both_leave_their_mark(credential: Credential) -> None:
    """The number that the other took since the listing is passed over."""

    class Late(MemoryStore):
        def children(self, prefix: str) -> Names:
            return [] if prefix.endswith("/drilled") else super().children(prefix)

    store = Late()
    repository, _ = init_repository([Copy("primary", store)], credential, now=NOW)
    for mark in (PASSED, FAILED):
        put_drilled(repository, "main", mark)

    assert [name for name in store.objects if "/drilled/" in name] == [key(0), key(1)]


def test_a_damaged_or_moved_mark_is_passed_over(repository: Repository, store: MemoryStore) -> None:
    """What an older one says was true all the same; verify tells of the damage."""
    for mark in (PASSED, FAILED):
        put_drilled(repository, "main", mark)
    for damaged in (store.objects[key(1)][:-1], b"", store.objects[key(0)]):
        store.objects[key(1)] = damaged
        assert read_drilled(repository, "main") == {LABEL: (PASSED,)}


def test_marks_follow_their_backup_into_a_copy() -> None:
    """A copy that has the root lacks a mark: that is no loss, it is brought."""
    backup = layout.backup("main", LABEL)
    root, mark = f"{backup}/manifest", key(0)

    plan = plan_backups(MirrorFacts({root: 10, mark: 20}, {root: 10}))

    assert [transfer.path for transfer in plan.transfers] == [mark]
    assert not plan.problems


def test_verify_opens_marks_like_any_record(repository: Repository) -> None:
    """A damaged one is a problem."""
    put_drilled(repository, "main", PASSED)

    assert [(each.path, each.kind) for each in list_records(repository, "main")] == [(key(0), Kind.DRILLED)]
