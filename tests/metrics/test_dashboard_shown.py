"""Every panel shows something of a cluster that is well, asked of a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvault.metrics.panel import Panel
from pgvault.metrics.panels import ROWS
from tests.archive import bare_environment, program
from tests.cli.here import pgvault
from tests.cluster.places import make_place
from tests.metrics.test_dashboard import plain
from tests.prometheus import Watching, require_programs, running, wait_for, watching
from tests.s3servers import free_port
from tests.servers import NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

PATIENCE = 120.0
PANELS = [panel for _, panels in ROWS for panel in panels]
PROMISED = "rto: 1h, rpo: 1h, backup_age: 24h, backup_duration: 1h, drill_age: 7d, copy_lag: 1h, success_rate: 99%"
CHECK = "{name: rows, query: 'SELECT count(*) FROM rows WHERE number < 0', schedule: hourly}"
DONE = ["init", "backup", "copy", "verify", "checks run --live", "drill", "copy"]


@pytest.fixture(scope="module")
def config(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster with a slot, two copies, a schedule, a check; backed up, verified and drilled."""
    require_programs()
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    servers = ServerFactory(templates)
    directory = tmp_path_factory.mktemp("dashboard")
    try:
        place = make_place(servers, directory, NEWEST, archive_timeout="60s", max_slot_wal_keep_size="1GB")
        place.server.sql("CREATE TABLE rows AS SELECT 1 AS number")
        place.server.sql("SELECT pg_create_physical_replication_slot('pgvault', true)")
        copies = {"primary": place.archive.root, "second": directory / "second"}
        path = place.archive.config.with_name("dashboard.yaml")
        path.write_text(
            f"repository:\n  key: file:{place.archive.key}\n  copies:\n"
            + "".join(f"    {name}: {{url: '{root.as_uri()}'}}\n" for name, root in copies.items())
            + f'clusters:\n  main: {{dsn: "{place.server.dsn}", stream: {{slot: pgvault}}, checks: [{CHECK}], '
            + f"objectives: {{{PROMISED}}}, schedule: {{backup: '* * * * *'}}}}\n"
        )
        for command in DONE:
            ran = pgvault("--config", path, *command.split())
            assert ran.status == 0, (command, ran)
        yield path
    finally:
        servers.clear()


@pytest.fixture(scope="module")
def watched(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    """A Prometheus that scrapes what is served of it."""
    port = free_port()
    argv = [*program(), "--config", str(config), "metrics", "serve", "--listen", f"127.0.0.1:{port}"]
    served = running(
        [*argv, "--interval", "1s"],
        config.with_name("serve.log"),
        bare_environment(),
        ready=f"http://127.0.0.1:{port}/metrics",
    )
    place = tmp_path_factory.mktemp("prometheus") / "here"
    with served, watching(place, port, "groups: []", bare_environment()) as watched:
        yield watched


def test_no_panel_of_a_healthy_cluster_is_empty(watched: Watching) -> None:
    """But for what the cluster is not configured to have; each query, not each panel alone.

    And the first row says: that somebody must look, a backup younger than promised, a proof of just now, no failure.
    """
    wait_for(lambda: watched.query('pgvault_backup_success_ratio{cluster="main"}') or None, PATIENCE)
    has = {labels["what"] for labels, _ in watched.query("pgvault_watched")}

    empty = {
        (panel.title, ask.expr)
        for panel in PANELS
        for ask in panel.asks
        if panel.watched in has and not watched.query(plain(ask.expr))
    }
    state, age, drilled, failures = (value_of(watched, panel) for panel in ROWS[0][1])

    assert empty == set()
    assert {panel.title for panel in PANELS if panel.watched not in has} == {"Not locked"}
    # Nobody streams by the slot; whether a slot of the schedule is over without a backup is a matter of seconds here.
    broken = {labels["finding"] for labels, _ in watched.query("pgvault_finding_level == 2")}
    assert "slot" in broken
    assert broken <= {"slot", "WAL lag", "success rate", "objective"}
    assert state == 2
    assert 0 < age < 0.1
    assert 0 < drilled < PATIENCE + 600
    assert failures == 0


def value_of(watched: Watching, panel: Panel) -> float:
    ((labels, value),) = watched.query(plain(panel.asks[0].expr))
    assert labels["cluster"] == "main"
    return value
