"""What nobody notices unless somebody looks: `status` is red each time, and says why in one sentence."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgvault.errors import ObjectiveMissed
from pgvault.postgres.control import read_control
from pgvault.process import attempt
from pgvault.repository import layout
from pgvault.repository.catalog import commit_manifest
from pgvault.repository.manifest import Manifest
from pgvault.schedule import CronSchedule
from tests.archive import ROOT, archive_command
from tests.archive import pgvault as program
from tests.cli.here import pgvault, pgvault_json
from tests.cluster.places import Place, make_place, set_archive_command
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

EVERY_TEN = CronSchedule("*/10 * * * *")
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Site:
    """A server with one backup, which has a second copy for whoever asks for it."""

    place: Place
    backup: Manifest
    away: Path

    def configure(self, more: str = "", *, has_away: bool = False) -> Path:
        """Write a configuration with something more for the cluster; returns its path."""
        path = self.place.archive.config.with_name("red.yaml")
        copies = f"primary: {{url: '{self.place.archive.root.as_uri()}'}}"
        copies += f", away: {{url: '{self.away.as_uri()}'}}" if has_away else ""
        path.write_text(
            f"repository:\n  key: file:{self.place.archive.key}\n  copies: {{{copies}}}\n"
            f'clusters:\n  main: {{dsn: "{self.place.server.dsn}"{more}}}\n'
        )
        return path

    def reason(self, more: str = "", *, has_away: bool = False) -> str:
        """The sentence that a red status ends with, and begins its screen with."""
        finished = pgvault("--config", self.configure(more, has_away=has_away), "status")
        assert finished.status == ObjectiveMissed.exit_code, finished
        headline, sentence = finished.output.splitlines()[0], finished.errors.splitlines()[-1]
        said = headline.removeprefix("main: ").replace(" - ", ": ", 1)
        assert sentence == f"error: cluster 'main' is {said}"
        return said

    def findings(self, more: str = "", *, has_away: bool = False) -> dict[str, dict[str, Any]]:
        """What a green status found, the last of each name."""
        (cluster,) = pgvault_json("--config", self.configure(more, has_away=has_away), "status")["clusters"]
        return {each["name"]: each for each in cluster["findings"]}

    def moved(self, began_at: datetime) -> Manifest:
        """Let the backup have begun then, as far as its root says."""
        label = f"{began_at:%Y%m%dT%H%M%SZ}-{self.backup.label[-4:]}"
        moved = replace(self.backup, label=label, started_at=began_at, stopped_at=began_at + timedelta(seconds=20))
        commit_manifest(self.place.archive.repository, moved)
        (self.place.archive.root / layout.manifest("main", self.backup.label)).unlink(missing_ok=True)
        return moved

    def remove(self, manifest: Manifest) -> None:
        shutil.rmtree(self.place.archive.root / layout.backup("main", manifest.label))

    def wait_archived(self) -> None:
        """Wait until nothing is waiting for the archiver: it would put that wherever it can meanwhile."""
        ready = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
        wait_until(lambda: self.place.server.value(ready) == 0)

    def put_back(self) -> None:
        commit_manifest(self.place.archive.repository, self.backup)


@pytest.fixture(scope="module")
def site(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Site:
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    place = make_place(servers, tmp_path_factory.mktemp("red"), NEWEST)
    place.server.sql("ALTER SYSTEM SET archive_timeout = '10min'")  # so that no segment ends by itself meanwhile
    place.server.sql("SELECT pg_reload_conf()")
    made = Site(place, place.back_up(), place.archive.root.with_name("away"))
    for command in ("init", "copy"):
        begun = pgvault("--config", made.configure(has_away=True), command)
        assert begun.status == 0, begun
    assert made.findings(has_away=True)["copy_backup"]["figures"]["behind_seconds"] == 0
    return made


@pytest.fixture
def aged(site: Site) -> Iterator[Site]:
    """Its backup as it was, whatever the test made of it."""
    yield site
    site.put_back()


def test_a_bucket_emptied_behind_our_back(site: Site) -> None:
    """The server is content, the other copy is whole, and `list` would show every backup: from the other copy."""
    root = site.place.archive.root
    site.wait_archived()
    for path in (root / layout.CLUSTERS, root):
        shutil.move(path, path.with_name("gone"))
        path.mkdir()
        try:
            said = site.reason(has_away=True)
        finally:
            path.rmdir()
            shutil.move(path.with_name("gone"), path)

        what = "missing in copy 'primary', first" if path != root else "copy 'primary' holds no repository"
        assert what in said, said
    assert site.findings()["backup"]["level"] == "ok"


def test_an_archiver_that_lies(site: Site) -> None:
    """/bin/true satisfies the server: it counts segments as archived that are nowhere."""
    server = site.place.server
    site.wait_archived()
    set_archive_command(site.place, "/bin/true")
    server.sql("CREATE TABLE IF NOT EXISTS rows (number int)")
    name = server.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
    server.sql("SELECT pg_switch_wal()")
    wait_until(lambda: server.value("SELECT last_archived_wal FROM pg_stat_archiver") == name)

    said = site.reason()

    set_archive_command(site.place, archive_command(site.place.archive))
    assert said.startswith(f"BROKEN: archive: the server counts {name} as archived, and it is not in the repository")
    segment = server.data / "pg_wal" / str(name)
    assert read_control(server.data / "global/pg_control").system_identifier == site.backup.system_identifier
    pushed = program("--config", site.configure(), "wal", "push", segment)
    assert pushed.status == 0, pushed
    wait_until(lambda: pgvault("--config", site.configure(), "status").status == 0)


def last_hour(at: datetime) -> datetime:
    """The last slot of `hourly`."""
    return at.replace(minute=0, second=0, microsecond=0)


def test_a_schedule_that_stopped(aged: Site) -> None:
    """The backup is not a day old, and the slots since then brought none; by an objective it may be fine."""
    before = last_hour(datetime.now(UTC) - 2 * HOUR)
    moved = aged.moved(datetime.now(UTC) - 5 * HOUR)

    said = aged.reason(", schedule: {backup: hourly}")
    tolerant = aged.findings(", schedule: {backup: hourly}, objectives: {backup_age: 12h}")
    unscheduled = aged.findings()

    aged.remove(moved)
    slots = {before, last_hour(datetime.now(UTC) - 2 * HOUR)}  # one, unless an hour ended meanwhile
    assert said.split(" UTC")[0] in {f"STALE: backup: stale, the slot of {slot:%Y-%m-%d %H:%M}" for slot in slots}
    assert f" was missed: {moved.label}, 5.0 h ago" in said
    assert tolerant["backup"]["level"] == "warn"
    assert tolerant["success_rate"]["figures"]["failed"] >= 2
    assert unscheduled["backup"]["level"] == "ok"


def test_a_killed_backup_lowers_the_success_rate(aged: Site) -> None:
    """Nobody was left to say that it failed: the slot has no root. The same run, not killed, keeps the rate."""
    now = datetime.now(UTC)
    latest = EVERY_TEN.previous_slot(now)
    assert latest is not None
    # The slot that is judged is over for minutes, and the one after it is pending for minutes, however slow this is.
    is_fresh = now - latest < timedelta(minutes=5)
    over, takes = (latest - timedelta(minutes=10), "8m") if is_fresh else (latest, "3m")
    first = aged.moved(over - timedelta(minutes=10))
    more = (
        f", schedule: {{backup: '{EVERY_TEN.cron}'}}"
        f", objectives: {{success_rate: 99.9%, backup_age: 1h, backup_duration: {takes}}}"
    )
    killed = attempt(
        [sys.executable, "-m", "tests.crashpoints", "6", "pgvault", "--config", str(aged.configure()), "backup"],
        timeout=120,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    backups = aged.place.archive.root / layout.backups("main")
    (label,) = (path.name for path in backups.iterdir() if path.name not in {first.label, aged.backup.label})
    assert (killed.status, (backups / label / "manifest").exists()) == (-signal.SIGKILL, False)
    # It ran in the slot that is over, as far as names tell.
    (backups / label).rename(backups / f"{over:%Y%m%dT%H%M%SZ}-{label[-4:]}")

    said = aged.reason(more)
    second = aged.moved(over)
    rate = aged.findings(more)["success_rate"]["figures"]

    for manifest in (first, second):
        aged.remove(manifest)
    assert said.startswith("BROKEN: objective: success_rate: 50.000 %, promised 99.900 %"), said
    assert (rate["slots"], rate["rate"]) == (2, 1.0)
