"""A cluster in one sentence: protected or not, and why; pure.

From the findings of `status`, and from what drills proved. Nothing is green before a drill has restored it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from pgvault.instants import say_seconds
from pgvault.monitor.finding import Finding, Level
from pgvault.report.document import Drill, Headline, Promise, Standing, Verdict
from pgvault.report.words import clock, counted, share
from pgvault.repository.drilled import Outcome

SAID = {
    "rto": "time to restore",
    "rpo": "data that may be lost",
    "backup_age": "age of the last backup",
    "backup_duration": "time a backup takes",
    "archive_lag": "lag of the archived WAL",
    "copy_lag": "lag of the further copies",
    "drill_age": "age of the last drill",
    "success_rate": "backups that succeeded",
}
PROOFS = (Outcome.PASSED, Outcome.MISSED)


def headline(
    findings: Sequence[Finding], promises: Sequence[Promise], drills: Sequence[Drill], *, zone: tzinfo
) -> Headline:
    """Say how a cluster stands; `drills` are given newest first, `promises` are of the cluster and its classes."""
    reds = [finding for finding in findings if finding.level is Level.RED]
    if not findings:
        return Headline(Standing.UNKNOWN, "Not known", "Nothing could be looked at, so nothing is known.")
    if reds:
        return Headline(Standing.BAD, "Not protected as it should be", _first(reds))
    ran = [drill for drill in drills if drill.outcome != Outcome.NOT_RUN]
    if not ran:
        said = "Backups are there, but no drill has restored one yet: a backup nobody has restored is a hope."
        return Headline(Standing.UNKNOWN, "Not proven", said)
    newest = ran[0]
    if newest.outcome not in PROOFS:
        return Headline(
            Standing.BAD,
            "Not proven any more",
            f"The last drill, {clock(newest.started_at, zone)}, failed: {newest.error or 'it says no more'}.",
        )
    broken = [each for each in promises if each.verdict is Verdict.MISSED]
    if broken:
        return Headline(Standing.BAD, "Not as promised", _promised(broken))
    open_names = [finding.name for finding in findings if finding.level is Level.WARN]
    unmeasured = [each for each in promises if each.promised is not None and each.verdict is Verdict.UNKNOWN]
    open_names += [f"{counted(len(unmeasured), 'promise')} that nothing has measured"] if unmeasured else []
    return _well(newest, list(dict.fromkeys(open_names)), zone)


def _well(newest: Drill, questions: Sequence[str], zone: tzinfo) -> Headline:
    took = "" if newest.rto_seconds is None else f" in {say_seconds(newest.rto_seconds)}"
    proof = f"restored and checked{took} on {clock(newest.started_at, zone)}"
    if questions:
        said = f"Last {proof}. To look at: {', '.join(questions)}."
        return Headline(Standing.WATCH, "Protected, with open questions", said)
    return Headline(Standing.GOOD, "Protected and proven", f"Last {proof}; nothing that was looked at is amiss.")


def _first(reds: Sequence[Finding]) -> str:
    more = f" And {counted(len(reds) - 1, 'more thing')} below." if len(reds) > 1 else ""
    return f"{reds[0].name}: {reds[0].detail}.{more}"


def _promised(broken: Sequence[Promise]) -> str:
    first = broken[0]
    say = share if first.unit == "share" else say_seconds
    measured = "not reached" if first.measured is None else say(first.measured)
    promised = "" if first.promised is None else f", promised {say(first.promised)}"
    more = f" And {counted(len(broken) - 1, 'more promise')} below." if len(broken) > 1 else ""
    return f"{SAID.get(first.name, first.name).capitalize()}: {measured}{promised}.{more}"
