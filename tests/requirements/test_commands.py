from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.config import ClusterConfig
from pgvault.errors import ServerUnreachable, TargetTooEarly
from pgvault.instants import parse_duration
from pgvault.recovery.target import TargetWords, TimeTarget, parse_target
from tests.archive import Archive, make_archive, pgvault
from tests.cluster.drills import make_stage
from tests.cluster.hosts import README
from tests.servers import NEWEST, ServerFactory


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty repository and the smallest configuration; its server is nowhere."""
    archive = make_archive(tmp_path)
    config = archive.config.read_text().replace("dsn: ''", f"dsn: 'host={tmp_path} dbname=postgres'")
    archive.config.write_text(config)
    return archive


def test_pgvault_backup_needs_no_options(archive: Archive) -> None:
    """`pgvault backup`: what stands in a schedule today is understood; here only the server is missing."""
    finished = pgvault("backup", cwd=archive.config.parent)

    assert finished.status == ServerUnreachable.exit_code
    assert finished.errors.startswith("error: ")


def test_pgvault_restore_takes_a_time_as_people_type_it(archive: Archive) -> None:
    """`pgvault restore --to 2025-10-25T10:00`: understood, and answered by what the repository holds."""
    finished = pgvault("restore", "--to", "2025-10-25T10:00", cwd=archive.config.parent)

    assert finished.status == TargetTooEarly.exit_code
    assert "has no backup" in finished.errors


@pytest.mark.parametrize(
    ("zone", "hour"), [("UTC", 10), ("Europe/Berlin", 8), ("Asia/Kolkata", 4), ("America/New_York", 14)]
)
def test_that_time_is_an_instant_in_the_configured_zone(zone: str, hour: int) -> None:
    """Never in the zone of whatever machine one happens to sit at."""
    target = parse_target(TargetWords(to="2025-10-25T10:00"), zone=zone, now=datetime(2026, 1, 1, tzinfo=UTC))

    assert isinstance(target, TimeTarget)
    assert target.at == datetime(2025, 10, 25, hour, 30 if zone == "Asia/Kolkata" else 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rto", "rpo"),
    [("1h", "15m"), ("4h", "1h"), ("8h", "24h"), ("24h", "48h"), ("1 h", "15 min"), ("4 h", "15 min")],
)
def test_every_promised_figure_can_be_an_objective(rto: str, rpo: str) -> None:
    """The table of data classes, as it is written."""
    objectives = ClusterConfig.model_validate({"dsn": "", "objectives": {"rpo": rpo, "rto": rto}}).objectives

    assert (objectives.rto, objectives.rpo) == (parse_duration(rto), parse_duration(rpo))
    assert objectives.rpo is not None
    assert objectives.rpo >= timedelta(minutes=15)


def test_backups_and_a_weekly_drill_have_a_schedule() -> None:
    """Cron's own words, in one place."""
    cluster = ClusterConfig.model_validate({"dsn": "", "schedule": {"backup": "0 1 * * *", "drill": "0 5 * * 6"}})

    assert (cluster.schedule.backup, cluster.schedule.drill) == ("0 1 * * *", "0 5 * * 6")


def test_recovery_is_a_documented_procedure() -> None:
    """What to type when it has happened is in the README, also for the day when only the key is left."""
    for words in ("## Restoring", "pgvault restore --to 2025-10-25T10:00", "--key file:escrow.txt", "pgvault drill"):
        assert words in README


@pytest.mark.cluster
def test_every_backup_is_encrypted_and_its_integrity_is_checked(server: ServerFactory, tmp_path: Path) -> None:
    """What is in the database is in no stored byte; what is stored is read back whole, and damage is found."""
    stage = make_stage(server, NEWEST, tmp_path)
    canary = "canary-4711-in-the-coal-mine"
    stage.server.sql(f"CREATE TABLE c AS SELECT '{canary}'::text AS c")
    manifest = stage.backup()
    objects = [path for path in stage.archive.root.rglob("*") if path.is_file()]

    whole = pgvault("--config", stage.archive.config, "verify")
    assert whole.status == 0, whole.errors
    assert len(objects) > 5
    assert [path for path in objects if canary.encode() in path.read_bytes()] == []

    path = stage.archive.root / manifest.packs[0].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    assert pgvault("--config", stage.archive.config, "verify").status not in (0, 1, 2)
