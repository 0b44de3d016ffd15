from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pgvault.errors import (
    ConfigInvalid,
    ObjectCorrupt,
    ObjectExists,
    RepositoryForeign,
    RepositoryMissing,
    StoreUnreachable,
    UsageError,
)
from pgvault.mirror.run import CopyOrder, choose_targets, copy_into, copy_round, require_done
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label, commit_manifest, read_catalog
from pgvault.repository.copies import Copy
from pgvault.repository.names import is_local
from pgvault.repository.refs import decode_refs
from pgvault.repository.tombstones import ROOT_GOES
from pgvault.stores.file import FileStore
from tests.archive import StillClock
from tests.fakes import MemoryStore
from tests.mirror.vaults import LABELS, Vault, tail_path, wal_path
from tests.repository.samples import make_manifest

ROOT = layout.manifest("main", LABELS[0])
PACK = layout.pack("main", LABELS[0], 1)


@pytest.fixture
def vault() -> Vault:
    vault = Vault()
    vault.fill()
    return vault


def brought(store: MemoryStore) -> list[str]:
    """What was put, in order."""
    return [key for verb, key in store.calls if verb == "put"]


def require_whole_roots(store: MemoryStore) -> None:
    """Every root in a copy has everything that its refs names, with that digest, in this copy."""
    for path in [path for path in store.objects if path.endswith("/manifest")]:
        refs = path.replace("/manifest", "/refs")
        for needed, digest in decode_refs(store.objects[refs], where=refs).items():
            assert hashlib.sha256(store.objects[needed]).digest() == digest


def test_an_empty_copy_becomes_the_same(vault: Vault) -> None:
    """Keys, identity, WAL, tails and backups: byte for byte; then it opens, and there is nothing more to do."""
    report = vault.copy()

    assert (report.error, report.problems) == (None, ())
    assert vault.dr.objects == vault.primary.objects
    assert (report.objects, report.size) == (len(vault.dr.objects), report.size)

    puts = vault.dr.puts
    assert vault.copy().objects == 0
    assert vault.dr.puts == puts


def test_what_is_of_one_copy_alone_is_not_brought(vault: Vault) -> None:
    """Leases, probes and quarantine say something about the copy that they are in."""
    for path in ("leases/x/00000000", "probes/1", "quarantine/1/keys/00000001"):
        vault.primary.objects[path] = b"{}"

    vault.copy()

    assert not any(is_local(path) for path in vault.dr.objects)


def test_nothing_comes_before_what_it_rests_on(vault: Vault) -> None:
    """Keys, identity, WAL; of each backup its data, then refs, then the root."""
    vault.copy()
    order = brought(vault.dr)
    place = {path: order.index(path) for path in order}

    assert order[:2] == [layout.key_document(1), layout.IDENTITY]
    for label in LABELS:
        refs = layout.refs("main", label)
        for needed in decode_refs(vault.primary.objects[refs], where=refs):
            assert place[needed] < place[refs] < place[layout.manifest("main", label)]


def test_a_backup_under_way_is_left_until_it_is_committed(vault: Vault) -> None:
    """Whether it ever will be, nobody knows."""
    label = "20260115T120000Z-0003"
    vault.store_backup(label, wal=(4,), is_committed=False)

    vault.copy()

    assert not [path for path in vault.dr.objects if label in path]


@pytest.mark.parametrize("side", ["primary", "dr"])
def test_killed_after_any_store_operation_and_run_again_it_is_complete(side: str) -> None:
    """Wherever it stops: no root without its objects, and the next run makes it whole."""
    done, count = False, 0
    while not done:
        vault = Vault()
        vault.fill()
        store: MemoryStore = getattr(vault, side)
        store.fail_after_calls = len(store.calls) + count
        done = vault.copy().error is None
        store.fail_after_calls = None
        require_whole_roots(vault.dr)

        assert vault.copy().error is None
        assert vault.dr.objects == vault.primary.objects
        count += 1
    assert count > 20


def test_a_damaged_source_object_is_told_and_not_spread(vault: Vault) -> None:
    """The root that needs it is withheld; everything else comes."""
    vault.primary.objects[PACK] = vault.primary.objects[PACK][:-1] + b"?"
    vault.primary.objects[wal_path(5)] = vault.primary.objects[wal_path(5)][:-1]

    report = vault.copy()

    assert {problem.path for problem in report.problems} == {PACK, ROOT, wal_path(5)}
    missing = {PACK, ROOT, wal_path(5)}
    assert set(vault.primary.objects) - set(vault.dr.objects) == missing
    with pytest.raises(ObjectCorrupt, match="3 objects were not brought"):
        require_done([report])


def test_a_whole_object_that_is_not_the_one_in_refs_is_not_brought(vault: Vault) -> None:
    """Swapped with another: its own SHA-256 is right, that in refs is not."""
    vault.primary.objects[PACK] = vault.primary.objects[layout.pack("main", LABELS[1], 2)]

    report = vault.copy()

    assert {problem.path for problem in report.problems} == {PACK, ROOT}


def test_a_damaged_root_or_refs_is_told(vault: Vault) -> None:
    """Nothing says then what that backup needs."""
    vault.primary.objects[ROOT] = vault.primary.objects[ROOT][:-1]
    refs = layout.refs("main", LABELS[1])
    vault.primary.objects[refs] = vault.primary.objects[refs][:-1]

    report = vault.copy()

    assert {problem.path for problem in report.problems} == {ROOT, layout.manifest("main", LABELS[1])}
    assert not [path for path in vault.dr.objects if path.endswith("/manifest")]
    assert wal_path(5) in vault.dr.objects


def test_an_object_of_another_length_is_told_and_stays(vault: Vault) -> None:
    """Which of the two is damaged, verify finds out."""
    vault.copy()
    cut = vault.dr.objects[wal_path(2)] = vault.dr.objects[wal_path(2)][:-1]

    report = vault.copy()

    assert [problem.path for problem in report.problems] == [wal_path(2)]
    assert vault.dr.objects[wal_path(2)] == cut


def test_what_a_backup_has_lost_in_the_target_is_told(vault: Vault) -> None:
    """Its root is there, and packs are not: a listing shows that, and the copy is not up to date."""
    vault.copy()
    for number in (0, 1):
        del vault.dr.objects[layout.pack("main", LABELS[0], number)]

    report = vault.copy()

    assert [(problem.path, problem.why) for problem in report.problems] == [
        (layout.pack("main", LABELS[0], 0), "it was lost here, where its backup's root is, and 1 more")
    ]
    with pytest.raises(ObjectCorrupt, match="not brought"):
        require_done((report,))
    assert report.objects == 0


def test_a_root_is_withheld_over_an_object_that_the_target_holds_cut(vault: Vault) -> None:
    """Also where the listing shows it: a name is not enough."""
    vault.copy()
    del vault.dr.objects[ROOT]
    vault.dr.objects[PACK] = vault.dr.objects[PACK][:-1]

    report = vault.copy()

    assert PACK in {problem.path for problem in report.problems}
    assert ROOT not in vault.dr.objects


def test_a_root_is_withheld_where_the_source_lost_an_object(vault: Vault) -> None:
    """A backup that is not whole in the deciding copy is not published in another."""
    del vault.primary.objects[PACK]

    report = vault.copy()

    assert [problem.path for problem in report.problems] == [ROOT]
    assert "lacks" in report.problems[0].why
    assert ROOT not in vault.dr.objects


class Provider(MemoryStore):
    """A store that copies within itself what the source's own checksum proves."""

    def __init__(self, *, is_able: bool) -> None:
        super().__init__()
        self.is_able = is_able
        self.copied: list[str] = []

    def server_copy(self, source: MemoryStore, key: str, *, length: int, sha256: bytes) -> bool:
        if key in self.objects:
            raise ObjectExists(key)
        body = source.objects[key]
        if not self.is_able or len(body) != length or hashlib.sha256(body).digest() != sha256:
            return False
        self.objects[key] = body
        self.copied.append(key)
        return True


@pytest.mark.parametrize("is_able", [True, False])
def test_a_store_copies_by_itself_what_refs_name(vault: Vault, is_able: bool) -> None:
    """Their bytes never come here; where the store can not prove what it copies, they do."""
    vault.dr = Provider(is_able=is_able)
    vault.primary.calls.clear()

    assert vault.copy().problems == ()

    assert vault.dr.objects == vault.primary.objects
    assert (PACK in vault.dr.copied) == is_able
    assert (("get", PACK) in vault.primary.calls) != is_able
    assert ROOT not in vault.dr.copied


def test_an_aborted_record_takes_the_place_of_a_root(vault: Vault) -> None:
    """The deciding copy has decided; the bytes of that root stay in quarantine."""
    vault.copy()
    label = "20260115T123000Z-0004"
    path = layout.manifest("main", label)
    commit_manifest(vault.repository, make_manifest(label=label))
    root = vault.dr.objects[path] = vault.primary.objects.pop(path)
    abort_label(vault.repository, "main", label, reason="taken for dead")

    assert vault.copy().problems == ()
    assert vault.dr.objects[path] == vault.primary.objects[path]
    assert [body for name, body in vault.dr.objects.items() if name.startswith("quarantine/")] == [root]
    assert label in read_catalog(vault.both, "main").aborted


def test_tails_go_once_the_target_holds_their_bytes(vault: Vault) -> None:
    """By a tail that took them in, or by the segment; not before."""
    vault.copy()
    tails = [tail_path(6, 0, 64), tail_path(6, 64, 128)]
    for path in tails:
        del vault.primary.objects[path]

    assert vault.copy().removed == 0

    merged = vault.store_tail(6, 0, 128)
    assert vault.copy().removed == 2
    assert merged in vault.dr.objects

    vault.push(6)
    assert vault.copy().removed == 0  # the source's own still goes its way
    del vault.primary.objects[merged]
    assert vault.copy().removed == 1
    assert vault.dr.objects == vault.primary.objects


def test_tails_of_a_segment_that_is_there_are_not_brought(vault: Vault) -> None:
    """They are about to go."""
    vault.store_tail(5, 0, 8)

    vault.copy()

    assert tail_path(5, 0, 8) not in vault.dr.objects


def test_marks_come_after_the_root_and_later_ones_too(vault: Vault) -> None:
    """A copy that has the root hears what is said about the backup."""
    vault.copy()
    mark = f"{layout.tombstones('main', LABELS[0])}/00000000"
    vault.primary.objects[mark] = vault.primary.objects[PACK]

    assert vault.copy().objects == 1
    assert mark in vault.dr.objects


def test_what_was_removed_from_the_target_does_not_come_back(vault: Vault) -> None:
    """Expiry removes from the deciding copy last: until then the source still has it all."""
    vault.copy()
    vault.dr.objects[layout.tombstone("main", LABELS[0], ROOT_GOES)] = vault.primary.objects[PACK]
    for path in [path for path in vault.dr.objects if LABELS[0] in path and "/tombstones/" not in path]:
        del vault.dr.objects[path]

    assert vault.copy().objects == 0


def test_an_empty_target_is_begun_only_on_request(vault: Vault) -> None:
    """An empty directory may be one whose disk is not mounted."""
    report = vault.copy(may_begin=False)

    assert isinstance(report.error, RepositoryMissing)
    assert vault.dr.objects == {}


def test_another_repository_is_not_mixed_with_ours(vault: Vault) -> None:
    """Nor with whatever else lies there."""
    other = Vault()
    vault.dr.objects.update(other.primary.objects)
    assert isinstance(vault.copy().error, RepositoryForeign)

    vault.dr.objects = {"holiday.jpg": b""}
    assert isinstance(vault.copy().error, RepositoryForeign)


def test_one_directory_by_two_names_is_no_copy(vault: Vault, tmp_path: Path) -> None:
    """It would be up to date for ever, and gone with the first."""
    (tmp_path / "srv").mkdir()
    (tmp_path / "link").symlink_to("srv")
    stores = FileStore(tmp_path / "srv"), FileStore(tmp_path / "link")
    for path, body in vault.primary.objects.items():
        stores[0].put_if_absent(path, body)
    source, target = (Copy(name, store) for name, store in zip(("primary", "dr"), stores, strict=True))

    report = copy_into(CopyOrder(source, (target,), StillClock(), may_begin=True), target)

    assert isinstance(report.error, ConfigInvalid)
    assert "one directory" in str(report.error)


def test_a_dead_copy_does_not_keep_the_others_from_theirs(vault: Vault) -> None:
    """Its error names it, when all others are done."""
    vault.dr.fail_after_calls = 0
    third = MemoryStore()
    order = vault.order()
    order = type(order)(order.source, (*order.targets, Copy("third", third)), order.clock, may_begin=True)

    reports = copy_round(order)

    assert third.objects == vault.primary.objects
    with pytest.raises(StoreUnreachable, match="copy 'dr' is not up to date"):
        require_done(reports)


def test_one_cluster_alone_is_brought(vault: Vault) -> None:
    """`--cluster` leaves others where they are."""
    order = vault.order()
    order = type(order)(order.source, order.targets, order.clock, may_begin=True, clusters={"other"})

    assert copy_into(order, order.targets[0]).objects == 2
    assert set(vault.dr.objects) == {layout.IDENTITY, layout.key_document(1)}


@pytest.mark.parametrize(("names", "reason"), [(["primary"], "deciding"), (["moon"], "not configured")])
def test_only_further_copies_can_be_named(vault: Vault, names: list[str], reason: str) -> None:
    """The first is where it all comes from."""
    with pytest.raises(UsageError, match=reason):
        choose_targets(vault.both.copies, names)


def test_a_single_copy_has_nothing_to_bring(vault: Vault) -> None:
    """Said, not passed over in silence: whoever asks believes that there is another."""
    with pytest.raises(UsageError, match="one copy only"):
        choose_targets(vault.repository.copies, [])
