"""WAL that ends anywhere: what stands whole before the cut is read, the rest is no damage."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgvault.errors import ObjectCorrupt
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.programs import Programs
from pgvault.postgres.waldump import record_starts, transactions
from pgvault.postgres.walname import WalSegment
from tests.servers import NEWEST, Server, ServerFactory

pytestmark = pytest.mark.cluster

PAGE = 8192
SEED = 20261121


@dataclass(frozen=True, slots=True)
class Written:
    """Two segments of a server, the second under way, and where every record of them begins."""

    programs: Programs
    directory: Path
    names: tuple[str, str]
    last: bytes  # the second, zeros behind what was written
    end: int  # of what was written in it
    starts: Sequence[Lsn]  # of all records, and where the next one would begin

    @property
    def start_lsn(self) -> Lsn:
        return WalSegment.parse(self.names[1], MIB).start_lsn

    def cut(self, at: int, *, names: Sequence[str] | None = None) -> list[Lsn]:
        """Keep the second segment's bytes up to `at`; return the records that are found in the run."""
        (self.directory / self.names[1]).write_bytes(self.last[:at] + bytes(MIB - at))
        return record_starts(self.programs, self.directory, names or self.names, cut_at=self.start_lsn + at)


@pytest.fixture(scope="module")
def source(templates: Path) -> Iterator[Server]:
    """A server for all of them."""
    factory = ServerFactory(templates)
    try:
        yield factory(NEWEST, wal_segsize_mib=1)
    finally:
        factory.clear()


@pytest.fixture
def written(source: Server, tmp_path: Path) -> Written:
    """Small records and large ones, over page borders and the segments' border."""
    one = source
    one.sql("SELECT pg_switch_wal()")
    first = str(one.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
    for size in (*range(0, 40_000, 1_500), 100_000, 700_000):  # random bytes stay long, whatever compresses WAL
        one.sql(f"SELECT pg_logical_emit_message(true, 'test', repeat('x', {size}))")
    second = WalSegment.parse(first, MIB).next().name
    flushed = Lsn.parse(str(one.value("SELECT pg_current_wal_flush_lsn()")))
    end = flushed - WalSegment.parse(second, MIB).start_lsn
    assert 3 * PAGE < end < MIB
    (tmp_path / first).write_bytes((one.data / "pg_wal" / first).read_bytes())
    last = (one.data / "pg_wal" / second).read_bytes()[:end] + bytes(MIB - end)
    (tmp_path / second).write_bytes(last)
    starts = record_starts(one.programs, tmp_path, (first, second))
    return Written(one.programs, tmp_path, (first, second), last, end, [*starts, flushed])


def test_what_is_whole_before_a_cut_is_read(written: Written) -> None:
    """Wherever what was received ends, every record that ends before it is found, and nothing that is none."""
    choose = random.Random(SEED)
    borders = [page + step for page in range(0, written.end, PAGE) for step in (-8, 0, 8, 16, 24, 32)]
    places = {place for place in borders if 48 <= place <= written.end}
    cuts = sorted({*choose.sample(sorted(places), 14), *(choose.randrange(6, written.end // 8) * 8 for _ in range(16))})
    refused = 0

    for cut in cuts:
        at = written.start_lsn + cut
        found = written.cut(cut)
        assert found == written.starts[: len(found)], f"cut at {cut}"
        # A record may end in zeros, so one more may be whole than what lies before the cut.
        ends = [start if (start.value - 24) % PAGE else start + -24 for start in written.starts[1:]]
        assert len(found) >= sum(end <= at for end in ends), f"cut at {cut}"
        try:
            record_starts(written.programs, written.directory, written.names)
        except ObjectCorrupt:
            refused += 1
    assert refused > 3, "no cut was one that pg_waldump complains of: this test tests nothing"


def test_a_segment_that_holds_a_piece_of_one_record_holds_none(written: Written) -> None:
    """The rest of a long record, or its beginning, at the start of the run."""
    assert written.cut(2 * PAGE, names=written.names[1:]) == []
    assert (
        transactions(written.programs, written.directory, written.names[1:], cut_at=written.start_lsn + 2 * PAGE) == []
    )


def test_damage_before_the_cut_stays_damage(written: Written) -> None:
    """Only the record that goes on behind the cut is forgiven."""
    first = written.directory / written.names[0]
    content = bytearray(first.read_bytes())
    record = written.starts[len(written.starts) // 2]
    content[record.value % MIB + 30] ^= 0x10
    first.write_bytes(content)

    with pytest.raises(ObjectCorrupt, match="can not be decoded"):
        written.cut(written.end)
