from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pgvault.config import ClusterConfig
from pgvault.errors import StoreUnreachable
from pgvault.monitor.finding import Finding, Level, ok, warn
from pgvault.monitor.status import ClusterStatus
from pgvault.pipeline.header import Kind
from pgvault.report.document import ClusterReport, Report, Standing
from pgvault.report.gather import DRILLS, RUNS, Asked, gather_quality, gather_report
from pgvault.repository import layout
from pgvault.repository.copies import LeftOut
from pgvault.repository.objects import put_json
from pgvault.repository.repository import Repository
from tests.archive import make_archive
from tests.report.sample import CHECKS, FINDINGS, NOW, ZONE, drill, found, run

CONFIG = ClusterConfig(dsn="", checks=CHECKS)


def store(repository: Repository, document: dict[str, Any], number: int, kind: Kind) -> None:
    """Store a document under an id that says how many hours old it is."""
    at = NOW - timedelta(hours=number)
    document |= {"id": f"{at:%Y%m%dT%H%M%SZ}-{number:04x}", "started_at": at.isoformat()}
    place = layout.drills("main") if kind is Kind.DRILL else layout.checks("main")
    put_json(repository, f"{place}/{document['id']}", kind, document=document)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """More drills and runs than are shown."""
    repository = make_archive(tmp_path_factory.mktemp("reported")).repository
    for number in range(DRILLS + 10):
        store(repository, drill(0, "failed" if number == 2 else "passed"), number, Kind.DRILL)
    for number in range(RUNS + 5):
        store(repository, run(0, found("orphaned_orders", "failed" if number else "passed")), number, Kind.CHECKS)
    return repository


def asked(repository: Repository, config: ClusterConfig = CONFIG) -> Asked:
    return Asked(repository, {"main": config}, ZONE, NOW)


def report_of(repository: Repository, *findings: Finding) -> tuple[Report, ClusterReport]:
    report = gather_report(asked(repository), [ClusterStatus("main", findings, None)])
    return report, report.clusters[0]


def test_the_newest_are_read_and_the_rest_is_told(repository: Repository) -> None:
    """A report of years of drills costs what one of two months does."""
    _, cluster = report_of(repository, *FINDINGS)

    assert (cluster.drill_count, len(cluster.drills)) == (DRILLS + 10, DRILLS)
    assert [drill.outcome for drill in cluster.drills[:3]] == ["passed", "passed", "failed"]
    assert f"10 of {DRILLS + 10} drills, the older ones" in cluster.left_out
    assert f"5 of {RUNS + 5} runs of checks on the live server, the older ones" in cluster.left_out
    check = cluster.quality.checks[0]
    assert (check.name, check.standing, check.live[-1].verdict) == ("orphaned_orders", Standing.GOOD, "passed")


def test_what_was_not_tested_is_that_of_the_newest_drill(repository: Repository) -> None:
    """By its own words."""
    _, cluster = report_of(repository, *FINDINGS)

    assert cluster.not_tested == ("roles' passwords and access from clients", "logical replication")


def test_findings_for_machines_alone_are_left_out_while_well(repository: Repository) -> None:
    """And shown when they are not."""
    quiet = Finding("check", Level.OK, "passed", is_told=False)
    loud = Finding("check", Level.WARN, "failed", is_told=False)

    _, cluster = report_of(repository, ok("server", "up"), quiet, loud, warn("drill", "old"))

    assert [finding.detail for finding in cluster.findings] == ["up", "failed", "old"]


def test_a_copy_that_is_left_out_has_its_lane(repository: Repository) -> None:
    """Nobody may take what is not shown for what is not there."""
    left_out = LeftOut("dr", StoreUnreachable("the store does not answer"))
    without = Repository(repository.id, repository.keys, repository.copies, (left_out,))

    report, cluster = report_of(without, *FINDINGS)

    assert cluster.window is not None
    assert [(lane.copy, lane.error) for lane in cluster.window.lanes] == [
        ("primary", None),
        ("dr", "the store does not answer"),
    ]
    assert report.reading["unread_copies"] == [{"copy": "dr", "error": "the store does not answer"}]
    assert any("copy 'dr'" in each for each in cluster.not_tested)


def test_an_empty_repository_is_never_green(tmp_path: Path) -> None:
    """Whatever else was found."""
    _, cluster = report_of(make_archive(tmp_path).repository, ok("server", "up"))

    assert cluster.headline.standing is Standing.UNKNOWN
    assert cluster.quality.standing is Standing.UNKNOWN
    assert not cluster.backups
    assert cluster.quality.silent_count == len(CHECKS)


def test_quality_alone_asks_no_server(repository: Repository) -> None:
    """And holds nothing else."""
    report = gather_quality(asked(repository))

    (cluster,) = report.clusters
    assert (report.scope, cluster.window, cluster.findings) == ("quality", None, ())
    assert cluster.quality.check_count >= len(CHECKS)
    assert cluster.headline.sentence == cluster.quality.sentence
