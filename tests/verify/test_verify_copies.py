"""Each copy is verified by itself: what is whole only together is not redundant."""

from __future__ import annotations

import pytest

from pgvault.errors import ConfigInvalid, StoreDenied, StoreUnreachable, VerifyFailed
from pgvault.postgres.walrange import make_ranges
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label
from pgvault.repository.copies import Copy
from pgvault.repository.gaps import note_expired
from pgvault.repository.repository import Repository
from pgvault.repository.tombstones import Order, begin_removal, put_tombstone
from pgvault.repository.verified import last_verified
from pgvault.verify.copies import chosen_copies
from tests.archive import AT, SYSTEM
from tests.verify.copies import NEXT_WEEK, Copies, flip, of, said
from tests.verify.vault import LABELS, LAST, Vault, segment_of, wal_key

FIRST, SECOND = LABELS


def of_backup(label: str, name: str) -> str:
    return f"{layout.backup('main', label)}/{name}"


def drop(copies: Copies, copy: str, prefix: str) -> None:
    """Take everything under a prefix away from one copy."""
    objects = copies.store(copy).objects
    for key in [key for key in objects if key.startswith(prefix)]:
        del objects[key]


@pytest.fixture
def copies(vault: Vault) -> Copies:
    return Copies(vault)


@pytest.fixture
def sync(vault: Vault) -> Copies:
    return Copies(vault, is_sync=True)


def test_whole_copies_pass_and_get_their_marks(copies: Copies) -> None:
    """Every backup in every copy, with when and how much."""
    reports = copies.verify()

    reports.require_whole()
    assert [each.copy for each in reports.copies] == ["primary", "dr"]
    assert [each.report.backups for each in reports.copies] == [list(LABELS)] * 2
    marks = copies.marks()
    assert set(marks) == {(label, copy) for label in LABELS for copy in ("primary", "dr")}
    mark = marks[FIRST, "dr"]
    needed = [key for key in copies.dr.objects if key.startswith(of_backup(FIRST, "")) and "/verified/" not in key]
    needed = [key for key in needed if not key.endswith("/manifest")] + [wal_key(segment_of(5).name)]
    assert (mark.at, mark.object_count) == (NEXT_WEEK, len(needed))
    assert mark.stored_bytes == sum(len(copies.dr.objects[key]) for key in needed)


@pytest.mark.parametrize("copy", ["primary", "dr"])
@pytest.mark.parametrize(
    "key",
    [
        of_backup(FIRST, "manifest"),
        of_backup(FIRST, "refs"),
        of_backup(FIRST, "parts/00000000"),
        of_backup(FIRST, "packs/00000001"),
        wal_key(segment_of(5).name),
        wal_key(segment_of(6).name),
        layout.IDENTITY,
        layout.key_document(1),
        layout.system("main", SYSTEM),
    ],
)
def test_damage_in_one_copy_is_found_though_the_other_is_whole(copies: Copies, copy: str, key: str) -> None:
    """The other copy has no problem, and only what was touched loses its mark."""
    copies.verify()
    flip(copies.store(copy), key, 60)
    reports = copies.verify()

    with pytest.raises(VerifyFailed, match=f"copy '{copy}'"):
        reports.require_whole()
    assert said(of(reports, copy))
    assert said(of(reports, "dr" if copy == "primary" else "primary")) == []
    of_first = key.startswith(of_backup(FIRST, "")) or key == wal_key(segment_of(5).name)
    assert ((FIRST, copy) in copies.marks()) == (not of_first)
    assert {(SECOND, "primary"), (SECOND, "dr")} <= set(copies.marks())


def test_a_healed_backup_gets_its_mark_again(copies: Copies) -> None:
    """Taken back, and given."""
    key = of_backup(FIRST, "packs/00000001")
    copies.verify()
    flip(copies.dr, key)
    copies.verify()
    flip(copies.dr, key)
    copies.verify().require_whole()

    last = last_verified(copies.repository, "main", FIRST, "dr")
    assert last is not None
    assert last.is_whole
    assert len(copies.marks()) == 4


def test_nothing_is_put_where_the_first_copy_was(copies: Copies) -> None:
    """Its disk is not mounted: what lies in the empty directory would be hidden, and pass for a damaged copy."""
    copies.primary.objects.clear()

    reports = copies.verify()

    assert copies.primary.objects == {}
    assert any("could not be recorded" in note for note in of(reports, "primary").notes)
    assert said(of(reports, "dr")) == []


def test_only_one_copy_on_request(copies: Copies) -> None:
    """The other is not judged; an unknown name is refused."""
    flip(copies.primary, of_backup(FIRST, "packs/00000001"))
    reports = copies.verify(only="dr")

    reports.require_whole()
    assert set(copies.marks()) == {(label, "dr") for label in LABELS}
    with pytest.raises(ConfigInvalid, match="no copy 'mars'"):
        chosen_copies(copies.repository, "mars")


@pytest.mark.parametrize("copy", ["primary", "dr"])
def test_a_silent_copy_is_a_problem_and_the_other_is_looked_at(copies: Copies, copy: str) -> None:
    """Nobody knows what it holds: red, and its marks stay as they are."""
    copies.verify()
    silent = copies.primary if copy == "primary" else copies.dr
    silent.silent = True
    reports = copies.verify()
    other = "dr" if copy == "primary" else "primary"
    silent.silent = False

    with pytest.raises(VerifyFailed, match="the region is gone"):
        reports.require_whole()
    assert said(of(reports, copy)) == ["store: the region is gone"]
    assert (said(of(reports, other)), of(reports, other).backups) == ([], list(LABELS))
    assert len(copies.marks()) == 4


def test_copies_that_are_all_silent_are_no_verdict(copies: Copies) -> None:
    """Neither good nor bad: the store's own error, not 37."""
    copies.primary.silent = copies.dr.silent = True

    with pytest.raises(StoreUnreachable):
        copies.verify().require_whole()


def test_an_async_copy_that_is_behind_is_told_and_not_red(copies: Copies) -> None:
    """A backup and WAL that are under way; what it does hold is whole."""
    drop(copies, "dr", of_backup(SECOND, "manifest"))
    for number in (8, 9):
        drop(copies, "dr", wal_key(segment_of(number).name))
    reports = copies.verify()

    reports.require_whole()
    notes = " ".join(of(reports, "dr").notes)
    assert f"copy 'dr' is behind: {SECOND} not there yet" in notes
    assert f"2 WAL segments from {segment_of(8).name} on" in notes
    assert (SECOND, "dr") not in copies.marks()


def test_a_pack_that_a_copied_root_names_must_be_there(copies: Copies) -> None:
    """A copy that has the root has to have everything: this is no lag."""
    drop(copies, "dr", of_backup(SECOND, "packs/00000003"))

    assert said(of(copies.verify(), "dr"))


def test_a_copy_without_any_backup_is_red(copies: Copies) -> None:
    """However far behind: there is nothing to restore from it."""
    drop(copies, "dr", layout.backups("main"))

    assert any("no backup that opens" in line for line in said(of(copies.verify(), "dr")))


def test_a_backup_that_was_whole_there_and_is_gone_is_red(copies: Copies) -> None:
    """What was read back once does not become "not there yet"."""
    copies.verify()
    drop(copies, "dr", of_backup(FIRST, ""))

    (line,) = said(of(copies.verify(), "dr"))
    assert "is gone from copy 'dr'" in line
    assert (FIRST, "dr") not in copies.marks()


def test_what_expire_removes_is_missed_by_nobody(copies: Copies) -> None:
    """Other copies lose a backup before the deciding one does."""
    copies.verify()
    tombstone, _ = put_tombstone(copies.repository, "main", FIRST, Order(AT, "test", "old"))
    begin_removal(copies.repository, "main", tombstone)
    drop(copies, "dr", of_backup(FIRST, ""))

    copies.verify().require_whole()


def test_wal_that_retention_removed_is_missed_by_nobody(copies: Copies) -> None:
    """Also in a copy that has not got the record of it yet."""
    note_expired(copies.repository, "main", SYSTEM, make_ranges([segment_of(6)]), at=AT)
    assert not any("/gaps/" in key for key in copies.dr.objects)
    drop(copies, "dr", wal_key(segment_of(6).name))
    copies.verify().require_whole()
    drop(copies, "dr", wal_key(segment_of(8).name))

    assert said(of(copies.verify(), "dr"))


def test_a_sync_copy_lacks_nothing(sync: Copies) -> None:
    """Backups and archiver wait for it."""
    drop(sync, "dr", of_backup(SECOND, ""))
    drop(sync, "dr", wal_key(segment_of(LAST).name))

    lines = said(of(sync.verify(), "dr"))
    assert any("which backups wait for" in line for line in lines)
    assert any("which the archiver waits for" in line for line in lines)


@pytest.mark.parametrize("gone", ["", "manifest"])
def test_what_the_deciding_copy_lost_is_red(copies: Copies, gone: str) -> None:
    """Another copy has it, so it was there; the whole backup, or its root alone."""
    drop(copies, "primary", of_backup(SECOND, gone))
    drop(copies, "primary", wal_key(segment_of(LAST).name))
    reports = copies.verify()

    lines = said(of(reports, "primary"))
    assert sum("gone from the deciding copy" in line for line in lines) == 2
    assert said(of(reports, "dr")) == []


def test_an_aborted_backup_that_another_copy_lists_is_red(copies: Copies) -> None:
    """The deciding copy says what exists."""
    drop(copies, "primary", of_backup(SECOND, "manifest"))
    (deciding,) = (copy for copy in copies.repository.copies if copy.name == "primary")
    abort_label(_only(copies.repository, deciding), "main", SECOND, reason="taken over")
    reports = copies.verify()

    assert any("that backup was aborted" in line for line in said(of(reports, "dr")))
    assert said(of(reports, "primary")) == []


def _only(repository: Repository, copy: Copy) -> Repository:
    return Repository(repository.id, repository.keys, (copy,))


def test_an_old_series_of_key_documents_is_found(copies: Copies) -> None:
    """Beside another copy, who put back what was before shows."""
    newer = layout.key_document(2)
    copies.primary.objects[newer] = copies.primary.objects[layout.key_document(1)]

    assert any(newer in line for line in said(of(copies.verify(), "dr")))


def test_another_repositorys_identity_is_found(copies: Copies, vault: Vault) -> None:
    """Whole, and not ours."""
    other = Vault(vault.directory)
    for key in (layout.IDENTITY, layout.key_document(1)):
        copies.dr.objects[key] = other.objects[key]

    assert sum("of another repository" in line for line in said(of(copies.verify(), "dr"))) == 2


def test_read_only_credentials_verify_all_the_same(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found is not recorded, and that is said."""

    def refuse(key: str, body: bytes) -> None:
        raise StoreDenied(f"may not put {key!r}")

    monkeypatch.setattr(copies.primary, "put_if_absent", refuse)
    reports = copies.verify()

    reports.require_whole()
    assert any("could not be recorded" in note for note in of(reports, "primary").notes)
    assert copies.marks() == {}
