from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pgvault.errors import (
    AlreadyRunning,
    Refused,
    RepositoryForeign,
    RepositoryMissing,
    StoreUnreachable,
    UsageError,
    WrongKey,
)
from pgvault.keyring.change import RotationOrder, add_slot, remove_slot, rotate
from pgvault.keyring.state import look
from pgvault.pipeline.header import Kind
from pgvault.repository.keydocument import read_key_document, sign_key_document
from pgvault.repository.keys import Credential
from pgvault.repository.objects import put_plain, read_plain
from pgvault.repository.repository import Repository
from pgvault.repository.walobjects import WalOutcome
from tests.fakes import MemoryStore
from tests.keyring.keys import NOW, OTHER, RAW, THIRD, Killed, Vault, countdown
from tests.repository.test_walobjects import CONTENT, push

WORDS = Credential("passphrase", b"correct horse")
PLAIN = RotationOrder()


def turn(vault: Vault, credential: Credential | None = None, order: RotationOrder = PLAIN) -> int:
    return rotate(vault.open(credential), credential or vault.credential, order, now=NOW).key_id


class TestSlots:
    """`key add` and `key remove`."""

    def test_added_credential_opens_every_key_in_every_copy(self) -> None:
        """Also what was sealed before it came, and before a rotation."""
        vault = Vault()
        turn(vault)
        vault.seal()

        added = add_slot(vault.open(), RAW, OTHER, name=None, now=NOW)

        assert (added.name, added.key_ids, added.is_new) == ("raw-2", (1, 2), True)
        vault.require_readable(RAW, OTHER)

    def test_passphrase_costs_one_scrypt_however_many_keys(self) -> None:
        """Its slots share their salt, so a rotation makes nothing slower."""
        vault = Vault(1)
        turn(vault)
        add_slot(vault.open(), RAW, WORDS, name="words", now=NOW)
        turn(vault, order=RotationOrder(others=(WORDS,)))

        document = json.loads(vault.stores[0].objects[max(k for k in vault.stores[0].objects if "keys/" in k)])
        salts = [s["scrypt"]["salt"] for entry in document["keys"] for s in entry["slots"] if s["name"] == "words"]

        assert len(salts) == 3
        assert len(set(salts)) == 1
        vault.require_readable(WORDS)

    def test_adding_what_opens_already_changes_nothing(self) -> None:
        """So the command can be given again after a lost answer."""
        vault = Vault()
        add_slot(vault.open(), RAW, OTHER, name="escrow", now=NOW)
        before = [dict(store.objects) for store in vault.stores]

        again = add_slot(vault.open(), RAW, OTHER, name="escrow", now=NOW)

        assert (again.name, again.is_new) == ("escrow", False)
        assert [store.objects for store in vault.stores] == before

    def test_name_that_is_taken_is_refused(self) -> None:
        """Names are what an operator removes by."""
        vault = Vault()

        with pytest.raises(UsageError):
            add_slot(vault.open(), RAW, OTHER, name="raw-1", now=NOW)

    def test_removed_slot_opens_nothing(self) -> None:
        """In no copy; the others go on."""
        vault = Vault()
        add_slot(vault.open(), RAW, OTHER, name="old", now=NOW)
        turn(vault, order=RotationOrder(others=(OTHER,)))

        remove_slot(vault.open(), RAW, "old")

        for number in range(2):
            with pytest.raises(WrongKey):
                vault.open(OTHER, copy=number)
        vault.require_readable(RAW)

    def test_slot_that_is_needed_is_not_removed(self) -> None:
        """Neither the last one, nor the one that the configuration uses, nor the last one of an older key."""
        vault = Vault()
        with pytest.raises(Refused, match="last one"):
            remove_slot(vault.open(), RAW, "raw-1")
        add_slot(vault.open(), RAW, OTHER, name="other", now=NOW)
        with pytest.raises(Refused, match="configured key"):
            remove_slot(vault.open(), RAW, "raw-1")
        with pytest.raises(UsageError, match="nonsense") as caught:
            remove_slot(vault.open(), RAW, "nonsense")
        assert caught.value.hint == "There are: raw-1, other"

        remove_slot(vault.open(OTHER), OTHER, "raw-1")

        vault.require_readable(OTHER)

    def test_fields_that_we_do_not_know_are_kept(self) -> None:
        """A later version's slot survives what this one does."""
        vault = Vault(1)
        store = vault.stores[0]
        first: dict[str, Any] = json.loads(store.objects["keys/00000001"])
        first["keys"][0]["slots"].append({"kind": "yubikey", "touch": True, "wrapped": "?"})
        first["motto"] = "festina lente"
        ring = vault.repository.keys
        store.objects["keys/00000001"] = sign_key_document(first, ring.active, vault.repository.id, number=1)

        add_slot(vault.open(), RAW, OTHER, name="other", now=NOW)

        second = json.loads(store.objects["keys/00000002"])
        assert second["motto"] == "festina lente"
        assert {"kind": "yubikey", "name": "yubikey-1", "touch": True, "wrapped": "?"} in second["keys"][0]["slots"]

    def test_names_given_by_counting_stay_when_another_slot_goes(self) -> None:
        """In a document of an earlier version slots have none: raw-2 must not become raw-1."""
        vault = Vault(1)
        store = vault.stores[0]
        for name, credential in (("a", OTHER), ("b", THIRD)):
            add_slot(vault.open(), RAW, credential, name=name, now=NOW)
        document = json.loads(store.objects["keys/00000003"])
        for slot in document["keys"][0]["slots"]:
            del slot["name"]
        ring = vault.repository.keys
        store.objects["keys/00000003"] = sign_key_document(document, ring.active, vault.repository.id, number=3)

        remove_slot(vault.open(), RAW, "raw-2")
        remove_slot(vault.open(), RAW, "raw-3")

        assert [slot["name"] for slot in json.loads(store.objects["keys/00000005"])["keys"][0]["slots"]] == ["raw-1"]


class TestRotation:
    """`key rotate`."""

    def test_new_key_seals_and_old_objects_stay_readable(self) -> None:
        """In every copy by itself."""
        vault = Vault(3)

        assert turn(vault) == 2
        assert vault.seal() == 2
        assert turn(vault) == 3
        assert vault.seal() == 3
        vault.require_readable()

    def test_process_that_opened_before_goes_on(self) -> None:
        """It seals with the key it knows, reads what came after, and finds the same WAL the same."""
        vault = Vault(1)
        before = vault.open()
        push(before, CONTENT)

        turn(vault)
        after = vault.open()

        assert push(after, CONTENT) is WalOutcome.ALREADY
        assert before.keys.active.id == 1
        path = f"{vault.sealed[0]}-after"
        vault.sealed.append(path)
        put_plain(after, path, Kind.DRILL, plain=b"x")
        assert read_plain(before, path, Kind.DRILL) == b"x"

    def test_wal_that_was_stored_after_the_rotation_is_the_same_for_who_opened_before(self) -> None:
        """A stream that runs since last year meets a segment that an archive_command stored under the new key."""
        vault = Vault(1)
        before = vault.open()
        turn(vault)
        push(vault.open(), CONTENT)

        assert push(before, CONTENT) is WalOutcome.ALREADY

    @pytest.mark.parametrize("down", [0, 1, 2])
    def test_copy_that_does_not_answer_refuses_the_rotation(self, down: int) -> None:
        """Before anything is written anywhere."""
        vault = Vault(3)
        opened = vault.open()
        before = [dict(store.objects) for store in vault.stores]
        vault.stores[down].fail_after_calls = 0

        with pytest.raises(StoreUnreachable, match="nothing was changed"):
            rotate(opened, RAW, PLAIN, now=NOW)

        vault.stores[down].fail_after_calls = None
        assert [store.objects for store in vault.stores] == before
        assert vault.seal() == 1

    def test_copy_that_breaks_in_between_leaves_the_old_key_active(self) -> None:
        """The next rotation goes on with the key that was announced, and makes no third one."""
        vault = Vault(3)
        opened = vault.open()
        vault.stores[2].fail_puts = [vault.stores[2].puts + 1]

        with pytest.raises(StoreUnreachable, match="old key stays active"):
            rotate(opened, RAW, PLAIN, now=NOW)

        assert vault.seal() == 1
        vault.require_readable()
        rotated = rotate(vault.open(), RAW, PLAIN, now=NOW + timedelta(hours=1))
        assert (rotated.key_id, rotated.was_announced) == (2, True)
        assert vault.seal() == 2
        vault.require_readable()

    def test_copy_that_is_no_repository_refuses(self) -> None:
        """An unmounted disk gets no keys; nor does somebody else's repository."""
        vault = Vault(2)
        opened = vault.open()
        held = dict(vault.stores[1].objects)
        vault.stores[1].objects.clear()
        with pytest.raises(RepositoryMissing):
            rotate(opened, RAW, PLAIN, now=NOW)
        vault.stores[1].objects = Vault(1).stores[0].objects
        with pytest.raises(RepositoryForeign):
            rotate(opened, RAW, PLAIN, now=NOW)
        vault.stores[1].objects = held

        assert turn(vault) == 2

    def test_credential_that_would_stay_behind_refuses(self) -> None:
        """A sheet in the safe must not silently become worthless: it is given, or named."""
        vault = Vault()
        add_slot(vault.open(), RAW, OTHER, name="escrow", now=NOW)

        with pytest.raises(Refused, match="escrow"):
            turn(vault)
        with pytest.raises(UsageError, match="nonsense"):
            turn(vault, order=RotationOrder(left_behind=["nonsense"]))
        assert turn(vault, order=RotationOrder(others=[OTHER])) == 2
        vault.seal()
        vault.require_readable(RAW, OTHER)

        rotated = rotate(vault.open(), RAW, RotationOrder(left_behind=["escrow"]), now=NOW)
        assert (rotated.slots, rotated.left_behind) == (("raw-1",), ("escrow",))
        with pytest.raises(WrongKey, match="since a rotation"):
            vault.open(OTHER)
        vault.require_readable(RAW)

        added = add_slot(vault.open(), RAW, OTHER, name=None, now=NOW)
        assert (added.name, added.key_ids) == ("escrow", (1, 2, 3))
        vault.require_readable(RAW, OTHER)

    def test_own_slot_is_never_left_behind(self) -> None:
        """Else the next backup could not be written."""
        vault = Vault()
        turn(vault, order=RotationOrder(left_behind=["raw-1"]))

        assert vault.seal() == 2

    def test_two_at_once_make_one_key_that_everybody_has(self) -> None:
        """Whoever finds the number taken is told, or goes on with what the other announced."""
        vault = Vault()

        class Meanwhile(MemoryStore):
            """Lets somebody else rotate just before our first document arrives."""

            def put_if_absent(self, key: str, body: bytes) -> None:
                if key == "keys/00000002" and key not in self.objects:
                    vault.stores[0].objects = self.objects
                    vault.stores[0] = replaced
                    rotate(vault.open(), RAW, PLAIN, now=NOW)
                super().put_if_absent(key, body)

        late = Meanwhile()
        late.objects = vault.stores[0].objects
        replaced = vault.stores[0]
        opened = replace(vault.open(), copies=(replace(vault.copies()[0], store=late), vault.copies()[1]))

        with pytest.raises(AlreadyRunning, match="somebody else"):
            rotate(opened, RAW, PLAIN, now=NOW + timedelta(seconds=1))

        assert vault.seal() == 2
        vault.require_readable()
        assert [each.newest for each in look(vault.open())] == [3, 3]

    def test_key_announced_by_somebody_whose_slot_we_lack_is_passed_over(self) -> None:
        """We could never sign with it; the next id is free."""
        vault = Vault()
        add_slot(vault.open(), RAW, OTHER, name="other", now=NOW)
        vault.stores[1].fail_puts = [vault.stores[1].puts + 1]
        with pytest.raises(StoreUnreachable):
            rotate(vault.open(OTHER), OTHER, RotationOrder(left_behind=["raw-1"]), now=NOW)

        assert turn(vault, order=RotationOrder(left_behind=["other"])) == 3
        vault.seal()
        vault.require_readable(RAW)


def do_rotate(opened: Repository) -> object:
    return rotate(opened, RAW, RotationOrder(others=[OTHER]), now=NOW)


def do_add(opened: Repository) -> object:
    return add_slot(opened, RAW, THIRD, name="third", now=NOW)


def do_remove(opened: Repository) -> object:
    remove_slot(opened, RAW, "doomed")
    return None


@pytest.mark.parametrize("action", [do_rotate, do_add, do_remove])
def test_death_after_any_store_operation_leaves_every_copy_open(action: Callable[[Repository], object]) -> None:
    """Each opens by itself, everything sealed before and after reads in each, and the next run succeeds."""
    died = 0
    while True:
        vault = Vault(3)
        add_slot(vault.open(), RAW, OTHER, name="other", now=NOW)
        if action is do_remove:
            add_slot(vault.open(), RAW, Credential("raw", b"d" * 32), name="doomed", now=NOW)
        opened = replace(vault.open(), copies=tuple(vault.copies(countdown(died + 1))))
        try:
            action(opened)
        except Killed:
            died += 1
        else:
            break
        vault.require_readable(RAW, OTHER)
        sealed_by = vault.seal()
        vault.require_readable(RAW, OTHER)
        assert require_known_everywhere(vault, sealed_by)
        try:
            action(vault.open())
        except UsageError:
            assert action is do_remove  # it had gone
        vault.seal()
        vault.require_readable(RAW, OTHER)
        assert len({each.newest for each in look(vault.open())}) == 1
    assert died > 12


def require_known_everywhere(vault: Vault, key_id: int) -> bool:
    """Tell whether the key that seals is in the newest document of every copy."""
    for store in vault.stores:
        path = max(key for key in store.objects if key.startswith("keys/"))
        if key_id not in read_key_document(store.objects[path], RAW, where=path).ring.by_id:
            return False
    return True
