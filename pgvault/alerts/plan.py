"""Judge what a look found against what was told before: what is new, what is worse, what is told again, what is over.

Nothing is over because it was not seen: where the repository or the server did not answer, or a look at the repository
failed, alerts that do not show are kept as they are. So is one of which it is only "unknown" how it is now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from pgvault.alerts.alert import Alert, alerts_of, is_worse
from pgvault.alerts.routing import Router
from pgvault.alerts.state import Known, State, Told
from pgvault.monitor.finding import Level
from pgvault.monitor.looking import FAILED_LOOK
from pgvault.monitor.status import ClusterStatus

BLINDING = ("repository", "reading", "server")  # where one of these is red, others do not show
OVER = "it is over"
CALM = timedelta(minutes=30)  # what comes back sooner flaps: then its end is told when it has been well for so long


class Event(StrEnum):
    """Why something is told."""

    TRIGGER = "trigger"  # new, or worse than it was
    REPEAT = "repeat"  # still red
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True)
class Sending:
    """One thing that one receiver is to be told."""

    receiver: str
    event: Event
    alert: Alert
    since: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """What was found at one moment."""

    statuses: tuple[ClusterStatus, ...]
    now: datetime
    is_whole: bool = True  # False: some findings of a cluster only; those that are not there say nothing


@dataclass(frozen=True, slots=True)
class Plan:
    """What to tell, and what is known before anything of it is told."""

    sendings: tuple[Sending, ...]
    state: State


def plan_alerts(look: Look, state: State, router: Router) -> Plan:
    """Return what is to be told, and whom."""
    present = alerts_of(look.statuses)
    alerts = dict(state.alerts)
    for key, alert in present.items():
        updated = _updated(alerts.get(key), alert, look.now)
        if updated is not None:
            alerts[key] = updated
    if look.is_whole:
        for key in _ended(look, state, present):
            known = alerts[key]
            alerts[key] = _over(known, replace(known.alert, level=Level.OK, detail=OVER, hint=None), look.now)
    ours = {status.cluster for status in look.statuses}
    concerned = [
        known for key, known in alerts.items() if known.alert.cluster in ours and (look.is_whole or key in present)
    ]
    sendings = tuple(sending for known in concerned for sending in _sendings(known, router, look.now))
    return Plan(sendings, replace(state, alerts=alerts).pruned(look.now))


def delivered(state: State, sendings: Collection[Sending], now: datetime) -> State:
    """Return what is known once these were told."""
    alerts = dict(state.alerts)
    for sending in sendings:
        known = alerts.get(sending.alert.key)
        if known is None:
            continue
        told = {name: each for name, each in known.told.items() if name != sending.receiver}
        if sending.event is not Event.RESOLVE:
            told[sending.receiver] = Told(sending.alert.level, now)
        alerts[sending.alert.key] = replace(known, told=told, changed_at=now)
    return replace(state, alerts=alerts)


def _updated(known: Known | None, alert: Alert, now: datetime) -> Known | None:
    """Return what is known of an alert that was seen; None: nothing needs to be."""
    if known is None or not known.is_open:
        if alert.level is Level.OK:
            return known
        # What the last episode's receivers were not told yet, they are told by the new one.
        is_flapping = known is not None and now - known.since < CALM
        return Known(alert, now, now, {} if known is None else known.told, is_flapping)
    if alert.level is Level.OK:
        return _over(known, alert, now)
    if alert.is_unknown:
        return known
    changed_at = known.changed_at if alert.level is known.alert.level else now
    return replace(known, alert=alert, changed_at=changed_at)


def _over(known: Known, alert: Alert, now: datetime) -> Known:
    return Known(alert, now, now, known.told, known.is_flapping)


def _ended(look: Look, state: State, present: Mapping[str, Alert]) -> Iterator[str]:
    """Yield the alerts that are open and do not show any more, in clusters of which everything showed."""
    seen = {status.cluster for status in look.statuses if not _is_blind(status)}
    for key, known in state.alerts.items():
        if known.is_open and key not in present and known.alert.cluster in seen:
            yield key


def _is_blind(status: ClusterStatus) -> bool:
    """Tell whether something may not show because it could not be looked at."""
    return status.error is not None or any(
        finding.figures.get(FAILED_LOOK) or (finding.level is Level.RED and finding.name in BLINDING)
        for finding in status.findings
    )


def _sendings(known: Known, router: Router, now: datetime) -> Iterator[Sending]:
    """Yield what is to be told of one alert."""
    alert = known.alert
    targets = router.receivers(alert) if known.is_open else ()
    for name in targets:
        told = known.told.get(name)
        if told is None or is_worse(alert.level, told.level):
            yield Sending(name, Event.TRIGGER, alert, known.since)
        elif alert.level is Level.RED and abs(now - told.at) >= router.config.repeat:  # abs: a clock was put back
            yield Sending(name, Event.REPEAT, alert, known.since)
    if not known.is_open and known.is_flapping and timedelta(0) <= now - known.since < CALM:
        return
    for name in known.told:
        # One that another host's configuration names is that host's to tell.
        if name not in targets and name in router.config.receivers:
            yield Sending(name, Event.RESOLVE, alert, known.since)
