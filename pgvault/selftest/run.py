"""`drill --self-test`: a drill that can not turn red proves nothing, so each fault is planted once and must be caught.

    a throw-away shop ─► drill: green? ─► for each fault: plant it ─► drill: red, for this reason?

Nothing of the configuration is used but how drills are kept apart on this host: cluster, repository and key are made
for the test and removed. A fault that is not caught, or for another reason, fails the self-test; so does a drill that
is red with no fault planted. What can not be had here (programs, room, a sandbox) makes it "could not run".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pgvault.config import Objectives
from pgvault.demo import shop
from pgvault.drill.isolation import IsolationWish
from pgvault.drill.report import DrillReport
from pgvault.drill.rpo import FailureMoment
from pgvault.drill.run import DrillRequest, run_drill
from pgvault.errors import DrillFailed, DrillNotRun, WrongKey
from pgvault.postgres.programs import newest_programs
from pgvault.progress import Progress
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import LatestTarget
from pgvault.repository.repository import Repository
from pgvault.selftest.ground import CLUSTER, Ground, SelfTestHost, flip_byte, prepared

STALE = timedelta(days=2)
BACKUP_AGE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Caught:
    """What came of one fault."""

    fault: str
    is_caught: bool
    said: str  # by the drill, or what was missed
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {"fault": self.fault, "caught": self.is_caught, "said": self.said, "seconds": round(self.seconds, 3)}


@dataclass(slots=True)
class SelfTest:
    """What came of all."""

    postgres: str
    isolation: str = ""
    faults: list[Caught] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Faults were planted, and each was caught."""
        return len(self.faults) == len(FAULTS) and all(each.is_caught for each in self.faults)

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "self_test": 1,
            "passed": self.passed,
            "postgres": self.postgres,
            "isolation": self.isolation,
            "faults": [each.to_json() for each in self.faults],
        }


@dataclass(frozen=True, slots=True)
class How:
    """How drills are run here."""

    isolation: IsolationWish
    told: Callable[[Caught], None]  # called after each fault
    progress: Progress


def run_self_test(host: SelfTestHost, how: How) -> SelfTest:
    """Plant every fault and drill. Raises DrillNotRun when not even a good backup passes here; what the host lacks."""
    programs = newest_programs()
    test = SelfTest(programs.minor_text)
    with prepared(host, programs) as ground:
        runner = _Runner(ground, how)
        report = runner.drill(ground.repository)
        test.isolation = report.isolation or ""
        if not report.passed:
            raise DrillNotRun(
                f"without any fault planted the drill does not pass: {report.reason}",
                hint="A self-test that starts red proves nothing.",
            )
        for name, plant in FAULTS.items():
            how.progress.phase(name)
            began = host.clock.monotonic()
            is_caught, said = plant(runner)
            caught = Caught(name, is_caught, said, host.clock.monotonic() - began)
            test.faults.append(caught)
            how.told(caught)
    return test


def require_caught(test: SelfTest) -> None:
    """Raise DrillFailed unless every fault was caught."""
    missed = [each for each in test.faults if not each.is_caught]
    if missed:
        raise DrillFailed(
            f"the drill did not catch {missed[0].fault!r}: {missed[0].said}",
            hint="Drills on this host can be green over damage. Do not rely on them until this passes.",
        )
    if not test.passed:
        raise DrillFailed("not every fault was planted")


@dataclass(frozen=True, slots=True)
class _Runner:
    """Plants faults into one shop."""

    ground: Ground
    how: How

    def drill(self, repository: Repository, **changes: Any) -> DrillReport:
        """Drill a repository of the shop to the end of its WAL."""
        request = DrillRequest(
            cluster=CLUSTER,
            restore=RestoreRequest(LatestTarget()),
            checks=shop.CHECKS,
            objectives=Objectives(),
            failure=None,
            scratch=self.ground.host.directory,
            timeout=timedelta(minutes=5),
            jobs=2,
            isolation=replace(self.how.isolation, is_trusted=True),
        )
        clock = self.ground.host.clock
        return run_drill(repository, replace(request, **changes), clock=clock, progress=self.how.progress)

    def drill_copy(self, damage: Callable[[Path], None]) -> DrillReport:
        """Drill a copy of the repository that was damaged."""
        root = self.ground.copy()
        damage(root)
        return self.drill(self.ground.host.open_repository(root))


def _missing_segment(runner: _Runner) -> tuple[bool, str]:
    lost: list[str] = []

    def damage(root: Path) -> None:
        victim = runner.ground.segments(root)[-2]
        lost.append(victim.name)
        victim.unlink()

    report = runner.drill_copy(damage)
    return _judge(report, lost[0], "is missing")


def _flipped_object(runner: _Runner) -> tuple[bool, str]:
    def damage(root: Path) -> None:
        (victim, *_) = sorted(root.glob(f"clusters/{CLUSTER}/backups/*/packs/*"))
        flip_byte(victim, victim.stat().st_size // 2)

    return _judge(runner.drill_copy(damage), "/packs/")


def _wrong_key(runner: _Runner) -> tuple[bool, str]:
    try:
        report = runner.drill(runner.ground.host.open_wrongly(runner.ground.copy()))
    except WrongKey as error:
        return True, str(error)
    return False, f"the repository opened with another key: {report.reason}"


def _stale(runner: _Runner) -> tuple[bool, str]:
    failure = FailureMoment(runner.ground.host.clock.now() + STALE, is_server_clock=False)
    objectives = Objectives(backup_age=BACKUP_AGE)
    report = runner.drill(runner.ground.repository, objectives=objectives, failure=failure)
    return not report.passed and "backup_age" in report.missed, report.reason


def _orphan(runner: _Runner) -> tuple[bool, str]:
    ground = runner.ground
    ground.sql("ALTER TABLE accounts DISABLE TRIGGER ALL", "UPDATE accounts SET customer_id = -1 WHERE id = 7")
    ground.archive()
    caught = _judge_check(runner.drill(ground.repository), "accounts_customer_id_fkey")
    ground.sql("UPDATE accounts SET customer_id = 7 WHERE id = 7", "ALTER TABLE accounts ENABLE TRIGGER ALL")
    ground.archive()
    return caught


def _flipped(table: str) -> Callable[[_Runner], tuple[bool, str]]:
    def plant(runner: _Runner) -> tuple[bool, str]:
        name = runner.ground.flip(table)
        runner.ground.back_up()
        # Not only what the backup noticed when it read the page: what the drill itself sees in the restored file.
        return _judge_check(runner.drill(runner.ground.repository), f"{name} block 0", by="pg_checksums")

    return plant


def _dropped(runner: _Runner) -> tuple[bool, str]:
    runner.ground.sql("DROP TABLE payments")
    runner.ground.archive()
    return _judge_check(runner.drill(runner.ground.repository), 'relation "payments" does not exist')


# In this order: what is planted into the shop itself stays there, and each is told by words that no other is told by.
FAULTS: dict[str, Callable[[_Runner], tuple[bool, str]]] = {
    "a missing WAL segment": _missing_segment,
    "a flipped byte in the repository": _flipped_object,
    "a wrong key": _wrong_key,
    "a stale backup": _stale,
    "an orphan": _orphan,
    "a flipped byte in an index": _flipped("orders_customer_id_idx"),
    "a flipped byte in a heap": _flipped("customers"),
    "a dropped table": _dropped,
}


def _judge(report: DrillReport, *words: str) -> tuple[bool, str]:
    """Whether the drill failed for a reason that has these words, and what it said."""
    is_red = not report.passed and report.could_run
    return is_red and all(word in report.reason for word in words), report.reason


def _judge_check(report: DrillReport, words: str, *, by: str | None = None) -> tuple[bool, str]:
    """Whether the drill failed by a check (named `by`) that says these words, and what was said."""
    failed = [each for each in report.checks if each.failed]
    found = [f"check {each.name!r}: {each.detail}" for each in failed]
    right = [said for each, said in zip(failed, found, strict=True) if words in said and by in (None, each.name)]
    if right and not report.passed and report.could_run:
        return True, right[0]
    return False, "; ".join(found) or report.reason
