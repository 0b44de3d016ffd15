"""From a backup that did not happen to somebody who is told: through a real Prometheus and a real Alertmanager."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgvault.metrics.rules import rule_file
from tests.archive import ROOT, bare_environment, program
from tests.cluster.places import Place, make_place
from tests.prometheus import Watching, require_programs, running, wait_for, watching
from tests.s3servers import free_port
from tests.servers import NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

PATIENCE = 60.0  # of whoever waits for what takes two seconds on an idle machine
OBJECTIVE_SECONDS = 15  # within which there must be a backup
ADDED_SECONDS = 60
PROMISED = (
    f"objectives: {{backup_age: {OBJECTIVE_SECONDS}s, backup_duration: 1s, success_rate: 99.9%}}, "
    "schedule: {backup: '* * * * *'}"
)
LATE_SECOND = 45  # a backup that begins later may end in the next minute's slot
DONE = 'pgvault_backup_last_slot_done{cluster="main"}'
RATE_OF_MAIN = 'pgvault_backup_success_ratio{cluster="main"}'
EVERY = ""  # what is about all clusters names none
RUNBOOK = "https://wiki.example/pgvault"
TOO_OLD, FAILED, RATE = "PgvaultBackupTooOld", "PgvaultBackupFailed", "PgvaultBackupSuccessRateLow"
ALERT_FAILED = f'ALERTS{{alertname="{FAILED}"}}'


def quick_rules() -> str:
    """The rules as they are printed, but nobody waits for minutes until something has lasted."""
    return re.sub(r"^(\s+for:) .*$", r"\1 1s", rule_file(RUNBOOK), flags=re.MULTILINE)


def configure(place: Place, *, has_another: bool = False) -> Path:
    """Write the configuration, with one cluster or another one that was never backed up."""
    path = place.archive.config.with_name("watched.yaml")
    dsn = place.server.dsn
    another = f'  added: {{dsn: "{dsn}", objectives: {{backup_age: {ADDED_SECONDS}s}}}}\n' if has_another else ""
    path.write_text(
        f"repository:\n  key: file:{place.archive.key}\n"
        f"  copies:\n    primary: {{url: '{place.archive.root.as_uri()}'}}\n"
        f'clusters:\n  main: {{dsn: "{dsn}", {PROMISED}}}\n{another}'
    )
    return path


@contextmanager
def serving(config: Path, port: int) -> Iterator[None]:
    """pgvault metrics serve, collecting every second."""
    argv = [
        *program(),
        "--config",
        str(config),
        "metrics",
        "serve",
        "--listen",
        f"127.0.0.1:{port}",
        "--interval",
        "1s",
    ]
    log = config.with_name("serve.log")
    with running(argv, log, bare_environment(), ready=f"http://127.0.0.1:{port}/metrics"):
        yield


@pytest.fixture(scope="module")
def place(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An archiving server."""
    require_programs()
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    return make_place(servers, tmp_path_factory.mktemp("alerting"), NEWEST)


def kill_a_backup(place: Place) -> None:
    """Start one, and kill it by SIGKILL in the middle."""
    argv = [sys.executable, "-m", "tests.cluster.sleeper", "backup", str(place.archive.root), place.server.dsn]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"copying\n"
        child.kill()
    assert child.returncode == -signal.SIGKILL


def wait_for_slot() -> None:
    """Wait for the next full minute: cron knows nothing finer."""
    now = datetime.now(UTC)
    time.sleep(60.2 - now.second - now.microsecond / 1e6)


def test_who_is_told_what(place: Place, tmp_path: Path) -> None:
    """A backup that is missing, killed or never taken is told, and told to be over; what is well is not."""
    port = free_port()
    with watching(tmp_path / "watching", port, quick_rules(), bare_environment()) as watched:
        with serving(configure(place), port):
            if datetime.now(UTC).second > LATE_SECOND:
                wait_for_slot()
            place.back_up()
            taken = time.monotonic()
            wait_for(lambda: watched.value(f"{DONE} == 1 unless on () {ALERT_FAILED}"), PATIENCE)
            a_killed_backup_lowers_the_rate(watched, place)
            a_backup_that_is_missing_is_told(watched, since=taken)
            no_metric_is_missing(watched)
            a_backup_makes_it_well(watched, place)
        with serving(configure(place, has_another=True), port):
            a_cluster_that_is_added_pages_within_its_objective(watched)
        wait_for(lambda: watched.receiver.find("firing", "PgvaultMetricsAbsent", EVERY), PATIENCE)


def no_metric_is_missing(watched: Watching) -> None:
    """What pgvault really serves is all that the rules ask for, and nobody waits for longer than a second here."""
    missing = [labels for labels, _ in watched.query('ALERTS{absent!=""}')]
    assert missing == []


def a_backup_that_is_missing_is_told(watched: Watching, *, since: float) -> None:
    told = wait_for(lambda: watched.receiver.find("firing", TOO_OLD, "main", since=since), OBJECTIVE_SECONDS + PATIENCE)
    assert told.labels["severity"] == "critical"
    assert told.annotations["summary"].startswith("The newest backup of cluster main is older than promised")
    assert re.fullmatch(r"The newest backup ended: \d+\.?\d*s ago\.", told.annotations["description"])
    assert told.annotations["runbook_url"] == f"{RUNBOOK}#pgvaultbackuptooold"


def a_killed_backup_lowers_the_rate(watched: Watching, place: Place) -> None:
    """Killed, it can tell nobody; the slot that stays empty does."""
    before, since = watched.value(RATE_OF_MAIN), time.monotonic()
    assert before is not None
    wait_for_slot()
    kill_a_backup(place)

    wait_for(lambda: watched.receiver.find("firing", FAILED, "main", since=since), PATIENCE)
    wait_for(lambda: watched.receiver.find("firing", RATE, "main"), PATIENCE)
    assert (watched.value(RATE_OF_MAIN) or 0.0) < before


def a_backup_makes_it_well(watched: Watching, place: Place) -> None:
    since = time.monotonic()
    place.back_up()
    wait_for(lambda: watched.receiver.find("resolved", TOO_OLD, "main", since=since), PATIENCE)


def a_cluster_that_is_added_pages_within_its_objective(watched: Watching) -> None:
    began = time.monotonic()
    told = wait_for(lambda: watched.receiver.find("firing", TOO_OLD, "added"), ADDED_SECONDS)
    assert told.at - began < ADDED_SECONDS
    assert told.annotations["description"] == "The newest backup ended: never."
    wait_for(lambda: watched.receiver.find("firing", "PgvaultBackupNeverTaken", "added"), ADDED_SECONDS)
