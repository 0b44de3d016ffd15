"""Judge whether somebody would tell: a notifier that died is silent, and so is one whose receivers take nothing.

What counts is the newest notice in the repository, never that a program of ours runs here. It names each cluster with
the moment when a notifier last looked at it and could tell what there was to tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from pgvault.config import AlertsConfig, AnyCheck
from pgvault.errors import ObjectCorrupt
from pgvault.instants import iso
from pgvault.monitor.finding import Figures, Finding, ok, red, span, warn
from pgvault.repository.fields import read_instant
from pgvault.repository.notices import read_newest
from pgvault.repository.repository import Repository

NAME = "notifier"
ROUTES = "alert routes"
SILENT_AFTER = timedelta(hours=2)  # a notifier leaves a notice every hour at least
HINT = "Is it run, by cron every few minutes (pgvault alert run) or as a service (pgvault alert watch)?"


def look_at_notifier(repository: Repository, cluster: str, *, now: datetime) -> Finding:
    """Look at the newest notice. Raises what reading the deciding copy raises."""
    try:
        return judge_notifier(read_newest(repository), cluster, now=now)
    except ObjectCorrupt as error:  # a notifier that lives puts another one behind it
        return red(NAME, f"what it left can not be read: {error}", {"noticed_at": None}, hint=HINT)


def judge_notifier(notice: Mapping[str, Any] | None, cluster: str, *, now: datetime) -> Finding:
    """Judge what the newest notice says of a cluster. Raises ObjectCorrupt."""
    if notice is None:
        return red(NAME, "none ever left a notice: nobody is told of anything", {"noticed_at": None}, hint=HINT)
    try:
        looked_at, errors = notice["looked_at"], notice["errors"]
        failing = [f"receiver {name!r}: {each['error']}" for name, each in sorted(errors.items())]
        at = None if cluster not in looked_at else read_instant(looked_at[cluster])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ObjectCorrupt(f"the newest notice is not what a notifier writes: {error!r}") from error
    last = f"; the last sending failed: {'; '.join(failing)}" if failing else ""
    if at is None:
        said = f"none looked at this cluster in the last week{last}"
        return red(NAME, said, {"noticed_at": None}, hint=HINT)
    if at - now > SILENT_AFTER:
        said = f"last known alive {span(at - now)} from now: a clock is or was wrong, and who is dead would not show"
        return red(NAME, said, {"noticed_at": iso(at)}, hint=HINT)
    figures: Figures = {"noticed_at": iso(at), "age_seconds": (now - at).total_seconds(), "failing": len(failing)}
    said = f"last known alive {span(now - at)} ago{last}"
    if now - at > SILENT_AFTER:
        return red(NAME, said, figures, hint=HINT)
    return warn(NAME, said, figures, hint="Try it: pgvault alert test") if failing else ok(NAME, said, figures)


def judge_routes(checks: Iterable[AnyCheck], alerts: AlertsConfig) -> Iterator[Finding]:
    """Yield a warning where actions of checks lead nowhere by their name."""
    unrouted: dict[str, list[str]] = {}
    for check in checks:
        if check.action is not None and check.action not in alerts.routes:
            unrouted.setdefault(check.action, []).append(check.name)
    if unrouted:
        said = "; ".join(f"{action!r} of {', '.join(names)}" for action, names in sorted(unrouted.items()))
        yield warn(
            ROUTES,
            f"no route names the action {said}: it goes where other alerts go",
            {"unrouted": len(unrouted)},
            hint="Name it under alerts.routes: with the receiver that is meant.",
        )
