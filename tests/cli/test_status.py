"""How `status` shows what it found, and how it ends, where no server is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.cli.status import raise_if_broken
from pgvault.cli.statusscreen import brief_line, write_status
from pgvault.errors import ConfigInvalid, ObjectiveMissed, StoreUnreachable
from pgvault.monitor.finding import Finding, Level, ok, red, warn
from pgvault.monitor.status import ClusterStatus
from tests.archive import Archive
from tests.cli.here import pgvault, pgvault_json

BACKUP = ok("backup", "newest, 3 h ago", {"age_seconds": 10800.0})
LAG = ok("WAL lag", "…", {"bytes": 0, "seconds": 12.0, "is_upper_bound": True})


def one(*findings: Finding, name: str = "main", error: StoreUnreachable | None = None) -> ClusterStatus:
    return ClusterStatus(name, findings, error)


def configure(archive: Archive, clusters: str) -> Path:
    path = archive.config.with_name("several.yaml")
    path.write_text(
        f"repository:\n  key: file:{archive.key}\n  copies:\n    primary: {{url: '{archive.root.as_uri()}'}}\n"
        f"clusters: {clusters}\n"
    )
    return path


SLOT = ok("schedule", "", {"kind": "backup", "next_slot_at": "2026-11-22T01:00:00+00:00"})
HOURLY = ok("schedule", "", {"kind": "checks", "next_slot_at": "2026-11-21T13:00:00+00:00"})
UNSCHEDULED = ok("schedule", "", {"kind": "backup", "next_slot_at": None})
DRILL = ok("drill", "", {"count": 3, "age_seconds": 180000.0})
OLD = {"count": 1, "age_seconds": 93600.0, "is_stale": True}
AGE = red("objective", "", {"objective": "backup_age", "measured": 93600.0})


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            one(BACKUP, SLOT, HOURLY, LAG, DRILL),
            "healthy, last backup 3.0 h ago, next 2026-11-22 01:00 UTC, WAL lag 0 B/at most 12 s, proven 2 days ago",
        ),
        (
            one(
                BACKUP,
                UNSCHEDULED,
                warn("drill", "never", {"count": 0}),
                ok("WAL lag", "", {"bytes": 0, "seconds": 0.0}),
            ),
            "healthy as far as is known, last backup 3.0 h ago, not scheduled, WAL lag 0 B/0 s, never drilled",
        ),
        (
            one(red("backup", "stale", OLD), AGE, warn("drill", "none passed", {"count": 3, "age_seconds": None})),
            "STALE (backup, objective backup_age), last backup 26.0 h ago, next unknown, WAL lag unknown, not proven",
        ),
        (
            one(
                red("backup", "none", {"count": 0, "is_stale": True}),
                red("gap", "x"),
                red("gap", "y"),
                red("WAL lag", "", {"bytes": 5, "seconds": None}),
            ),
            "BROKEN (backup, gap, WAL lag), no backup, next unknown, WAL lag unknown, last proof unknown",
        ),
        (one(), "BROKEN (), last backup unknown, next unknown, WAL lag unknown, last proof unknown"),
        # What can not be listed is not said to be missing.
        (
            one(red("repository", "not mounted")),
            "BROKEN (repository), last backup unknown, next unknown, WAL lag unknown, last proof unknown",
        ),
    ],
)
def test_a_line_per_cluster(found: ClusterStatus, line: str) -> None:
    """How it is, its last backup and the next, its lag, its last proof."""
    assert brief_line(found) == f"main: {line}"


def test_red_is_an_objective_missed() -> None:
    """Every cluster that is red is named with the reason; a warning is none."""
    with pytest.raises(
        ObjectiveMissed, match=r"^cluster 'a' is BROKEN: gap: x; cluster 'c' is BROKEN: backup: none; also slot$"
    ):
        raise_if_broken(
            [
                one(red("gap", "x"), red("gap", "y"), name="a"),
                one(BACKUP, warn("clocks", "x"), name="b"),
                one(red("backup", "none"), LAG, red("slot", "lost"), name="c"),
            ]
        )
    raise_if_broken([one(BACKUP, warn("clocks", "x"))])


def test_where_nothing_can_be_said_the_reason_is_the_error() -> None:
    """Only where no cluster could be looked at in any way; else what is red is red."""
    mute = one(red("server", "down"), red("repository", "gone"), error=StoreUnreachable("gone"))

    with pytest.raises(StoreUnreachable):
        raise_if_broken([mute])
    with pytest.raises(ObjectiveMissed):
        raise_if_broken([mute, one(BACKUP, name="other")])


def test_all_clusters_are_shown_unless_one_is_named(archive: Archive) -> None:
    """Without a server and without a backup each of them is broken, and says so."""
    config = configure(archive, "{a: {dsn: 'host=/nowhere'}, b: {dsn: 'host=/nowhere'}}")

    both = pgvault("--config", config, "status", "--brief")
    document = pgvault_json("--config", config, "status", "--cluster", "b", status=ObjectiveMissed.exit_code)

    assert both.status == ObjectiveMissed.exit_code
    assert [line.split(" ")[:2] for line in both.output.splitlines()] == [["a:", "BROKEN"], ["b:", "BROKEN"]]
    assert document["level"] == "red"
    (cluster,) = document["clusters"]
    assert cluster["cluster"] == "b"
    assert {each["name"] for each in cluster["findings"] if each["level"] == "red"} == {
        "server",
        "backup",
        "last segment",
    }


def test_no_cluster_at_all_is_an_error(archive: Archive) -> None:
    """A claim over nothing is not green; neither is one over a cluster that is not configured."""
    nothing = pgvault("--config", configure(archive, "{}"), "status")
    stranger = pgvault("--config", configure(archive, "{a: {dsn: ''}}"), "status", "--cluster", "b")

    assert (nothing.status, nothing.output) == (ConfigInvalid.exit_code, "")
    assert (stranger.status, stranger.output) == (ConfigInvalid.exit_code, "")


def test_the_table_says_what_to_do(archive: Archive) -> None:
    """A row for each finding, a hint below what is not well."""
    finished = pgvault("--config", configure(archive, "{a: {dsn: 'host=/nowhere'}}"), "status")

    assert finished.status == ObjectiveMissed.exit_code
    reason = "server: PostgreSQL can not be reached: "
    assert finished.output.startswith(f"a: BROKEN - {reason}")
    assert "hint: Take one: pgvault backup" in finished.output
    assert finished.errors.startswith(f"error: cluster 'a' is BROKEN: {reason}")
    assert finished.errors.endswith("; also backup, last segment\n")


def test_the_table_goes_by_groups(capsys: pytest.CaptureFixture[str]) -> None:
    """Backups, WAL, copies, drills, objectives; the worst of a group first; what only machines want is left out."""
    silent = Finding("backups", Level.OK, "3 committed", is_told=False)
    write_status(one(LAG, AGE, silent, BACKUP, DRILL, red("gap", "x"), ok("class critical", "…"), ok("later", "…")))

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:3] for line in lines[2:]] == [
        ["backups", "ok", "backup"],
        ["ok", "class", "critical"],
        ["WAL", "RED", "gap"],
        ["ok", "WAL", "lag"],
        ["drills", "ok", "drill"],
        ["objectives", "RED", "objective"],
        ["rest", "ok", "later"],
    ]
