"""What one worker reads of one batch, and what it makes of it."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from awscrt.checksums import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.backup.batches import Batch, Piece
from pgvault.backup.reading import (
    READ_BYTES,
    BatchReader,
    PieceResult,
    ReadingRules,
    open_source,
    read_stable,
)
from pgvault.errors import SourceUnreadable
from pgvault.pipeline.seal import FRAME_BYTES
from pgvault.postgres.datadir import Entry
from pgvault.postgres.lsn import Lsn
from pgvault.process import run
from pgvault.repository.blockmap import BLOCK_BYTES, ENTRY, block_hash
from tests.archive import ROOT
from tests.backup.samples import RELSEG, RULES, START, file_entry, page, pieces_of, relation

NO_CHECK = replace(RULES, check_pages=False)


def read(pieces: list[Piece], rules: ReadingRules = NO_CHECK) -> tuple[list[PieceResult], bytes]:
    """Read a batch; every frame is copied, as its buffer is used again."""
    reader = BatchReader(Batch(0, tuple(pieces)), rules)
    frames = [bytes(frame) for frame in reader]
    assert all(len(frame) == FRAME_BYTES for frame in frames[:-1])
    return reader.results, b"".join(frames)


def bytes_of(result: PieceResult, pack: bytes) -> bytes:
    """What the extents say of a piece, put together from the pack."""
    content = b""
    for extent in result.extents:
        assert extent.file_offset == result.piece.offset + len(content)
        assert extent.length > 0
        start = extent.frame * FRAME_BYTES + extent.frame_offset
        held = bytes(extent.length) if extent.pack is None else pack[start : start + extent.length]
        assert crc32c(held) == extent.crc32c
        content += held
    return content


def sparse(path: Path, layout: list[bytes | int]) -> bytes:
    """Write a file of bytes and holes; returns what it reads as."""
    content = b""
    with path.open("wb") as file:
        for part in layout:
            if isinstance(part, int):
                file.seek(part, os.SEEK_CUR)
                content += bytes(part)
            else:
                file.write(part)
                content += part
        file.truncate(len(content))
    return content


@pytest.mark.parametrize("is_relation", [True, False])
@pytest.mark.parametrize(
    "layout",
    [
        [],
        [b"x"],
        [b"\0"],
        [b"x" * 8193],
        [8192],
        [BLOCK_BYTES],
        [BLOCK_BYTES + 1],
        [b"a" * BLOCK_BYTES, 3 * BLOCK_BYTES, b"b" * 17],
        [3 * BLOCK_BYTES, b"b" * (2 * FRAME_BYTES), 5],
        [b"a" * (READ_BYTES - 1), b"b" * 2],
        [READ_BYTES + 5],
        [random.Random(1).randbytes(READ_BYTES + BLOCK_BYTES + 7), 2 * BLOCK_BYTES],
    ],
    ids=lambda layout: "-".join(str(part if isinstance(part, int) else len(part)) for part in layout) or "empty",
)
def test_extents_cover_what_was_read(tmp_path: Path, layout: list[bytes | int], is_relation: bool) -> None:
    """Bytes, extents, CRC of the whole and block map speak of the same bytes; blocks of zeros take no room."""
    content = sparse(tmp_path / "f", layout)
    entry = file_entry(tmp_path / "f", b"base/5/16384" if is_relation else b"log/f")

    (result,), pack = read(pieces_of(entry))

    blocks = [content[at : at + BLOCK_BYTES] for at in range(0, len(content), BLOCK_BYTES)]
    assert bytes_of(result, pack) == content
    assert result.length == len(content)
    assert result.crc32c == crc32c(content)
    assert bytes(result.block_entries) == b"".join(ENTRY.pack(crc32c(b), block_hash(b, bytes(32))) for b in blocks)
    assert len(pack) == sum(len(block) for block in blocks if block != bytes(BLOCK_BYTES))


@given(st.lists(st.binary(max_size=40) | st.integers(1, 3), max_size=8), st.data())
@settings(max_examples=40, deadline=None)
def test_small_files_share_a_pack(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes | int], data: st.DataObject
) -> None:
    """Whatever lies beside it in the pack, each file comes back as it was."""
    directory = tmp_path_factory.mktemp("files")
    contents, pieces = [], []
    for number, part in enumerate(parts):
        path = directory / str(number)
        contents.append(sparse(path, [part if isinstance(part, bytes) else part * BLOCK_BYTES, b"end"]))
        pieces += pieces_of(file_entry(path, b"base/5/%d" % (number + 1)))

    results, pack = read(pieces)

    assert [bytes_of(result, pack) for result in results] == contents


def test_a_relation_is_capped_and_anything_else_is_read_to_its_end(tmp_path: Path) -> None:
    """A relation that grew since it was listed is read as long as it was; a configuration file is read whole."""
    (tmp_path / "f").write_bytes(b"x" * 20000)
    listed_at = 8192

    (capped,), _ = read(pieces_of(file_entry(tmp_path / "f", b"base/5/16384", size=listed_at)))
    (whole,), pack = read(pieces_of(file_entry(tmp_path / "f", b"postgresql.conf", size=listed_at)))

    assert capped.length == listed_at
    assert bytes_of(whole, pack) == b"x" * 20000


@pytest.mark.parametrize("listed_at", [20001, READ_BYTES + 1])
@pytest.mark.parametrize("path", [b"base/5/16384", b"log/f"])
def test_a_file_that_shrank_is_as_long_as_what_was_read(tmp_path: Path, path: bytes, listed_at: int) -> None:
    """Nothing is padded to the listed size."""
    (tmp_path / "f").write_bytes(b"x" * 20000)

    (result,), pack = read(pieces_of(file_entry(tmp_path / "f", path, size=listed_at)))

    assert bytes_of(result, pack) == b"x" * 20000


def test_a_small_file_that_became_large_is_not_held_whole(tmp_path: Path) -> None:
    """Memory is bounded by what a file is, not by what it was listed as."""
    sparse(tmp_path / "f", [b"x" * (4 * READ_BYTES)])
    pieces = pieces_of(file_entry(tmp_path / "f", b"log/f", size=1))
    reader = BatchReader(Batch(0, tuple(pieces)), NO_CHECK)

    next(iter(reader))

    assert reader.results[0].length <= 2 * READ_BYTES


def test_a_vanished_file_is_told_from_an_unreadable_one(tmp_path: Path) -> None:
    """Only what is confirmed absent by a second look has vanished."""
    assert open_source(os.fsencode(tmp_path / "gone")) is None
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(SourceUnreadable, match="comes and goes"):
        open_source(os.fsencode(tmp_path / "dangling"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceUnreadable, match="Not a directory"):
        open_source(os.fsencode(tmp_path / "file" / "below"))


def directory_instead(tmp_path: Path) -> Path:
    """A read of a directory fails with EISDIR."""
    (tmp_path / "f").mkdir()
    return tmp_path / "f"


def broken_disk(tmp_path: Path) -> Path:
    """A read at the start of our own memory fails with EIO, as that of a bad disk does."""
    return Path("/proc/self/mem")


@pytest.mark.parametrize("trouble", [directory_instead, broken_disk])
@pytest.mark.parametrize("path", [b"base/5/16384", b"log/f"])
def test_an_error_while_reading_ends_the_backup(tmp_path: Path, trouble: Callable[[Path], Path], path: bytes) -> None:
    """The file exists and its bytes can not be had: never skipped, never shortened (pitfall 2)."""
    (tmp_path / "ordinary").write_bytes(b"x" * 8192)
    entry = replace(
        file_entry(tmp_path / "ordinary", path),
        source=os.fsencode(trouble(tmp_path)),
    )

    with pytest.raises(SourceUnreadable, match="can not be read") as caught:
        read(pieces_of(entry))
    assert caught.value.hint is not None


def test_a_file_of_another_user_ends_the_backup(tmp_path: Path) -> None:
    """EACCES is no absence; root reads everything, so this one tries it in a user namespace without its powers."""
    (tmp_path / "f").write_bytes(b"secret")
    (tmp_path / "f").chmod(0)
    code = "import sys\nfrom pgvault.backup.reading import open_source\nopen_source(sys.argv[1].encode())"
    as_nobody = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []

    with pytest.raises(Exception, match=r"SourceUnreadable: file .* can not be read: Permission denied"):
        run([*as_nobody, sys.executable, "-c", code, tmp_path / "f"], timeout=30, cwd=ROOT)


def test_a_pipe_in_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    """Opening it would wait for a writer for ever."""
    os.mkfifo(tmp_path / "f")
    opened: list[int | None] = []
    thread = threading.Thread(target=lambda: opened.append(open_source(os.fsencode(tmp_path / "f"))), daemon=True)
    thread.start()
    thread.join(5)

    assert opened
    assert opened[0] is not None
    os.close(opened[0])


def test_a_small_file_that_grows_is_read_to_an_end_it_had(tmp_path: Path) -> None:
    """A log that is written all the time: what is read is a beginning of it, no shorter than it was before."""
    path = tmp_path / "f"
    path.write_bytes(b"")
    lines = [b"%07d\n" % number for number in range(20000)]
    written = b"".join(lines)

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            for line in lines:
                file.write(line)

    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    descriptor = os.open(path, os.O_RDONLY)
    while thread.is_alive():
        before = os.fstat(descriptor).st_size
        seen.append((before, read_stable(descriptor)))
    os.close(descriptor)

    assert all(len(content) >= before and written.startswith(content) for before, content in seen)


class TestPages:
    """What is reported of a relation's pages, and what is not (pitfall 9)."""

    @staticmethod
    def entry(tmp_path: Path, content: bytes, path: bytes = b"base/5/16384") -> Entry:
        (tmp_path / "f").write_bytes(content)
        return file_entry(tmp_path / "f", path)

    @staticmethod
    def flipped(content: bytes, block: int) -> bytes:
        """One bit of a page changed, far from its LSN."""
        changed = bytearray(content)
        changed[block * 8192 + 5000] ^= 1
        return bytes(changed)

    def test_good_pages_are_good(self, tmp_path: Path) -> None:
        """Over several reads, with a page of zeros among them and half a page at the end."""
        content = relation(3) + bytes(8192) + relation(600, first=4) + b"half"

        (result,), pack = read(pieces_of(self.entry(tmp_path, content)), RULES)

        assert result.bad_blocks == []
        assert bytes_of(result, pack) == content

    def test_a_flipped_bit_in_an_old_page_is_reported_and_its_bytes_are_kept(self, tmp_path: Path) -> None:
        """What is stored is what was read: nothing is mended and nothing is left out."""
        content = self.flipped(self.flipped(relation(600), 2), 599)

        (result,), pack = read(pieces_of(self.entry(tmp_path, content)), RULES)

        assert result.bad_blocks == [2, 599]
        assert bytes_of(result, pack) == content

    def test_a_torn_page_with_a_newer_lsn_is_not_reported(self, tmp_path: Path) -> None:
        """The WAL of this backup holds it whole."""
        content = relation(2) + self.flipped(page(2, lsn=START), 0)

        (result,), _ = read(pieces_of(self.entry(tmp_path, content)), RULES)

        assert result.bad_blocks == []

    def test_the_last_lsn_before_the_start_is_reported(self, tmp_path: Path) -> None:
        """There is no slack: WAL begins at the start."""
        content = relation(2) + self.flipped(page(2, lsn=Lsn(START.value - 1)), 0)

        (result,), _ = read(pieces_of(self.entry(tmp_path, content)), RULES)

        assert result.bad_blocks == [2]

    def test_block_numbers_go_on_in_the_next_segment(self, tmp_path: Path) -> None:
        """16384.2 begins at block 2 * relseg_size; the same bytes in another segment are all wrong."""
        content = relation(3, first=2 * RELSEG)

        (good,), _ = read(pieces_of(self.entry(tmp_path, content, b"base/5/16384.2")), RULES)
        (bad,), _ = read(pieces_of(self.entry(tmp_path, content, b"base/5/16384.1")), RULES)

        assert good.bad_blocks == []
        assert bad.bad_blocks == [RELSEG, RELSEG + 1, RELSEG + 2]

    def test_block_numbers_go_on_in_the_next_range(self, tmp_path: Path) -> None:
        """A worker that reads from the middle of a file counts from there."""
        content = self.flipped(relation(24), 17)
        pieces = pieces_of(self.entry(tmp_path, content), limit=8 * 8192)

        results, _ = read(pieces, RULES)

        assert [result.bad_blocks for result in results] == [[], [], [17]]

    def test_a_page_that_turns_good_is_not_reported_and_stored_good(self, tmp_path: Path) -> None:
        """It was being written while it was read."""
        good = relation(8)
        entry = self.entry(tmp_path, self.flipped(good, 3))

        def mend() -> None:
            time.sleep(0.03)
            (tmp_path / "f").write_bytes(good)

        thread = threading.Thread(target=mend)
        thread.start()
        (result,), pack = read(pieces_of(entry), RULES)
        thread.join()

        assert result.bad_blocks == []
        assert bytes_of(result, pack) == good
        assert result.crc32c == crc32c(good)

    def test_a_disk_full_of_bad_pages_is_read_in_reasonable_time(self, tmp_path: Path) -> None:
        """Second looks wait for a writer once per read, not once per page."""
        content = b"".join(self.flipped(page(block), 0) for block in range(300))
        began = time.monotonic()

        (result,), _ = read(pieces_of(self.entry(tmp_path, content)), RULES)

        assert result.bad_blocks == list(range(300))
        assert time.monotonic() - began < 3

    @pytest.mark.parametrize("path", [b"log/16384", b"base/5/pg_filenode.map", b"base/5/PG_VERSION"])
    def test_what_is_no_relation_has_no_pages(self, tmp_path: Path, path: bytes) -> None:
        """Its bytes are its own affair."""
        (result,), _ = read(pieces_of(self.entry(tmp_path, b"\1" * 16384, path)), RULES)

        assert result.bad_blocks == []

    def test_a_cluster_without_checksums_reports_nothing(self, tmp_path: Path) -> None:
        """There is nothing to compare with."""
        (result,), _ = read(pieces_of(self.entry(tmp_path, b"\1" * 16384)), NO_CHECK)

        assert result.bad_blocks == []
