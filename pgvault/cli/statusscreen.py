"""How a cluster's status looks: a line, or a screen on which one sees in five seconds whether all is well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from pgvault.amounts import say_bytes
from pgvault.cli import render
from pgvault.monitor.finding import Figure, Finding, Level, span
from pgvault.monitor.standing import State, red_names, stand
from pgvault.monitor.status import ClusterStatus

# In which group what is shown; what none of them names is among the rest.
GROUPS: dict[str, tuple[str, ...]] = {
    "server": ("server", "repository", "clocks"),
    "backups": (
        "backup",
        "data loss",
        "schedule",
        "success_rate",
        "logical backup",
        "schema backup",
        "backups",
        "anomaly",
        "pages",
        "unreadable",
        "not restorable",
        "protection",
        "system",
        "forks",
        "strays",
    ),
    "WAL": (
        "archiving",
        "archiver",
        "archive",
        "slot",
        "last segment",
        "WAL lag",
        "gap",
        "gaps",
        "window",
        "pg_wal disk",
    ),
    "copies": ("reading", "damage", "copy_backup", "copy_lag", "object_lock"),
    "drills": ("drill", "verify", "check", "checks", "escrow"),
    "objectives": ("objective",),
}
CLASS = "class "  # what a data class would lose
REST = "rest"
SEVERITY = [Level.RED, Level.WARN, Level.OK]


def brief_line(found: ClusterStatus) -> str:
    """Return a cluster's line: how it is, its last backup and the next one, its lag, its last proof."""
    state = stand(found.findings).state
    said = state.value
    if state in (State.STALE, State.BROKEN):
        said += f" ({', '.join(red_names(found.findings))})"
    parts = (said, _backup(found), _next(found), _lag(found), _proof(found))
    return f"{found.cluster}: {', '.join(parts)}"


def write_status(found: ClusterStatus) -> None:
    """Write a headline, then a table of the findings by group, the worst first, with what to do below."""
    standing = stand(found.findings)
    headline = f"{found.cluster}: {standing.state}"
    if standing.reason is not None:
        headline += f" - {render.printable(standing.reason)}"
    render.write_table(headline, ("", "", "what", "how it is"), list(_rows(found.findings)))


def _rows(findings: Iterable[Finding]) -> Iterator[tuple[str, str, str, str]]:
    told = [each for each in findings if each.is_told or each.level is not Level.OK]
    for group in (*GROUPS, REST):
        members = [each for each in told if _group(each) == group]
        shown = group
        for finding in sorted(members, key=lambda each: SEVERITY.index(each.level)):
            mark = finding.level.value.upper() if finding.level is Level.RED else finding.level.value
            mark = mark if finding.is_judged else "-"
            yield shown, mark, finding.name, render.printable(finding.detail)
            if finding.hint is not None and finding.level is not Level.OK:
                yield "", "", "", f"hint: {render.printable(finding.hint)}"
            shown = ""


def _group(finding: Finding) -> str:
    if finding.name.startswith(CLASS):
        return "backups"
    return next((group for group, names in GROUPS.items() if finding.name in names), REST)


def _backup(found: ClusterStatus) -> str:
    if _figure(found, "backup", "count") == 0:
        return "no backup"  # which only a repository that answers can say
    age = _number(found, "backup", "age_seconds")
    return f"last backup {'unknown' if age is None else f'{span(age)} ago'}"


def _next(found: ClusterStatus) -> str:
    """The next backup of any kind."""
    slots = [each.figures for each in found.findings if each.name == "schedule"]
    backups = [each for each in slots if each.get("kind") in ("backup", "logical")]
    coming = min((str(each["next_slot_at"]) for each in backups if each.get("next_slot_at")), default=None)
    if coming is None:
        return "not scheduled" if backups else "next unknown"
    return f"next {datetime.fromisoformat(coming):%Y-%m-%d %H:%M} UTC"


def _lag(found: ClusterStatus) -> str:
    loss = _number(found, "data loss", "seconds")
    if loss is not None:  # it has logical backups only
        return f"{span(loss)} would be lost"
    size, seconds = _number(found, "WAL lag", "bytes"), _number(found, "WAL lag", "seconds")
    bound = "at most " if _figure(found, "WAL lag", "is_upper_bound") else ""
    return "WAL lag " + ("unknown" if size is None or seconds is None else f"{say_bytes(size)}/{bound}{span(seconds)}")


def _proof(found: ClusterStatus) -> str:
    age = _number(found, "drill", "age_seconds")
    if age is not None:
        return f"proven {span(age)} ago"
    count = _number(found, "drill", "count")
    return "last proof unknown" if count is None else "not proven" if count else "never drilled"


def _figure(found: ClusterStatus, name: str, figure: str) -> Figure:
    finding = next((each for each in found.findings if each.name == name), None)
    return None if finding is None else finding.figures.get(figure)


def _number(found: ClusterStatus, name: str, figure: str) -> float | None:
    value = _figure(found, name, figure)
    return value if isinstance(value, int | float) else None
