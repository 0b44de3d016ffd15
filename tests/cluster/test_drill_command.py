from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from pgvault.errors import DrillFailed, DrillNotRun, ObjectiveMissed, WrongKey
from pgvault.pipeline.header import Kind
from pgvault.process import start
from pgvault.repository.objects import read_json
from tests.archive import bare_environment, pgvault, program
from tests.cluster.drills import Stage, make_told_stage, scratch_processes
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import wait_until

pytestmark = pytest.mark.cluster

GOOD = {"name": "orphans", "query": "SELECT count(*) FROM orders WHERE customer_id IS NULL"}
BAD = {"name": "found", "query": "SELECT id FROM orders LIMIT 2", "severity": "high"}
LONG = {"name": "long", "query": "SELECT 0 FROM pg_sleep(1)", "allow_empty": True}
SLOW = {"name": "slow", "query": "SELECT pg_sleep(600)::text"}


@pytest.fixture(scope="module")
def good(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A shop whose drill passes."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        yield make_told_stage(factory, NEWEST, tmp_path_factory.mktemp("good"))
    finally:
        factory.clear()


def configure(
    stage: Stage, path: Path, *checks: Mapping[str, object], key: Path | None = None, **cluster: object
) -> Path:
    """Write a configuration of the stage; JSON is YAML."""
    document = {
        "repository": {
            "key": f"file:{key or stage.archive.key}",
            "copies": {"primary": {"url": stage.archive.root.as_uri()}},
        },
        "clusters": {
            "main": {
                "dsn": stage.server.dsn,
                "checks": list(checks),
                "drill": {"scratch": str(stage.scratch)},
                **cluster,
            }
        },
    }
    path.write_text(json.dumps(document))
    return path


def test_json_is_one_document_with_every_promised_field(good: Stage, tmp_path: Path) -> None:
    """What scripts read, and the same document is in the repository, sealed."""
    config = configure(good, tmp_path / "c.yaml", GOOD, objectives={"rpo": "1d", "rto": "1h"})

    finished = pgvault("--config", config, "drill", "--json")

    assert finished.status == 0, finished.errors
    document = json.loads(finished.output)
    assert document["passed"] is True
    assert set(document["phases"]) == {"plan", "fetch", "replay", "open", "check", "pages"}
    # What lies between two phases is in RTO alone, and looks that stop nothing may come behind its end.
    assert 0 < sum(document["phases"][name] for name in ("plan", "fetch", "replay", "open")) < document["rto_seconds"]
    assert 0 < document["rpo_seconds"] < 86400
    assert document["rpo"]["method"].startswith("moment of the drill by the server's clock")
    assert [set(check) >= {"name", "passed", "measured", "threshold"} for check in document["checks"]]
    assert document["target"]
    assert document["not_tested"]
    stored = read_json(good.archive.repository, f"clusters/main/drills/{document['id']}", Kind.DRILL)
    assert stored == document


def test_a_failed_check_ends_with_50_and_says_which(good: Stage, tmp_path: Path) -> None:
    """People read a table and one closing line; cron reads the status and one sentence."""
    finished = pgvault("--config", configure(good, tmp_path / "c.yaml", GOOD, BAD), "drill")

    assert finished.status == DrillFailed.exit_code
    assert "check 'found': returned 2 rows" in finished.errors
    assert finished.errors.count("error:") == 1
    *_, verdict = finished.output.splitlines()
    assert verdict.startswith("FAILED · check 'found': returned 2 rows · RPO at most ")
    assert "FAIL" in finished.output
    assert "not tested: copies of the repository" in finished.output


@pytest.mark.endurance
def test_a_missed_objective_ends_with_51(good: Stage, tmp_path: Path) -> None:
    """Too slow is not wrong."""
    config = configure(good, tmp_path / "c.yaml", LONG, objectives={"rto": "1s"})

    finished = pgvault("--config", config, "drill", "--to", "latest")

    assert finished.status == ObjectiveMissed.exit_code
    assert "objective rto missed" in finished.errors


def test_without_the_right_key_nothing_is_tried(good: Stage, tmp_path: Path) -> None:
    """It is refused before the drill; that proves nothing about the backup."""
    key = tmp_path / "key"
    key.write_text("ab" * 32)

    finished = pgvault("--config", configure(good, tmp_path / "c.yaml", GOOD, key=key), "drill")

    assert finished.status == WrongKey.exit_code
    assert list(good.scratch.iterdir()) == []


def test_what_could_not_run_ends_with_52(good: Stage, tmp_path: Path) -> None:
    """One sentence, one hint, and a report that says so."""
    config = configure(good, tmp_path / "c.yaml", GOOD)

    finished = pgvault("--config", config, "drill", "--json", "--scratch", tmp_path / "nowhere")

    assert finished.status == DrillNotRun.exit_code
    document = json.loads(finished.output)
    assert (document["passed"], document["could_run"], document["rto_seconds"]) == (False, False, None)
    assert "is no directory" in finished.errors


def test_without_a_configuration_it_needs_a_url_and_a_key(good: Stage) -> None:
    """The disaster that it rehearses: on a machine that knows nothing, with the server gone."""
    source = ["--repository", good.archive.root.as_uri(), "--key", f"file:{good.archive.key}"]

    finished = pgvault("drill", *source, "--scratch", good.scratch, "--json")

    assert finished.status == 0, finished.errors
    document = json.loads(finished.output)
    assert document["not_tested"][0] == "integrity queries: none are configured"
    assert document["rpo"]["method"].startswith("moment of the drill by this host's clock")


def begin(stage: Stage, config: Path) -> tuple[int, Path]:
    """Start a drill that takes long, and wait until it runs its check; return its process and its scratch."""
    log = config.with_suffix(".log")
    child = start([*program(), "--config", str(config), "drill"], env=bare_environment(), log=log)
    wait_until(lambda: child.poll() is not None or is_asked(stage.scratch), seconds=240)
    assert child.poll() is None, log.read_text()
    (root,) = stage.scratch.iterdir()
    return child.pid, root


def is_asked(place: Path) -> bool:
    """Whether the server of the one scratch there runs the check that takes long."""
    query = b"SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
    for root in place.iterdir():
        try:
            with psycopg.connect(f"host={root / 's'} user=postgres dbname=template1") as connection:
                return connection.execute(query).rowcount > 0
        except psycopg.OperationalError:
            return False  # not yet
    return False


@pytest.mark.endurance
def test_what_a_killed_drill_left_is_cleared_by_the_next(good: Stage, tmp_path: Path) -> None:
    """Its server would run for ever, and a copy of production would lie about."""
    beside = {"scratch": str(good.scratch), "isolation": "process"}
    pid, root = begin(good, configure(good, tmp_path / "c.yaml", SLOW, drill=beside))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert scratch_processes(good.scratch) != []
    assert root.exists()

    report = good.drill()

    assert report.passed, report.reason
    assert not root.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_drill_that_is_told_to_end_clears_up(good: Stage, tmp_path: Path, number: signal.Signals) -> None:
    """It ends soon, as one that could not run, and leaves nothing."""
    pid, _ = begin(good, configure(good, tmp_path / "c.yaml", SLOW))

    os.kill(pid, number)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == DrillNotRun.exit_code
    assert list(good.scratch.iterdir()) == []
    assert scratch_processes(good.scratch) == []
    assert "Traceback" not in (tmp_path / "c.log").read_text()
