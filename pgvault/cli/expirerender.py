"""How an expiry, or a deletion, looks: what is marked, what stays and why, what went, and where the window begins."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pgvault.cli import render
from pgvault.expire.actions import ExpirePlan, WalRemoval
from pgvault.expire.carrying import Report
from pgvault.expire.removing import Tally
from pgvault.instants import iso


def report_lines(report: Report, *, is_dry: bool) -> list[str]:
    """Return what was done, or would be, for people."""
    plan = report.plan
    title = "would be done" if is_dry else "done"
    lines = [f"expiry of {plan.cluster}: {'nothing to do' if plan.is_empty else title}"]
    lines += [f"note: {note}" for note in (*plan.notes, *report.notes)]
    lines += [*_mark_lines(report, is_dry=is_dry), *_removal_lines(report, is_dry=is_dry)]
    lines += list(_wal_lines(plan, is_dry=is_dry))
    for change in plan.windows:
        system = f" of system {change.system_identifier}" if _has_several(plan) else ""
        before, after = _moment(change.begins_before), _moment(change.begins_after)
        lines.append(f"window in copy {change.copy}{system}: begins {before}, afterwards {after}")
    won = plan.bytes_won if is_dry else report.bytes_won
    return [*lines, *report.locks(), f"stored bytes {'to win, at most' if is_dry else 'won'}: {render.size(won)}"]


def report_document(report: Report) -> dict[str, Any]:
    """Return plan and outcome for machines."""
    plan = report.plan
    return {
        "plan": _plan_document(plan),
        "done": {
            "marked": report.marked,
            "kept": dict(report.kept),
            "removed": report.removed,
            "swept": report.swept,
            "left": dict(report.left),
            "copies": {name: _tally_document(tally) for name, tally in report.tallies.items()},
            "bytes_won": report.bytes_won,
            "notes": report.notes,
            "problems": [str(problem) for problem in report.problems],
        },
    }


def recorded_report(report: Report) -> dict[str, Any]:
    """Return what of an expiry is kept on record: which backups were marked, which are gone, and how much went."""
    return {
        "marked": list(report.marked),
        "kept": dict(report.kept),
        "removed": list(report.removed),
        "swept": list(report.swept),
        "objects_removed": {name: tally.object_count for name, tally in report.tallies.items()},
        "bytes_won": report.bytes_won,
        "problems": [str(problem) for problem in report.problems],
    }


def _plan_document(plan: ExpirePlan) -> dict[str, Any]:
    return {
        "at": iso(plan.now),
        "marks": [{"label": m.label, "why": m.why, "deliberate": m.is_deliberate} for m in plan.marks],
        "withdrawals": dict(plan.withdrawals),
        "removals": [
            {"label": each.label, "copies": list(each.copies), "stored_bytes": each.stored_bytes}
            for each in plan.removals
        ],
        "sweeps": [{"label": each.label, "stored_bytes": each.stored_bytes} for each in plan.sweeps],
        "wal": [
            {
                "system_identifier": str(each.system_identifier),
                "ranges": [[found.first.name, found.last.name] for found in each.ranges],
                "tails": [segment.name for segment in each.tails],
                "other_files": list(each.others),
                "stored_bytes": each.stored_bytes,
            }
            for each in plan.wal
        ],
        "kept": [
            {"label": each.label, "reasons": list(each.reasons), "restores_to_end_only": each.restores_to_end_only}
            for each in plan.kept
        ],
        "waiting": [
            {"label": each.label, "why": each.why, "removable_at": _iso(each.removable_at)} for each in plan.waiting
        ],
        "windows": [
            {
                "copy": each.copy,
                "system_identifier": str(each.system_identifier),
                "begins_before": _iso(each.begins_before),
                "begins_after": _iso(each.begins_after),
            }
            for each in plan.windows
        ],
        "bytes_won": plan.bytes_won,
        "needs_shrink_window_to": plan.needs_window,
        "notes": list(plan.notes),
    }


def _tally_document(tally: Tally) -> dict[str, Any]:
    return {
        "objects": tally.object_count,
        "stored_bytes": tally.stored_bytes,
        "locked": tally.locked_count,
        "locked_until": _iso(tally.locked_until),
        "denied": tally.denied,
    }


def _mark_lines(report: Report, *, is_dry: bool) -> Iterator[str]:
    plan = report.plan
    for kept in plan.kept:
        end = "; restores to its end only" if kept.restores_to_end_only else ""
        yield f"stays: {kept.label}: {', '.join(kept.reasons)}{end}"
    for label, why in (plan.withdrawals if is_dry else report.kept).items():
        yield f"{'to be taken back' if is_dry else 'taken back'}: {label}: {why}"
    for mark in plan.marks:
        if is_dry or mark.label in report.marked:
            yield f"{'to be marked' if is_dry else 'marked'}: {mark.label}: {mark.why}"
    for waiting in plan.waiting:
        until = "" if waiting.removable_at is None else f", until {render.instant(waiting.removable_at)}"
        yield f"marked before: {waiting.label}: {waiting.why}{until}"


def _removal_lines(report: Report, *, is_dry: bool) -> Iterator[str]:
    plan = report.plan
    for removal in plan.removals:
        if is_dry:
            yield f"to be removed: {removal.label}: {render.size(removal.stored_bytes)} in {', '.join(removal.copies)}"
        elif removal.label in report.removed:
            yield f"removed: {removal.label} from {', '.join(removal.copies)}"
    for sweep in plan.sweeps:
        if is_dry or sweep.label in report.swept:
            yield f"{'to be swept' if is_dry else 'swept'}: {sweep.label}: never committed"
    for what, why in report.left.items():
        yield f"left for another time: {what}: {why}"


def _wal_lines(plan: ExpirePlan, *, is_dry: bool) -> Iterator[str]:
    verb = "to be removed" if is_dry else "due"
    for each in plan.wal:
        yield f"WAL {verb}: {', '.join(_wal_parts(each))} ({render.size(each.stored_bytes)})"


def _wal_parts(removal: WalRemoval) -> Iterator[str]:
    yield from map(str, removal.ranges)
    if removal.tails:
        yield f"tails of {len(removal.tails)} segments"
    if removal.others:
        yield f"{len(removal.others)} other files"


def _has_several(plan: ExpirePlan) -> bool:
    return len({change.system_identifier for change in plan.windows}) > 1


def _moment(at: datetime | None) -> str:
    return "nowhere" if at is None else render.instant(at)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else iso(at)
