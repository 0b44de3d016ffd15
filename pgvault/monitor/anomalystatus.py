"""Tell which backups are off from the ones before them: by their roots alone.

The newest of each kind is judged, and what was off within the last three days, so that nobody misses over a weekend
what the next backup no longer shows. A newest one that is older than `accept_after` is not told any more: definitions
are kept when they change, and the next change may be years away. Never red: nothing that was promised is broken, and
somebody should look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from pgvault.amounts import say_bytes
from pgvault.anomaly.judge import LEAST, MEASURES, Deviation, Taken, Verdict, course_behind, judge
from pgvault.anomaly.kind import kind_of
from pgvault.config.anomaly import AnomalyConfig
from pgvault.instants import iso
from pgvault.monitor.finding import Figure, Finding, ok, unjudged, warn
from pgvault.repository.catalog import Root

NAME = "anomaly"
TOLD_FOR = timedelta(days=3)
BYTES, SHARES = ("size", "wal"), ("changed",)


def judge_backups(roots: Sequence[Root], config: AnomalyConfig, *, now: datetime) -> Iterator[Finding]:
    """Yield findings for each kind of backup that there is."""
    if not roots:
        yield warn(NAME, "unknown: there is no backup to compare", hint="Take one: pgvault backup")
    for kind in sorted({kind_of(each) for each in roots}):
        members = [each for each in roots if kind_of(each) == kind]
        members.sort(key=lambda root: (root.started_at, root.label))
        yield from _of_kind(kind, members, config, now)


def _of_kind(kind: str, members: Sequence[Root], config: AnomalyConfig, now: datetime) -> Iterator[Finding]:
    newest = members[-1]
    normal = _last_normal(newest, config, now)
    told: set[str] = set()
    for root in reversed(members):
        if now - root.started_at <= (config.accept_after if root is newest else TOLD_FOR):
            fresh = [each for each in _verdict(root, config).deviations if each.measure.name not in told]
            told |= {each.measure.name for each in fresh}
            yield from (_off(each, _figures(kind, root, _verdict(root, config)), normal) for each in fresh)
    if not told:
        yield _not_off(kind, newest, _verdict(newest, config))


def _verdict(root: Root, config: AnomalyConfig) -> Verdict:
    return Verdict(0) if root.measures is None else judge(root.measures, config)


def _not_off(kind: str, root: Root, verdict: Verdict) -> Finding:
    figures = {**_figures(kind, root, verdict), "anomalous": 0, "measure": "", "suspicious": False}
    if root.measures is None:
        return unjudged(NAME, f"{kind}: not judged: backup {root.label} was not measured", figures)
    if not verdict.is_judged:
        count = f"{verdict.compared} of {LEAST} normal ones before it"
        return unjudged(NAME, f"{kind}: not judged: too few to compare backup {root.label} with ({count})", figures)
    if verdict.deviations:
        return ok(NAME, f"{kind}: {root.label} was off, and that was told long enough", figures)
    return ok(NAME, f"{kind}: {root.label} is like the {verdict.compared} before it", figures)


def _off(off: Deviation, known: Mapping[str, Figure], last_normal: str | None) -> Finding:
    normal = last_normal if off.is_suspicious else None
    figures: dict[str, Figure] = {
        **known,
        "anomalous": 1,
        "measure": off.measure.name,
        "value": off.value,
        "median": off.median,
        "off_share": off.off_share,
        "limit_share": off.limit,
        "suspicious": off.is_suspicious,
        "last_normal": normal,
    }
    name, usual = off.measure.name, _words(off.measure.name, off.median)
    is_now = f"{name} of {known['backup']} is {_words(name, off.value)}"
    said = f"{known['kind']}: {is_now}, {off.off_share:.0%} off the usual {usual}"
    hint = f"If that is right: anomaly.normal_since: {known['backup_at']} in the configuration."
    if normal is not None:
        said = f"{said}; {normal} is the last normal one"
        hint = f"Look at the database before anything expires. {hint}"
    return warn(NAME, said, figures, hint=hint)


def _last_normal(newest: Root, config: AnomalyConfig, now: datetime) -> str | None:
    if newest.measures is None:
        return None
    suspects = course_behind(Taken(newest.label, newest.started_at, newest.measures), config, now=now).suspects
    return suspects[0].normal if suspects else None


def _figures(kind: str, root: Root, verdict: Verdict) -> dict[str, Figure]:
    figures: dict[str, Figure] = {
        "kind": kind,
        "backup": root.label,
        "backup_at": iso(root.started_at),
        "compared": verdict.compared,
        "judged": verdict.is_judged,
        "stored_bytes": root.stored_bytes,
    }
    values = {} if root.measures is None else root.measures.values
    return figures | {each.figure: values[each.name] for each in MEASURES if each.name in values}


def _words(name: str, value: float) -> str:
    if name in BYTES:
        return say_bytes(value) + (" an hour" if name == "wal" else "")
    if name in SHARES:
        return f"{value:.0%}"
    return f"{value:.1f}" if name == "compression" else f"{value:.0f}"
