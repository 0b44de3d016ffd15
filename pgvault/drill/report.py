"""The result of a drill: a value, the sealed JSON document it becomes, and what it does not claim."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pgvault.checks.result import CheckResult, Origin, Verdict
from pgvault.config import Objectives
from pgvault.drill.classes import ClassLine, ClassPromise, judge_classes
from pgvault.drill.copies import CopyRpo
from pgvault.drill.forecast import Forecast
from pgvault.drill.objectives import Judged, Measure, judge_objectives
from pgvault.drill.rpo import Rpo
from pgvault.instants import iso, say_seconds
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.drilled import Outcome
from pgvault.repository.objects import put_json
from pgvault.repository.repository import Repository
from pgvault.repository.telling import reading_document, reading_lines

UNUSUAL = "it was restored from a backup that a restore would not take"
PAGES = "page checksums of every file (pg_checksums)"  # leaves the list when they were
NOT_TESTED = (
    PAGES,
    "the cluster's own postgresql.conf and pg_hba.conf: a drill starts with generated ones",
    "how long writing to disk takes: a drill does not wait for it (fsync is off)",
    "roles' passwords and access from clients",
    "logical replication, foreign servers and scheduled jobs inside the database",
    "copies of the repository other than the one that was read",
)


@dataclass(slots=True)
class DrillReport:
    """What a drill found; filled as it goes on, so that a failed one tells how far it came."""

    id: str
    cluster: str
    started_at: datetime
    objectives: Objectives
    target: str = ""
    backup: str | None = None
    timeline: int | None = None
    wal: Mapping[str, Any] | None = None  # what was planned to be replayed
    reached: Mapping[str, Any] | None = None
    landing: str | None = None  # between which commits
    as_of: datetime | None = None  # the moment that the restored data are of, by the server's clock
    seed: int | None = None  # that drew a random target
    is_usual: bool = True  # from the backup that a restore would take: else no RTO is missed
    isolation: str | None = None
    postgresql: str | None = None  # the version that it was restored with
    image: Mapping[str, Any] | None = None  # of a container
    phases: dict[str, float] = field(default_factory=dict)  # seconds, in order
    sizes: dict[str, int] = field(default_factory=dict)  # bytes that a phase had to do with
    elapsed: Callable[[], float | None] = lambda: None  # seconds since the decision to restore
    checks: list[CheckResult] = field(default_factory=list)
    rpo: Rpo | None = None
    rpo_method: str = "not measured: only a drill to the end of the WAL simulates a failure"
    copies: list[CopyRpo] = field(default_factory=list)  # what each copy by itself would leave
    promises: tuple[ClassPromise, ...] = ()  # of data classes
    measures: dict[str, Measure] = field(default_factory=dict)  # of objectives; not rto and rpo
    forecast: Forecast | None = None  # from the drills before this one
    past_drills: int | None = None  # how many there were to tell it from; None: nobody looked
    not_tested: list[str] = field(default_factory=lambda: list(NOT_TESTED))
    error: str | None = None  # why it failed, or could not run
    could_run: bool = True
    notes: list[str] = field(default_factory=list)
    reading: Mapping[str, Any] = field(default_factory=dict)  # which copies were read, and what was healed

    def add(self, result: CheckResult) -> None:
        """Take a result, and the moment at which it was known."""
        self.checks.append(replace(result, ended_after=self.elapsed()))

    @property
    def rto_seconds(self) -> float | None:
        """From the decision to restore until the last blocking check passed; None when it did not get there."""
        if "check" not in self.phases or self.error is not None or self._blocking:
            return None
        ends = [check.ended_after for check in self.checks if check.passed and check.is_blocking]
        return max((end for end in ends if end is not None), default=sum(self.phases.values()))

    @property
    def _no_rto(self) -> str:
        """Why there is no RTO: data that a check refuses are not back, however quickly they came."""
        return "a check failed: what is wrong is not restored" if self._blocking else "it was not all restored"

    @property
    def classes(self) -> tuple[ClassLine, ...]:
        """What this drill says of each data class, by priority."""
        return judge_classes(self.promises, self.checks, rpo=self._measured_rpo)

    @property
    def judged(self) -> list[Judged]:
        """Every objective, of the cluster and of its classes, beside what was measured."""
        rto = Measure(self.rto_seconds) if self.rto_seconds is not None else Measure.unknown(self._no_rto)
        measures = {"rto": rto, "rpo": self._measured_rpo, **self.measures}
        of_classes = (judged for line in self.classes for judged in line.judged())
        judged = [*judge_objectives(self.objectives, measures), *of_classes]
        return judged if self.is_usual else [_spared(each) for each in judged]

    @property
    def missed(self) -> list[str]:
        """The objectives that this drill broke."""
        return [judged.name for judged in self.judged if judged.is_missed]

    @property
    def _measured_rpo(self) -> Measure:
        return Measure.unknown(self.rpo_method) if self.rpo is None else Measure(self.rpo.seconds)

    @property
    def passed(self) -> bool:
        """Everything was looked at and everything was right; a drill without any check never passes."""
        return self._is_right and not self.missed

    @property
    def outcome(self) -> Outcome:
        """How it ended, in a word."""
        if not self.could_run:
            return Outcome.NOT_RUN
        if self.passed:
            return Outcome.PASSED
        return Outcome.MISSED if self.kept_all_but_objectives else Outcome.FAILED

    @property
    def reason(self) -> str:
        """Why it did not pass, in one clause."""
        if self.error is not None:
            return self.error
        failed = self._blocking
        if failed:
            return f"check {failed[0].name!r}: {failed[0].detail}" + (
                f" (and {len(failed) - 1} more)" * (len(failed) > 1)
            )
        if self.checks and not self._is_proven:
            first = self._unproven[0]
            return f"none of the configured checks was proven; {first.name!r}: {first.detail}"
        missed = [judged.reason for judged in self.judged if judged.is_missed]
        if missed:
            return " and ".join(missed)
        return "nothing was checked"

    @property
    def warnings(self) -> list[str]:
        """What did not stop the drill from passing, and is no pass: what failed unblocking, or was not proven."""
        told = [check for check in self.checks if check.failed and not check.is_blocking]
        unproven = [line for line in self.classes if not line.is_proven]
        return [
            *(f"check {check.name!r}: {check.detail}" for check in (*told, *self._unproven)),
            *(f"class {line.name!r}: {line.rto.note}" for line in unproven),
            *self._late_copies(),
        ]

    def _late_copies(self) -> Iterator[str]:
        """Yield the copies that would leave less than was promised of the repository as a whole."""
        rpo = self.objectives.rpo
        for each in self.copies:
            if each.rpo is None and each.is_wanted:
                yield f"copy {each.copy!r}: RPO {each.method}"
            # That of the one that was read is the drill's own, and judged.
            if rpo is not None and each.rpo not in (None, self.rpo) and each.rpo.seconds > rpo.total_seconds():
                words = f"{say_seconds(each.rpo.seconds)}, promised {say_seconds(rpo.total_seconds())}"
                yield f"copy {each.copy!r} alone has an RPO of {words}"

    @property
    def kept_all_but_objectives(self) -> bool:
        """Everything was right, and only not fast or not recent enough."""
        return bool(self.missed) and self._is_right

    @property
    def _is_right(self) -> bool:
        is_checked = any(check.passed for check in self.checks) and not self._blocking and self._is_proven
        return self.error is None and self.reached is not None and is_checked

    @property
    def _blocking(self) -> list[CheckResult]:
        return [check for check in self.checks if check.failed and check.is_blocking]

    @property
    def _unproven(self) -> list[CheckResult]:
        return [check for check in self.checks if check.verdict is Verdict.UNPROVEN]

    @property
    def _is_proven(self) -> bool:
        """Whether any of the configured checks said something about the data; without any, there is nothing to say."""
        configured = [check for check in self.checks if check.origin is Origin.CONFIGURED]
        return not configured or any(check.verdict is not Verdict.UNPROVEN for check in configured)

    def to_json(self) -> dict[str, Any]:
        """Return the document that is printed and stored."""
        rto, rpo = self.objectives.rto, self.objectives.rpo
        return {
            "drill": 1,
            "id": self.id,
            "cluster": self.cluster,
            "passed": self.passed,
            "could_run": self.could_run,
            "outcome": str(self.outcome),
            "error": None if self.passed else self.reason,
            "started_at": iso(self.started_at),
            "target": self.target,
            "seed": self.seed,
            "backup": self.backup,
            "timeline": self.timeline,
            "wal": self.wal,
            "reached": self.reached,
            "landing": self.landing,
            "as_of": None if self.as_of is None else iso(self.as_of),
            "rto_seconds": None if self.rto_seconds is None else round(self.rto_seconds, 3),
            "rpo_seconds": None if self.rpo is None else round(self.rpo.seconds, 3),
            "rpo": {"seconds": None, "method": self.rpo_method} if self.rpo is None else self.rpo.to_json(),
            "rpo_by_copy": [each.to_json() for each in self.copies],
            "phases": {name: round(seconds, 3) for name, seconds in self.phases.items()},
            "bytes": self.sizes,
            "forecast": None if self.forecast is None else self.forecast.to_json(),
            "past_drills": self.past_drills,
            "objectives": {
                "rto_seconds": None if rto is None else rto.total_seconds(),
                "rpo_seconds": None if rpo is None else rpo.total_seconds(),
                "missed": self.missed,
                "judged": [judged.to_json() for judged in self.judged],
            },
            "classes": [line.to_json() for line in self.classes],
            "warnings": self.warnings,
            "checks": [check.to_json() for check in self.checks],
            "isolation": self.isolation,
            "postgresql": self.postgresql,
            "image": self.image,
            "not_tested": self.not_tested,
            "notes": self.notes,
            **self.reading,
        }


def _spared(judged: Judged) -> Judged:
    """Take no time as missed that a restore, which has another backup to begin with, might keep."""
    is_time = judged.name == "rto" or judged.name.startswith("rto of ")
    return replace(judged, measure=Measure.unknown(UNUSUAL)) if is_time and judged.is_missed else judged


def store_report(repository: Repository, report: DrillReport) -> None:
    """Seal the report into the repository, with how that was read; where nothing can be written, it says so."""
    report.reading = reading_document(repository)
    report.notes += reading_lines(repository)
    if repository.unwritable is not None:
        report.notes.append(f"this report is not stored: {repository.unwritable}")
        return
    path = f"{layout.drills(report.cluster)}/{report.id}"
    put_json(repository, path, Kind.DRILL, document=report.to_json())
