from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.config import CheckConfig, Objectives
from pgvault.drill.report import DrillReport
from pgvault.drill.rpo import FailureMoment
from pgvault.drill.run import require_passed
from pgvault.errors import DrillFailed, DrillNotRun, ObjectiveMissed
from pgvault.postgres.programs import SUPPORTED_MAJORS
from pgvault.process import attempt, run
from pgvault.repository.catalog import commit_manifest, read_catalog
from pgvault.repository.manifest import Manifest
from tests.archive import make_archive
from tests.cluster.drills import Stage, make_stage, make_told_stage, write_orders
from tests.servers import MAJORS, NEWEST, ServerFactory
from tests.wal.servers import system_of

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def good(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A shop with a backup and two segments of orders after it; its drill passes."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        stage = make_told_stage(factory, NEWEST, tmp_path_factory.mktemp("good"))
        write_orders(stage.server.dsn)
        stage.archive_all()
        yield stage
    finally:
        factory.clear()


def manifest_of(stage: Stage) -> Manifest:
    (manifest,) = read_catalog(stage.archive.repository, "main").backups
    return manifest


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, and not in the head of a page."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 + 100] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def segment(stage: Stage, number: int) -> Path:
    """The object of an archived segment; -1: the last."""
    names = [name for name in stage.names() if len(name) == 24]
    return stage.archive.object_path(names[number], system_of(stage.server.data))


def pack(stage: Stage) -> Path:
    return stage.archive.root / manifest_of(stage).packs[-1].path


def only_failed(report: DrillReport) -> dict[str, str]:
    """What failed of the checks, and why."""
    return {check.name: check.detail for check in report.checks if not check.passed}


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda stage: segment(stage, -2).unlink(), "is missing between backup"),
        (lambda stage: segment(stage, -3).unlink(), "is missing, without which backup"),
        (lambda stage: flip(segment(stage, -2)), "object 'clusters/main/wal/"),
        (lambda stage: flip(pack(stage)), "packs/"),
        (lambda stage: pack(stage).unlink(), "packs/"),
    ],
    ids=["WAL after the backup", "WAL of the backup", "flipped WAL", "flipped pack", "missing pack"],
)
def test_damage_in_the_repository_is_red(
    good: Stage, tmp_path: Path, damage: Callable[[Stage], object], why: str
) -> None:
    """A lost or changed object fails the drill, and the report names it."""
    stage = good.copied(tmp_path)
    damage(stage)

    report = stage.drill()

    assert report.could_run
    assert why in report.reason
    assert report.rto_seconds is None
    with pytest.raises(DrillFailed):
        require_passed(report)


def test_a_damaged_only_backup_is_no_backup(good: Stage, tmp_path: Path) -> None:
    """A root that does not open is told with the reason."""
    stage = good.copied(tmp_path)
    flip(stage.archive.root / f"clusters/main/backups/{manifest_of(stage).label}/manifest")

    report = stage.drill()

    assert "has no backup; 1 can not be read" in report.reason
    assert not report.passed


def test_no_backup_is_red(good: Stage, tmp_path: Path) -> None:
    """Nothing to restore is the worst result of a drill, not a reason to skip it."""
    report = replace(good, archive=make_archive(tmp_path)).drill()

    with pytest.raises(DrillFailed, match="cluster 'main' has no backup"):
        require_passed(report)


def test_a_check_that_finds_rows_is_red(good: Stage) -> None:
    """The rows are in the report; other checks are still run."""
    finds = CheckConfig(name="finds", query="SELECT id FROM orders ORDER BY id LIMIT 3")
    typo = CheckConfig(name="typo", query="SELECT count(*) FROM ordres")
    fine = CheckConfig(name="fine", query="SELECT 0", allow_empty=True)

    report = good.drill(checks=(finds, typo, fine))

    failed = only_failed(report)
    assert failed["finds"] == "returned 3 rows"
    assert 'relation "ordres" does not exist' in failed["typo"]
    assert set(failed) == {"finds", "typo"}
    with pytest.raises(DrillFailed, match=r"check 'finds': returned 3 rows \(and 1 more\)"):
        require_passed(report)


def test_objectives_are_held_against_what_was_measured(good: Stage) -> None:
    """Restored and right, but too slow and too old: an exit code of its own, with what was promised."""
    objectives = Objectives(rto=timedelta(milliseconds=1), rpo=timedelta(minutes=15))
    failure = FailureMoment(datetime.now(UTC) + timedelta(hours=1), is_server_clock=False)

    report = good.drill(objectives=objectives, failure=failure)

    assert only_failed(report) == {}
    assert report.missed == ["rto", "rpo"]
    with pytest.raises(
        ObjectiveMissed, match=r"objective rto missed: .* promised 0.001 s and objective rpo missed: .*"
    ):
        require_passed(report)


@pytest.mark.endurance
def test_wrong_data_are_red(server: ServerFactory, tmp_path: Path) -> None:
    """An order without a customer, then no orders at all: each by the check that looks for it."""
    stage = make_told_stage(server, NEWEST, tmp_path)
    stage.server.sql("INSERT INTO orders (customer_id, total_amount, status) VALUES (999999, 0, 'pending')")
    stage.archive_all()

    orphan = stage.drill()

    assert only_failed(orphan) == {"orphaned_orders": "returned 1"}
    stage.server.sql("DROP TABLE orders")
    stage.archive_all()
    gone = only_failed(stage.drill())
    assert {"orphaned_orders", "order_totals", "unpaid_orders", "orders_exist", "relations"} == set(gone)
    assert "public.orders, in 'postgres'" in gone["relations"], "dropped since the backup, or lost"
    assert 'relation "orders" does not exist' in gone["orders_exist"]


@pytest.mark.endurance
def test_a_page_that_was_damaged_at_the_source_is_red(server: ServerFactory, tmp_path: Path) -> None:
    """The backup took it as it was, since there is no better one; the drill says so, and amcheck finds it."""
    stage = make_stage(server, NEWEST, tmp_path)
    one = stage.server
    path = one.data / str(one.value("SELECT pg_relation_filepath('order_items')"))
    one.sql("CHECKPOINT")
    one.stop()
    flip(path)
    one.start()
    stage.backup()

    failed = only_failed(stage.drill(checks=()))

    assert "1 pages were damaged when they were backed up" in failed["page_checksums"]
    assert "invalid page in block" in failed["pg_amcheck"]
    block = (path.stat().st_size // 2 + 100) // 8192
    assert f"{path.relative_to(one.data)} block {block}" in failed["pg_checksums"]


@pytest.mark.endurance
def test_an_index_that_misses_rows_is_red(server: ServerFactory, tmp_path: Path) -> None:
    """Every page whole, every checksum right: only looking for each row in the index shows it."""
    stage = make_stage(server, NEWEST, tmp_path)
    one = stage.server
    one.sql("CREATE TABLE t AS SELECT generate_series(1, 10) AS a")
    one.sql("CREATE INDEX t_a ON t (a) WHERE a < 5")
    one.sql("UPDATE pg_index SET indpred = NULL WHERE indexrelid = 't_a'::regclass")
    stage.backup()

    failed = only_failed(stage.drill(checks=()))

    assert set(failed) == {"pg_amcheck"}
    assert "lacks matching index tuple" in failed["pg_amcheck"]


def test_without_programs_it_could_not_run(good: Stage, tmp_path: Path) -> None:
    """A backup of a major that is not installed here says nothing about the backup."""
    absent = [major for major in SUPPORTED_MAJORS if major not in MAJORS]
    if not absent:
        pytest.skip("every supported PostgreSQL is installed")
    stage = good.copied(tmp_path)
    manifest = manifest_of(stage)
    other = replace(
        manifest,
        label="20991231T235959Z-0000",
        stopped_at=manifest.stopped_at + timedelta(microseconds=1),
        postgres=replace(manifest.postgres, major=absent[0]),
    )
    commit_manifest(stage.archive.repository, other)

    report = stage.drill()

    assert not report.could_run
    with pytest.raises(DrillNotRun, match=f"PostgreSQL {absent[0]}"):
        require_passed(report)


@pytest.mark.parametrize("name", ["absent", "x" * 90])
def test_without_a_place_it_could_not_run(good: Stage, name: str) -> None:
    """Nothing is fetched for a scratch that can not be."""
    if name != "absent":
        (good.scratch / name).mkdir()

    report = good.drill(scratch=good.scratch / name)

    assert not report.could_run
    assert "the scratch place" in report.reason
    assert report.phases == {}
    if name != "absent":
        (good.scratch / name).rmdir()


@pytest.fixture
def small(good: Stage, server: ServerFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system with so many MiB more than the restore needs."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    place = server.directory()
    size = (manifest_of(good).total_bytes >> 20) + request.param
    if attempt(["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=700", "tmpfs", place], timeout=10).status != 0:
        pytest.skip("mounting is denied")
    try:
        yield place
    finally:
        run(["umount", place], timeout=10)


@pytest.mark.parametrize("small", [20, 1024], indirect=True)
def test_a_disk_that_is_too_small_is_told_first(good: Stage, small: Path) -> None:
    """Before a byte of the backup is fetched; so is one that would be filled, since production may write to it."""
    report = good.drill(scratch=small)

    assert not report.could_run
    assert "the restore takes" in report.reason
    assert "must stay free" in report.reason
    with pytest.raises(DrillNotRun):
        require_passed(report)
    assert "replay" not in report.phases


@pytest.mark.parametrize("small", [1024 + 130], indirect=True)
def test_a_disk_that_gets_full_says_nothing_about_the_backup(good: Stage, small: Path) -> None:
    """A query that needs more room than there is: could not run, not failed."""
    greedy = CheckConfig(
        name="greedy",
        query="SELECT count(t) FROM (SELECT i, repeat('x', 2000) t FROM generate_series(1, 999999) i ORDER BY i) s",
    )

    report = good.drill(scratch=small, checks=(greedy,))

    assert "greedy" in only_failed(report)
    assert not report.could_run
    # Whoever notices first: we, who look at the reserve, or the server, which fills what is left of it meanwhile.
    assert "had no more room beside its reserve" in report.reason or "ran out of disk space" in report.reason
