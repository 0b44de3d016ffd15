"""Many workers, one list: what comes out when the cluster changes between listing and reading, or something breaks."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from awscrt.checksums import combine_crc32c, crc32c

from pgvault.backup.batches import Batch, cut, make_batches
from pgvault.backup.copying import PAGE_ERRORS_KEPT, Copier
from pgvault.errors import SourceUnreadable, StoreUnreachable
from pgvault.pipeline.header import Kind
from pgvault.postgres.datadir import Entry, EntryKind
from pgvault.progress import NoProgress
from pgvault.repository.blockmap import BLOCK_BYTES, ENTRY, block_hash
from pgvault.repository.checksums import zeros_crc
from pgvault.repository.filelist import FileKind
from pgvault.repository.objects import read_plain
from pgvault.repository.repository import Repository
from tests.backup.samples import (
    RULES,
    contents_of,
    copy_entries,
    directory_entry,
    file_entry,
    page,
    records_of,
    relation,
)
from tests.fakes import MemoryStore
from tests.repository.samples import LABEL

LIMIT = 4 * BLOCK_BYTES
UNCHECKED = replace(RULES, check_pages=False)


def cluster(directory: Path, count: int = 40) -> dict[bytes, bytes]:
    """Relations of several sizes, some of several pieces, below `directory`; path → content."""
    contents = {}
    for number in range(count):
        path = b"base/5/%d" % (16384 + number)
        size = (0, 100, 8192, LIMIT - 1, LIMIT, LIMIT + 1, 3 * LIMIT + 5)[number % 7]
        contents[path] = random.Random(number).randbytes(size)
        (directory / os.fsdecode(path.replace(b"/", b"_"))).write_bytes(contents[path])
    return contents


def source(directory: Path, path: bytes) -> Path:
    return directory / os.fsdecode(path.replace(b"/", b"_"))


def entries(directory: Path, contents: dict[bytes, bytes]) -> list[Entry]:
    return [file_entry(source(directory, path), path) for path in contents]


@pytest.mark.parametrize("jobs", [1, 8])
def test_everything_comes_back_in_order(repository: Repository, tmp_path: Path, jobs: int) -> None:
    """Whoever read it: every file whole, in the order it was listed, counted once."""
    contents = cluster(tmp_path)

    copied = copy_entries(repository, entries(tmp_path, contents), jobs=jobs, limit=LIMIT, rules=UNCHECKED)

    assert contents_of(repository, copied) == contents
    assert list(records_of(repository, copied)) == list(contents)
    assert copied.total_bytes == sum(map(len, contents.values()))
    assert copied.file_count == len(contents)
    assert all(r.crc32c == crc32c(contents[path]) for path, r in records_of(repository, copied).items())


@pytest.mark.parametrize("jobs", [1, 8])
@pytest.mark.parametrize("victim", range(7))
def test_vanished_files_take_nobody_with_them(repository: Repository, tmp_path: Path, jobs: int, victim: int) -> None:
    """Two neighbours gone between listing and reading: both are missing, all others are whole (pitfall 1)."""
    contents = cluster(tmp_path)
    gone = list(contents)[14 + victim : 16 + victim]

    def vanish() -> None:
        for path in gone:
            source(tmp_path, path).unlink()

    copied = copy_entries(
        repository, entries(tmp_path, contents), jobs=jobs, limit=LIMIT, rules=UNCHECKED, listed=vanish
    )

    expected = {path: content for path, content in contents.items() if path not in gone}
    assert contents_of(repository, copied) == expected
    assert copied.file_count == len(expected)
    assert copied.total_bytes == sum(map(len, expected.values()))


@pytest.mark.parametrize("jobs", [1, 8])
@pytest.mark.parametrize("length", [0, 1, 8191, LIMIT, LIMIT + 3, 2 * LIMIT + 9, 3 * LIMIT + 5, 5 * LIMIT])
def test_files_that_shrink_or_grow_are_what_was_read(
    repository: Repository, tmp_path: Path, jobs: int, length: int
) -> None:
    """A relation ends where it ends, or where it did when listed; nothing is padded, its neighbours are untouched."""
    contents = cluster(tmp_path)
    changed = [path for path in contents if len(contents[path]) == 3 * LIMIT + 5]

    def change() -> None:
        for path in changed:
            os.truncate(source(tmp_path, path), length)

    copied = copy_entries(
        repository, entries(tmp_path, contents), jobs=jobs, limit=LIMIT, rules=UNCHECKED, listed=change
    )

    assert contents_of(repository, copied) == {
        path: content[:length] if path in changed else content for path, content in contents.items()
    }


def test_a_file_that_lost_its_middle_and_grew_again_has_zeros_there(repository: Repository, tmp_path: Path) -> None:
    """Truncated and extended between two ranges: what was lost reads as zeros, and such a file gets no block map."""
    path = tmp_path / "f"
    content = random.Random(5).randbytes(3 * LIMIT + 5)
    path.write_bytes(content)
    batches = list(make_batches(cut(file_entry(path, b"base/5/16384"), limit=LIMIT), limit=LIMIT))
    copier = Copier(repository, "main", LABEL, rules=UNCHECKED, progress=NoProgress())

    def with_trouble() -> Iterator[Batch]:
        os.truncate(path, 100)
        yield batches[0]
        yield batches[1]
        yield batches[2]

    def grown() -> Iterator[Batch]:
        path.write_bytes(content)
        yield batches[3]

    for part in (with_trouble(), grown()):
        for _ in copier.copy(part, jobs=1):
            pass
    copied = copier.finish()

    expected = content[:100] + bytes(3 * LIMIT - 100) + content[3 * LIMIT :]
    assert contents_of(repository, copied) == {b"base/5/16384": expected}
    (record,) = records_of(repository, copied).values()
    assert record.crc32c == crc32c(expected)
    assert record.block_map is None


@pytest.mark.parametrize("length", [1, 8192, (1 << 20) - 1, 1 << 20, (3 << 20) + 17])
def test_the_crc_of_zeros_is_made_without_making_them(length: int) -> None:
    """A gigabyte of zeros must not be held to be summed up."""
    assert zeros_crc(length) == crc32c(bytes(length))


def test_a_replaced_file_is_not_half_the_old_and_half_the_new(repository: Repository, tmp_path: Path) -> None:
    """One that is no relation and too large for one piece: nothing in the WAL would bring the halves together."""
    path = tmp_path / "f"
    path.write_bytes(b"a" * (2 * LIMIT))
    batches = list(make_batches(cut(file_entry(path, b"log/huge"), limit=LIMIT), limit=LIMIT))
    copier = Copier(repository, "main", LABEL, rules=UNCHECKED, progress=NoProgress())
    for _ in copier.copy(batches[:1], jobs=1):
        pass
    (tmp_path / "new").write_bytes(b"b" * (2 * LIMIT))
    (tmp_path / "new").rename(path)

    with pytest.raises(SourceUnreadable, match="'log/huge' was replaced while it was read"):
        for _ in copier.copy(batches[1:], jobs=1):
            pass


def test_block_maps_name_every_block_of_every_file(repository: Repository, tmp_path: Path) -> None:
    """At the offset the record names stands one entry per block of what was read."""
    contents = cluster(tmp_path)

    copied = copy_entries(repository, entries(tmp_path, contents), limit=LIMIT, rules=UNCHECKED)

    maps = [read_plain(repository, stored.path, Kind.MAP, expected=stored) for stored in copied.maps]
    for path, record in records_of(repository, copied).items():
        content = contents[path]
        blocks = [content[at : at + BLOCK_BYTES] for at in range(0, len(content), BLOCK_BYTES)]
        wanted = b"".join(ENTRY.pack(crc32c(block), block_hash(block, bytes(32))) for block in blocks)
        assert (record.block_map is None) == (not blocks)
        if record.block_map is not None:
            number, offset = record.block_map
            assert maps[number][offset : offset + len(wanted)] == wanted


@pytest.mark.parametrize("path", [b"PG_VERSION", b"global/pg_filenode.map", b"/etc/postgresql/pg_hba.conf"])
def test_some_files_may_not_vanish(repository: Repository, tmp_path: Path, path: bytes) -> None:
    """A cluster without them does not start, and no WAL brings them back (pitfall 2)."""
    (tmp_path / "f").write_bytes(b"18\n")
    entry = file_entry(tmp_path / "f", path)

    with pytest.raises(SourceUnreadable, match="vanished"):
        copy_entries(repository, [entry], listed=(tmp_path / "f").unlink)


def test_directories_links_and_files_from_elsewhere_keep_their_kind(repository: Repository, tmp_path: Path) -> None:
    """What they become in a restored cluster is in the list."""
    (tmp_path / "hba").write_bytes(b"local all all trust\n")
    link = replace(directory_entry(b"pg_tblspc/16388"), kind=EntryKind.SYMLINK, target=b"/srv/f\xffst", mode=0o777)
    external = file_entry(tmp_path / "hba", b"/etc/postgresql/pg_hba.conf")

    copied = copy_entries(repository, [directory_entry(b"pg_wal"), link, external])

    records = records_of(repository, copied)
    assert [record.kind for record in records.values()] == [FileKind.DIRECTORY, FileKind.SYMLINK, FileKind.EXTERNAL]
    assert records[b"pg_tblspc/16388"].target == b"/srv/f\xffst"
    assert copied.file_count == 1


@pytest.mark.parametrize(
    "name", [b"caf\xe9", b"new\nline", b'it\'s "quoted"', b"back\\slash", b" ", b"#=[x]", b"\x1b[31m"]
)
def test_odd_names_come_back(repository: Repository, tmp_path: Path, name: bytes) -> None:
    """Names are bytes (pitfall 13)."""
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(b"content")

    copied = copy_entries(repository, [file_entry(path, name)])

    assert contents_of(repository, copied) == {name: b"content"}


@pytest.mark.parametrize("jobs", [1, 8])
@pytest.mark.parametrize("failing_put", [1, 5, 20])
def test_a_store_that_fails_ends_the_copy(tmp_path: Path, jobs: int, failing_put: int) -> None:
    """An error in any worker comes out, and soon: what has not begun is not begun (pitfall 2)."""
    store, repository = failing(failing_put)
    contents = cluster(tmp_path, 200)
    others = set(threading.enumerate())

    with pytest.raises(StoreUnreachable, match="was told to fail"):
        copy_entries(repository, entries(tmp_path, contents), jobs=jobs, limit=LIMIT, rules=UNCHECKED)

    assert len([key for verb, key in store.calls if verb == "put" and "/packs/" in key]) <= failing_put + 3 * jobs
    assert set(threading.enumerate()) <= others


def failing(put: int) -> tuple[MemoryStore, Repository]:
    """A repository whose put of that number, counted after its making, fails."""
    from pgvault.repository.copies import Copy
    from pgvault.repository.keys import Credential
    from pgvault.repository.repository import init_repository
    from tests.archive import AT

    store = MemoryStore()
    repository, _ = init_repository([Copy("primary", store)], Credential("raw", bytes(32)), now=AT)
    store.fail_puts = {store.puts + put}
    return store, repository


@pytest.mark.parametrize("jobs", [1, 8])
def test_a_file_that_can_not_be_read_ends_the_copy(repository: Repository, tmp_path: Path, jobs: int) -> None:
    """One bad sector in the last file, and nothing is returned that could be committed."""
    contents = cluster(tmp_path)
    bad = replace(entries(tmp_path, contents)[-1], source=b"/proc/self/mem", path=b"base/5/99999", size=8192)

    with pytest.raises(SourceUnreadable, match="Input/output error"):
        copy_entries(repository, [*entries(tmp_path, contents), bad], jobs=jobs, limit=LIMIT, rules=UNCHECKED)


def test_a_caller_that_gives_up_stops_the_workers(repository: Repository, store: MemoryStore, tmp_path: Path) -> None:
    """A lost session ends the loop that drives the copy: no worker goes on reading behind it."""
    contents = cluster(tmp_path, 200)
    pieces = [piece for entry in entries(tmp_path, contents) for piece in cut(entry, limit=LIMIT)]
    copier = Copier(repository, "main", LABEL, rules=UNCHECKED, progress=NoProgress())
    others = set(threading.enumerate())

    def drive() -> None:
        for _ in copier.copy(make_batches(pieces, limit=LIMIT), jobs=2):
            raise ConnectionError("lost")

    with pytest.raises(ConnectionError):
        drive()

    packs = [key for key in store.objects if "/packs/" in key]
    assert len(packs) <= 6
    assert set(threading.enumerate()) <= others


def test_bad_pages_are_counted_and_the_first_are_named(repository: Repository, tmp_path: Path) -> None:
    """In a large relation too, across its segments; the count goes on where the names end."""

    def flipped(number: int) -> bytes:
        content = bytearray(page(number))
        content[5000] ^= 1
        return bytes(content)

    (tmp_path / "a").write_bytes(relation(3) + flipped(3) + relation(4, first=4))
    (tmp_path / "b").write_bytes(b"".join(flipped(131072 + number) for number in range(PAGE_ERRORS_KEPT + 50)))
    listed = [file_entry(tmp_path / "a", b"base/5/16384"), file_entry(tmp_path / "b", b"base/5/16385.1")]

    copied = copy_entries(repository, listed)

    assert copied.page_errors.count == PAGE_ERRORS_KEPT + 51
    assert len(copied.page_errors.first) == PAGE_ERRORS_KEPT
    assert copied.page_errors.first[:2] == ("base/5/16384 block 3", "base/5/16385.1 block 131072")


def test_crcs_of_extents_join_to_that_of_the_file(repository: Repository, tmp_path: Path) -> None:
    """So that a whole-file checksum can be had without reading the file a second time."""
    contents = cluster(tmp_path)
    (tmp_path / "holes").write_bytes(bytes(3 * BLOCK_BYTES) + b"x" + bytes(2 * LIMIT))
    listed = [*entries(tmp_path, contents), file_entry(tmp_path / "holes", b"base/6/16384")]

    copied = copy_entries(repository, listed, limit=LIMIT, rules=UNCHECKED)

    for record in records_of(repository, copied).values():
        joined = 0
        for extent in record.extents:
            joined = combine_crc32c(joined, extent.crc32c, extent.length)
        assert joined == record.crc32c


def test_progress_tells_of_every_byte(repository: Repository, tmp_path: Path) -> None:
    """The bar ends where the cluster ends."""
    contents = cluster(tmp_path)
    done: list[int] = []

    class Counting(NoProgress):
        def advance(self, done_bytes: int) -> None:
            done.append(done_bytes)

    copier = Copier(repository, "main", LABEL, rules=UNCHECKED, progress=Counting())
    pieces = (piece for entry in entries(tmp_path, contents) for piece in cut(entry, limit=LIMIT))
    for _ in copier.copy(make_batches(pieces, limit=LIMIT), jobs=2):
        pass

    assert sum(done) == sum(map(len, contents.values()))
