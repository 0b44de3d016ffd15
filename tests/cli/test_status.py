"""How `status` shows what it found, and how it ends, where no server is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.cli.status import brief_line, raise_if_broken
from pgvault.errors import ConfigInvalid, ObjectiveMissed, StoreUnreachable
from pgvault.monitor.finding import Finding, ok, red, warn
from pgvault.monitor.status import ClusterStatus
from tests.archive import Archive
from tests.cli.here import pgvault, pgvault_json

BACKUP = ok("backup", "newest, 3 h ago", {"age_seconds": 10800.0})
LAG = ok("WAL lag", "…", {"bytes": 48 * 2**20, "seconds": 12.0, "is_upper_bound": True})


def one(*findings: Finding, name: str = "main", error: StoreUnreachable | None = None) -> ClusterStatus:
    return ClusterStatus(name, findings, error)


def configure(archive: Archive, clusters: str) -> Path:
    path = archive.config.with_name("several.yaml")
    path.write_text(
        f"repository:\n  key: file:{archive.key}\n  copies:\n    primary: {{url: '{archive.root.as_uri()}'}}\n"
        f"clusters: {clusters}\n"
    )
    return path


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (one(BACKUP, LAG), "main: healthy, last backup 3.0 h ago, WAL lag 48.0 MiB/at most 12 s"),
        (
            one(BACKUP, warn("pg_wal disk", "unknown"), ok("WAL lag", "", {"bytes": 0, "seconds": 0.0})),
            "main: healthy as far as is known, last backup 3.0 h ago, WAL lag 0 B/0 s",
        ),
        (
            one(
                red("backup", "none", {"count": 0}),
                red("gap", "x"),
                red("gap", "y"),
                red("WAL lag", "", {"bytes": 5, "seconds": None}),
            ),
            "main: BROKEN (backup, gap, WAL lag), no backup, WAL lag unknown",
        ),
        (one(), "main: BROKEN (), last backup unknown, WAL lag unknown"),
        # What can not be listed is not said to be missing.
        (
            one(red("repository", "not mounted")),
            "main: BROKEN (repository), last backup unknown, WAL lag unknown",
        ),
    ],
)
def test_a_line_per_cluster(found: ClusterStatus, line: str) -> None:
    """How it is, its last backup, its lag."""
    assert brief_line(found) == line


def test_red_is_an_objective_missed() -> None:
    """Every cluster that is red is named with what is; a warning is none."""
    with pytest.raises(ObjectiveMissed, match=r"^cluster 'a': gap; cluster 'c': backup, slot$"):
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
    assert "a: BROKEN" in finished.output
    assert "hint: Take one: pgvault backup" in finished.output
    assert finished.errors == "error: cluster 'a': server, backup, last segment\n"
