"""What is read of the repository, and how little of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pgvault.monitor.heldwal import read_held
from pgvault.monitor.walfacts import RepositoryFacts
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.walname import WalSegment
from pgvault.repository import layout
from pgvault.repository.gaps import GapRecord, put_gap
from pgvault.repository.systems import System, record_system
from pgvault.repository.tails import TailInfo, put_tail
from pgvault.repository.walobjects import WalInfo, put_wal
from pgvault.repository.watermark import StoredWatermark, put_watermark
from tests.archive import AT, SYSTEM
from tests.fakes import MemoryStore
from tests.monitor.healthy import SERVER
from tests.verify.vault import LABELS, LAST, Vault, segment_of, wal_key

NOW = AT + timedelta(hours=1)
ASKED = replace(SERVER, system_identifier=SYSTEM, segment_size=MIB, at=NOW, end_lsn=Lsn(10 * MIB))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    """Backups in segments 5 and 7, and WAL from 5 to LAST."""
    vault = Vault(tmp_path_factory.mktemp("held"))
    record_system(vault.repository, "main", System(SYSTEM, 18), follows=None, now=AT)
    stored = {number: vault.put_segment(segment_of(number)) for number in range(5, LAST + 1)}
    for label, number in zip(LABELS, (5, 7), strict=True):
        vault.put_backup(label, segment=segment_of(number), wal=(stored[number],))
    return vault


@pytest.fixture
def vault(made: Vault) -> Vault:
    return made.copy()


def held(vault: Vault) -> RepositoryFacts:
    return read_held(vault.repository, "main", ASKED, now=NOW)


def put(vault: Vault, segment: WalSegment, *, at: datetime) -> None:
    """Archive a segment that was last written then."""
    content = segment.name.encode()
    digest = hashlib.sha256(content).digest()
    put_wal(
        vault.repository,
        "main",
        WalInfo(segment.name, len(content), digest, SYSTEM, segment.timeline, segment.start_lsn, at, at),
        content=content,
    )


def put_tail_of(vault: Vault, number: int, end: int, *, server_at: datetime | None = None) -> None:
    content = bytes(end - 1) + b"x"
    digest = hashlib.sha256(content).digest()
    info = TailInfo(segment_of(number), 0, end, SYSTEM, digest, AT + timedelta(minutes=2), server_at)
    put_tail(vault.repository, "main", info, content=content)


def test_a_whole_archive(vault: Vault) -> None:
    """Both backups, WAL to its end, nothing to complain of."""
    found = held(vault)

    assert [backup.label for backup in found.backups] == list(LABELS)
    assert found.end is not None
    assert (found.end.segment, found.end.end_lsn, found.end.is_tail) == (segment_of(LAST), Lsn(10 * MIB), False)
    assert (found.end.written_at, found.end.error) == (AT, None)
    assert (found.unreadable, found.lost, found.gaps, found.forks, found.unprotected) == ((), (), (), (), None)
    assert found.names == {segment_of(number).name for number in range(5, LAST + 1)}
    assert found.is_system_known


def test_a_missing_segment_ends_what_is_stored(vault: Vault) -> None:
    """What lies behind it can not be reached from the newest backup."""
    del vault.objects[wal_key(segment_of(8).name)]

    found = held(vault)

    assert found.end is not None
    assert found.end.end_lsn == Lsn(8 * MIB)
    (gap,) = found.gaps
    assert (gap.first_name, gap.segment_count, gap.is_healed, gap.is_recorded) == (segment_of(8).name, 1, False, False)


def test_a_gap_before_a_backup_is_healed_and_explained(vault: Vault) -> None:
    """The backup behind it needs nothing of it; the record says why it is there."""
    del vault.objects[wal_key(segment_of(6).name)]
    put_gap(vault.repository, "main", GapRecord(SYSTEM, 1, Lsn(6 * MIB), Lsn(7 * MIB), "the slot was lost", AT))

    found = held(vault)

    assert found.end is not None
    assert found.end.end_lsn == Lsn(10 * MIB)
    (gap,) = found.gaps
    assert (gap.is_healed, gap.is_recorded, gap.cause) == (True, True, "the slot was lost")


def test_a_backup_without_its_own_wal_is_lost(vault: Vault) -> None:
    """It is listed, and can not be restored."""
    del vault.objects[wal_key(segment_of(7).name)]

    (lost,) = held(vault).lost

    assert LABELS[1] in lost


def test_wal_without_a_backup_is_told_of(vault: Vault) -> None:
    """How far WAL goes is one thing, what it is worth another."""
    for key in [key for key in vault.objects if "/backups/" in key]:
        del vault.objects[key]

    found = held(vault)

    assert found.backups == ()
    assert found.end is not None
    assert found.end.end_lsn == Lsn(10 * MIB)


def test_an_empty_repository(tmp_path: Path) -> None:
    """Nothing is there, whether the server answers or not."""
    vault = Vault(tmp_path)

    for server in (ASKED, None):
        found = read_held(vault.repository, "main", server, now=NOW)
        assert (found.backups, found.end, found.gaps) == ((), None, ())


def test_without_a_server_the_newest_backup_tells_the_system(vault: Vault) -> None:
    """And the way that the story goes on."""
    found = read_held(vault.repository, "main", None, now=NOW)

    assert found.timeline == 1
    assert found.end is not None
    assert found.end.end_lsn == Lsn(10 * MIB)


def test_another_system_holds_nothing(vault: Vault) -> None:
    """Backups of another initdb protect nothing that this one writes."""
    found = read_held(vault.repository, "main", replace(ASKED, system_identifier=SYSTEM + 1), now=NOW)

    assert (found.backups, found.end, found.is_system_known) == ((), None, False)


def test_what_does_not_open_is_told(vault: Vault) -> None:
    """A root, a history file and the last segment: each where it belongs, and the rest is read all the same."""
    vault.put_history(2, Lsn(9 * MIB + 96))
    vault.changed(layout.manifest("main", LABELS[0]), 200)
    vault.changed(wal_key("00000002.history"), 200)
    vault.changed(wal_key(segment_of(LAST).name), 200)

    found = held(vault)

    assert [label for label in (LABELS[0], "00000002.history") if any(label in said for said in found.unreadable)] == [
        LABELS[0],
        "00000002.history",
    ]
    assert found.end is not None
    assert found.end.error is not None
    assert found.end.written_at is None
    assert [backup.label for backup in found.backups] == [LABELS[1]]


def test_a_fork_is_told(vault: Vault) -> None:
    """A timeline that leaves WAL behind is another future, and nothing protects it."""
    vault.put_history(2, Lsn(7 * MIB + 500))
    put(vault, segment_of(7, timeline=2), at=AT)

    found = held(vault)

    assert found.strays == ()
    assert len(found.forks) == 1
    assert "timeline 2" in found.forks[0]


def test_a_stray_future_is_settled_by_a_backup_since(vault: Vault) -> None:
    """What a restored copy archived does not stay red for ever once production was backed up behind it."""
    vault.put_history(2, Lsn(6 * MIB + 500))
    put(vault, segment_of(7, timeline=2), at=AT)

    found = held(vault)

    assert (found.unprotected, found.forks) == (None, ())
    assert len(found.strays) == 1
    assert "timeline 2" in found.strays[0]
    on_it = read_held(vault.repository, "main", replace(ASKED, timeline=2), now=NOW)
    assert on_it.unprotected == "timeline 2 has no backup yet"
    assert len(on_it.forks) == 1


def test_a_backup_from_before_settles_nothing(vault: Vault) -> None:
    """It may be what the failover lost: the other future is likelier to be production's."""
    vault.put_history(2, Lsn(6 * MIB + 500), at=NOW)
    put(vault, segment_of(7, timeline=2), at=NOW)

    found = held(vault)

    assert (len(found.forks), found.strays) == (1, ())


def test_the_servers_timeline_counts(vault: Vault) -> None:
    """After a promotion the way is the new timeline's; one whose history is not stored has no way."""
    vault.put_history(2, Lsn(10 * MIB))
    put(vault, segment_of(10, timeline=2), at=AT)

    found = read_held(vault.repository, "main", replace(ASKED, timeline=2), now=NOW)
    unknown = read_held(vault.repository, "main", replace(ASKED, timeline=3), now=NOW)

    assert found.end is not None
    assert found.end.segment == segment_of(10, timeline=2)
    assert (unknown.end, unknown.is_timeline_known) == (None, False)


def test_a_streamed_tail_is_the_end(vault: Vault) -> None:
    """Up to its last byte, known at the server's own time where that was noted."""
    at = AT + timedelta(minutes=1)
    put_tail_of(vault, 10, 800, server_at=at)

    found = held(vault)

    assert found.end is not None
    assert (found.end.segment, found.end.end_lsn, found.end.is_tail) == (segment_of(10), Lsn(10 * MIB + 800), True)
    assert found.end.written_at == at


class Completing(MemoryStore):
    """Completes a segment in the moment in which somebody looks for its tails."""

    def children(self, prefix: str) -> list[str]:
        if prefix.endswith(layout.TAIL):
            self.objects |= self.completed
            self.objects = {key: body for key, body in self.objects.items() if not key.startswith(prefix)}
        return list(super().children(prefix))

    completed: dict[str, bytes]


def test_a_tail_that_goes_meanwhile_is_a_whole_segment(vault: Vault) -> None:
    """Streams complete segments and take the tails away at any time: that is no damage."""
    put_tail_of(vault, 10, 800)
    listed = dict(vault.objects)
    put(vault, segment_of(10), at=AT + timedelta(minutes=9))
    vault.store = Completing()
    vault.store.objects = listed
    vault.store.completed = {
        wal_key(segment_of(10).name): vault.repository.deciding.store.get(wal_key(segment_of(10).name))
    }
    vault.repository = replace(vault.repository, copies=(replace(vault.repository.deciding, store=vault.store),))

    found = held(vault)

    assert found.end is not None
    assert (found.end.end_lsn, found.end.is_tail, found.end.error) == (Lsn(11 * MIB), False, None)
    assert found.end.written_at == AT + timedelta(minutes=9)


def test_positions_and_quiet_moments_are_those_of_the_way(vault: Vault) -> None:
    """A watermark of another timeline says nothing about this one; old ones are not even read."""

    def mark(minutes: float, number: int, *, timeline: int = 1, xid: int | None = 7, is_idle: bool = True) -> None:
        at = NOW - timedelta(minutes=minutes)
        lsn = Lsn(number * MIB + 200)
        put_watermark(vault.repository, "main", StoredWatermark(SYSTEM, at, lsn, timeline, is_idle, "check", xid))

    mark(10, 8)
    mark(9, 9, is_idle=False)
    mark(8, 9, timeline=2)
    mark(7, 9, xid=None)
    mark(300, 6)

    found = held(vault)

    at = {(known.lsn, NOW - known.at) for known in found.positions}
    assert (Lsn(8 * MIB + 200), timedelta(minutes=10)) in at
    assert (Lsn(9 * MIB + 200), timedelta(minutes=9)) in at
    assert (Lsn(9 * MIB + 200), timedelta(minutes=8)) not in at
    assert (Lsn(6 * MIB + 200), timedelta(minutes=300)) not in at
    assert [point.lsn for point in found.quiet] == [Lsn(8 * MIB + 200)]


def test_the_position_of_an_hour_ago_is_found_by_few_reads(tmp_path: Path) -> None:
    """A segment a minute for five hours: the last that was written an hour ago, by bisection."""
    vault = Vault(tmp_path)
    for number in range(300):
        put(vault, segment_of(number), at=NOW - timedelta(minutes=299.5 - number))
    before = len(vault.store.calls)

    found = held(vault)

    older = max(
        (known for known in found.positions if NOW - known.at >= timedelta(hours=1)), key=lambda known: known.at
    )
    assert older.at == NOW - timedelta(minutes=60.5)
    assert older.lsn == segment_of(239).end_lsn
    calls = [verb for verb, _ in vault.store.calls[before:]]
    assert calls.count("get_range") <= 12
    assert calls.count("get") == 0
