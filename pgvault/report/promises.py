"""Promises beside their newest measures: objectives of a cluster and of its data classes; pure.

RTO and RPO come from the newest drill that measured them, since only a restore can; of ages, lags and rates, which
are about now, `status` has judged, and its findings are told. What nobody measured is "not measured". A drill that
failed after the last one that measured an RTO takes that back: the data did not come back in any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pgvault.config import ClassConfig, Objectives
from pgvault.monitor.finding import Finding
from pgvault.report.document import ClassPromise, Promise, Verdict
from pgvault.report.quality import is_blocking, verdict_of
from pgvault.repository.drilled import Outcome
from pgvault.repository.fields import read_instant

SHARE = "success_rate"
ALWAYS = ("rto", "rpo")  # told also where nothing was promised
NO_DRILL = "no drill has measured it yet"
NOT_TOLD = "status does not tell it"

OBJECTIVE = "objective"  # name of the findings of `status` that are about promises


@dataclass(frozen=True, slots=True)
class Drilled:
    """What is kept of a drill's report to judge promises by."""

    id: str
    started_at: datetime
    outcome: str
    measured: Mapping[str, float]  # seconds by objective
    classes: Mapping[str, Mapping[str, Any]]  # by name, as in the report
    failed: frozenset[str]  # checks that stop something

    @property
    def ran(self) -> bool:
        """Whether it says anything."""
        return self.outcome != Outcome.NOT_RUN

    @property
    def is_proof(self) -> bool:
        """Whether all was restored and right, if perhaps late."""
        return self.outcome in (Outcome.PASSED, Outcome.MISSED)


def outcome_of(report: Mapping[str, Any]) -> str:
    """Return how a drill ended; an older pgvault said only whether it passed."""
    if report.get("outcome"):
        return str(report["outcome"])
    if not report.get("could_run", True):
        return str(Outcome.NOT_RUN)
    return str(Outcome.PASSED if report.get("passed") else Outcome.FAILED)


def read_drilled(report: Mapping[str, Any]) -> Drilled:
    """Keep of a report what promises are judged by."""
    judged = {str(each["name"]): each for each in (report.get("objectives") or {}).get("judged") or ()}
    told = {name: _number(each.get("measured_seconds")) for name, each in judged.items()}
    # A drill may know better than to judge the time that it took: then it is no measure of the promise either.
    told |= {name: _number(report.get(f"{name}_seconds")) for name in ALWAYS if name not in judged}
    measured = {name: value for name, value in told.items() if value is not None}
    return Drilled(
        id=str(report["id"]),
        started_at=read_instant(report["started_at"]),
        outcome=outcome_of(report),
        measured=measured,
        classes={str(line.get("name")): line for line in report.get("classes") or ()},
        failed=frozenset(
            str(found.get("name"))
            for found in report.get("checks") or ()
            if verdict_of(found) == "failed" and is_blocking(found)
        ),
    )


def judge_promises(
    objectives: Objectives, drills: Sequence[Drilled], findings: Sequence[Finding], *, now: datetime
) -> Iterator[Promise]:
    """Yield every objective, and RTO and RPO also where none was promised; `drills` are given newest first."""
    for name in Objectives.model_fields:
        value: timedelta | float | None = getattr(objectives, name)
        promised = value.total_seconds() if isinstance(value, timedelta) else value
        if promised is None and name not in ALWAYS:
            continue
        told = _from_status(name, promised, findings, now)
        if name not in ALWAYS:
            yield told or _unknown(name, promised, NOT_TOLD)
            continue
        proven = _from_drills(name, promised, drills) or _unknown(name, promised, NO_DRILL)
        # Who measured it, and when, the drills say; status may know of it being broken otherwise.
        yield told if told is not None and told.verdict is Verdict.MISSED is not proven.verdict else proven


def judge_classes(classes: Mapping[str, ClassConfig], drills: Sequence[Drilled]) -> tuple[ClassPromise, ...]:
    """Return a line for each configured class, by priority."""
    ordered = sorted(classes.items(), key=lambda each: (each[1].priority, each[0]))
    return tuple(_of_class(name, config, drills) for name, config in ordered)


def missed(promises: Iterable[Promise]) -> list[Promise]:
    """Return those that are broken."""
    return [each for each in promises if each.verdict is Verdict.MISSED]


def _from_status(name: str, promised: float | None, findings: Sequence[Finding], now: datetime) -> Promise | None:
    """Return what status says of an objective of the cluster; None where it says nothing."""
    for finding in findings:
        figures = finding.figures
        if finding.name == OBJECTIVE and figures.get("objective") == name and figures.get("class") is None:
            is_kept, measured = figures.get("is_kept"), _number(figures.get("measured"))
            verdict = Verdict.UNKNOWN if is_kept is None else Verdict.KEPT if is_kept else Verdict.MISSED
            note = "" if verdict is Verdict.KEPT else finding.detail
            return Promise(name, _unit(name), promised, measured, verdict, now, "status", note)
    return None


def _from_drills(name: str, promised: float | None, drills: Sequence[Drilled]) -> Promise | None:
    ran = [drill for drill in drills if drill.ran]
    newest = next((drill for drill in ran if name in drill.measured), None)
    if name == "rto":
        failed = next((drill for drill in ran if not drill.is_proof or name in drill.measured), None)
        if failed is not None and not failed.is_proof:
            return _taken_back(name, promised, failed, newest)
    if newest is None:
        return None
    return _judged(name, promised, newest.measured[name], at=newest.started_at, by=f"drill {newest.id}")


def _taken_back(name: str, promised: float | None, failed: Drilled, before: Drilled | None) -> Promise:
    verdict = Verdict.UNKNOWN if promised is None else Verdict.MISSED
    note = f"drill {failed.id} did not bring the data back"
    return Promise(
        name=name,
        unit="seconds",
        promised=promised,
        measured=None,
        verdict=verdict,
        measured_at=failed.started_at,
        by=f"drill {failed.id}",
        note=note if before is None else f"{note}; {before.id} before it did",
    )


def _of_class(name: str, config: ClassConfig, drills: Sequence[Drilled]) -> ClassPromise:
    newest = next((drill for drill in drills if drill.ran and name in drill.classes), None)
    rpo_from = next((drill for drill in drills if drill.ran and _class_number(drill, name, "rpo") is not None), None)
    return ClassPromise(
        name=name,
        priority=config.priority,
        tables=config.tables,
        rto=_class_rto(name, _seconds(config.rto), newest),
        rpo=_class_rpo(name, _seconds(config.rpo), rpo_from),
    )


def _class_rto(name: str, promised: float | None, newest: Drilled | None) -> Promise:
    if newest is None:
        return _unknown("rto", promised, NO_DRILL)
    line, by = newest.classes[name], f"drill {newest.id}"
    measured = _number(line.get("rto_seconds"))
    if measured is not None and newest.is_proof:
        return _judged("rto", promised, measured, at=newest.started_at, by=by)
    note = str(line.get("note") or f"drill {newest.id} did not bring the data back")
    has_failed = not newest.is_proof and (measured is not None or newest.failed.intersection(line.get("checks") or ()))
    verdict = Verdict.MISSED if has_failed and promised is not None else Verdict.UNKNOWN
    return Promise("rto", "seconds", promised, None, verdict, newest.started_at, by, note)


def _class_rpo(name: str, promised: float | None, newest: Drilled | None) -> Promise:
    measured = None if newest is None else _class_number(newest, name, "rpo")
    if newest is None or measured is None:
        return _unknown("rpo", promised, NO_DRILL)
    return _judged("rpo", promised, measured, at=newest.started_at, by=f"drill {newest.id}")


def _class_number(drill: Drilled, name: str, kind: str) -> float | None:
    return _number(drill.classes.get(name, {}).get(f"{kind}_seconds"))


def _judged(name: str, promised: float | None, measured: float, *, at: datetime, by: str) -> Promise:
    is_missed = promised is not None and (measured < promised if name == SHARE else measured > promised)
    verdict = Verdict.MISSED if is_missed else Verdict.KEPT
    note = "nothing was promised" if promised is None else ""
    if promised is None:  # measured, but not kept: there was nothing to keep, and no colour for it
        verdict = Verdict.UNKNOWN
    return Promise(name, _unit(name), promised, measured, verdict, at, by, note)


def _unknown(name: str, promised: float | None, why: str) -> Promise:
    return Promise(name, _unit(name), promised, None, Verdict.UNKNOWN, None, None, why)


def _unit(name: str) -> str:
    return "share" if name == SHARE else "seconds"


def _seconds(value: timedelta | None) -> float | None:
    return None if value is None else value.total_seconds()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
