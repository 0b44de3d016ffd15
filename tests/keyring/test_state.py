from __future__ import annotations

import pytest

from pgvault.errors import AlreadyRunning, ObjectCorrupt, RepositoryMissing, StoreUnreachable, WrongKey
from pgvault.keyring.change import RotationOrder, add_slot, rotate
from pgvault.keyring.state import look, put_everywhere, settle
from pgvault.pipeline.header import Kind
from pgvault.repository.objects import read_plain
from tests.keyring.keys import NOW, OTHER, RAW, Vault


def turn(vault: Vault) -> None:
    rotate(vault.open(), RAW, RotationOrder(), now=NOW)


class TestCopies:
    """Every copy is brought to the same documents."""

    def test_copy_that_lags_is_brought_up_to_date_first(self) -> None:
        """Whatever it missed."""
        vault = Vault()
        held = dict(vault.stores[1].objects)
        turn(vault)
        vault.stores[1].objects = held
        assert [each.newest for each in look(vault.open())] == [3, 1]

        add_slot(vault.open(), RAW, OTHER, name=None, now=NOW)

        assert [each.newest for each in look(vault.open())] == [4, 4]
        assert vault.stores[0].objects.keys() - vault.stores[1].objects.keys() == set()

    def test_copy_with_an_older_document_opens_what_it_can(self) -> None:
        """What it holds of before is read; what was sealed later is a key that is not at hand."""
        vault = Vault()
        held = dict(vault.stores[1].objects)
        turn(vault)
        vault.stores[1].objects = held
        vault.seal()
        old, new = vault.sealed

        alone = vault.open(copy=1)

        assert read_plain(alone, old, Kind.DRILL) == old.encode()
        with pytest.raises(WrongKey, match="sealed with key 2, which is not at hand"):
            read_plain(alone, new, Kind.DRILL)

    def test_deciding_copy_that_lost_a_document_gets_it_back(self) -> None:
        """Rolled back to an old state by whoever restored its disk."""
        vault = Vault()
        turn(vault)
        for number in (2, 3):
            del vault.stores[0].objects[f"keys/{number:08d}"]

        settle(vault.open(), RAW)

        assert vault.seal() == 2

    def test_two_documents_under_one_number_are_refused(self) -> None:
        """Nobody knows which one is right."""
        vault = Vault()
        add_slot(vault.open(), RAW, OTHER, name=None, now=NOW)
        vault.stores[1].objects["keys/00000002"] += b"\n"

        with pytest.raises(ObjectCorrupt, match="'copy0' and 'copy1' hold two documents"):
            turn(vault)

    def test_listing_says_what_is_wrong_with_a_copy(self) -> None:
        """And goes on with the others."""
        vault = Vault(3)
        opened = vault.open()
        vault.stores[1].fail_after_calls = 0
        vault.stores[2].objects.clear()

        found = look(opened)

        assert [each.newest for each in found] == [1, None, None]
        assert [type(each.error) for each in found] == [type(None), StoreUnreachable, RepositoryMissing]


def test_number_that_is_taken_is_somebody_elses() -> None:
    """Put-if-absent decides, in the deciding copy; nothing reaches the others."""
    vault = Vault()
    vault.stores[0].objects["keys/00000002"] = b"theirs"

    with pytest.raises(AlreadyRunning):
        put_everywhere(vault.repository, 2, b"ours", so_far="")
    assert "keys/00000002" not in vault.stores[1].objects
