from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from awscrt.checksums import crc32c
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import ObjectCorrupt, ObjectMissing
from pgvault.repository.checksums import zeros_crc
from pgvault.repository.filelist import FileKind, FileRecord, read_records
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository
from pgvault.restore.durable import sync_tree
from pgvault.restore.files import Destination, restore_files
from tests.fakes import MemoryStore
from tests.restore.backups import EFFORT, back_up, tree_of, with_records

MIB = 1 << 20
ODD_NAMES = [b"a=b", b" leading", b"back\\slash", b"new\nline", b"[x]#", b"\xff\xfe", "é".encode()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Files of all sizes around the page's and the frame's, with holes, in directories of several modes."""
    root = tmp_path / "source"
    (root / "base" / "5").mkdir(parents=True)
    (root / "empty").mkdir(mode=0o750)
    for size in (0, 1, 8191, 8192, 8193, MIB - 1, MIB, MIB + 1, 3 * MIB + 5):
        (root / "base" / "5" / f"x{size}").write_bytes(os.urandom(size))
    (root / "holes").write_bytes(bytes(2 * MIB) + os.urandom(70_000) + bytes(MIB) + b"end")
    (root / "zeros").write_bytes(bytes(MIB))
    for name in ODD_NAMES:
        (root / os.fsdecode(name)).write_bytes(b"odd " + name)
    (root / "readable").write_bytes(b"r")
    (root / "readable").chmod(0o640)
    return root


def restored(repository: Repository, manifest: Manifest, data: Path) -> Path:
    """Restore into a new directory."""
    data.mkdir()
    restore_files(repository, manifest, Destination(data), effort=EFFORT)
    return data


def test_what_was_backed_up_comes_back(repository: Repository, source: Path, tmp_path: Path) -> None:
    """Every byte, name and mode, whatever the size, over frames and packs."""
    manifest = back_up(repository, source)

    data = restored(repository, manifest, tmp_path / "data")

    assert len(manifest.packs) > 3
    assert tree_of(data) == tree_of(source)


def test_holes_take_no_room(repository: Repository, source: Path, tmp_path: Path) -> None:
    """A file of zeros has its length and no blocks."""
    data = restored(repository, back_up(repository, source), tmp_path / "data")

    assert (data / "zeros").stat().st_size == MIB
    assert (data / "zeros").stat().st_blocks == 0


def test_each_pack_is_read_once(repository: Repository, store: MemoryStore, source: Path, tmp_path: Path) -> None:
    """However many files lie in it."""
    manifest = back_up(repository, source)
    store.calls.clear()

    restored(repository, manifest, tmp_path / "data")

    gets = [key for verb, key in store.calls if verb == "get" and "/packs/" in key]
    assert sorted(gets) == sorted(pack.path for pack in manifest.packs)


def test_packs_in_any_order_will_do(repository: Repository, source: Path, tmp_path: Path) -> None:
    """A later kind of backup refers to packs of older ones, forth and back."""
    manifest = back_up(repository, source)
    records = list(read_records(repository, manifest))
    files = [record for record in records if record.kind is FileKind.FILE]
    directories = [record for record in records if record.kind is not FileKind.FILE]
    shuffled = with_records(repository, manifest, [*directories, *files[::2], *reversed(files[1::2])])

    data = restored(repository, shuffled, tmp_path / "data")

    assert tree_of(data) == tree_of(source)


def test_pg_control_and_settings_are_returned_not_written(repository: Repository, source: Path, tmp_path: Path) -> None:
    """What makes a directory a cluster is the caller's to write."""
    (source / "global").mkdir()
    (source / "global" / "pg_control").write_bytes(b"c" * 8192)
    (source / "postgresql.auto.conf").write_bytes(b"work_mem = '1MB'\n")
    manifest = back_up(repository, source)
    data = tmp_path / "data"
    data.mkdir()

    files = restore_files(repository, manifest, Destination(data), effort=EFFORT)

    assert {path: file.content for path, file in files.held.items()} == {
        b"global/pg_control": b"c" * 8192,
        b"postgresql.auto.conf": b"work_mem = '1MB'\n",
    }
    assert list((data / "global").iterdir()) == []
    assert not (data / "postgresql.auto.conf").exists()


def test_other_bytes_than_at_the_source_are_refused(repository: Repository, source: Path, tmp_path: Path) -> None:
    """An extent that opens with another CRC-32C than was taken at the source is an error, and names the file."""
    manifest = back_up(repository, source)
    records = list(read_records(repository, manifest))
    last = next(record for record in records if record.path == b"readable")
    others = [record for record in records if record is not last]
    (extent,) = last.extents
    lie = replace(last, crc32c=1, extents=(replace(extent, crc32c=1),))

    with pytest.raises(ObjectCorrupt, match="readable"):
        restored(repository, with_records(repository, manifest, [*others, lie]), tmp_path / "data")


def test_swapped_packs_are_refused(repository: Repository, store: MemoryStore, source: Path, tmp_path: Path) -> None:
    """Two packs that changed places do not open."""
    manifest = back_up(repository, source)
    one, two = manifest.packs[0].path, manifest.packs[1].path
    store.objects[one], store.objects[two] = store.objects[two], store.objects[one]

    with pytest.raises(ObjectCorrupt):
        restored(repository, manifest, tmp_path / "data")


@pytest.mark.parametrize("kind", ["packs", "parts"])
def test_a_flipped_bit_is_refused(
    repository: Repository, store: MemoryStore, source: Path, tmp_path: Path, kind: str
) -> None:
    """In data and in lists alike."""
    manifest = back_up(repository, source)
    path = getattr(manifest, kind)[0].path
    body = bytearray(store.objects[path])
    body[len(body) // 2] ^= 1
    store.objects[path] = bytes(body)

    with pytest.raises(ObjectCorrupt):
        restored(repository, manifest, tmp_path / "data")


def test_a_missing_pack_is_an_error(repository: Repository, store: MemoryStore, source: Path, tmp_path: Path) -> None:
    """The restore does not end well without it."""
    manifest = back_up(repository, source)
    del store.objects[manifest.packs[-1].path]

    with pytest.raises(ObjectMissing):
        restored(repository, manifest, tmp_path / "data")


def test_an_extent_behind_the_pack_is_refused(repository: Repository, source: Path, tmp_path: Path) -> None:
    """A list that asks for more than a pack holds gets nothing."""
    manifest = back_up(repository, source)
    changed = []
    for record in read_records(repository, manifest):
        extents = tuple(replace(e, frame=e.frame + 1000) if e.pack == 0 else e for e in record.extents)
        changed.append(replace(record, extents=extents))

    with pytest.raises(ObjectCorrupt, match="needs more than pack"):
        restored(repository, with_records(repository, manifest, changed), tmp_path / "data")


@pytest.mark.parametrize(
    "extra",
    [
        FileRecord(b"readable", FileKind.FILE, 0o600, 0),
        FileRecord(b"nowhere/file", FileKind.FILE, 0o600, 0),
        FileRecord(b"readable/file", FileKind.FILE, 0o600, 0),
        FileRecord(b"empty", FileKind.DIRECTORY, 0o700, 0),
        FileRecord(b"pg_tblspc/16388", FileKind.SYMLINK, 0o777, 0, target=b"/etc"),
    ],
    ids=["twice", "no directory", "in a file", "directory twice", "unknown tablespace"],
)
def test_a_list_that_is_none_is_refused(
    repository: Repository, source: Path, tmp_path: Path, extra: FileRecord
) -> None:
    """A path that stands twice or nowhere, or a tablespace nobody knows, ends the restore."""
    manifest = back_up(repository, source)
    records = [*read_records(repository, manifest), extra]

    with pytest.raises(ObjectCorrupt):
        restored(repository, with_records(repository, manifest, records), tmp_path / "data")


def test_links_are_neither_made_nor_followed(repository: Repository, source: Path, tmp_path: Path) -> None:
    """A link of the cluster that leads elsewhere is told, not made; so nothing can be written through it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    manifest = back_up(repository, source)
    link = FileRecord(b"log", FileKind.SYMLINK, 0o777, 0, target=os.fsencode(outside))
    through = FileRecord(b"log/file", FileKind.FILE, 0o600, 0)
    records = list(read_records(repository, manifest))
    (tmp_path / "data").mkdir()

    files = restore_files(
        repository,
        with_records(repository, manifest, [*records, link]),
        Destination(tmp_path / "data"),
        effort=EFFORT,
    )

    assert files.links == ((b"log", os.fsencode(outside)),)
    assert not os.path.lexists(tmp_path / "data" / "log")
    with pytest.raises(ObjectCorrupt):
        restored(repository, with_records(repository, manifest, [*records, link, through]), tmp_path / "again")
    assert list(outside.iterdir()) == []


def test_tablespaces_go_to_their_own_directory(repository: Repository, tmp_path: Path) -> None:
    """Files below pg_tblspc/<oid>/ are written where the tablespace is mapped to, and the link says the same."""
    root, data, space = tmp_path / "source", tmp_path / "data", tmp_path / "space"
    inside = root / "pg_tblspc" / "16388" / "PG_18_202506291" / "5"
    inside.mkdir(parents=True)
    (inside / "16400").write_bytes(b"t" * 10)
    manifest = back_up(repository, root)
    records = [
        replace(record, kind=FileKind.SYMLINK, target=b"/srv/fast") if record.path == b"pg_tblspc/16388" else record
        for record in read_records(repository, manifest)
    ]
    data.mkdir()
    space.mkdir()

    restore_files(
        repository, with_records(repository, manifest, records), Destination(data, {16388: space}), effort=EFFORT
    )

    assert (data / "pg_tblspc" / "16388").readlink() == space
    assert (space / "PG_18_202506291" / "5" / "16400").read_bytes() == b"t" * 10


def test_sync_reaches_everything(repository: Repository, source: Path, tmp_path: Path) -> None:
    """Odd names and empty directories are no hindrance."""
    sync_tree(restored(repository, back_up(repository, source), tmp_path / "data"), jobs=2)


@given(st.integers(min_value=1, max_value=3 * MIB))
def test_zeros_have_their_checksum(length: int) -> None:
    """The CRC of zeros is computed without looking at them."""
    assert zeros_crc(length) == crc32c(bytes(length))
