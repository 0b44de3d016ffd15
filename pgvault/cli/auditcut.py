"""What `expire` does with this host's own audit chain, where the configuration says how long entries are kept."""

from __future__ import annotations

from typing import Any

from pgvault.audit.chain import store_time
from pgvault.cli import render
from pgvault.cli.auditing import signing_key
from pgvault.cli.origin import find_origin
from pgvault.config import Config
from pgvault.expire.auditcut import CutReport, apply_cut, plan_cut
from pgvault.expire.removing import Tally
from pgvault.instants import SystemClock
from pgvault.repository.repository import Repository


def cut_audit(loaded: Config, repository: Repository, *, is_dry: bool) -> CutReport | None:
    """Plan, and unless it is dry carry out; None where nothing is ever cut. Raises what stores and keys raise."""
    if loaded.audit_keep is None:
        return None
    key, now = signing_key(loaded.audit), SystemClock().now()
    # By whichever clock is behind: one that is years ahead must not cut years.
    until = min(now, store_time(repository) or now)
    plan = plan_cut(repository, key.public.signer, keep=loaded.audit_keep, now=until)
    return CutReport(plan) if is_dry else apply_cut(repository, plan, key=key, by=find_origin(), at=now)


def cut_lines(report: CutReport | None, *, is_dry: bool) -> list[str]:
    """Return it for people; nothing where there is nothing to say."""
    if report is None:
        return []
    lines = [f"audit: {note}" for note in (report.plan.note, *report.notes) if note is not None]
    if report.plan.cut is not None:
        verb = "to be cut" if is_dry else "cut"
        lines.append(f"audit: {verb}: entries 0 to {report.plan.cut.first - 1} of {report.plan.signer}")
    return [*lines, *(_tally_line(name, tally) for name, tally in report.tallies.items())]


def cut_document(report: CutReport | None) -> dict[str, Any] | None:
    """Return it for machines."""
    if report is None:
        return None
    plan = report.plan
    return {
        "signer": plan.signer,
        "first_kept": None if plan.cut is None else plan.cut.first,
        "copies": {name: {"objects": t.object_count, "locked": t.locked_count} for name, t in report.tallies.items()},
        "notes": [note for note in (plan.note, *report.notes) if note is not None],
        "problems": list(map(str, report.problems)),
    }


def _tally_line(name: str, tally: Tally) -> str:
    locked = "" if tally.locked_until is None else f", locked until {render.instant(tally.locked_until)}"
    return f"audit: {tally.object_count} entries removed from copy {name}{locked}"
