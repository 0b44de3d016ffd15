from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from pgvault.errors import StoreUnreachable, VerifyFailed
from pgvault.pipeline.header import HEADER, Kind
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.progress import NoProgress
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label, commit_manifest, read_catalog, read_root
from pgvault.repository.filelist import FileRecord, read_records
from pgvault.repository.manifest import Manifest, PageErrors
from pgvault.repository.objects import put_plain
from pgvault.repository.refs import decode_refs, put_refs
from pgvault.verify.verify import Verifier
from tests.archive import SYSTEM, make_segment
from tests.verify.vault import LABELS, LAST, Vault, segment_of, wal_key

FIRST, SECOND = LABELS
OBJECTS = (
    "manifest",
    "refs",
    "parts/00000000",
    "maps/00000000",
    "inventory/00000000",
    "packs/00000000",
    "packs/00000001",
    "packs/00000003",
    "packs/00000006",
)


def said(vault: Vault) -> str:
    """All that verify says, as an operator reads it; that it fails is claimed on the way."""
    report = vault.verify()
    with pytest.raises(VerifyFailed):
        report.require_whole()
    return "\n".join(f"{problem.what}: {problem.error}" for problem in report.problems)


def of_first(name: str) -> str:
    return f"{layout.backup('main', FIRST)}/{name}"


def test_what_is_whole_passes(vault: Vault) -> None:
    """Both backups, every object of them and all WAL from the first one's start are read back."""
    report = vault.verify()

    report.require_whole()
    assert report.problems == []
    assert report.backups == list(LABELS)
    assert report.segment_count == LAST - 5 + 1
    counted = [key for key in vault.objects if "/backups/" in key and not key.endswith("/manifest")]
    assert report.object_count == len(counted) + report.segment_count
    sizes = [len(vault.objects[key]) for key in vault.objects if key in counted or "/wal/" in key]
    assert report.stored_bytes == sum(sizes)


def test_every_object_of_a_backup_is_tried_here(vault: Vault) -> None:
    """The list that the tests below go through has every kind: the first and the last pack, and some between."""
    held = {key.removeprefix(of_first("")) for key in vault.objects if key.startswith(of_first(""))}

    assert set(OBJECTS) <= held
    assert all(name.startswith("packs/") for name in held - set(OBJECTS))


def delete(vault: Vault, key: str) -> None:
    del vault.objects[key]


def cut_a_byte(vault: Vault, key: str) -> None:
    vault.objects[key] = vault.objects[key][:-1]


def cut_to_half(vault: Vault, key: str) -> None:
    vault.objects[key] = vault.objects[key][: len(vault.objects[key]) // 2]


def empty_it(vault: Vault, key: str) -> None:
    vault.objects[key] = b""


def append(vault: Vault, key: str) -> None:
    vault.objects[key] += b"\0"


def flip_version(vault: Vault, key: str) -> None:
    vault.changed(key, 9)


def flip_key_id(vault: Vault, key: str) -> None:
    vault.changed(key, 15)


def flip_salt(vault: Vault, key: str) -> None:
    vault.changed(key, 20)


def flip_content(vault: Vault, key: str) -> None:
    vault.changed(key, len(vault.objects[key]) // 2)


def flip_end(vault: Vault, key: str) -> None:
    vault.changed(key, -1)


def swap(vault: Vault, key: str) -> None:
    """Another backup's object of the same name, which is whole and sealed with the same key."""
    vault.move(key.replace(FIRST, SECOND), key)


DAMAGES: tuple[Callable[[Vault, str], None], ...] = (
    delete,
    cut_a_byte,
    cut_to_half,
    empty_it,
    append,
    flip_version,
    flip_key_id,
    flip_salt,
    flip_content,
    flip_end,
)


@pytest.mark.parametrize("damage", [*DAMAGES, swap])
@pytest.mark.parametrize("name", OBJECTS)
def test_a_hurt_object_is_named(vault: Vault, name: str, damage: Callable[[Vault, str], None]) -> None:
    """Each kind of object, each kind of damage: verify fails and says which it is; the other backup is looked at."""
    damage(vault, of_first(name))

    report = vault.verify()

    with pytest.raises(VerifyFailed):
        report.require_whole()
    assert {problem.what for problem in report.problems} == {f"backup {FIRST}"}
    assert any(of_first(name) in str(problem.error) for problem in report.problems), report.problems
    assert SECOND in report.backups


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("number", [5, 6, 7, 8])
def test_a_hurt_segment_is_named(vault: Vault, number: int, damage: Callable[[Vault, str], None]) -> None:
    """One that a backup needs, or one between: all the others are looked at all the same."""
    name = segment_of(number).name
    damage(vault, wal_key(name))

    report = vault.verify()

    with pytest.raises(VerifyFailed):
        report.require_whole()
    assert all(name in f"{problem.what}: {problem.error}" for problem in report.problems)
    assert report.segment_count == LAST - 5


@pytest.mark.parametrize("number", [5, 6])
def test_a_segment_under_another_name_is_found(vault: Vault, number: int) -> None:
    """Whole, sealed with our key, and not what was asked for."""
    vault.move(wal_key(segment_of(8).name), wal_key(segment_of(number).name))

    assert segment_of(number).name in said(vault)


def test_a_replaced_segment_of_a_backup_is_found(vault: Vault) -> None:
    """Sealed anew by somebody with the key, a good segment: yet not the one the backup was committed with."""
    del vault.objects[wal_key(segment_of(5).name)]
    vault.put_file(segment_of(5).name, make_segment(segment_of(5), fill=b"\x5b"))

    assert f"backup {FIRST}: WAL file {segment_of(5).name} is not the one" in said(vault)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"system": SYSTEM + 1}, "belongs to system"),
        ({"major": 15}, "was written by PostgreSQL 15"),
    ],
)
def test_a_strangers_segment_is_found(vault: Vault, change: dict[str, int], complaint: str) -> None:
    """Well sealed and of the right name, by a server that is not this cluster."""
    del vault.objects[wal_key(segment_of(6).name)]
    vault.put_segment(segment_of(6), **change)

    assert complaint in said(vault)
    assert vault.verify().segment_count == LAST - 5


def test_a_recycled_segment_is_found(vault: Vault) -> None:
    """The name says 6, its pages say 8."""
    del vault.objects[wal_key(segment_of(6).name)]
    vault.put_file(segment_of(6).name, make_segment(segment_of(8)))

    assert "holds the WAL from" in said(vault)


def test_a_short_segment_is_found(vault: Vault) -> None:
    """What was pushed was not a whole segment."""
    del vault.objects[wal_key(segment_of(6).name)]
    vault.put_file(segment_of(6).name, make_segment(segment_of(6))[: MIB // 2])

    assert f"{MIB // 2} bytes, not {MIB}" in said(vault)


def test_wal_before_the_oldest_backup_is_nobodys(vault: Vault) -> None:
    """It leads nowhere: neither its damage nor its absence matters."""
    vault.put_segment(segment_of(3))
    vault.changed(wal_key(segment_of(3).name), 500)

    vault.verify().require_whole()


def test_two_holes_are_two_problems(vault: Vault) -> None:
    """The WAL behind a hole is looked at too."""
    for number in (6, 8):
        del vault.objects[wal_key(segment_of(number).name)]

    report = vault.verify()

    assert [problem.what for problem in report.problems] == [f"WAL {segment_of(number).name}" for number in (6, 8)]
    assert report.segment_count == 3


class TestTimelines:
    """A promotion in segment 8."""

    @pytest.fixture
    def forked(self, vault: Vault) -> Vault:
        vault.put_history(2, Lsn(segment_of(8).start_lsn.value + 100))
        vault.put_file(segment_of(8, 2).name, make_segment(segment_of(8, 2), timeline=1))
        vault.put_segment(segment_of(9, 2))
        return vault

    def test_both_are_walked(self, forked: Vault) -> None:
        """What they share is read once."""
        report = forked.verify()

        report.require_whole()
        assert report.segment_count == 5 + 2

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_hurt_history_is_named(self, forked: Vault, damage: Callable[[Vault, str], None]) -> None:
        """Without it nobody finds the way to timeline 2; the segments of timeline 1 are read all the same."""
        damage(forked, wal_key("00000002.history"))

        text = said(forked)

        assert "00000002.history" in text
        assert forked.verify().segment_count >= 5

    def test_a_hole_on_the_new_timeline_is_named(self, forked: Vault) -> None:
        """Timeline 1 has a segment of that number, which recovery must not take."""
        del forked.objects[wal_key(segment_of(8, 2).name)]

        assert segment_of(8, 2).name in said(forked)


def test_edited_refs_are_found(vault: Vault) -> None:
    """A line less, one more, one changed, two exchanged: the root knows the digest of the list."""
    key = of_first("refs")
    original = vault.objects[key]
    lines = original.splitlines(keepends=True)
    edits = [
        b"".join(lines[1:]),
        original + b"0" * 64 + b"  clusters/main/other\n",
        original.replace(b"a", b"b", 1),
        b"".join([lines[1], lines[0], *lines[2:]]),
        original + b"\n",
    ]

    for edited in edits:
        assert edited != original
        vault.objects[key] = edited
        assert key in said(vault)
    assert decode_refs(original, where=key)


@pytest.mark.parametrize("is_consistent", [True, False])
def test_bytes_that_were_not_read_at_the_source_are_found(vault: Vault, is_consistent: bool) -> None:
    """Everything is well sealed, and the CRC taken at the source says other bytes: of an extent, or of the file."""
    manifest = read_root(vault.repository, "main", FIRST)
    assert isinstance(manifest, Manifest)
    records = list(read_records(vault.repository, manifest))
    (number,) = [n for n, record in enumerate(records) if record.path == b"PG_VERSION"]
    (extent,) = records[number].extents
    lie = replace(extent, crc32c=extent.crc32c ^ 1)
    records[number] = replace(records[number], extents=(lie,), crc32c=lie.crc32c if is_consistent else extent.crc32c)
    list_anew(vault, manifest, records)

    expected = "holds other bytes than were read at the source" if is_consistent else "is not that of its extents"
    assert expected in said(vault)


def test_zeros_with_the_checksum_of_something_else_are_found(vault: Vault) -> None:
    """Zeros lie in no pack, so only their own CRC can tell; a restore would refuse them."""
    manifest = read_root(vault.repository, "main", FIRST)
    assert isinstance(manifest, Manifest)
    records = list(read_records(vault.repository, manifest))
    (number,) = [n for n, record in enumerate(records) if record.path == b"PG_VERSION"]
    (extent,) = records[number].extents
    records[number] = replace(records[number], extents=(replace(extent, pack=None),))
    list_anew(vault, manifest, records)

    assert "has zeros that are none" in said(vault)


def list_anew(vault: Vault, manifest: Manifest, records: list[FileRecord]) -> None:
    """Commit the first backup again with another file list, everything about it in order."""
    plain = b"".join(record.encode() for record in records)
    part = put_plain(vault.repository, of_first("parts/00000001"), Kind.PART, plain=plain)
    for name in ("manifest", "refs", "parts/00000000"):
        del vault.objects[of_first(name)]
    needed = (*manifest.packs, part, *manifest.maps, *manifest.wal)
    refs = put_refs(vault.repository, of_first("refs"), needed)
    commit_manifest(vault.repository, replace(manifest, parts=(part,), refs=refs))


def test_several_problems_are_all_told(vault: Vault) -> None:
    """A broken file list does not hide a broken pack behind it, nor the other backup's."""
    vault.changed(of_first("parts/00000000"), 200)
    vault.changed(of_first("packs/00000003"), 200)
    del vault.objects[f"{layout.backup('main', SECOND)}/packs/00000001"]
    vault.changed(wal_key(segment_of(6).name), HEADER.size + 50)

    text = said(vault)

    for name in (of_first("parts/00000000"), of_first("packs/00000003"), f"{SECOND}/packs/00000001"):
        assert name in text
    assert segment_of(6).name in text


def test_an_empty_repository_is_nothing_to_be_content_with(empty: Vault) -> None:
    """Nothing to look at is a problem, and the cluster is named."""
    assert "cluster 'main' has no backup that opens: there is nothing to verify" in said(empty)


def test_a_repository_with_wal_alone_has_nothing_to_restore(empty: Vault) -> None:
    """WAL without a backup leads nowhere."""
    empty.put_segment(segment_of(5))

    assert "no backup" in said(empty)


def test_aborted_and_young_labels_are_no_problem(vault: Vault) -> None:
    """A backup that failed said so; one that is running has no list of what it needs yet."""
    abort_label(vault.repository, "main", "20261121T100000Z-0003", reason="disk full")
    vault.move(of_first("packs/00000000"), f"{layout.backup('main', '20261121T110000Z-0004')}/packs/00000000")

    vault.verify().require_whole()


def test_a_backup_that_commits_meanwhile_is_no_problem(vault: Vault) -> None:
    """It had everything but its root when the catalog was read; looked at last, it has that too."""
    key = of_first("manifest")
    root = vault.objects.pop(key)

    class Committing(NoProgress):
        def phase(self, name: str, total_bytes: int | None = None) -> None:
            vault.objects[key] = root

    Verifier(vault.repository, "main", jobs=2, progress=Committing()).run().require_whole()


def test_a_silent_store_ends_the_run(vault: Vault) -> None:
    """No answer is no verdict: neither good nor bad."""
    vault.store.fail_after_calls = len(vault.store.calls) + 12

    with pytest.raises(StoreUnreachable):
        vault.verify()


def test_problems_are_logged_as_they_are_found(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    """A long run tells early."""
    vault.changed(of_first("packs/00000000"), 200)
    with caplog.at_level(logging.WARNING):
        vault.verify()

    assert any("packs/00000000" in record.message for record in caplog.records)


def test_pages_that_were_damaged_at_the_source_are_a_problem(vault: Vault) -> None:
    """What is stored is what was read, and still no whole cluster: such a backup is not green."""
    manifest = read_catalog(vault.repository, "main").backups[0]
    vault.store.delete(layout.manifest("main", manifest.label))
    commit_manifest(vault.repository, replace(manifest, page_errors=PageErrors(3, ("base/5/1259 block 7",))))

    assert "3 pages had wrong checksums" in said(vault)
