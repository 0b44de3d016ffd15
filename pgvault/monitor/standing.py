"""How a cluster stands, in a word and one sentence: what somebody sees who has five seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pgvault.monitor.finding import Finding, Level, worst
from pgvault.monitor.objectivestatus import NAME as OBJECTIVE

NOTHING = "nothing was looked at"


class State(StrEnum):
    """How a cluster is, as a whole."""

    HEALTHY = "healthy"
    WATCHED = "healthy as far as is known"  # nothing is broken; something is not known, or wants a look
    STALE = "STALE"  # only its newest backup is too old
    BROKEN = "BROKEN"


@dataclass(frozen=True, slots=True)
class Standing:
    """A cluster's state, and why it is not healthy."""

    state: State
    reason: str | None  # a sentence; None: healthy


def stand(findings: Sequence[Finding]) -> Standing:
    """Sum up findings: the first of what is worst gives the reason, the others are named."""
    level = worst(findings)
    if not findings:
        return Standing(State.BROKEN, NOTHING)
    of_level = [each for each in findings if each.level is level]
    match level:
        case Level.OK:
            return Standing(State.HEALTHY, None)
        case Level.WARN:
            return Standing(State.WATCHED, _reason(of_level))
        case Level.RED:
            state = State.STALE if all(_is_age(each) for each in of_level) else State.BROKEN
            return Standing(state, _reason(of_level))


def red_names(findings: Iterable[Finding]) -> list[str]:
    """Return what is red, each name once; objectives by their own names."""
    return list(dict.fromkeys(_name(each) for each in findings if each.level is Level.RED))


def _reason(findings: Sequence[Finding]) -> str:
    # An objective that is broken has its reason in the finding that was measured for it.
    ordered = sorted(findings, key=lambda each: each.name == OBJECTIVE)
    first = ordered[0]
    more = [name for name in dict.fromkeys(map(_name, ordered)) if name != _name(first)]
    return f"{first.name}: {first.detail}" + (f"; also {', '.join(more)}" if more else "")


def _is_age(finding: Finding) -> bool:
    """Tell whether it says no more than that the newest backup is old; that there is none is more."""
    if finding.name == OBJECTIVE:
        return finding.figures.get("objective") == "backup_age" and finding.figures.get("measured") is not None
    return finding.name == "backup" and finding.figures.get("is_stale") is True and bool(finding.figures.get("count"))


def _name(finding: Finding) -> str:
    if finding.name != OBJECTIVE:
        return finding.name
    of_class = finding.figures.get("class")
    return f"objective {finding.figures.get('objective')}" + (f" of class {of_class}" if of_class else "")
