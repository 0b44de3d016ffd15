"""The spool and what is seen in it, without a server: whose it is, and when a file of pg_dump's is finished."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from pgvault.backup.copying import Copier
from pgvault.errors import ConfigInvalid, ObjectCorrupt
from pgvault.logical.dump import require_complete
from pgvault.logical.packing import Packer
from pgvault.logical.spool import MARKER, PREFIX, free_range, open_spool
from pgvault.logical.take import RULES
from pgvault.logical.watching import BLOCK_BYTES, END_OF_ROWS, DumpDirectory, open_files
from pgvault.process import leashed
from pgvault.progress import NoProgress
from tests.archive import make_archive
from tests.repository.logicals import LABEL

ROWS = b"1\tone\n2\ttwo\n" + END_OF_ROWS
TAIL = len(END_OF_ROWS)  # bytes of a growing file that are left for later
ALL = 1  # bytes: take whatever is there


def watch(directory: Path) -> DumpDirectory:
    return DumpDirectory(directory, prefix=b"5", leader=os.getpid())


def taken(
    source: DumpDirectory, *, is_over: bool = False, at_least: int = ALL
) -> list[tuple[bytes, int, int | None, bool]]:
    pieces = [piece for _, piece in source.look(is_over=is_over, at_least=at_least)]
    return [(piece.entry.path, piece.offset, piece.length, piece.is_last) for piece in pieces]


def test_rows_are_finished_when_they_say_so(tmp_path: Path) -> None:
    """Whether pg_dump has the file open or not, and however often we look before."""
    source = watch(tmp_path)
    with (tmp_path / "7.dat").open("wb", buffering=0) as file:
        for cut in (3, 12, len(ROWS) - 1):
            file.write(ROWS[file.tell() : cut])
            taken(source)
            assert source.unfinished == [b"5/7.dat"]
        file.write(ROWS[-1:])
        assert taken(source) == [(b"5/7.dat", 0, len(ROWS), True)]

    assert source.unfinished == []
    assert taken(source, is_over=True) == []


def test_rows_that_look_like_their_end_are_not(tmp_path: Path) -> None:
    r"""A text `x\.` and two empty ones: COPY writes bytes that end alike."""
    (tmp_path / "7.dat").write_bytes(b"x\\\\.\n\n\n")
    source = watch(tmp_path)

    taken(source)

    assert source.unfinished == [b"5/7.dat"]


def test_a_table_without_rows_is_finished_at_once(tmp_path: Path) -> None:
    """It consists of its end."""
    (tmp_path / "7.dat").write_bytes(END_OF_ROWS[1:])

    assert taken(watch(tmp_path)) == [(b"5/7.dat", 0, 5, True)]


def test_rows_without_their_end_are_never_finished(tmp_path: Path) -> None:
    """Closed, and pg_dump gone: that is what a killed one leaves."""
    (tmp_path / "7.dat").write_bytes(ROWS[:-1])
    source = watch(tmp_path)

    taken(source)
    taken(source, is_over=True)

    assert source.unfinished == [b"5/7.dat"]


def test_a_large_object_is_finished_when_nobody_has_it_open(tmp_path: Path) -> None:
    """An empty one may be about to be opened: it waits for the end."""
    source = watch(tmp_path)
    (tmp_path / "blob_2.dat").touch()
    with (tmp_path / "blob_1.dat").open("wb", buffering=0) as file:
        file.write(b"0123456789" * 500)
        assert taken(source) == [(b"5/blob_1.dat", 0, BLOCK_BYTES, False)]

    assert taken(source) == [(b"5/blob_1.dat", BLOCK_BYTES, 5000 - BLOCK_BYTES, True)]
    assert source.unfinished == [b"5/blob_2.dat"]
    assert taken(source, is_over=True) == [(b"5/blob_2.dat", 0, 0, True)]


def test_where_processes_can_not_be_asked_large_objects_wait(tmp_path: Path) -> None:
    """No answer is no proof."""
    (tmp_path / "blob_1.dat").write_bytes(b"0123456789" * 500)
    source = DumpDirectory(tmp_path, prefix=b"5", leader=2**22 + 1)

    assert open_files(2**22 + 1, os.fsencode(tmp_path)) is None
    assert taken(source) == [(b"5/blob_1.dat", 0, BLOCK_BYTES, False)]
    assert source.unfinished


def test_tables_of_contents_stay_to_the_end(tmp_path: Path) -> None:
    """They tell whether everything was seen."""
    source = watch(tmp_path)
    (tmp_path / "toc.dat").write_bytes(b"PGDMP")
    (tmp_path / "blobs.toc").write_bytes(b"1 blob_1.dat\n")

    assert taken(source, is_over=True) == []
    assert [each.name for each in source.contents()] == [b"5/blobs.toc", b"5/toc.dat"]


def test_a_growing_file_is_taken_in_ranges(tmp_path: Path) -> None:
    """Not for a few bytes, as long as there is room."""
    source = watch(tmp_path)
    with (tmp_path / "7.dat").open("wb", buffering=0) as file:
        file.write(bytes(BLOCK_BYTES + TAIL))
        assert taken(source, at_least=5000) == []
        file.write(bytes(2 * BLOCK_BYTES - 1))
        assert taken(source, at_least=5000) == [(b"5/7.dat", 0, 2 * BLOCK_BYTES, False)]


def test_ranges_of_a_growing_file_leave_no_room_taken(tmp_path: Path) -> None:
    """However they were cut: a block of which a part is freed twice stays."""
    path = tmp_path / "blob_7.dat"
    source = watch(tmp_path)
    with path.open("wb", buffering=0) as file:
        for _ in range(32):
            file.write(b"x" * 70001)
            for name, offset, length, _ in taken(source):
                assert name == b"5/blob_7.dat"
                free_range(os.fsencode(path), offset, length or 0)

        assert path.stat().st_blocks * 512 <= 4 * BLOCK_BYTES


def test_one_that_stands_still_goes_on_when_nothing_more_can_be_stored(tmp_path: Path) -> None:
    """Where the ends of files are not seen they add up: to wait for room would be to wait for ever."""
    dump = tmp_path / "dump"
    dump.mkdir()
    for number in range(300):
        (dump / f"blob_{number}.dat").write_bytes(b"x" * BLOCK_BYTES)
    with leashed(["/bin/sleep", "0.3"], env={}, log=tmp_path / "log") as process:
        source = DumpDirectory(dump, prefix=b"5", leader=2**22 + 1)
        copier = Copier(
            make_archive(tmp_path / "archive").repository, "main", LABEL, rules=RULES, progress=NoProgress()
        )
        with Packer(copier, jobs=1, limit=1 << 20) as packer:
            deadline = time.monotonic() + 10

            def look() -> None:
                assert time.monotonic() < deadline

            packer.follow(source, process, look=look)

            assert packer.stopped_seconds > 0
            assert packer.finish().file_count == 300


def test_the_room_of_a_range_is_given_back(tmp_path: Path) -> None:
    """And the file keeps its length, for whoever appends to it."""
    path = tmp_path / "f"
    path.write_bytes(b"x" * (1 << 20))

    free_range(os.fsencode(path), 0, 1 << 19)

    assert path.stat().st_size == 1 << 20
    assert path.stat().st_blocks * 512 <= (1 << 19) + 8192
    assert path.read_bytes() == bytes(1 << 19) + b"x" * (1 << 19)


def test_a_spool_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    """Whatever was written into it."""
    with open_spool(tmp_path) as spool:
        assert spool.root.stat().st_mode & 0o777 == 0o700
        (spool.root / "rows").write_bytes(ROWS)

    assert list(tmp_path.iterdir()) == []


def test_only_what_a_dead_run_left_is_cleared(tmp_path: Path) -> None:
    """Another run's that lives, a directory without our marker, and a link stay."""
    dead = tmp_path / f"{PREFIX}00000001"
    dead.mkdir()
    (dead / MARKER).write_text("00000001\n")
    strange = tmp_path / f"{PREFIX}strange"
    strange.mkdir()
    (strange / "file").touch()
    link = tmp_path / f"{PREFIX}00000002"
    link.symlink_to(strange)

    with open_spool(tmp_path) as first, open_spool(tmp_path) as second:
        assert first.root.is_dir()
        assert second.root.is_dir()

    assert sorted(tmp_path.iterdir()) == [link, strange]
    assert (strange / "file").exists()


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_a_place_that_is_none(tmp_path: Path, place: str) -> None:
    """Is a mistake in the configuration."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigInvalid, match="is no directory"), open_spool(tmp_path / place):
        pass


def test_no_place_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose disks are read-only wants a place of ours: that is said, with the name of the setting."""

    def find() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", find)

    with pytest.raises(ConfigInvalid, match="no directory for temporary files"), open_spool(None):
        pass


def test_a_dump_without_a_table_of_contents(tmp_path: Path) -> None:
    """Is no dump."""
    (tmp_path / "toc.dat").write_bytes(b"PGDMP")

    with pytest.raises(ObjectCorrupt, match="ends in the middle"):
        require_complete(tmp_path, watch(tmp_path).contents(), set())
