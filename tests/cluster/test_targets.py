from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from pgvault.errors import TargetTooEarly, TargetTooLate
from pgvault.postgres.lsn import Lsn
from pgvault.recovery.target import (
    ImmediateTarget,
    LatestTarget,
    LsnTarget,
    NameTarget,
    Target,
    TargetOptions,
    TimeTarget,
    XidTarget,
)
from tests.cluster.vaults import SECOND, Vault, make_vault
from tests.servers import NEWEST, ServerFactory

pytestmark = pytest.mark.cluster
EXCLUSIVE = TargetOptions(is_inclusive=False)


@dataclass(frozen=True, slots=True)
class Story:
    """Row 1 is in the backup, 2 to 5 came after it; each has its moment, row 3 its transaction and position."""

    before_backup: datetime
    moments: dict[int, datetime]
    commit_of_3: datetime
    xid_of_3: int
    before_4: Lsn


def tell(vault: Vault) -> Story:
    """Write the story."""
    moments = {1: vault.insert(1)}
    before_backup = vault.clock()
    vault.backup()
    moments[2] = vault.insert(2)
    xid = int(
        str(
            vault.server.value(
                "WITH one AS (INSERT INTO rows VALUES (3) RETURNING 1) "
                "SELECT pg_current_xact_id()::text::bigint FROM one"
            )
        )
    )
    moments[3] = vault.clock()
    vault.server.sql("SELECT pg_create_restore_point('before four')")
    before_4 = vault.position()
    moments[4] = vault.insert(4)
    moments[5] = vault.insert(5)
    vault.archive_all()
    return Story(before_backup, moments, moments[3], xid, before_4)


def at(moment: datetime) -> TimeTarget:
    return TimeTarget(moment, moment.isoformat(), None)


@pytest.fixture
def vault(server: ServerFactory, major: int, tmp_path: Path) -> Vault:
    return make_vault(server, major, tmp_path)


@pytest.mark.endurance
def test_every_kind_of_target_finds_exactly_its_rows(vault: Vault) -> None:
    """Rows committed up to the target are there, none after it; for time, LSN, xid, name, immediate and latest."""
    story = tell(vault)
    cases: list[tuple[Target, TargetOptions, list[int]]] = [
        (at(story.moments[3]), TargetOptions(), [1, 2, 3]),
        (at(story.moments[2]), EXCLUSIVE, [1, 2]),
        (LsnTarget(story.before_4), EXCLUSIVE, [1, 2, 3]),
        (XidTarget(story.xid_of_3), TargetOptions(), [1, 2, 3]),
        (XidTarget(story.xid_of_3), EXCLUSIVE, [1, 2]),
        (NameTarget("before four"), TargetOptions(), [1, 2, 3]),
        (ImmediateTarget(), TargetOptions(), [1]),
        (LatestTarget(), TargetOptions(), [1, 2, 3, 4, 5]),
    ]

    for target, options, expected in cases:
        restored = vault.finished(target, options)
        assert (str(target), vault.rows(restored)) == (str(target), expected)


@pytest.mark.parametrize("major", [NEWEST])
def test_what_can_not_be_reached_is_refused_before_anything_is_written(vault: Vault) -> None:
    """Before the oldest backup, and beyond what is archived and proven."""
    story = tell(vault)
    vault.server.stop()

    with pytest.raises(TargetTooEarly):
        vault.restore(at(story.before_backup))
    with pytest.raises(TargetTooLate):
        vault.restore(at(story.moments[5] + 3600 * SECOND))

    assert not list(vault.directory.glob("restored-*"))


@pytest.mark.endurance
@pytest.mark.parametrize("major", [NEWEST])
def test_the_way_leads_across_a_timeline_switch(vault: Vault) -> None:
    """A backup of timeline 1 reaches rows of timeline 2, and rows of timeline 1 before the switch."""
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

    latest = vault.finished(LatestTarget())
    earlier = vault.finished(at(moment))

    assert vault.rows(latest) == [1, 2, 3, 4]
    assert latest.finished is not None
    assert (latest.finished.parent, latest.finished.timeline) == (2, 3)
    assert vault.rows(earlier) == [1, 2]


@pytest.mark.endurance
@pytest.mark.parametrize("major", [NEWEST])
def test_an_idle_cluster_is_restored_at_once(vault: Vault) -> None:
    """No write between backup and restore: to latest, and to a moment that only idleness proves."""
    vault.insert(1)
    vault.backup()
    moment = vault.clock()
    vault.backup()  # leaves a watermark behind that moment

    latest, by_time = vault.finished(LatestTarget()), vault.finished(at(moment))

    assert vault.rows(latest) == vault.rows(by_time) == [1]
