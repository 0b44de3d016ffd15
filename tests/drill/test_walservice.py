from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgvault.drill.scratch import Scratch, make_scratch, remove_scratch
from pgvault.drill.walservice import WalService
from pgvault.errors import WAL_ABSENT_EXIT, DrillNotRun, ObjectCorrupt, ObjectMissing, PgvaultError, UsageError
from pgvault.instants import SystemClock
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.waldump import tablespace_paths
from pgvault.postgres.walname import WalSegment
from pgvault.postgres.walrange import make_ranges
from pgvault.process import attempt
from pgvault.wal.fetchplan import FetchPlan
from pgvault.wal.push import push_wal
from tests.archive import Archive, make_archive
from tests.servers import NEWEST, Server, ServerFactory
from tests.wal.servers import system_of

pytestmark = pytest.mark.cluster


@dataclass(frozen=True, slots=True)
class Wal:
    """Segments of 1 MiB in pg_wal of a server: plain ones, one that makes a tablespace, one that begins to."""

    server: Server
    plain: tuple[WalSegment, WalSegment, WalSegment]
    makes: WalSegment
    begins: WalSegment  # the record ends in the next one
    place: Path  # where the tablespace would be


@pytest.fixture(scope="module")
def wal(templates: Path) -> Iterator[Wal]:
    """One server for all."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        yield make_wal(factory(NEWEST, settings={"wal_keep_size": "200MB"}, wal_segsize_mib=1), factory.directory())
    finally:
        factory.clear()


@dataclass(frozen=True, slots=True)
class Service:
    """A service under way, and a client of it."""

    service: WalService
    scratch: Scratch
    archive: Archive
    system_identifier: int

    def ask(self, name: str) -> int:
        """What the client ends with; what it fetched is in `destination`."""
        words: list[str | Path] = [*self.service.client_words, name, self.destination]
        return attempt(words, timeout=60, env={"PATH": os.environ["PATH"]}).status

    @property
    def destination(self) -> Path:
        return self.scratch.root / "RECOVERYXLOG"

    @property
    def failure(self) -> PgvaultError | None:
        return self.service.failure

    def object(self, segment: WalSegment) -> Path:
        return self.archive.object_path(segment.name, self.system_identifier)

    def spooled(self) -> list[str]:
        """What lies about in the service's directories and is not the next segment."""
        return [path.name for path in (self.scratch.sockets / "spool").iterdir() if not path.name.startswith("answer.")]


@pytest.fixture
def service(wal: Wal, server: ServerFactory, tmp_path: Path) -> Iterator[Service]:
    """Serves the plain segments and those with tablespaces."""
    archive = make_archive(tmp_path)
    segments = [*wal.plain, wal.makes, wal.begins, wal.begins.next()]
    for segment in segments:
        push_wal(archive.repository, "main", wal.server.data / "pg_wal" / segment.name, clock=SystemClock())
    scratch = make_scratch(server.directory())
    scratch.data.mkdir(mode=0o700)
    plan = FetchPlan("r", "main", system_of(wal.server.data), MIB, make_ranges(segments), ("00000007.history",), {})
    with WalService(archive.repository, plan, scratch, programs=wal.server.programs) as service:
        yield Service(service, scratch, archive, plan.system_identifier)
    remove_scratch(scratch)


def test_a_segment_is_delivered_as_it_was(wal: Wal, service: Service) -> None:
    """Its bytes arrive where PostgreSQL wants them, and nothing stays behind."""
    for segment in wal.plain:
        assert service.ask(segment.name) == 0
        assert service.destination.read_bytes() == (wal.server.data / "pg_wal" / segment.name).read_bytes()

    assert service.failure is None
    assert service.spooled() == []
    assert service.service.served_bytes == 3 * MIB


def test_the_next_segment_is_fetched_once(wal: Wal, service: Service) -> None:
    """It was looked at together with the one before: nobody pays for it twice, and it may be asked for again."""
    first, second, _ = wal.plain
    assert service.ask(first.name) == 0
    service.object(second).rename(service.archive.root / "away")

    assert service.ask(second.name) == 0
    assert service.destination.read_bytes() == (wal.server.data / "pg_wal" / second.name).read_bytes()
    (service.archive.root / "away").rename(service.object(second))
    assert service.ask(second.name) == 0
    assert service.ask(first.name) == 0


@pytest.mark.parametrize(
    "name",
    [
        "0000000100000000000000FE",
        "000000020000000000000001",
        "00000002.history",
        "000000010000000000000001.partial",
        "000000010000000000000001.00000028.backup",
    ],
)
def test_what_the_plan_does_not_list_is_absent(service: Service, name: str) -> None:
    """Here the WAL ends, and that is no error."""
    assert service.ask(name) == 77

    assert service.failure is None
    assert not service.destination.exists()


@pytest.mark.parametrize("name", ["00000007.history", "a segment"])
def test_what_the_plan_lists_is_never_absent(wal: Wal, service: Service, name: str) -> None:
    """A listed file that is gone stops recovery, and the drill learns why."""
    if name == "a segment":
        name = wal.plain[0].name
        service.object(wal.plain[0]).unlink()

    assert service.ask(name) == 1

    assert isinstance(service.failure, ObjectMissing)
    assert not service.destination.exists()


def test_a_damaged_segment_is_not_delivered(wal: Wal, service: Service) -> None:
    """One flipped bit in the repository, and the first failure is the one that is told."""
    path = service.object(wal.plain[0])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    assert service.ask(wal.plain[0].name) == 1
    assert service.ask("nonsense") == 1

    assert isinstance(service.failure, ObjectCorrupt)
    assert service.spooled() == []


@pytest.mark.parametrize("name", ["", "nonsense", "over", "0" * 24, "0000000100000000000000zz", "x" * 200, "ä"])
def test_nonsense_is_refused(service: Service, name: str) -> None:
    """It is an error, which stops recovery, and leaves nothing."""
    before = everything(service)

    assert service.ask(name) == 1

    assert isinstance(service.failure, UsageError)
    assert everything(service) == before


@pytest.mark.parametrize("name", ["../../marker", "/etc/passwd", "x" * 500])
def test_what_is_no_name_is_not_asked(service: Service, name: str) -> None:
    """No name leads out of the spool: to make such a question is an error already."""
    before = everything(service)

    assert service.ask(name) not in (0, WAL_ABSENT_EXIT)

    assert everything(service) == before


@pytest.mark.parametrize("name", [b"ask.\xff\xfe", b"ask.", b"ask.with a blank"])
def test_odd_questions_are_survived(wal: Wal, service: Service, name: bytes) -> None:
    """Whatever is asked, the next one is answered."""
    Path(os.fsdecode(os.fsencode(service.scratch.sockets / "spool") + b"/" + name)).touch()

    assert service.ask(wal.plain[0].name) == 0


def test_a_segment_that_makes_a_tablespace_is_refused(wal: Wal, service: Service) -> None:
    """Replaying it would write at that path, on this host."""
    assert service.ask(wal.makes.name) == 1

    assert isinstance(service.failure, DrillNotRun)
    assert str(wal.place) in str(service.failure)
    assert service.failure.hint is not None
    assert not service.destination.exists()


def test_so_is_one_in_which_that_only_begins(wal: Wal, service: Service) -> None:
    """The record goes on in the next segment: alone, neither of the two shows it."""
    pg_wal, names = wal.server.data / "pg_wal", [wal.begins.name, wal.begins.next().name]
    assert [tablespace_paths(wal.server.programs, pg_wal, [name]) for name in names] == [[], []]

    assert service.ask(wal.begins.name) == 1

    assert isinstance(service.failure, DrillNotRun)
    assert str(wal.place) in str(service.failure)


def everything(service: Service) -> list[Path]:
    """All files of the scratch; answers are taken away by the next question."""
    return sorted(path for path in service.scratch.root.rglob("*") if not path.name.startswith("answer."))


def make_wal(server: Server, directory: Path) -> Wal:
    """Write the story."""
    place = directory / ("a" * 200) / ("b" * 200) / ("c" * 200) / ("d" * 200)
    place.mkdir(parents=True)
    plain = (finish(server), finish(server), finish(server))
    make_tablespace(server, place)
    makes = finish(server)
    # Its record has some 850 bytes and begins 260 bytes behind the first of its transaction (tried on 18).
    for _ in range(5):
        make_tablespace(server, place)  # the pages that this changes have had their images now
        finish(server)
        approach(server, 650)
        begins = WalSegment(1, position(server).value // MIB, MIB)
        make_tablespace(server, place)
        finish(server)
        if is_over_the_border(server, begins):
            return Wal(server, plain, makes, begins, place)
    raise AssertionError("no record came to lie over a border")


def make_tablespace(server: Server, place: Path) -> None:
    server.sql(f"CREATE TABLESPACE t LOCATION '{place}'")
    server.sql("DROP TABLESPACE t")


def position(server: Server) -> Lsn:
    return Lsn.parse(str(server.value("SELECT pg_current_wal_insert_lsn()")))


def finish(server: Server) -> WalSegment:
    """Finish the segment that is being written; return it."""
    server.sql("SELECT pg_logical_emit_message(false, 'test', 'something')")
    segment = WalSegment(1, position(server).value // MIB, MIB)
    server.sql("SELECT pg_switch_wal()")
    return segment


def approach(server: Server, left_bytes: int) -> None:
    """Write until so many bytes are left in the segment, or a few less."""
    while (too_many := MIB - position(server).value % MIB - left_bytes) > 60:
        server.sql(f"SELECT pg_logical_emit_message(false, 'test', repeat('x', {max(0, too_many * 99 // 100 - 60)}))")


def is_over_the_border(server: Server, segment: WalSegment) -> bool:
    pg_wal, both = server.data / "pg_wal", [segment.name, segment.next().name]
    alone = [path for name in both for path in tablespace_paths(server.programs, pg_wal, [name])]
    return not alone and bool(tablespace_paths(server.programs, pg_wal, both))
