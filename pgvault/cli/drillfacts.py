"""What a drill is told by those who know more than the repository: when the server failed, and what was promised.

The server, where it still answers, says by its own clock what time it is and how far its archive is behind. A drill
must work without it: that is the disaster it rehearses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgvault.cli.logicalrestore import ranked_classes
from pgvault.cli.opening import OpenedCluster
from pgvault.cli.sessions import connect
from pgvault.config import ClusterConfig
from pgvault.drill.classes import ClassPromise
from pgvault.drill.objectives import Measure
from pgvault.drill.rpo import FailureMoment
from pgvault.errors import PgvaultError, UsageError
from pgvault.instants import SystemClock, iso, parse_instant
from pgvault.monitor.copylag import CopyFact, look_at_copies
from pgvault.monitor.status import gather
from pgvault.monitor.walfacts import measure_lag
from pgvault.postgres.walstate import WalState

CLOCK_SLACK = timedelta(minutes=1)  # between this host's clock and that of whoever noted the failure
BLIND = Measure.unknown("nothing but the one copy was asked")
UNKNOWN_LAG = "nothing tells how old the oldest commit is that is not stored"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside the repository."""

    failure: FailureMoment
    classes: tuple[ClassPromise, ...]
    measures: Mapping[str, Measure]  # of objectives


def know(opened: OpenedCluster, *, failed_at: str | None, is_blind: bool) -> Known:
    """Return what is known; `is_blind`: nothing may be asked but the one copy. Raises UsageError, TargetInvalid."""
    return Known(
        failure_moment(opened, failed_at, is_blind=is_blind),
        promised_classes(opened.config),
        measure_lags(opened, is_blind=is_blind),
    )


def failure_moment(opened: OpenedCluster, failed_at: str | None = None, *, is_blind: bool = False) -> FailureMoment:
    """Return the moment of the simulated failure: as it was told, else now.

    Now is by the server's clock while it answers, else by ours. Raises UsageError for a failure still to come.
    """
    if failed_at is not None:
        return FailureMoment(_past(failed_at, opened.time_zone), is_server_clock=False, is_told=True)
    if opened.config.dsn and not is_blind:
        try:
            with connect(opened.config) as session:
                return FailureMoment(session.clock(), is_server_clock=True)
        except PgvaultError:
            pass
    return FailureMoment(SystemClock().now(), is_server_clock=False)


def _past(text: str, zone: str) -> datetime:
    now = SystemClock().now()
    at = parse_instant(text, zone=zone, now=now)
    if at > now + CLOCK_SLACK:
        raise UsageError(f"--failed-at {text!r} is {iso(at)}, and it is only {iso(now)}", hint="When did it fail?")
    return at


def promised_classes(config: ClusterConfig) -> tuple[ClassPromise, ...]:
    """Return the configured data classes, and what was promised of them."""
    return tuple(
        ClassPromise(ranked, config.classes[name].rto, config.classes[name].rpo)
        for name, ranked in ranked_classes(config).items()
    )


def measure_lags(opened: OpenedCluster, *, is_blind: bool = False) -> Mapping[str, Measure]:
    """Measure how far the archive and the further copies are behind, where that was promised; nothing else asks."""
    objectives = opened.config.objectives
    measures = {}
    if objectives.archive_lag is not None:
        measures["archive_lag"] = BLIND if is_blind else _archive_lag(opened)
    if objectives.copy_lag is not None:
        measures["copy_lag"] = BLIND if is_blind else _copy_lag(opened)
    return measures


def _copy_lag(opened: OpenedCluster) -> Measure:
    return copy_lag(look_at_copies(opened.repository, opened.name, now=SystemClock().now()))


def _archive_lag(opened: OpenedCluster) -> Measure:
    facts = gather(opened.name, opened.config, opened.repository, connect=connect, clock=SystemClock())
    if not isinstance(facts.server, WalState):
        return Measure.unknown(f"the server does not answer: {facts.server}")
    if isinstance(facts.repository, PgvaultError):
        return Measure.unknown(str(facts.repository))
    lag = measure_lag(facts.server, facts.repository)
    if lag is None or lag.seconds is None:
        return Measure.unknown(UNKNOWN_LAG if lag is None else lag.reason)
    return Measure(lag.seconds, lag.reason)


def copy_lag(facts: tuple[CopyFact, ...]) -> Measure:
    """Return that of the copy that is furthest behind."""
    if not facts:
        return Measure.unknown("there is no further copy")
    worst = Measure(0.0)
    for fact in facts:
        if isinstance(fact.behind, PgvaultError):
            return Measure.unknown(f"{fact.copy}: {fact.behind}")
        for lane, behind in fact.behind.items():
            if not behind.is_level and behind.seconds is None:
                return Measure.unknown(
                    f"{fact.copy}: it lacks {behind.objects} objects of {lane}, nobody knows how long"
                )
            if (behind.seconds or 0.0) > (worst.seconds or 0.0):
                worst = Measure(behind.seconds, f"{fact.copy}: {lane}")
    return worst
