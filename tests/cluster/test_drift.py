"""A drill against the backup's inventory, and every page: what is right passes, and each planted fault is named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgvault.checks.result import CheckResult, Verdict
from pgvault.drill.looks.amcheck import OFF, STANDARD
from pgvault.drill.report import DrillReport
from pgvault.postgres.inventory import RelationEntry, RoleEntry, ServerEntry
from pgvault.process import run
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import ImmediateTarget, LatestTarget
from pgvault.repository import layout
from pgvault.repository.catalog import commit_manifest
from pgvault.repository.inventory import put_inventory, read_inventory
from pgvault.repository.manifest import Manifest
from pgvault.repository.refs import put_refs
from tests.cluster.drills import Stage, make_stage
from tests.servers import NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

SMALL = "CREATE TABLE small (id int PRIMARY KEY, name text); INSERT INTO small VALUES (1, 'one'), (2, 'two')"
BIG = "CREATE TABLE big (id int PRIMARY KEY, name text); INSERT INTO big SELECT n, n FROM generate_series(1, 3000) n"
COLLATION = "CREATE COLLATION ours (provider = builtin, locale = 'C.UTF-8')"
RELATION_PATH = "SELECT pg_relation_filepath('customers')"
SORTED = 'CREATE INDEX sorted ON big (name COLLATE "ours")'


@pytest.fixture(scope="module")
def stage(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A server with something of everything that an inventory holds."""
    if NEWEST < 17:
        pytest.skip("no collation provider with versions everywhere")
    factory = ServerFactory(templates)
    try:
        stage = make_stage(factory, NEWEST, tmp_path_factory.mktemp("drift"))
        stage.server.restart({"shared_preload_libraries": "auto_explain"})
        for statement in (SMALL, BIG, COLLATION, SORTED, "ANALYZE", "CREATE ROLE app", "CREATE EXTENSION pageinspect"):
            stage.server.sql(statement)
        yield stage
    finally:
        factory.clear()


@pytest.fixture(scope="module")
def backup(stage: Stage) -> Manifest:
    """A good backup of it, and its WAL."""
    manifest = stage.backup()
    stage.archive_all()
    return manifest


def of(report: DrillReport, name: str) -> CheckResult:
    """The one result of that name."""
    (result,) = (check for check in report.checks if check.name == name)
    return result


def latest(manifest: Manifest) -> RestoreRequest:
    return RestoreRequest(LatestTarget(), backup_label=manifest.label)


def forged(stage: Stage, manifest: Manifest) -> Manifest:
    """The same backup under another label, with an inventory of more than there is."""
    repository = stage.archive.repository
    label = layout.make_label(datetime.now(UTC), b"\xaa\xbb")

    def entries() -> Iterator[object]:
        for entry in read_inventory(repository, manifest):
            match entry:
                case ServerEntry():
                    yield replace(entry, libc="2.17", version=entry.version.replace("x86_64", "s390x"))
                case RoleEntry(name="app"):
                    yield replace(entry, attributes=("inherit", "login"))
                    yield replace(entry, name="gone")
                case RelationEntry(schema="public", name="big"):
                    yield entry
                    yield replace(entry, oid=4_000_000_000, name="vanished")
                case RelationEntry(schema="public", name="empty"):
                    yield replace(entry, rows=5000.0, live=5000)
                case _:
                    yield entry

    stored = put_inventory(repository, "main", label, entries())  # type: ignore[arg-type]
    needed = (*manifest.packs, *manifest.parts, *manifest.maps, *stored, *manifest.wal)
    refs = put_refs(repository, layout.refs("main", label), needed)
    made = replace(manifest, label=label, inventory=stored, refs=refs, total_bytes=manifest.total_bytes * 100)
    commit_manifest(repository, made)
    return made


def test_what_is_as_it_was_passes(stage: Stage, backup: Manifest) -> None:
    """Each look says how much it saw; every page is looked at, and what the cluster preloads is named."""
    report = stage.drill(checks=(), restore=latest(backup))

    assert report.passed, report.reason
    assert of(report, "roles").detail == "2 roles are as at the backup"
    assert of(report, "rows").detail == "1 tables of more than 1000 rows are as at the backup"
    for name in ("extensions", "relations", "size", "host", "libraries", "collations", "pg_checksums"):
        assert of(report, name).passed, of(report, name)
    assert "what the cluster preloads, and a drill does not: auto_explain" in report.not_tested
    assert not [line for line in report.not_tested if "checksums" in line]


def test_an_inventory_of_more_than_was_restored_is_red(stage: Stage, backup: Manifest, tmp_path: Path) -> None:
    """A role, a relation, the rows of a table, most of the bytes: nothing has happened since that explains it."""
    stage.server.sql("CREATE TABLE empty (id int)")
    manifest = stage.backup()
    stage.archive_all()
    copied = stage.copied(tmp_path)

    report = copied.drill(checks=(), restore=latest(forged(copied, manifest)))

    failed = {check.name: check.detail for check in report.checks if check.failed}
    assert set(failed) == {"roles", "relations", "rows", "size", "host"}
    assert not report.passed
    assert "'gone' is not there" in failed["roles"]
    assert "'app' has other attributes (not login)" in failed["roles"]
    assert "public.vanished, in 'postgres'" in failed["relations"]
    assert "public.empty in 'postgres' is empty and had 5000 rows" in failed["rows"]
    assert "machine s390x there, x86_64 here; libc collations 2.17 there" in failed["host"]


def test_what_was_dropped_later_is_told_and_no_failure(stage: Stage, backup: Manifest) -> None:
    """To the end of the WAL it may have been dropped or lost; at the backup's own end it is there."""
    for statement in ("DROP TABLE small", "TRUNCATE big", "ALTER ROLE app LOGIN", "DROP EXTENSION pageinspect"):
        stage.server.sql(statement)
    stage.archive_all()

    end = RestoreRequest(ImmediateTarget(), backup_label=backup.label)
    later = stage.drill(checks=(), restore=latest(backup), amcheck="off")
    own = stage.drill(checks=(), restore=end, amcheck="standard")

    unproven = {check.name: check.detail for check in later.checks if check.verdict is Verdict.UNPROVEN}
    assert later.passed, later.reason
    assert set(unproven) == {"roles", "extensions", "relations", "rows"}
    assert "public.small, in 'postgres'" in unproven["relations"]
    assert "public.big in 'postgres' is empty and had 3000 rows" in unproven["rows"]
    assert "'pageinspect' is not there" in unproven["extensions"]
    assert own.passed, own.reason
    assert own.warnings == []
    assert OFF.what in later.not_tested
    assert STANDARD.what in own.not_tested
    assert "pg_amcheck" not in {check.name for check in later.checks}
    assert of(own, "pg_amcheck").passed


def test_each_planted_fault_is_named(stage: Stage, backup: Manifest, tmp_path: Path) -> None:
    """An index that another version of a collation has put out of order, a lost library, a page that nobody reads."""
    server = stage.server
    server.sql("INSERT INTO big SELECT n, n FROM generate_series(1, 3000) n ON CONFLICT DO NOTHING")
    server.sql("UPDATE pg_collation SET collversion = '0' WHERE collname = 'ours'")
    server.sql("UPDATE pg_index SET indoption = '1' WHERE indexrelid = 'sorted'::regclass")
    lost_library(stage, tmp_path / "gone")
    path = damaged_page(stage)
    manifest = stage.backup()
    stage.archive_all()

    report = stage.drill(checks=(), restore=latest(manifest))

    assert manifest.page_errors.count == 0
    failed = {check.name: check for check in report.checks if check.failed}
    assert not report.passed
    assert {"collations", "libraries", "pg_checksums"} <= set(failed)
    assert "public.sorted in 'postgres'" in failed["collations"].detail
    assert "item order invariant violated" in failed["collations"].detail
    assert failed["collations"].detail.endswith('ALTER COLLATION "public"."ours" REFRESH VERSION')
    assert f"library '{tmp_path}/gone' is not installed here" in failed["libraries"].detail
    assert failed["pg_checksums"].sample == (f"{path} block 0",)


def lost_library(stage: Stage, path: Path) -> None:
    """Make a function of a library that is gone when the drill comes."""
    directory = run([stage.server.programs.path("pg_config"), "--pkglibdir"], timeout=30).strip()
    library = path.with_suffix(".so")
    shutil.copy(Path(directory) / "pageinspect.so", library)
    path.parent.chmod(0o755)
    stage.server.sql(f"CREATE FUNCTION lost(text, int8) RETURNS bytea LANGUAGE c AS '{path}', 'get_raw_page_1_9'")
    library.unlink()


def damaged_page(stage: Stage) -> str:
    """Damage a free space map so that the backup takes it for a page that is being written; return its path.

    Its LSN is far ahead, and queries of a drill ask no free space map.
    """
    server = stage.server
    server.sql("VACUUM customers")
    server.sql("CHECKPOINT")
    path = f"{server.value(RELATION_PATH)}_fsm"
    with (server.data / path).open("r+b") as file:
        file.write(b"\xff\xff\xff\x7f" + b"\xff" * 4)
        file.seek(4000)
        file.write(b"damage")
    return path
