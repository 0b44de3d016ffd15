"""What lies ready was asked for by nobody yet: it is believed only after it was compared, and never missed."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.cli import fastfetch
from pgvault.cli.fastfetch import deliver, parse
from pgvault.errors import ProgramFailed, StoreUnreachable
from pgvault.postgres.history import HistoryEntry, TimelineHistory
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.process import run
from pgvault.repository.repository import Repository
from pgvault.wal.ahead import segment_order
from pgvault.wal.fetchplan import FetchPlan
from pgvault.wal.push import push_wal
from pgvault.wal.spool import Spool, files_ahead, is_unattended, remove_spools, spool_directory
from tests.archive import SYSTEM, Archive, StillClock, history_text, make_segment, small
from tests.wal.lookers import looking, wait_until

NAMES = [small(number).name for number in range(5, 13)]


def content(name: str) -> bytes:
    """What the segment holds."""
    segment = WalSegment.parse(name, MIB)
    return make_segment(segment, fill=bytes([segment.number]))


def store(archive: Archive, pg_wal: Path, files: dict[str, bytes]) -> None:
    for name, bytes_ in files.items():
        (pg_wal / name).write_bytes(bytes_)
        push_wal(archive.repository, "main", pg_wal / name, clock=StillClock())
        (pg_wal / name).unlink()


@pytest.fixture
def full(archive: Archive, pg_wal: Path) -> Archive:
    """An archive with eight segments and the history of timeline 2."""
    history = history_text(TimelineHistory(2, (HistoryEntry(1, Lsn(8 * MIB), "x"),)))
    store(archive, pg_wal, {name: content(name) for name in NAMES} | {"00000002.history": history})
    return archive


@pytest.fixture
def plan(full: Archive) -> FetchPlan:
    return full.plan(SYSTEM, segment_size=MIB)


def test_what_lies_ready_is_delivered(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """Byte for byte and private, one after the other; behind the last one nothing is left, nor anybody."""
    with looking(full.repository, plan, pg_wal) as looker:
        for name in NAMES:
            assert looker.take(name)
            assert (pg_wal / "RECOVERYXLOG").read_bytes() == content(name)
            assert (pg_wal / "RECOVERYXLOG").stat().st_mode & 0o777 == 0o600
            assert len(looker.waiting()) <= 3
        looker.wait_ended()

    assert [path.name for path in pg_wal.iterdir()] == ["RECOVERYXLOG"]
    assert [path.name for path in looker.plan.parent.iterdir()] == ["plan.json"]


def test_a_restore_needs_the_segments_behind_the_one_it_has(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """The window begins behind what its starter fetches, is no longer than asked for, and holds no history."""
    with looking(full.repository, plan, pg_wal, after=NAMES[1]) as looker:
        looker.wait_for(*NAMES[2:5])
        assert looker.take(NAMES[2])
        looker.wait_for(*NAMES[3:6])
        assert not [path for path in looker.directory.iterdir() if "history" in path.name]


def test_a_window_follows_a_server_that_begins_again(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """It asks for an earlier segment, or a later one: that is delivered too, and what is outside the window goes."""
    with looking(full.repository, plan, pg_wal, after=NAMES[3], ahead=2) as looker:
        looker.wait_for(*NAMES[4:6])
        assert looker.take(NAMES[0])
        looker.wait_for(*NAMES[1:3])
        assert looker.take(NAMES[6])
        looker.wait_for(NAMES[7])


def flip(path: Path) -> None:
    bytes_ = bytearray(path.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    path.write_bytes(bytes_)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 8192)


def swap(path: Path) -> None:
    path.write_bytes(content(NAMES[7]))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("damage", [flip, cut, lengthen, swap, empty, link, Path.unlink])
def test_what_was_damaged_in_the_spool_is_not_delivered(
    full: Archive, plan: FetchPlan, pg_wal: Path, damage: Callable[[Path], None]
) -> None:
    """Not a byte of it; it is thrown away, and the next one is good again."""
    with looking(full.repository, plan, pg_wal) as looker:
        looker.wait_for(*NAMES[:3])
        damage(looker.directory / NAMES[0])

        assert not looker.take(NAMES[0])
        assert list(pg_wal.iterdir()) == []
        assert looker.take(NAMES[1])
        wait_until(lambda: NAMES[0] not in looker.waiting())


def test_what_an_earlier_process_left_is_not_believed(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """Wrong bytes, marks and leftovers of any kind in a spool are gone before anything is fetched into it."""
    spool = pg_wal.parent.with_name("data.pgvault") / f"ahead-{plan.restore_id}"
    spool.mkdir(parents=True, mode=0o700)
    (spool / NAMES[0]).write_bytes(content(NAMES[1]))
    (spool / f"{NAMES[1]}.missing").touch()
    (spool / "00000003.history").write_bytes(b"1\t0/1\tx\n")
    (spool / "socket").mkdir()

    with looking(full.repository, plan, pg_wal, ahead=1) as looker:
        assert looker.take(NAMES[0])
        assert (pg_wal / "RECOVERYXLOG").read_bytes() == content(NAMES[0])
        looker.wait_for(NAMES[1])
        assert {path.name for path in spool.iterdir()} == {"lock", "socket", NAMES[1]}


def test_another_restores_spool_is_not_asked(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """A plan with another id, or other bytes under the same id, gets nothing from it."""
    with looking(full.repository, plan, pg_wal) as looker:
        looker.wait_for(*NAMES[:3])
        other = looker.plan.with_name("other.json")
        replace(plan, restore_id="another").save(other)
        assert not deliver(["wal", "fetch", "--plan", str(other), NAMES[0], str(pg_wal / "x")])
        replace(plan, histories=()).save(other)
        assert not deliver(["wal", "fetch", "--plan", str(other), NAMES[0], str(pg_wal / "x")])

    assert list(pg_wal.iterdir()) == []


def test_an_open_spool_is_not_believed(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """Where others may write, others may answer."""
    with looking(full.repository, plan, pg_wal) as looker:
        looker.directory.chmod(0o755)
        assert not looker.take(NAMES[0])
        with pytest.raises(PermissionError):
            Spool.claim(looker.directory)
        looker.directory.chmod(0o700)
        assert looker.take(NAMES[0])


def test_two_ask_at_once(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """For one segment: at most one gets it, and no one half of it. For two: both, each its own."""
    with looking(full.repository, plan, pg_wal) as looker:
        got: dict[str, bool] = {}

        def ask(name: str, to: str) -> None:
            got[to] = looker.take(name, to)

        for wanted in ((NAMES[0], NAMES[0]), (NAMES[1], NAMES[2])):
            threads = [threading.Thread(target=ask, args=(name, str(at))) for at, name in enumerate(wanted)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for at, name in enumerate(wanted):
                assert not got[str(at)] or (pg_wal / str(at)).read_bytes() == content(name)
            assert any(got.values())


def test_a_failure_is_no_absence_and_is_forgotten(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """Who asks is sent to fetch for himself; once the object is whole again it is looked ahead at like any other."""
    path = full.object_path(NAMES[1], SYSTEM)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with looking(full.repository, plan, pg_wal) as looker:
        assert looker.take(NAMES[0])
        assert not looker.take(NAMES[1])
        path.write_bytes(whole)
        assert looker.take(NAMES[2])
        assert looker.take(NAMES[1])
        assert (pg_wal / "RECOVERYXLOG").read_bytes() == content(NAMES[1])


def test_a_repository_that_can_not_be_opened_keeps_nobody_waiting(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """The look-ahead ends, and with it the waiting."""

    class Closed(Repository):
        """A repository whose every use fails."""

        def __getattribute__(self, name: str) -> object:
            raise StoreUnreachable("gone")

    closed = Closed.__new__(Closed)
    with looking(closed, plan, pg_wal) as looker:
        assert not looker.take(NAMES[0])
        assert not looker.take(NAMES[1])


def test_a_timeline_switch_is_looked_across(archive: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """The segment of the switch is there twice; when the server takes the later one, the earlier goes."""
    later = [small(number, 2).name for number in (8, 9)]
    store(archive, pg_wal, {name: content(name) for name in later})
    both = archive.plan(SYSTEM, segment_size=MIB)
    switched = replace(both, segments=tuple(each for each in both.segments if each.first.timeline == 2) + plan.segments)

    order = segment_order(switched)
    assert order[3:7] == [small(8).name, later[0], small(9).name, later[1]]
    with looking(archive.repository, switched, pg_wal, after=NAMES[2], ahead=2) as looker:
        looker.wait_for(small(8).name, later[0])
        assert looker.take(later[0])
        assert (pg_wal / "RECOVERYXLOG").read_bytes() == content(later[0])
        looker.wait_for(small(9).name, later[1])
        assert looker.take(later[1])
        wait_until(lambda: looker.waiting() == NAMES[5:7])


@pytest.mark.parametrize("what", ["plan gone", "plan replaced", "spool gone", "told to", "another server", "all gone"])
def test_it_ends_with_the_restore(full: Archive, plan: FetchPlan, pg_wal: Path, what: str) -> None:
    """It leaves nothing, makes nothing anew, and does not keep the directory of the plan from being removed."""
    postmaster = pg_wal.parent / "postmaster.pid"
    postmaster.write_text(f"{os.getpid()}\n")
    with looking(full.repository, plan, pg_wal) as looker:
        looker.wait_for(*NAMES[:3])
        marks = looker.plan.parent
        if what == "plan gone":
            looker.plan.unlink()
        elif what == "plan replaced":
            replace(plan, histories=()).save(looker.plan)
        elif what == "spool gone":
            looker.directory.rename(marks / "moved")
        elif what == "all gone":
            marks.rename(marks.with_name("moved"))
        elif what == "another server":
            postmaster.write_text(f"{os.getppid()}\n")
        else:
            remove_spools(marks)
            assert [path.name for path in marks.iterdir()] == ["plan.json"]
        looker.wait_ended()


def test_a_dead_servers_successor_gets_nothing(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """A server that is started again begins with a look-ahead of its own: it may have been told of another key."""
    postmaster = pg_wal.parent / "postmaster.pid"
    postmaster.write_text(f"{os.getpid()}\n")
    with looking(full.repository, plan, pg_wal) as looker:
        looker.wait_for(*NAMES[:3])
        postmaster.write_text(f"{os.getppid()}\n")
        assert not looker.take(NAMES[0])


def test_who_hangs_is_waited_for_once(short: Path, plan: FetchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for every segment: its spool goes to whoever claims it next, and it leaves that alone."""
    monkeypatch.setattr(fastfetch, "ANSWER_SECONDS", 0.2)
    plan.save(short / "plan.json")
    directory = spool_directory(short / "plan.json", plan.restore_id)
    assert directory is not None
    hanging = Spool.claim(directory)
    assert hanging is not None
    arguments = ["wal", "fetch", "--plan", str(short / "plan.json"), small(6).name, str(short / "x")]
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(directory / "socket"))
        silent.listen()
        assert not deliver(arguments)
        assert is_unattended(directory)
        begun = time.monotonic()
        assert not deliver(arguments)
        assert time.monotonic() - begun < 0.2

    successor = Spool.claim(directory)
    assert successor is not None
    assert not hanging.is_there()
    hanging.remove()
    assert successor.is_there()
    successor.remove()
    assert not directory.exists()


def test_only_one_fills_a_spool(full: Archive, plan: FetchPlan, pg_wal: Path) -> None:
    """A second one finds it taken; and nobody is started where one is at work, or broke a moment ago."""
    with looking(full.repository, plan, pg_wal) as looker:
        assert Spool.claim(looker.directory) is None
        assert not is_unattended(looker.directory)
    assert is_unattended(looker.directory)
    looker.directory.mkdir()
    (looker.directory / "lock").touch()
    assert not is_unattended(looker.directory)
    os.utime(looker.directory / "lock", (0, 0))
    assert is_unattended(looker.directory)


def test_what_creates_a_tablespace_is_looked_into(archive: Archive, pg_wal: Path) -> None:
    """The quick way leaves it to the one that knows what such a segment can do to this machine."""
    record = b"\0" * 8 + b"\x00\x05\x00\x00" + b"crcc" + b"\xff\x10" + b"oid." + b"/srv/space\0"
    segment = small(5)
    bytes_ = bytearray(make_segment(segment, fill=b"\0"))
    bytes_[9000 : 9000 + len(record)] = record
    store(archive, pg_wal, {segment.name: bytes(bytes_), small(6).name: content(small(6).name)})
    with looking(archive.repository, archive.plan(SYSTEM, segment_size=MIB), pg_wal) as looker:
        assert not looker.take(segment.name)
        assert looker.take(small(6).name)


@contextmanager
def small_disk(at: Path, mib: int) -> Iterator[None]:
    """A file system of a few MiB; skips where none can be mounted."""
    at.mkdir(exist_ok=True)
    try:
        run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "tmpfs", at], timeout=10)
    except ProgramFailed as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    try:
        yield
    finally:
        run(["umount", at], timeout=10)


def test_a_full_disk_leaves_the_direct_way(
    full: Archive, plan: FetchPlan, pg_wal: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Too little room is left alone; a write that fails leaves no part of a segment. What fitted is delivered."""
    with small_disk(tmp_path / "data.pgvault", 3):
        with looking(full.repository, plan, pg_wal, keep_free=MIB) as looker:
            assert not looker.take(NAMES[0])
            assert looker.waiting() == []
        with looking(full.repository, plan, pg_wal, keep_free=-(1 << 40)) as looker:
            wait_until(lambda: "No space left on device" in caplog.text)
            wait_until(lambda: len(looker.waiting()) == 2)
            assert {path.name for path in looker.directory.iterdir()} == {"lock", "socket", *looker.waiting()}
            fits = looker.waiting()[0]
            assert looker.take(fits)  # from one file system to another
            assert (pg_wal / "RECOVERYXLOG").read_bytes() == content(fits)


def test_few_large_segments_are_held() -> None:
    """256 MiB, or one."""
    assert [files_ahead(8, size * MIB) for size in (1, 16, 64, 1024)] == [8, 8, 4, 1]
    assert files_ahead(0, 16 * MIB) == 0


WORDS = ["wal", "fetch", "--plan", "p", NAMES[0], "d"]


def test_the_quick_way_is_for_segments_of_a_plan() -> None:
    """Everything else goes the whole way, unasked."""
    assert parse(WORDS) == ("p", NAMES[0], "d")
    assert parse(["wal", "fetch", "--retry-for", "1s", "--plan", "p", "--ahead", "4", NAMES[0], "d"]) is not None
    for words in (
        ["wal", "push", "x"],
        ["wal", "fetch", NAMES[0], "d"],
        ["--config", "c", *WORDS],
        [*WORDS[:2], "--config", "c", *WORDS[2:]],
        [*WORDS[:2], "--ahead", "0", *WORDS[2:]],
        [*WORDS, "--json"],
        [*WORDS[:4], "00000002.history", "d"],
        [*WORDS[:4], f"{NAMES[0]}.partial", "d"],
        [*WORDS[:4], small(10).name.lower(), "d"],
    ):
        assert parse(words) is None, words
