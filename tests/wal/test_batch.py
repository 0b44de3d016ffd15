from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from pgvault.errors import StoreUnreachable, WalMismatch
from pgvault.instants import SystemClock
from pgvault.postgres.lsn import MIB
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository, init_repository
from pgvault.repository.walobjects import WalOutcome, read_wal_bytes
from pgvault.wal import batch as batch_module
from pgvault.wal.batch import AHEAD_MAX, Batch, push_ready, ready_segments
from pgvault.wal.notes import Notes
from tests.archive import AT, KEY, SYSTEM, make_control, make_segment, small
from tests.fakes import MemoryStore


class Place:
    """A data directory with WAL that waits, notes, and a repository in memory."""

    def __init__(self, directory: Path) -> None:
        self.pg_wal = directory / "data/pg_wal"
        (self.pg_wal / "archive_status").mkdir(parents=True)
        (directory / "data/global").mkdir()
        (directory / "data/global/pg_control").write_bytes(make_control())
        (directory / "state").mkdir(mode=0o700)
        self.notes = Notes(str(directory / "state"), "place", "config")
        self.store = MemoryStore()
        self.repository, _ = init_repository([Copy("primary", self.store)], Credential("raw", KEY), now=AT)

    def make_ready(self, numbers: Iterable[int], *, fill: bytes = b"\x5a") -> None:
        for number in numbers:
            (self.pg_wal / small(number).name).write_bytes(make_segment(small(number), fill=fill))
            (self.pg_wal / f"archive_status/{small(number).name}.ready").touch()

    def push(self, number: int, *, jobs: int = 4, notes: bool = True) -> WalOutcome:
        return self.push_in(self.repository, number, jobs=jobs, notes=notes)

    def push_in(self, repository: Repository, number: int, *, jobs: int = 4, notes: bool = True) -> WalOutcome:
        batch = Batch(SystemClock(), jobs, self.notes if notes else None)
        return push_ready(repository, "main", self.pg_wal / small(number).name, batch=batch)

    def stored(self) -> list[int]:
        names = [key.rpartition("/")[2] for key in self.store.objects if "/wal/" in key]
        return sorted(int(name[16:], 16) for name in names)

    def vouched(self) -> list[int]:
        """Which of the segments that wait are noted, by content."""
        paths = sorted(self.pg_wal.glob("0*"))
        return [int(path.name[16:], 16) for path in paths if self.notes.vouch_for(str(path))]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_one_call_stores_all_that_waits_and_notes_the_others(place: Place) -> None:
    """Its own file needs no note: its answer is the call's; systems are asked for once."""
    place.make_ready(range(5, 15))

    assert place.push(5) is WalOutcome.STORED

    assert place.stored() == list(range(5, 15))
    assert place.vouched() == list(range(6, 15))
    assert len([key for verb, key in place.store.calls if verb == "children" and key.endswith("systems")]) <= 2
    _, content = read_wal_bytes(place.repository, "main", SYSTEM, small(14).name)
    assert content == (place.pg_wal / small(14).name).read_bytes()


def test_what_is_noted_is_not_pushed_again(place: Place) -> None:
    """A call whose predecessor did the work finds only what came since."""
    place.make_ready(range(5, 9))
    place.push(5)
    place.make_ready([9])
    (place.pg_wal / f"archive_status/{small(5).name}.ready").unlink()  # as the server does
    puts = place.store.puts

    assert place.push(6) is WalOutcome.ALREADY

    assert place.store.puts == puts + 2
    assert place.vouched() == [7, 8, 9]


def test_without_notes_nothing_is_pushed_ahead(place: Place) -> None:
    """The others' own calls would do it all again."""
    place.make_ready(range(5, 9))
    place.push(5, notes=False)

    assert place.stored() == [5]


def test_a_failure_of_its_own_file_leaves_the_others_alone(place: Place) -> None:
    """Of two servers under one name, the one that is refused must not go on behind that place."""
    place.make_ready([5])
    place.push(5)
    place.make_ready(range(5, 9), fill=b"\x5b")

    with pytest.raises(WalMismatch):
        place.push(5)

    assert place.stored() == [5]


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_failure_of_another_is_logged_and_ends_the_batch(
    place: Place, caplog: pytest.LogCaptureFixture, jobs: int
) -> None:
    """The call succeeds, as its own file is stored; who was refused has no note, and its own call fails."""
    place.make_ready([8], fill=b"\x5b")
    place.push(8)
    place.make_ready(range(5, 40))

    assert place.push(5, jobs=jobs) is WalOutcome.STORED

    assert set(range(5, 8 if jobs == 1 else 6)) <= set(place.stored())
    assert len(place.stored()) <= 4 + jobs
    assert 8 not in place.vouched()
    assert set(place.vouched()) == set(place.stored()) - {5, 8}
    assert [r.levelname for r in caplog.records if "was not stored ahead of its turn" in r.message] == ["WARNING"]
    with pytest.raises(WalMismatch):
        place.push(8)


def test_nothing_is_stored_behind_another_servers_segment(place: Place) -> None:
    """Else that server, production maybe, would find names taken that it has not come to, and archive no more."""
    place.make_ready([6], fill=b"\x5b")
    place.push(6)
    place.make_ready(range(5, 40))

    assert place.push(5) is WalOutcome.STORED

    assert place.stored() == [5, 6]


def test_what_is_stored_already_is_noted_and_the_batch_goes_on(place: Place) -> None:
    """A call that died before it had noted what it stored costs one comparison for each."""
    place.make_ready(range(5, 40))
    place.push(5, notes=False)
    place.push(8, notes=False)

    place.push(5)

    assert place.stored() == list(range(5, 40))
    assert place.vouched() == list(range(6, 40))


def test_a_host_without_a_thread_to_spare_archives_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own file is stored, and the server has to hear that, or it asks for the same one for ever."""

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    place.make_ready(range(5, 9))

    assert place.push(5) is WalOutcome.STORED
    assert place.stored() == [5]


def test_no_note_before_the_segment_is_durable(place: Place) -> None:
    """A put that fails, or whose answer is lost, leaves none; the next call stores what is missing."""
    place.make_ready(range(5, 9))
    place.push(5, notes=False)
    place.store.die_after_puts = {place.store.puts + 2}
    place.store.fail_puts = {place.store.puts + 4}

    place.push(5, jobs=1)
    assert (place.stored(), place.vouched()) == ([5, 6], [])
    place.push(6, jobs=1)
    assert (place.stored(), place.vouched()) == ([5, 6], [])
    place.push(6, jobs=1)

    assert place.stored() == [5, 6, 7, 8]
    assert place.vouched() == [5, 7, 8]


def test_a_batch_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """In number, and in the time in which segments are begun; the rest is for later calls."""
    monkeypatch.setattr(batch_module, "AHEAD_MAX", 3)
    place.make_ready(range(5, 15))
    place.push(5)
    assert place.stored() == [5, 6, 7, 8]

    monkeypatch.setattr(batch_module, "BEGIN_SECONDS", -1.0)
    place.push(9)
    assert place.stored() == [5, 6, 7, 8, 9]
    assert AHEAD_MAX == 64


def test_large_segments_are_taken_one_at_a_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way at once is bounded in bytes, whatever the segment size and the number of jobs."""
    monkeypatch.setattr(batch_module, "BYTES_MAX", 2 * MIB)
    under_way = most = 0
    lock = threading.Lock()
    put = place.store.put_if_absent

    def slow_put(key: str, body: bytes) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.02)
        put(key, body)
        with lock:
            under_way -= 1

    place.store.put_if_absent = slow_put  # type: ignore[method-assign]
    place.make_ready(range(5, 15))
    place.push(5, jobs=8)

    assert most == 2


def test_a_store_that_fails_is_not_asked_for_every_segment(place: Place) -> None:
    """A failure of the store ends the batch, too."""
    place.make_ready(range(5, 60))
    place.push(5, notes=False)
    before = place.store.puts
    place.store.fail_puts = set(range(before + 2, before + 100))

    place.push(5)

    assert place.store.puts - before <= 1 + 4
    with pytest.raises(StoreUnreachable):
        place.push(6)


def test_a_signal_ends_the_batch_soon(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way may end and is noted; nothing else begins."""
    put = place.store.put_if_absent

    def slow_put(key: str, body: bytes) -> None:
        if key.endswith(tuple(small(number).name for number in range(6, 40))):
            time.sleep(0.3)
        put(key, body)

    def stop(name: str, error: BaseException | None) -> None:
        raise SystemExit(1)

    place.store.put_if_absent = slow_put  # type: ignore[method-assign]
    monkeypatch.setattr(batch_module, "_log", stop)
    place.make_ready(range(5, 30))

    with pytest.raises(SystemExit):
        place.push(5, jobs=2)

    assert 2 <= len(place.vouched()) <= 4
    assert place.vouched() == [number for number in place.stored() if number != 5]


def test_ready_segments_come_in_the_archivers_order(place: Place) -> None:
    """By name; no texts, no partial ones, nothing unknown, and no timeline whose history waits."""
    status = place.pg_wal / "archive_status"
    later = [small(7, timeline=3).name, small(9, timeline=2).name, small(6).name, small(5).name]
    odd = ["00000003.history", f"{small(4).name}.partial", f"{small(4).name}.00000028.backup", "x", "0" * 23]
    for name in (*later, *odd):
        (status / f"{name}.ready").touch()
    (status / f"{small(4).name}.done").touch()
    path = place.pg_wal / small(5).name

    assert ready_segments(path) == [small(6).name, small(9, timeline=2).name]
    assert ready_segments(Path("/nowhere/x")) == []


def test_a_recycled_file_is_not_stored_ahead(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """A name that waits with another segment's content, or with none, is left to its own call."""
    place.make_ready([5, 6])
    (place.pg_wal / small(6).name).write_bytes(make_segment(small(60)))
    place.push(5)
    assert (place.stored(), place.vouched()) == ([5], [])

    (place.pg_wal / small(6).name).unlink()
    place.push(5)
    assert "was not stored ahead" in caplog.text


def test_notes_that_can_not_be_written_change_nothing(place: Place, tmp_path: Path) -> None:
    """A full or missing state directory costs time only."""
    (tmp_path / "state").rmdir()
    place.make_ready([5, 6])

    assert place.push(5) is WalOutcome.STORED
    assert (place.stored(), place.vouched()) == ([5, 6], [])
    assert not (tmp_path / "state").exists()
