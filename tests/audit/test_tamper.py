"""Whoever holds the repository's key, and even a signing key of their own, can not change what was recorded unseen."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgvault.audit.chain import append
from pgvault.audit.newest import Wanted, newest
from pgvault.audit.remark import Weight
from pgvault.audit.signer import SigningKey
from pgvault.audit.trust import Trust
from pgvault.errors import VerifyFailed
from pgvault.instants import iso
from tests.audit.chains import AT, Vault, edited, kept, kinds, said


@pytest.fixture
def vault() -> Vault:
    """Six entries of one signer, two of another one that name ends of the first chain: its entry 2 and its entry 4."""
    vault = Vault()
    for turn in range(6):
        vault.do(vault.one, turn=turn)
        if turn in (2, 4):
            vault.do(vault.other, "drill")
    return vault


def test_an_untouched_chain_is_whole(vault: Vault) -> None:
    """Nothing is broken; and it is said how far the end is proven."""
    verdict = vault.verify()

    assert verdict.is_proven, verdict.remarks
    assert [(chain.name, chain.last, chain.proven_to) for chain in sorted(verdict.chains, key=lambda c: c.name)] == [
        ("one", 5, 4),
        ("other", 1, 1),
    ]
    assert verdict.entries == 2 * 8
    assert "the tail of one is not provable" in said(verdict, "tail")


def test_an_edited_entry(vault: Vault) -> None:
    """Other words under the old signature are refused, though they are sealed as they should be."""
    path = vault.path(vault.one, 3)
    vault.put(path, edited(vault.content(path), event={"what": "backup", "result": "ok"}))

    verdict = vault.verify()

    assert kinds(verdict) == {"damaged"}
    assert "was changed: its signature is not by the key that it names" in said(verdict, "damaged")


def test_an_edited_entry_signed_anew(vault: Vault) -> None:
    """Signed anew by the right key (the host was taken over), it breaks the link of the next, and the named hash."""
    vault.put(vault.path(vault.one, 2), vault.forge(vault.one, 2, None).content)

    verdict = vault.verify()

    assert kinds(verdict) == {"order", "head"}
    assert "entry 3 of" in said(verdict, "order")
    assert "does not follow entry 2" in said(verdict, "order")
    assert "entry 2 of one is not the one that entry 0 of other names" in said(verdict, "head")


def test_signed_with_another_key(vault: Vault) -> None:
    """An entry by another key has no place in this chain, though its signature is good."""
    mallory = SigningKey.generate()
    vault.put(vault.path(vault.one, 3), vault.forge(vault.one, 3, None, by=mallory).content)

    verdict = vault.verify()

    assert kinds(verdict) == {"damaged"}
    assert f"is signed by another key: {mallory.public}" in said(verdict, "damaged")


def test_an_entry_deleted_in_the_middle(vault: Vault) -> None:
    """It is missing, and later ones are there."""
    vault.remove(vault.one, [3])

    verdict = vault.verify()

    assert kinds(verdict) == {"hole"}
    assert "deleted: entry 3 of" in said(verdict, "hole")


def test_a_beginning_that_was_deleted(vault: Vault) -> None:
    """A chain begins at 0, or a checkpoint says why not."""
    vault.remove(vault.one, [0, 1])

    verdict = vault.verify()

    assert kinds(verdict) == {"beginning"}
    assert "begins at entry 2, and no checkpoint says so; cut: entries 0 to 1" in said(verdict, "beginning")


def test_an_end_deleted_that_another_chain_names(vault: Vault) -> None:
    """Entries of another signer name the end as it was: it shows in every copy at once."""
    vault.remove(vault.one, [3, 4, 5])

    verdict = vault.verify()

    assert kinds(verdict) == {"tail-cut"}
    assert "the chain of one ends at entry 2, and entry 1 of other names its entry 4" in said(verdict, "tail-cut")


def test_an_end_deleted_that_nobody_names(vault: Vault) -> None:
    """That can not be seen, and it is said that it can not: the tail is not provable."""
    vault.remove(vault.one, [5])

    verdict = vault.verify()

    assert verdict.is_whole
    assert [chain.proven_to for chain in verdict.chains if chain.name == "one"] == [4]
    vault.remove(vault.other, [0, 1])
    assert "the tail of one is not provable" in said(vault.verify(), "tail")


def test_an_end_deleted_that_was_kept_outside(vault: Vault) -> None:
    """A receipt names what nothing in the repository names any more."""
    receipt = vault.do(vault.one, "drill")
    assert vault.verify(kept=[kept(receipt)]).is_proven
    vault.remove(vault.one, [6])

    verdict = vault.verify(kept=[kept(receipt)])

    assert kinds(verdict) == {"tail-cut"}
    assert "and the receipt names its entry 6" in said(verdict, "tail-cut")


def test_an_end_deleted_in_the_deciding_copy_alone(vault: Vault) -> None:
    """What another copy still holds was deleted here."""
    vault.remove(vault.one, [5], [vault.first])

    verdict = vault.verify()

    assert kinds(verdict) == {"deleted"}
    assert "copy 'primary': deleted: entry 5 of one, still held by copy 'dr'" in said(verdict, "deleted")


def test_a_whole_chain_deleted(vault: Vault) -> None:
    """A pinned signer without a chain is broken; and so is a named end of it."""
    vault.remove(vault.one, range(6))

    verdict = vault.verify()

    assert kinds(verdict) == {"no-chain", "tail-cut"}
    assert "one has no chain" in said(verdict, "no-chain")


def test_everything_deleted(vault: Vault) -> None:
    """No entry at all is never whole."""
    for store in vault.stores:
        store.objects = {path: body for path, body in store.objects.items() if not path.startswith("audit/")}

    nobody: dict[str, SigningKey] = {}
    for pins in (None, nobody):
        verdict = vault.verify(pins=pins)
        assert "empty" in kinds(verdict)
        with pytest.raises(VerifyFailed, match="there is no entry in any chain"):
            verdict.require_whole()


def test_two_entries_swapped(vault: Vault) -> None:
    """Each says which number it has."""
    paths = [vault.path(vault.one, number) for number in (1, 4)]
    contents = [vault.content(path) for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        vault.put(path, content)

    verdict = vault.verify()

    assert kinds(verdict) == {"damaged"}
    assert "entry 1 of" in said(verdict, "damaged")
    assert "is its entry 4, under another number" in said(verdict, "damaged")


def test_an_old_entry_replayed(vault: Vault) -> None:
    """An old good entry at the end is told by its number."""
    vault.put(vault.path(vault.one, 6), vault.content(vault.path(vault.one, 0)))

    verdict = vault.verify()

    assert kinds(verdict) == {"damaged"}
    assert "is its entry 0, under another number" in said(verdict, "damaged")


def test_an_object_moved_without_the_repository_key(vault: Vault) -> None:
    """Sealed bytes open under their own name alone."""
    vault.first.objects[vault.path(vault.one, 6)] = vault.first.objects[vault.path(vault.one, 0)]

    assert "damaged" in kinds(vault.verify())


def test_a_fork(vault: Vault) -> None:
    """The end is cut and grown anew, by the right key: the other copy still has what was there."""
    last = vault.do(vault.one, "restore")
    vault.remove(vault.one, [6], [vault.first])
    append(vault.repository, {"what": "backup", "result": "ok"}, key=vault.one, at=vault.at)

    verdict = vault.verify()

    assert kinds(verdict) == {"fork"}
    assert "copy 'dr': a fork: entry 6 of one, otherwise in copy 'primary'" in said(verdict, "fork")
    assert "head" in kinds(vault.verify(kept=[kept(last)]))


def test_another_repositorys_chain(vault: Vault) -> None:
    """A good chain of the same key from another repository, sealed with this one's key, is not of here."""
    elsewhere = Vault(key=bytes(31) + b"\1")
    elsewhere.one = vault.one
    for _ in range(6):
        elsewhere.do(vault.one)
    for number in range(6):
        vault.put(vault.path(vault.one, number), elsewhere.content(vault.path(vault.one, number)))

    verdict = vault.verify()

    assert "damaged" in kinds(verdict)
    assert f"is of another repository: {elsewhere.repository.id.hex()}" in said(verdict, "damaged")


def test_everything_replaced_by_a_chain_of_a_new_key(vault: Vault) -> None:
    """A perfect chain by a key that nobody pinned proves nothing, and the pinned one's is gone."""
    mallory = SigningKey.generate()
    vault.remove(vault.one, range(6))
    vault.remove(vault.other, range(2))
    for _ in range(6):
        vault.do(mallory)

    verdict = vault.verify()

    assert kinds(verdict) == {"unknown-signer", "no-chain"}
    assert f"6 entries are signed by a key that audit.signers does not name: {mallory.public}" in said(
        verdict, "unknown-signer"
    )
    assert vault.verify(pins={"mallory": mallory}).is_proven


def test_without_pins_nothing_is_proven(vault: Vault) -> None:
    """Where the verifier names no keys the chains may be whole, and nobody knows whose they are."""
    verdict = vault.verify(pins={})

    assert verdict.is_whole
    assert not verdict.is_proven
    assert "not pinned: nothing says who signed" in said(verdict, "not-pinned")


def test_a_signer_that_is_not_pinned(vault: Vault) -> None:
    """Where some keys are pinned, a chain by any other one is broken; a receipt of it proves nothing."""
    verdict = vault.verify(pins={"one": vault.one})

    assert kinds(verdict) == {"unknown-signer"}
    assert [chain.proven_to for chain in verdict.chains if chain.name == "one"] == [None]


def test_a_short_id_is_not_enough(vault: Vault) -> None:
    """What is pinned is the key, and not the 64 bits that its directory is called by."""
    signer = vault.one.public.signer

    assert not Trust({signer: "one"}, {signer: vault.other.public}, True).believes(vault.one.public)


def test_a_checkpoint_of_another_key_cuts_nothing(vault: Vault) -> None:
    """Only the chain's own key can say that its beginning may be gone, and it names the hash of what went."""
    vault.do(vault.other, "checkpoint", first=2, cut_sha256="00" * 32, cut_at=iso(AT))
    vault.do(vault.one, "checkpoint", first=2, cut_sha256="00" * 32, cut_at=iso(AT))
    vault.remove(vault.one, [0, 1])

    verdict = vault.verify()

    assert {"beginning", "checkpoint"} <= kinds(verdict)


def test_a_copy_that_lost_entries(vault: Vault) -> None:
    """Lacking what is older than its lag is broken; lacking what was just written is not."""
    vault.remove(vault.one, [2], [vault.stores[1]])

    verdict = vault.verify()

    assert kinds(verdict) == {"lacks"}
    assert "copy 'dr': missing: entry 2 of one, the oldest of" in said(verdict, "lacks")


def test_clocks(vault: Vault) -> None:
    """Times that go backwards, and a host whose clock is not the store's, are findings and break nothing."""
    vault.at = AT - timedelta(hours=1)
    vault.first.at = AT
    vault.do(vault.one)

    verdict = vault.verify()

    assert verdict.is_whole
    assert {remark.kind for remark in verdict.of(Weight.WARNING)} == {"clock"}
    assert "go backwards by more than a minute at entry 6" in said(verdict, "clock")
    assert "entry 6 by -3540 s" in said(verdict, "clock")


def test_one_name_far_behind_the_end(vault: Vault) -> None:
    """Whoever may put objects puts the last number there is: what that hides is said, at no cost."""
    vault.first.objects[vault.path(vault.one, 99_999_999)] = b"?"
    vault.copy()

    verdict = vault.verify()

    assert kinds(verdict) == {"damaged", "hole"}
    assert "deleted: entries 6 to 99999998 of" in said(verdict, "hole")
    found = newest(vault.repository, Wanted(50), passed_over=lambda *_: None)
    assert len(found) == 8


def test_a_chain_that_was_written_later_than_it_says(vault: Vault) -> None:
    """It names ends of other chains that were not there at that time."""
    vault.first.at = AT
    vault.do(vault.one)
    vault.at = vault.first.at = AT - timedelta(days=30)
    vault.do(vault.other)

    assert "back-dated: entry 2 of other" in said(vault.verify(), "back-dated")
