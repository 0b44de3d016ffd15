"""A server that was killed in the middle of a segment: what its stream had stored of that comes back."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.config import CheckConfig, Objectives
from pgvault.drill.run import DrillRequest, run_drill
from pgvault.errors import TargetTooLate
from pgvault.instants import SystemClock
from pgvault.postgres.lsn import MIB
from pgvault.postgres.walname import WalSegment
from pgvault.progress import NoProgress
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import LatestTarget, LsnTarget, TimeTarget
from pgvault.repository.tails import Span, TailInfo, list_tails, put_tail, remove_tails
from pgvault.repository.walobjects import WalInfo, put_wal
from pgvault.verify.verify import Verifier
from tests.archive import copy_archive
from tests.cluster.vaults import Vault, make_vault
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import system_of, wait_until

pytestmark = pytest.mark.cluster

ROWS = (10, 11, 12, 13, 14)  # written into the segment that never got complete


@dataclass(frozen=True, slots=True)
class Disaster:
    """A cluster whose server is gone, with what pg_receivewal had of its last segment."""

    vault: Vault
    segment: WalSegment
    partial: bytes  # as pg_receivewal left it
    ends: Sequence[int]  # where in it the commit of each row ends
    moments: Sequence[datetime]  # of the server's clock, after each row

    @property
    def system(self) -> int:
        return system_of(self.vault.server.data)

    def with_tails(self, directory: Path, *ends: int) -> Vault:
        """The archive with tails up to each of `ends`, one behind the other."""
        archive = copy_archive(self.vault.archive, directory)
        vault = Vault(self.vault.factory, self.vault.server, archive, directory)
        start = 0
        for end in ends:
            self.put(vault, Span(start, self.aligned(end)))
            start = self.aligned(end)
        return vault

    def aligned(self, end: int) -> int:
        """Where a tail ends when so much was received."""
        length = len(self.partial[:end].rstrip(b"\0"))
        return length + -length % 8

    def put(self, vault: Vault, span: Span) -> None:
        piece = self.partial[span.start : span.end]
        now = datetime.now(UTC)
        info = TailInfo(self.segment, span.start, span.end, self.system, hashlib.sha256(piece).digest(), now)
        put_tail(vault.archive.repository, "main", info, content=piece)

    def complete(self, vault: Vault) -> None:
        """Let the whole segment arrive, and its tails go."""
        now = datetime.now(UTC)
        digest = hashlib.sha256(self.partial).digest()
        start = self.segment.start_lsn
        info = WalInfo(self.segment.name, self.segment.size, digest, self.system, 1, start, now, now)
        put_wal(vault.archive.repository, "main", info, content=self.partial)
        remove_tails(vault.archive.repository, "main", self.system, self.segment)


@pytest.fixture(scope="module")
def disaster(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Disaster:
    """Row 1 is in the backup, row 2 in a segment that was archived, the others only in pg_receivewal's .partial."""
    directory = tmp_path_factory.mktemp("disaster")
    vault = make_vault(servers, NEWEST, directory)
    vault.insert(1)
    vault.backup()
    received = directory / "received"
    received.mkdir()
    program = vault.server.programs.path("pg_receivewal")
    receiver = subprocess.Popen([program, "-d", vault.server.dsn, "-D", received, "--no-loop"])
    try:
        vault.insert(2)
        vault.archive_all()
        start = vault.position().value // MIB * MIB
        segment = WalSegment(1, start // MIB, MIB)
        ends, moments = [], []
        for row in ROWS:
            vault.server.sql(f"INSERT INTO rows VALUES ({row})")
            ends.append(vault.position().value - start)
            moments.append(vault.clock())
        partial = received / f"{segment.name}.partial"
        wait_until(lambda: partial.exists() and len(partial.read_bytes().rstrip(b"\0")) > ends[-1] - 8)
        vault.server.kill()
    finally:
        receiver.kill()
        receiver.wait()
    return Disaster(vault, segment, partial.read_bytes(), ends, moments)


def restored_rows(vault: Vault, target: LatestTarget | TimeTarget | LsnTarget) -> list[int]:
    return vault.rows(vault.finished(target))


def test_without_tails_the_last_segment_is_lost(disaster: Disaster) -> None:
    """What the tests below are about."""
    assert restored_rows(disaster.vault, LatestTarget()) == [1, 2]


def test_every_commit_in_the_tails_comes_back(disaster: Disaster, tmp_path: Path) -> None:
    """Restored to the latest from three tails, the first of which ends inside a record; and the archive is whole."""
    vault = disaster.with_tails(tmp_path, disaster.ends[1] - 24, disaster.ends[3], len(disaster.partial))

    assert restored_rows(vault, LatestTarget()) == [1, 2, *ROWS]
    report = Verifier(vault.archive.repository, "main", jobs=2, progress=NoProgress()).run()
    assert report.problems == []
    assert report.tail_count == 3


def test_a_time_inside_the_tails_is_reached(disaster: Disaster, tmp_path: Path) -> None:
    """Between two commits that are only in tails; behind the last of them nothing is proven."""
    vault = disaster.with_tails(tmp_path, disaster.ends[1], len(disaster.partial))

    at = disaster.moments[2]
    assert restored_rows(vault, TimeTarget(at, str(at), None)) == [1, 2, *ROWS[:3]]
    late = disaster.moments[-1]
    with pytest.raises(TargetTooLate):
        vault.finished(TimeTarget(late, str(late), None))


@pytest.mark.parametrize("missing", [8, 16, 32])
def test_a_commit_that_is_cut_does_not_come_back(disaster: Disaster, tmp_path: Path, missing: int) -> None:
    """The tails end inside the record of the last row's commit: what is before it is restored, and no error."""
    vault = disaster.with_tails(tmp_path, disaster.ends[0], disaster.ends[2] - missing)

    assert restored_rows(vault, LatestTarget()) == [1, 2, *ROWS[:2]]


def test_a_drill_reaches_the_end_of_the_tails(disaster: Disaster, tmp_path: Path) -> None:
    """Also when they end inside a record, which is no damage."""
    vault = disaster.with_tails(tmp_path, disaster.ends[2] - 16)
    request = DrillRequest(
        cluster="main",
        restore=RestoreRequest(LatestTarget()),
        checks=(CheckConfig(name="rows", query="SELECT count(*) FROM rows", threshold=1e9),),
        objectives=Objectives(),
        failure=None,
        scratch=vault.factory.directory(),
        timeout=timedelta(seconds=60),
        jobs=2,
    )
    report = run_drill(vault.archive.repository, request, clock=SystemClock(), progress=NoProgress())

    assert [check.measured for check in report.checks if check.name == "rows"] == [4]


def test_an_lsn_inside_the_tails_is_reached(disaster: Disaster, tmp_path: Path) -> None:
    """And one behind them is not."""
    vault = disaster.with_tails(tmp_path, disaster.ends[2])
    start = disaster.segment.start_lsn

    assert restored_rows(vault, LsnTarget(start + disaster.ends[0])) == [1, 2, *ROWS[:1]]
    with pytest.raises(TargetTooLate):
        vault.finished(LsnTarget(start + disaster.ends[3]))


@pytest.mark.parametrize("change", ["merged", "completed"])
def test_a_planned_restore_is_served_whatever_became_of_the_tails(
    disaster: Disaster, tmp_path: Path, change: str
) -> None:
    """Merged or completed before the restored server asks: it gets what was planned with, to the byte."""
    vault = disaster.with_tails(tmp_path, disaster.ends[0], disaster.ends[2])
    restored = vault.restore(LatestTarget())
    if change == "completed":
        disaster.complete(vault)
    else:
        longer = Span(0, disaster.aligned(len(disaster.partial)))
        disaster.put(vault, longer)
        remove_tails(vault.archive.repository, "main", disaster.system, disaster.segment, within=longer)
        assert list_tails(vault.archive.repository, "main", disaster.system, disaster.segment) == (longer,)

    assert vault.rows(restored) == [1, 2, *ROWS[:3]]
    fetched = restored.directory / "pg_wal" / disaster.segment.name
    assert not fetched.exists() or fetched.read_bytes()[: disaster.ends[2]] == disaster.partial[: disaster.ends[2]]
