from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pgvault.errors import PgvaultError, StoreDenied, StoreUnreachable
from pgvault.repository.copies import Copy
from pgvault.repository.frozen import find_frozen, require_readable
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository, init_repository
from pgvault.stores.cold import ObjectState, ThawTier
from tests.fakes import MemoryStore

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
PACK = "clusters/main/backups/20260115T103000Z-0001/packs/00000003"


class Cold(MemoryStore):
    """A store whose objects all lie in one class."""

    def __init__(self, answer: ObjectState | PgvaultError) -> None:
        super().__init__()
        self.answer = answer

    def state(self, key: str) -> ObjectState:
        self.size(key)
        if isinstance(self.answer, PgvaultError):
            raise self.answer
        return self.answer

    def transition(self, key: str, storage_class: str) -> bool:
        raise AssertionError("looking moves nothing")

    def thaw(self, key: str, *, days: int, tier: ThawTier = "Standard") -> ObjectState:
        raise AssertionError("looking thaws nothing")


FROZEN = ObjectState("DEEP_ARCHIVE", is_readable=False)
THAWED = ObjectState("DEEP_ARCHIVE", is_readable=True)
INSTANT = ObjectState("GLACIER_IR", is_readable=True)


def repository_of(*stores: MemoryStore, lacking: int | None = None) -> Repository:
    copies = [Copy(f"copy{number}", store) for number, store in enumerate(stores)]
    repository, _ = init_repository(copies, Credential("raw", bytes(32)), now=AT)
    for number, store in enumerate(stores):
        if number != lacking:
            store.objects[PACK] = b"x"
    return repository


def test_a_backup_that_lies_frozen_everywhere_is_refused_with_how_long_a_thaw_takes() -> None:
    """Before anything is fetched; a copy that lacks it is no help."""
    repository = repository_of(Cold(FROZEN), MemoryStore(), lacking=1)

    with pytest.raises(StoreDenied, match="DEEP_ARCHIVE in copy 'copy0'") as refused:
        require_readable(repository, PACK)
    assert refused.value.hint is not None
    assert "12 h (Standard)" in refused.value.hint


@pytest.mark.parametrize(
    "other", [MemoryStore(), Cold(THAWED), Cold(INSTANT), Cold(StoreUnreachable("gone")), Cold(StoreDenied("no"))]
)
def test_another_copy_may_have_it(other: MemoryStore) -> None:
    """Then it is only told; whether a silent one has it, reading tells."""
    repository = repository_of(Cold(FROZEN), other)

    require_readable(repository, PACK)
    ((frozen,), is_readable) = find_frozen(repository, PACK)
    assert (str(frozen), is_readable) == (
        "its data lies in DEEP_ARCHIVE in copy 'copy0' and must be thawed before it can be read",
        True,
    )


@pytest.mark.parametrize("store", [MemoryStore(), Cold(INSTANT), Cold(THAWED)])
def test_what_can_be_read_is_not_told_of(store: MemoryStore) -> None:
    """GLACIER_IR is read like any other class."""
    assert find_frozen(repository_of(store), PACK) == ((), True)
