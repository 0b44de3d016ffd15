from __future__ import annotations

from pgvault.errors import StoreUnreachable
from pgvault.repository import layout
from pgvault.repository.copies import LeftOut
from pgvault.repository.presence import copies_holding
from pgvault.repository.repository import Repository
from tests.mirror.vaults import LABELS, Vault


def test_a_backup_is_where_its_root_is() -> None:
    """Packs without a root are no backup."""
    vault = Vault()
    vault.fill()
    vault.copy()
    del vault.dr.objects[layout.manifest("main", LABELS[1])]

    assert copies_holding(vault.both, "main", LABELS) == {LABELS[0]: ("primary", "dr"), LABELS[1]: ("primary",)}


def test_a_copy_that_does_not_answer_holds_nothing_that_we_know_of() -> None:
    """Nor does one that was left out; neither keeps the others from being told."""
    vault = Vault()
    vault.fill()
    vault.copy()
    vault.dr.fail_after_calls = 0
    both = vault.both
    alone = Repository(both.id, both.keys, both.copies[:1], (LeftOut("dr", StoreUnreachable("gone")),))

    assert set(copies_holding(both, "main", LABELS).values()) == {("primary",)}
    assert set(copies_holding(alone, "main", LABELS).values()) == {("primary",)}
