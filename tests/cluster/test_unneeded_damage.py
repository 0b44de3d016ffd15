"""Objects that a target does not need may be damaged: what can be reached is reached all the same."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pgvault.errors import ObjectCorrupt
from pgvault.recovery.target import ImmediateTarget, LatestTarget, LsnTarget, Target, TargetOptions, TimeTarget
from pgvault.wal.fetch import STAND_IN
from tests.cluster.vaults import Vault, make_vault
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import system_of, wait_archived

pytestmark = [pytest.mark.cluster, pytest.mark.parametrize("major", [NEWEST])]


@pytest.fixture
def vault(server: ServerFactory, major: int, tmp_path: Path) -> Vault:
    return make_vault(server, major, tmp_path)


def at(moment: datetime) -> TimeTarget:
    return TimeTarget(moment, moment.isoformat(), None)


def flip(vault: Vault, name: str) -> None:
    """Change one bit of an archived WAL file."""
    path = vault.archive.object_path(name, system_of(vault.server.data))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.endurance
def test_a_damaged_history_stands_in_the_way_of_its_own_timeline_only(vault: Vault) -> None:
    """Everything on timeline 1 is reached, and the promoted server does not take number 2 a second time."""
    vault.insert(1)
    vault.backup()
    moment = vault.insert(2)
    vault.archive_all()
    vault.insert(3)
    vault.archive_all()
    vault.server.stop()
    (vault.server.data / "standby.signal").touch()
    vault.server.start()
    vault.server.sql("SELECT pg_promote()")
    vault.server.instance.wait_ready(60)
    vault.insert(4)
    vault.archive_all()
    wait_archived(vault.archive, system_of(vault.server.data), "00000002.history")
    flip(vault, "00000002.history")

    cases: list[tuple[Target, TargetOptions, list[int]]] = [
        (at(moment), TargetOptions(), [1, 2]),
        (ImmediateTarget(), TargetOptions(), [1]),
        (LatestTarget(), TargetOptions(timeline=1), [1, 2, 3]),
    ]
    for target, options, expected in cases:
        restored = vault.finished(target, options)
        assert restored.finished is not None
        assert (restored.finished.parent, restored.finished.timeline) == (1, 3)
        assert any("00000002.history can not be read" in note for note in restored.notes)
        left = [path.read_bytes() for path in (restored.directory / "pg_wal").iterdir() if path.is_file()]
        assert STAND_IN not in left
        assert vault.rows(restored) == expected
    for options in (TargetOptions(), TargetOptions(timeline=2)):
        with pytest.raises(ObjectCorrupt, match=r"00000002\.history"):
            vault.restore(LatestTarget(), options)


@pytest.mark.endurance
def test_a_damaged_last_segment_stands_in_the_way_of_its_own_records_only(vault: Vault) -> None:
    """What lies before it is reached, and the plan says that it does not know how far one could go."""
    vault.insert(1)
    vault.backup()
    moment = vault.insert(2)
    vault.insert(3)
    position = vault.position()
    vault.archive_all()
    last = vault.insert(4)
    vault.archive_all()
    newest = max(name for name in vault.archive.names(system_of(vault.server.data)) if len(name) == 24)
    flip(vault, newest)

    cases: list[tuple[Target, list[int]]] = [
        (at(moment), [1, 2]),
        (ImmediateTarget(), [1]),
        (LsnTarget(position), [1, 2, 3]),
    ]
    for target, expected in cases:
        restored = vault.finished(target)
        assert restored.prepared.plan.furthest_lsn is None
        assert any("how far the WAL reaches is not known" in note for note in restored.notes)
        assert vault.rows(restored) == expected
    for beyond in (at(last - timedelta(microseconds=1)), LatestTarget()):
        with pytest.raises(ObjectCorrupt, match=newest):
            vault.restore(beyond)


@pytest.mark.endurance
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.endurance)], ids=["some", "every"])
def test_an_lsn_is_reached_across_many_segments_and_inside_a_long_record(vault: Vault, every: bool) -> None:
    """Exclusive far behind the backup; inside a message of three segments, on either side; latest is such a message."""
    vault.insert(1)
    vault.backup()
    for number in (2, 3, 4):
        vault.insert(number)
        vault.archive_all()
    behind = vault.position()
    vault.server.sql("SELECT pg_logical_emit_message(true, 'p', repeat('x', 2 << 20))")
    inside = behind + (1 << 20)
    vault.insert(5)
    vault.archive_all()
    before_message = vault.position()
    vault.server.sql("SELECT pg_logical_emit_message(false, 'p', repeat('x', 2 << 20))")
    vault.archive_all()

    inclusive, exclusive = TargetOptions(), TargetOptions(is_inclusive=False)
    cases = [(behind, exclusive), (inside, inclusive), (before_message, exclusive)]
    if every:
        cases += [(behind, inclusive), (inside, exclusive), (before_message, inclusive)]
    for lsn, options in cases:
        expected = [1, 2, 3, 4] if lsn != before_message else [1, 2, 3, 4, 5]
        restored = vault.finished(LsnTarget(lsn), options)
        assert (lsn, options.is_inclusive, vault.rows(restored)) == (lsn, options.is_inclusive, expected)
    assert vault.rows(vault.finished(LatestTarget())) == [1, 2, 3, 4, 5]
