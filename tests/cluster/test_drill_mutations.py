"""Each fault that a drill is for is planted once, and turns it red for its own reason; nothing here stays green.

Faults of the data are planted, marked with a restore point and taken back, one after the other, in one shop; each is
drilled to its restore point. A drill to the restore point before them all is green.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgvault.checks import clock
from pgvault.checks.result import Verdict
from pgvault.config import CheckConfig, Objectives
from pgvault.demo import shop
from pgvault.drill import bringing
from pgvault.drill.report import DrillReport
from pgvault.drill.rpo import FailureMoment
from pgvault.drill.run import require_passed
from pgvault.errors import DrillFailed, ObjectiveMissed, PgvaultError, WrongKey
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import LatestTarget, NameTarget, TargetOptions, TimeTarget
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import open_repository
from pgvault.restore.settings import render_auto_conf
from pgvault.stores.file import FileStore
from tests.cluster.drills import Stage, make_stage, write_orders
from tests.cluster.test_drill_red import flip, segment
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

REFUNDS = CheckConfig(name="negative_refunds", query="SELECT count(*) FROM refunds WHERE amount < 0")
CHECKS = (*shop.CHECKS, REFUNDS)
CLOCK = CheckConfig(name="future", query="SELECT count(*) FROM orders WHERE ordered_at > now()")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to the shop, how it is taken back, and by which check it shows, with which words."""

    plant: str
    undo: str
    check: str
    words: str


FAULTS = {
    "an orphan row": Fault(
        "ALTER TABLE accounts DISABLE TRIGGER ALL; UPDATE accounts SET customer_id = -1 WHERE id = 7",
        "UPDATE accounts SET customer_id = 7 WHERE id = 7; ALTER TABLE accounts ENABLE TRIGGER ALL",
        "foreign_key:postgres:public.accounts.accounts_customer_id_fkey",
        "rows without a partner in public.customers: 1",
    ),
    "a duplicate": Fault(
        "UPDATE customers SET email = 'CUSTOMER3@example.com' WHERE id = 4",
        "UPDATE customers SET email = 'customer4@example.com' WHERE id = 4",
        "duplicate_emails",
        "returned 1 row",
    ),
    "a wrong total": Fault(
        "UPDATE orders SET total_amount = total_amount + 0.01 WHERE id = 5",
        "UPDATE orders SET total_amount = total_amount - 0.01 WHERE id = 5",
        "order_totals",
        "returned 5",  # the number of the order
    ),
    "an empty table": Fault(
        "CREATE TABLE kept AS SELECT * FROM refunds; DELETE FROM refunds",
        "INSERT INTO refunds SELECT * FROM kept; DROP TABLE kept",
        "negative_refunds",
        "no row",
    ),
    "a missing table": Fault(
        "ALTER TABLE refunds RENAME TO gone",
        "ALTER TABLE gone RENAME TO refunds",
        "negative_refunds",
        'relation "refunds" does not exist',
    ),
}


@pytest.fixture(scope="module")
def mutated(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A shop with a restore point for each fault, then a failover to timeline 2 with orders of its own."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        stage = make_stage(factory, NEWEST, tmp_path_factory.mktemp("mutated"))
        server = stage.server
        server.sql("CREATE TABLE refunds AS SELECT id, 1.00 AS amount FROM orders LIMIT 10")
        stage.backup()
        write_orders(server.dsn)
        mark(stage, "good")
        for name, fault in FAULTS.items():
            for statement in fault.plant.split("; "):
                server.sql(statement)
            mark(stage, name)
            for statement in fault.undo.split("; "):
                server.sql(statement)
        stage.archive_all()
        server.stop()
        (server.data / "standby.signal").touch()
        server.start(server.settings)
        server.sql("SELECT pg_promote()")
        wait_until(lambda: server.value("SELECT pg_is_in_recovery()") is False)
        write_orders(server.dsn)
        mark(stage, "after the failover")
        stage.archive_all()
        yield stage
    finally:
        factory.clear()


def mark(stage: Stage, name: str) -> None:
    stage.server.sql(f"SELECT pg_create_restore_point('{name}')")


def drill_to(stage: Stage, name: str, *, timeline: int = 1, **changes: Any) -> DrillReport:
    request = RestoreRequest(NameTarget(name), TargetOptions(timeline=timeline))
    return stage.drill(**({"restore": request, "checks": CHECKS} | changes))


def require_red(report: DrillReport, error: type[PgvaultError] = DrillFailed) -> None:
    assert not report.passed
    with pytest.raises(error):
        require_passed(report)


def failed(report: DrillReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if check.failed}


def test_without_a_fault_it_is_green(mutated: Stage) -> None:
    """On both timelines: whatever is red below is red by what was planted."""
    for name, timeline in (("good", 1), ("after the failover", 2)):
        report = drill_to(mutated, name, timeline=timeline)

        assert failed(report) == {}
        require_passed(report)


@pytest.mark.parametrize("name", FAULTS)
def test_wrong_data_turn_it_red(mutated: Stage, name: str) -> None:
    """By the check that looks for that, in the words that say it."""
    report = drill_to(mutated, name)

    require_red(report)
    assert FAULTS[name].words in failed(report)[FAULTS[name].check]


def remove_segment(stage: Stage) -> None:
    segment(stage, -2).unlink()


def flip_segment(stage: Stage) -> None:
    flip(segment(stage, -2))


@pytest.mark.parametrize(
    ("damage", "words"), [(remove_segment, "is missing"), (flip_segment, "object 'clusters/main/wal/")]
)
def test_damaged_wal_turns_it_red(mutated: Stage, tmp_path: Path, damage: Callable[[Stage], None], words: str) -> None:
    """A segment that is gone, or one with a changed byte, on the way to the target."""
    stage = mutated.copied(tmp_path)
    damage(stage)

    report = stage.drill(checks=CHECKS)

    require_red(report)
    assert words in report.reason
    assert segment(mutated, -2).name in report.reason


def test_a_lost_key_is_no_proof(mutated: Stage) -> None:
    """Another key opens nothing, so there is nothing to be green about."""
    with pytest.raises(WrongKey):
        open_repository([Copy("primary", FileStore(mutated.archive.root))], Credential("raw", bytes(32)))


@pytest.mark.parametrize(
    ("objectives", "missed"),
    [
        (Objectives(backup_age=timedelta(days=1)), "backup_age"),
        (Objectives(rpo=timedelta(hours=1)), "rpo"),
        (Objectives(rto=timedelta(milliseconds=1)), "rto"),
    ],
    ids=["a stale backup", "too old", "too slow"],
)
def test_what_was_promised_turns_it_red(mutated: Stage, objectives: Objectives, missed: str) -> None:
    """Everything is right, and still no pass: an exit code of its own."""
    failure = FailureMoment(datetime.now(UTC) + timedelta(days=2), is_server_clock=False)

    report = mutated.drill(checks=CHECKS, objectives=objectives, failure=failure)

    require_red(report, ObjectiveMissed)
    assert report.missed == [missed]


def test_a_check_that_reads_the_wall_clock_proves_nothing_of_the_past(
    mutated: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone it turns the drill red; beside others it is a warning, never a pass. Nobody waits five minutes here."""
    monkeypatch.setattr(clock, "RECENT", timedelta(0))

    alone = drill_to(mutated, "good", checks=(CLOCK,))
    beside = drill_to(mutated, "good", checks=(*CHECKS, CLOCK))

    require_red(alone)
    assert "reads the wall clock, use :as_of" in alone.reason
    assert beside.passed
    (result,) = [check for check in beside.checks if check.name == "future"]
    assert result.verdict is Verdict.UNPROVEN
    assert any("reads the wall clock" in warning for warning in beside.warnings)


def sabotage(monkeypatch: pytest.MonkeyPatch, changed: Mapping[str, str], *, without: tuple[str, ...] = ()) -> None:
    """Let the server be told something else than was planned; it is PostgreSQL that goes wrong then."""

    def tell(given: bytes, settings: Mapping[str, str], **others: object) -> bytes:
        kept = {name: value for name, value in settings.items() if name not in without}
        return render_auto_conf(given, kept | dict(changed), **others)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(bringing, "render_auto_conf", tell)


def test_a_wrong_target_turns_it_red(mutated: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery ends before the target, or behind it: the server is up and answers, and is not what was asked for."""
    sabotage(monkeypatch, {"recovery_target_name": "good"})
    before = drill_to(mutated, "a wrong total")
    sabotage(monkeypatch, {"recovery_target_time": str(datetime.now(UTC))})
    behind = mutated.drill(restore=RestoreRequest(exact(mutated), TargetOptions(timeline=2)), checks=CHECKS)

    require_red(before)
    assert "before the planned" in before.reason
    require_red(behind)


def exact(stage: Stage) -> TimeTarget:
    """The moment of the first orders behind the backup."""
    moment = stage.server.value("SELECT max(ordered_at) FROM orders WHERE id <= 200")
    assert isinstance(moment, datetime)
    return TimeTarget(moment + timedelta(milliseconds=1), "", None)


def test_a_wrong_timeline_turns_it_red(mutated: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that was left at the failover does not lead to what was committed behind it."""
    sabotage(monkeypatch, {"recovery_target_timeline": "1"})

    report = drill_to(mutated, "after the failover", timeline=2)

    require_red(report)
    assert "recovery ended before configured recovery target was reached" in report.reason


def test_latest_without_its_end_turns_it_red(mutated: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL would take the end of timeline 1 for the end; the plan knows better."""
    sabotage(monkeypatch, {"recovery_target_timeline": "1"}, without=("recovery_target_lsn",))

    report = mutated.drill(restore=RestoreRequest(LatestTarget(), TargetOptions(timeline=2)), checks=CHECKS)

    require_red(report)
    assert "timeline 1, the plan is for 2" in report.reason or "before the planned" in report.reason
