from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pgvault.errors import DrillFailed, TargetInvalid
from tests.archive import pgvault
from tests.cluster.drills import Stage, make_stage, write_orders
from tests.servers import NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

NO_BAD = {"name": "no_bad", "query": "SELECT count(*) FROM flags WHERE bad", "threshold": 0}


@dataclass(frozen=True, slots=True)
class Told:
    """A shop with two backups, orders after each, and its configuration."""

    stage: Stage
    config: Path
    labels: tuple[str, str]  # oldest first

    def run(self, *words: str | Path, status: int = 0) -> dict[str, Any]:
        """Run a command; return its document, or what it said on stderr."""
        finished = pgvault("--config", self.config, *words, "--json")
        assert finished.status == status, finished.errors
        document: dict[str, Any] = json.loads(finished.output or "{}")
        return document | {"errors": finished.errors}


@pytest.fixture(scope="module")
def told(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        directory = tmp_path_factory.mktemp("targets")
        stage = make_stage(factory, NEWEST, directory)
        stage.server.sql("CREATE TABLE flags (bad bool); INSERT INTO flags VALUES (false)")
        labels = []
        for _ in range(2):
            labels.append(stage.backup().label)
            write_orders(stage.server.dsn)
            stage.archive_all()
        document = {
            "repository": {
                "key": f"file:{stage.archive.key}",
                "copies": {"primary": {"url": stage.archive.root.as_uri()}},
            },
            "clusters": {
                "main": {
                    "dsn": stage.server.dsn,
                    "checks": [NO_BAD],
                    "drill": {"scratch": str(stage.scratch), "amcheck": "standard"},
                }
            },
        }
        config = directory / "c.yaml"
        config.write_text(json.dumps(document))
        yield Told(stage, config, (labels[0], labels[1]))
    finally:
        factory.clear()


def test_every_backup_is_proven_and_the_last_good_moment_is_found(told: Told, tmp_path: Path) -> None:
    """Latest, random and oldest in one command; then somebody breaks the data, and the way back is known."""
    older, newer = told.labels
    refused = told.run("restore", "--to", "last-good", "--dry-run", status=TargetInvalid.exit_code)
    assert "no drill has passed yet" in refused["errors"]

    latest, random, oldest = told.run("drill", "--to", "latest", "--random", "--oldest", "--seed", "7")["drills"]

    assert [each["passed"] for each in (latest, random, oldest)] == [True, True, True]
    assert (latest["backup"], oldest["backup"]) == (newer, older)  # untried, and what a restore would take
    assert (random["seed"], random["target"].startswith("a random moment, draw 1 of seed 7: time ")) == (7, True)
    moments = [datetime.fromisoformat(each["as_of"]) for each in (oldest, random, latest)]
    assert moments == sorted(moments)
    assert random["rpo_seconds"] is None

    listed = told.run("list")
    assert {mark["label"] for mark in listed["drilled"] if mark["proven"]} == {older, newer}
    assert [each["id"] for each in told.run("drills")["drills"]] == [oldest["id"], random["id"], latest["id"]]
    assert latest["id"] in {mark["drill"] for mark in told.run("show", newer)["drilled"]}
    assert "proven" in pgvault("--config", told.config, "list").output

    at_end = told.run("drill", "--to", "last-good")  # there is no later record that could tell PostgreSQL to stop
    assert (at_end["passed"], at_end["reached"]["lsn"]) == (True, latest["reached"]["lsn"])

    told.stage.server.sql("INSERT INTO flags VALUES (true)")
    told.stage.archive_all()
    failed = told.run("drill", status=DrillFailed.exit_code)
    planned = told.run("restore", "--to", "last-good", "--dry-run")

    assert "check 'no_bad'" in failed["error"]
    assert planned["backup"] == at_end["backup"]  # at one position the newest drill counts
    assert any(f"drill {at_end['id']} passed there" in note for note in planned["notes"])
    assert any("the next moment that was drilled" in note and "'no_bad'" in note for note in planned["notes"])

    again = told.run("drill", "--to", "last-good")
    restored = told.run("restore", "--to", "last-good", "--finish", tmp_path / "restored")

    assert (again["passed"], again["reached"]["lsn"]) == (True, latest["reached"]["lsn"])
    assert restored["lsn"] == latest["reached"]["lsn"]
