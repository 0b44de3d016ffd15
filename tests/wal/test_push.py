from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from pgvault.errors import (
    MajorUnsupported,
    ObjectCorrupt,
    OtherCluster,
    PgvaultError,
    SourceUnreadable,
    UsageError,
    WalMismatch,
)
from pgvault.pipeline import seal
from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.repository.walobjects import WalOutcome, read_wal_bytes
from pgvault.wal.push import push_wal
from pgvault.wal.walfile import WalOwner
from tests.archive import AT, SYSTEM, Archive, StillClock, history_text, make_control, make_segment, small

LABEL = b"START WAL LOCATION: 0/300028 (file 000000010000000000000003)\nSTOP WAL LOCATION: 0/300100\n"


def put(directory: Path, name: str, content: bytes) -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


def push_file(archive: Archive, path: Path) -> WalOutcome:
    return push_wal(archive.repository, "main", path, clock=StillClock())


def push_segment(archive: Archive, directory: Path, segment: WalSegment, **making: object) -> WalOutcome:
    return push_file(archive, put(directory, segment.name, make_segment(segment, **making)))  # type: ignore[arg-type]


@pytest.fixture
def pg_wal(tmp_path: Path) -> Path:
    """The pg_wal of a data directory whose pg_control names SYSTEM, 18 and 1 MiB."""
    (tmp_path / "data/global").mkdir(parents=True)
    (tmp_path / "data/global/pg_control").write_bytes(make_control())
    directory = tmp_path / "data/pg_wal"
    directory.mkdir()
    return directory


def test_a_pushed_segment_reads_back_with_its_facts(archive: Archive, tmp_path: Path) -> None:
    """What was pushed opens with the same bytes, and says where it belongs and when it was written."""
    content = make_segment(small(5))
    path = put(tmp_path, small(5).name, content)
    os.utime(path, (AT.timestamp() - 60, AT.timestamp() - 60))

    assert push_file(archive, path) is WalOutcome.STORED

    wal, stored = read_wal_bytes(archive.repository, "main", SYSTEM, path.name)
    assert stored == content
    assert (wal.info.timeline, wal.info.start_lsn, wal.info.length) == (1, Lsn(5 * MIB), MIB)
    assert (AT - wal.info.last_write_at).total_seconds() == 60
    assert wal.info.pushed_at == AT


def test_the_same_content_again_is_success(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL repeats itself after a crash; another compression level, so other stored bytes, changes nothing."""
    push_segment(archive, tmp_path, small(5))
    before = archive.object_path(small(5).name, SYSTEM).read_bytes()
    monkeypatch.setattr(
        seal._zstd, "compressor", zstandard.ZstdCompressor(level=19, write_content_size=True, write_checksum=True)
    )

    assert push_segment(archive, tmp_path, small(5)) is WalOutcome.ALREADY

    assert archive.object_path(small(5).name, SYSTEM).read_bytes() == before


def test_other_content_is_an_error_for_ever(archive: Archive, tmp_path: Path) -> None:
    """The first content stays, however often another is pushed under its name."""
    push_segment(archive, tmp_path, small(5))
    before = archive.object_path(small(5).name, SYSTEM).read_bytes()

    for _ in range(2):
        with pytest.raises(WalMismatch):
            push_segment(archive, tmp_path, small(5), fill=b"\x5b")

    assert archive.object_path(small(5).name, SYSTEM).read_bytes() == before


def test_of_two_racing_contents_one_wins(archive: Archive, tmp_path: Path) -> None:
    """Eight servers push one name at once: those with the winner's content succeed, all others fail."""
    paths = []
    for number in range(8):
        directory = tmp_path / str(number)
        directory.mkdir()
        paths.append(put(directory, small(5).name, make_segment(small(5), fill=bytes([number % 2]))))

    def race(path: Path) -> WalOutcome | None:
        try:
            return push_file(archive, path)
        except WalMismatch:
            return None

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(race, paths))

    _, stored = read_wal_bytes(archive.repository, "main", SYSTEM, small(5).name)
    assert outcomes.count(WalOutcome.STORED) == 1
    for path, outcome in zip(paths, outcomes, strict=True):
        assert (outcome is not None) == (path.read_bytes() == stored)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (make_segment(small(6)), ObjectCorrupt),  # a recycled file under a new name
        (make_segment(small(5), timeline=2), ObjectCorrupt),
        (make_segment(small(5), magic=0xD119), MajorUnsupported),
        (make_segment(small(5), magic=0x1234), ObjectCorrupt),
        (make_segment(small(5))[:-1], SourceUnreadable),
        (make_segment(small(5)) + b"\0", SourceUnreadable),
        (make_segment(small(5))[:30], ObjectCorrupt),
        (make_segment(WalSegment(1, 5, 2 * MIB))[:MIB], SourceUnreadable),  # its header speaks of larger segments
        (bytes(MIB), ObjectCorrupt),
        (b"", SourceUnreadable),
    ],
)
def test_what_is_not_that_segment_is_refused(
    archive: Archive, tmp_path: Path, content: bytes, error: type[PgvaultError]
) -> None:
    """Nothing reaches the repository under the name of a segment unless it is that whole segment."""
    with pytest.raises(error):
        push_file(archive, put(tmp_path, small(5).name, content))

    assert archive.names(SYSTEM) == []


def test_another_initdbs_segment_is_refused(archive: Archive, tmp_path: Path) -> None:
    """The first segment settles whose WAL a cluster's name stands for."""
    push_segment(archive, tmp_path, small(5))

    with pytest.raises(OtherCluster) as caught:
        push_segment(archive, tmp_path, small(6), system_identifier=SYSTEM + 1)

    assert caught.value.hint is not None
    assert archive.names(SYSTEM + 1) == []


def test_a_segment_in_another_clusters_pg_wal_is_refused(archive: Archive, pg_wal: Path) -> None:
    """The header must agree with the pg_control beside it: system, major and segment size."""
    for wrong in ({"system_identifier": SYSTEM + 1}, {"major": 17}):
        with pytest.raises(OtherCluster):
            push_segment(archive, pg_wal, small(5), **wrong)
    with pytest.raises(ObjectCorrupt):
        push_segment(archive, pg_wal, WalSegment(1, 2, 2 * MIB))

    assert archive.names(SYSTEM) == []


@pytest.mark.parametrize(
    "name",
    [
        "00000001000000000000000",
        "000000010000000000000005.tmp",
        "0000000100000000000000g5",
        "archive_status",
        "00000000.history",
    ],
)
def test_an_unknown_name_is_refused(archive: Archive, pg_wal: Path, name: str) -> None:
    """Only what PostgreSQL archives is archived."""
    with pytest.raises(UsageError):
        push_file(archive, put(pg_wal, name, make_segment(small(5))))


def test_all_four_kinds_keep_their_names(archive: Archive, pg_wal: Path) -> None:
    """A .partial stays one, and a label and a history are stored under exactly their names."""
    history = TimelineHistory(2, (HistoryEntry(1, Lsn(6 * MIB), "no recovery target specified"),))
    push_segment(archive, pg_wal, small(3))
    push_file(archive, put(pg_wal, f"{small(4).name}.partial", make_segment(small(4))))
    push_file(archive, put(pg_wal, f"{small(3).name}.00000028.backup", LABEL))
    push_file(archive, put(pg_wal, "00000002.history", history_text(history)))

    assert sorted(archive.names(SYSTEM)) == [
        "000000010000000000000003",
        "000000010000000000000003.00000028.backup",
        "000000010000000000000004.partial",
        "00000002.history",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("000000010000000000000003.00000060.backup", LABEL),
        ("000000010000000000000004.00000028.backup", LABEL),
        ("000000010000000000000003.00000028.backup", b"hello\n"),
        ("00000002.history", b"1\t0/600000\n2\t0/700000\tx\n"),
        ("00000002.history", b"nonsense"),
    ],
)
def test_a_text_that_is_not_what_its_name_says_is_refused(
    archive: Archive, pg_wal: Path, name: str, content: bytes
) -> None:
    """Labels and histories are read before they are stored."""
    with pytest.raises(ObjectCorrupt):
        push_file(archive, put(pg_wal, name, content))


def test_a_text_outside_a_data_directory_is_refused(archive: Archive, tmp_path: Path) -> None:
    """A label and a history do not say whose they are; only the pg_control beside them does."""
    with pytest.raises(UsageError):
        push_file(archive, put(tmp_path, f"{small(3).name}.00000028.backup", LABEL))


def test_a_text_outside_a_data_directory_needs_an_owner(archive: Archive, tmp_path: Path) -> None:
    """Who received it over the network knows whose it is; with another owner it is another cluster's."""
    path = put(tmp_path, "00000002.history", history_text(TimelineHistory(2, (HistoryEntry(1, Lsn(MIB), "x"),))))
    owner = WalOwner(SYSTEM, 18, MIB)

    outcome = push_wal(archive.repository, "main", path, clock=StillClock(), owner=owner)

    assert (outcome, archive.names(SYSTEM)) == (WalOutcome.STORED, [path.name])
    with pytest.raises(OtherCluster):
        push_wal(archive.repository, "main", path, clock=StillClock(), owner=replace(owner, system_identifier=1))


@pytest.mark.parametrize(
    ("switch", "forks"),
    [(Lsn(7 * MIB), False), (Lsn(7 * MIB - 1), True), (Lsn(6 * MIB + 100), True), (Lsn(100), True)],
)
def test_a_fork_is_stored_with_a_warning(
    archive: Archive, pg_wal: Path, caplog: pytest.LogCaptureFixture, switch: Lsn, forks: bool
) -> None:
    """5 and 6 are archived: a timeline that leaves at their end continues them, one that leaves earlier forks.

    Refused, it would stop the archiver of a server that was promoted in need, until its pg_wal is full.
    """
    push_segment(archive, pg_wal, small(5))
    push_segment(archive, pg_wal, small(6))
    path = put(pg_wal, "00000002.history", history_text(TimelineHistory(2, (HistoryEntry(1, switch, "x"),))))

    assert push_file(archive, path) is WalOutcome.STORED
    told = [record.getMessage() for record in caplog.records if "leaves timeline 1 at" in record.getMessage()]
    assert len(told) == forks
    assert all("000000010000000000000006 is archived" in each for each in told)

    caplog.clear()
    assert push_file(archive, path) is WalOutcome.ALREADY
    assert caplog.records == []


def test_a_fork_does_not_hide_behind_a_second_promotion(
    archive: Archive, pg_wal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy whose history never came, and that was promoted again, still leaves timeline 1 too early."""
    push_segment(archive, pg_wal, small(6))
    entries = (HistoryEntry(1, Lsn(5 * MIB), "restored"), HistoryEntry(2, Lsn(6 * MIB), "promoted"))

    push_file(archive, put(pg_wal, "00000003.history", history_text(TimelineHistory(3, entries))))

    assert "timeline 2 leaves timeline 1 at 0/500000" in caplog.text


def test_a_history_with_other_content_is_a_mismatch(archive: Archive, pg_wal: Path) -> None:
    """Two promotions to one timeline number are two clusters by now; the second is told."""
    for switch, expected in ((Lsn(6 * MIB), None), (Lsn(7 * MIB), WalMismatch)):
        history = TimelineHistory(2, (HistoryEntry(1, switch, "x"),))
        path = put(pg_wal, "00000002.history", history_text(history))
        if expected is None:
            push_file(archive, path)
        else:
            with pytest.raises(expected, match=r"WAL file '00000002\.history' is archived already") as caught:
                push_file(archive, path)
            assert "move" in str(caught.value.hint)  # for this server archives nothing until somebody does


def test_the_4_gib_border_is_no_border(archive: Archive, pg_wal: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A fork below a border of 4 GiB sees what is archived behind it, whatever else lies there."""
    last, following = WalSegment(1, 4095, MIB), WalSegment(1, 4096, MIB)
    assert (last.directory, following.directory) == ("0000000100000000", "0000000100000001")
    push_segment(archive, pg_wal, following)
    archive.object_path(f"{following.next().name}.tail/00000000-00002000", SYSTEM).parent.mkdir()
    archive.object_path(f"{following.next().name}.tail/00000000-00002000", SYSTEM).touch()
    history = TimelineHistory(2, (HistoryEntry(1, last.start_lsn, "x"),))

    push_file(archive, put(pg_wal, "00000002.history", history_text(history)))

    assert f"{following.name} is archived" in caplog.text
