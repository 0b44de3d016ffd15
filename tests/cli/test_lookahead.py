"""The process that looks ahead, as `wal fetch` starts it: one, apart from the server, and gone with the restore."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pgvault.cli.lookahead import POLITENESS
from pgvault.cli.restore import program
from pgvault.postgres.walname import WalSegment
from pgvault.process import Finished, attempt, start
from pgvault.wal.push import push_wal
from pgvault.wal.spool import remove_spools
from tests.archive import SYSTEM, Archive, StillClock, make_archive, make_control, make_segment, small
from tests.wal.lookers import wait_until

SEGMENTS = [small(number) for number in range(5, 25)]


class Place:
    """A data directory that recovers, its plan, and an archive with twenty segments."""

    def __init__(self, directory: Path) -> None:
        self.archive: Archive = make_archive(directory)
        self.data = directory / "data"
        self.marks = directory / "data.pgvault"
        self.plan = self.marks / "plan.json"
        for path in (self.data / "pg_wal", self.data / "global", self.marks):
            path.mkdir(parents=True)
        (self.data / "global/pg_control").write_bytes(make_control())
        for segment in SEGMENTS:
            path = self.data / "pg_wal" / segment.name
            path.write_bytes(content(segment))
            push_wal(self.archive.repository, "main", path, clock=StillClock())
            path.unlink()
        self.archive.plan(SYSTEM, segment_size=1 << 20).save(self.plan)

    def words(self, segment: WalSegment, *options: str) -> list[str]:
        """restore_command's, for one segment."""
        return [*program(), "wal", "fetch", "--plan", str(self.plan), *options, segment.name, "pg_wal/RECOVERYXLOG"]

    def fetch(self, segment: WalSegment, *options: str) -> Finished:
        """Fetch as a server does, and see that it is right."""
        done = attempt(self.words(segment, *options), timeout=60, env={}, cwd=self.data)
        assert done.status == 0, done.errors
        assert (self.data / "pg_wal/RECOVERYXLOG").read_bytes() == content(segment)
        return done

    def processes(self) -> list[int]:
        """Who looks ahead here."""
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    words = (path / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"pgvault.cli.lookahead" in words and os.fsencode(self.plan) in words:
                    found.append(int(path.name))
        return found

    def taken(self) -> list[int]:
        """How many segments each that ended says were taken."""
        log = (self.marks / "ahead.log").read_text()
        return [int(count) for count in re.findall(r"(\d+) of \d+ segments were taken", log)]


def content(segment: WalSegment) -> bytes:
    return make_segment(segment, fill=bytes([segment.number]))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    remove_spools(place.marks)
    wait_until(lambda: not place.processes())


def priorities(process: int) -> set[int]:
    """The priorities of its threads, as far as they live."""
    found = set()
    for path in Path(f"/proc/{process}/task").iterdir():
        with suppress(ProcessLookupError):
            found.add(os.getpriority(os.PRIO_PROCESS, int(path.name)))
    return found


def test_the_next_segments_lie_ready(place: Place) -> None:
    """One process is started, apart from its starter, and gives way; calls behind take from it; the last ends it."""
    place.fetch(SEGMENTS[-5])
    [process] = place.processes()
    assert os.getsid(process) == process
    assert Path(f"/proc/{process}/cwd").readlink() == Path("/")
    targets = {path.readlink() for path in Path(f"/proc/{process}/fd").iterdir() if int(path.name) <= 2}
    assert targets == {Path("/dev/null"), place.marks / "ahead.log"}

    place.fetch(SEGMENTS[-4])
    polite = priorities(process)
    for segment in SEGMENTS[-3:]:
        place.fetch(segment)

    wait_until(lambda: not place.processes())
    assert polite == {os.getpriority(os.PRIO_PROCESS, 0) + POLITENESS}
    assert place.taken() == [4]
    assert sorted(path.name for path in place.marks.iterdir()) == ["ahead.log", "plan.json"]


def test_whoever_is_killed_nothing_wrong_is_delivered(place: Place) -> None:
    """Killed while it fetches, it is done without, and replaced later; so is a fetch that is killed."""
    place.fetch(SEGMENTS[0])
    [first] = place.processes()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not place.processes())
    spool = next(place.marks.glob("ahead-*"))
    os.utime(spool / "lock", (0, 0))  # some time ago
    (spool / SEGMENTS[1].name).write_bytes(content(SEGMENTS[9]))

    place.fetch(SEGMENTS[1])
    fetching = start(place.words(SEGMENTS[2]), env={}, log=Path("/dev/null"), cwd=place.data)
    fetching.signal(signal.SIGKILL)
    fetching.wait(10)
    place.fetch(SEGMENTS[2])
    place.fetch(SEGMENTS[3])

    [second] = place.processes()
    os.kill(second, signal.SIGTERM)
    wait_until(lambda: not place.processes())
    assert not spool.exists()
    assert place.taken() == [2]


def test_it_goes_when_the_restore_is_gone(place: Place) -> None:
    """With the plan's directory removed it ends by itself and makes nothing anew."""
    place.fetch(SEGMENTS[0])
    assert place.processes()
    shutil.rmtree(place.marks, ignore_errors=True)
    wait_until(lambda: not place.processes())
    shutil.rmtree(place.marks, ignore_errors=True)
    assert not place.marks.exists()


def test_it_is_not_started_where_it_is_not_wanted(place: Place) -> None:
    """Not with --ahead 0, not for another configuration, not where hardly anything follows."""
    place.fetch(SEGMENTS[0], "--ahead", "0")
    place.fetch(SEGMENTS[0], "--config", str(place.archive.config))
    place.fetch(SEGMENTS[-2])
    assert not place.processes()
    assert list(place.marks.iterdir()) == [place.plan]


def test_the_restores_command_names_the_quick_way() -> None:
    """By this interpreter, without a look at site-packages, and by an absolute path."""
    words = shlex.join(program())
    assert re.search(r" -S -P /\S*/pgvault/cli/fetchprogram\.py$", words)
