"""What leaves the spool: in which order things are removed, and what an outage or a refusal does to the rest."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from pgvault.errors import ObjectCorrupt, StoreUnreachable, WalMismatch
from pgvault.postgres.lsn import MIB
from pgvault.postgres.walname import WalSegment
from pgvault.wal.streaming.archive import Ranges
from pgvault.wal.streaming.outage import Backoff, Condition, Crew
from pgvault.wal.streaming.spooldir import SpoolDirectory
from pgvault.wal.streaming.uploads import TailKeeper, Uploads
from tests.archive import SYSTEM, small
from tests.wal.servers import wait_until

logger = logging.getLogger("pgvault.test")


class Archived:
    """An archive that can be told to be away, or to refuse a name."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.calls = 0
        self.away = False
        self.refused: set[str] = set()

    def push(self, path: Path) -> None:
        self.calls += 1
        if self.away:
            raise StoreUnreachable(f"call {self.calls} got no answer")
        if path.name in self.refused:
            raise WalMismatch(f"{path.name} is archived already, with other content")
        self.names.append(path.name)


class Tails:
    """Tail storage that remembers what it was asked."""

    def __init__(self) -> None:
        self.stored: list[WalSegment] = []
        self.forgotten: list[WalSegment] = []
        self.refused: set[WalSegment] = set()
        self.away = False

    def store(self, partial: Path, segment: WalSegment) -> WalSegment:
        if self.away:
            raise StoreUnreachable("no answer")
        if segment in self.refused:
            raise ObjectCorrupt(f"{partial.name} is none")
        self.stored.append(segment)
        return segment

    def forget(self, segment: WalSegment) -> None:
        if self.away:
            raise StoreUnreachable("no answer")
        self.forgotten.append(segment)


@pytest.fixture
def spool(tmp_path: Path) -> SpoolDirectory:
    return SpoolDirectory(tmp_path, SYSTEM, segment_size=MIB)


def put(spool: SpoolDirectory, *segments: WalSegment, suffix: str = "", size: int = MIB) -> None:
    for segment in segments:
        (spool.path / (segment.name + suffix)).write_bytes(b"w" * size)


def running(
    spool: SpoolDirectory, archived: Archived, then: Callable[[WalSegment], None]
) -> tuple[Crew, Event, Uploads]:
    crew, stop = Crew(), Event()
    made = Uploads(spool, archived.push, jobs=3, store=Condition(logger, "the repository"), when_durable=then)
    made.start(crew, stop)
    return crew, stop, made


def test_uploads_what_is_finished(spool: SpoolDirectory) -> None:
    """Histories and segments, those taken aside too, are archived once; stopping waits for what has come meanwhile."""
    archived, durable = Archived(), list[WalSegment]()
    put(spool, small(3), small(4))
    put(spool, small(5), suffix=".partial")
    (spool.path / "00000002.history").write_text("1\t0/400000\tpromoted\n")
    (spool.aside / small(9).name).write_bytes(b"w" * MIB)

    crew, stop, _ = running(spool, archived, durable.append)
    wait_until(lambda: len(archived.names) == 4)
    put(spool, small(5))
    stop.set()
    assert crew.join(seconds=5)

    expected = [small(number).name for number in (3, 4, 5, 9)]
    assert sorted(archived.names) == sorted(["00000002.history", *expected])
    assert sorted(durable) == [small(3), small(4), small(5), small(9)]
    assert spool.listing().segments == (small(5),)


def test_outage(spool: SpoolDirectory, caplog: pytest.LogCaptureFixture) -> None:
    """While the store is away nothing is removed, few attempts are made, and it is said once; then all goes on."""
    archived = Archived()
    archived.away = True
    put(spool, *(small(number) for number in range(3, 43)))
    crew, stop, made = running(spool, archived, lambda _segment: None)

    time.sleep(0.5)
    assert archived.calls <= 6 + 1
    assert len(spool.listing().segments) == 40
    archived.away = False
    wait_until(lambda: len(archived.names) == 40)
    stop.set()
    assert crew.join(seconds=5)

    assert made.waiting() == []
    said = [record.message for record in caplog.records if "the repository" in record.message]
    assert len([message for message in said if "got no answer" in message]) == 1


def test_refused_file_stands_in_nobodys_way(spool: SpoolDirectory, caplog: pytest.LogCaptureFixture) -> None:
    """Other content under an archived name is an error, said once; the file stays and the others are archived."""
    archived = Archived()
    archived.refused = {small(3).name}
    put(spool, *(small(number) for number in (3, 4, 5)))

    crew, stop, made = running(spool, archived, lambda _segment: None)
    wait_until(lambda: len(archived.names) == 2)
    stop.set()
    assert crew.join(seconds=5)

    assert made.waiting() == [spool.path / small(3).name]
    assert spool.listing().segments == (small(3), small(5))
    assert [r.levelname for r in caplog.records if "other content" in r.message] == ["ERROR"]


def keeper(spool: SpoolDirectory, tails: Tails) -> TailKeeper:
    return TailKeeper(spool, tails, 1.0, Condition(logger, "the repository"))


def test_tails_of_what_is_unfinished(spool: SpoolDirectory) -> None:
    """The newest .partial is stored and stays; one of a timeline that was left goes, stored; an empty one waits."""
    tails = Tails()
    put(spool, small(5), small(5, 2), suffix=".partial")
    (spool.aside / f"{small(8).name}.partial").write_bytes(b"w" * MIB)
    put(spool, small(6, 2), suffix=".partial", size=0)

    keeper(spool, tails).round()

    assert tails.stored == [small(8), small(5), small(5, 2)]
    assert spool.listing().partials == (small(6, 2),)
    assert spool.listing_aside().partials == ()


def test_tails_go_with_their_segment(spool: SpoolDirectory) -> None:
    """Only segments that may have tails are asked for, and again after an outage."""
    tails = Tails()
    made = keeper(spool, tails)
    put(spool, small(5), suffix=".partial")
    made.round()
    made.finished(small(4))
    made.finished(small(5))
    tails.away = True
    made.round()
    tails.away = False
    made.round()
    made.round()

    assert tails.forgotten == [small(5)]


def test_tails_of_an_earlier_run(spool: SpoolDirectory) -> None:
    """A segment whose tails an earlier run has left is named by whoever knows."""
    tails = Tails()
    made = keeper(spool, tails)
    made.expect(small(4))
    made.finished(small(4))
    made.round()

    assert tails.forgotten == [small(4)]


def test_refused_tail_stands_in_nobodys_way(spool: SpoolDirectory, caplog: pytest.LogCaptureFixture) -> None:
    """A .partial that is none is said once and kept; the others are stored."""
    tails = Tails()
    tails.refused = {small(5)}
    put(spool, small(5), small(6), suffix=".partial")
    made = keeper(spool, tails)
    made.round()
    made.round()

    assert tails.stored == [small(6), small(6)]
    assert spool.listing().partials == (small(5), small(6))
    assert [r.levelname for r in caplog.records if "is none" in r.message] == ["ERROR"]


def test_a_tail_tells_that_the_store_answers(spool: SpoolDirectory, caplog: pytest.LogCaptureFixture) -> None:
    """An idle server may finish no segment for hours, and the log would go on saying that the store is away."""
    caplog.set_level(logging.INFO)
    tails = Tails()
    put(spool, small(5), suffix=".partial")
    made = keeper(spool, tails)
    tails.away = True
    made.round()
    tails.away = False
    made.round()

    assert "no answer" in caplog.text
    assert not made.store.is_bad
    assert [record.message for record in caplog.records][-1] == "the repository: answers again"


def test_crew_reports_a_thread_that_died() -> None:
    """What nobody thought of ends the supervisor, instead of a thread in silence."""
    crew = Crew()
    crew.start(lambda: {"there": 1}["missing"], name="test")
    assert crew.join(seconds=5)

    with pytest.raises(KeyError, match="missing"):
        crew.check()


def test_backoff() -> None:
    """Waits double up to a bound, and begin anew after a success."""
    backoff = Backoff(first=1, longest=5)

    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next() == 1


def test_ranges() -> None:
    """A set of segments in any order, contiguous ones as one range."""
    ranges = Ranges()
    for number in (5, 3, 9, 4, 4, 3):
        ranges.add(small(number))
    ranges.add(small(4, 2))

    assert set(ranges) == {small(3), small(4), small(5), small(9), small(4, 2)}
    assert len(ranges) == 3
