"""`pgvault backup` of a small real cluster, physical and logical, killed after each store operation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pgvault.repository.leases import read_newest
from tests.archive import pgvault
from tests.cluster.places import Place, make_place
from tests.crashpoints import Words, enumerate_crashes
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import wait_until

pytestmark = [pytest.mark.endurance, pytest.mark.cluster]


@pytest.fixture
def place(server: ServerFactory, tmp_path: Path) -> Place:
    """A server that archives, with a configuration that says where it is."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    place = make_place(server, tmp_path, NEWEST)
    place.server.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS id")
    config = place.archive.config
    config.write_text(config.read_text().replace("dsn: ''", f"dsn: {json.dumps(place.server.dsn)}"))
    return place


@pytest.mark.parametrize(("kind", "lease"), [("full", "backup-main"), ("logical", "logical-main")])
def test_backup_is_listed_whole_or_not_at_all(place: Place, kind: str, lease: str) -> None:
    """After each crash all that is listed verifies; the next backup succeeds at once, and aborts what was left."""
    listed: set[str] = set()

    def taken() -> set[str]:
        catalog = place.catalog()
        return {each.label for each in catalog.backups} | {each.label for each in catalog.logical}

    def command(k: int) -> Words:
        wait_until(lambda: place.backup_sessions() == 0)
        return ["pgvault", "--config", place.archive.config, "backup", "--type", kind]

    def invariant(k: int) -> None:
        if taken():
            report = place.verify()
            assert report.problems == [], report.problems
        assert listed <= taken()
        assert len(taken() - listed) <= 1
        again = pgvault("--config", place.archive.config, "backup", "--type", kind)
        assert again.status == 0, again.errors
        assert place.catalog().unfinished == ()
        listed.update(taken())
        newest = read_newest(place.archive.repository, lease)
        assert newest is not None
        assert newest.state == "released"

    assert enumerate_crashes(command, invariant) >= 8
    assert len(place.catalog().aborted) >= 4
