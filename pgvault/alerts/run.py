"""One look made known: plan what to tell, tell it, and leave a notice of it in the repository.

    state ─► plan ─► nothing to tell: done
                └──► lease ─► state and plan once more ─► tell ─► notice ─► lease given back

Two notifiers tell a thing once: only who holds the lease `alerts` tells, by what the newest notice says *then*. Who
finds it held leaves it to the other. Who dies between telling and the notice has told what is told again: rather twice
than never. A quiet look writes nothing, but a notice every hour, by which `status` knows that a notifier lives.

Where the repository, or the copy that decides, can not be asked or written, what is told is the outage; what was told
is then kept by this host (memory.py), and taken over into the repository when that is back. Until then two hosts know
nothing of each other, and each tells once.

A look counts as alive when everything to be told went somewhere: not when each receiver failed that there was something
for. Only then the notice names the cluster with the time, and only then the dead man's switch is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from pgvault.alerts.deliver import LIMIT_SECONDS, PATIENCE, Delivery, deliver
from pgvault.alerts.memory import Memory, Remembered
from pgvault.alerts.message import Voice
from pgvault.alerts.plan import Look, Plan, Sending, delivered, plan_alerts
from pgvault.alerts.receivers import Receiver
from pgvault.alerts.state import Failure, State
from pgvault.alerts.web import read_address, request
from pgvault.errors import AlreadyRunning, ObjectCorrupt, PgvaultError, StoreUnreachable
from pgvault.instants import iso
from pgvault.monitor.finding import Level
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import USUAL_TERMS, Terms, acquire
from pgvault.repository.notices import LEASE, put_notice, read_newest
from pgvault.repository.repository import Repository
from pgvault.stores.retry import Overdue, Patience, within

logger = logging.getLogger(__name__)

HEARTBEAT = timedelta(hours=1)
PING_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Notifier:
    """Who tells: by which rules, to whom, and how it remembers."""

    voice: Voice
    receivers: Mapping[str, Receiver]
    memory: Memory
    patience: Patience = PATIENCE
    limit_seconds: float = LIMIT_SECONDS
    terms: Terms = USUAL_TERMS


@dataclass(frozen=True, slots=True)
class Notified:
    """What came of a look."""

    deliveries: tuple[Delivery, ...] = ()
    open_count: int = 0  # alerts that are open now
    is_recorded: bool = True  # False: only this host knows what was told
    busy: AlreadyRunning | None = None  # another notifier is at it: nothing was told by this one
    notes: list[str] = field(default_factory=list)

    @property
    def told(self) -> tuple[Sending, ...]:
        """Everything that was told."""
        return tuple(sending for each in self.deliveries for sending in each.told)

    @property
    def failed(self) -> tuple[Delivery, ...]:
        """The receivers that did not take all."""
        return tuple(each for each in self.deliveries if each.error is not None)

    @property
    def is_alive(self) -> bool:
        """Whether somebody would have heard."""
        return not self.failed or bool(self.told)

    def require_told(self) -> None:
        """Raise StoreUnreachable when a receiver did not take what it was to be told."""
        if self.failed:
            said = "; ".join(f"receiver {each.receiver!r}: {each.error}" for each in self.failed)
            raise StoreUnreachable(f"not everybody was told: {said}", hint="The next look tries again.")


def notify(look: Look, notifier: Notifier, repository: Repository | PgvaultError) -> Notified:
    """Tell what is new since the last look, of whatever host."""
    try:
        if isinstance(repository, PgvaultError):
            raise repository
        return _notify_by(repository, look, notifier)
    except AlreadyRunning as error:
        return Notified(busy=error)
    except PgvaultError as error:
        return _notify_alone(look, notifier, why=error)


def _notify_by(repository: Repository, look: Look, notifier: Notifier) -> Notified:
    """Tell by what the repository knows. Raises AlreadyRunning, and what reading or taking the lease raises."""
    plan = _plan(repository, look, notifier)
    if not _is_due(plan, look, notifier):
        return _quiet(plan, notifier)
    with acquire(repository, LEASE, Claim(), command="alert run", terms=notifier.terms) as lease:
        plan = _plan(repository, look, notifier)
        if not _is_due(plan, look, notifier):
            return _quiet(plan, notifier)
        lease.require_held()
        outcome = _tell(plan, look, notifier)
        if not _is_worth_a_notice(plan, outcome, look, notifier):
            return outcome.notified()
        try:
            lease.require_not_lost()
            put_notice(repository, outcome.document(look, notifier), now=look.now)
        except PgvaultError as error:
            return _remember(outcome, look, notifier, why=error)
    notifier.memory.write(Remembered(outcome.state))
    return outcome.notified()


def _notify_alone(look: Look, notifier: Notifier, *, why: PgvaultError) -> Notified:
    """Tell by what this host remembers: nothing can be asked of the repository, or stored there."""
    plan = plan_alerts(look, notifier.memory.read().state, notifier.voice.router)
    return _remember(_tell(plan, look, notifier), look, notifier, why=why)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What was told, and what is known now."""

    deliveries: tuple[Delivery, ...]
    state: State

    def notified(self, *notes: str) -> Notified:
        """Return it for whoever asked."""
        return Notified(self.deliveries, _open_count(self.state), is_recorded=not notes, notes=list(notes))

    def document(self, look: Look, notifier: Notifier) -> dict[str, Any]:
        """Return the notice."""
        sent = [
            {"receiver": each.receiver, "event": each.event.value, "key": each.alert.key}
            for delivery in self.deliveries
            for each in delivery.told
        ]
        return {**self.state.to_json(), "at": iso(look.now), "host": notifier.voice.host, "sent": sent}


def _quiet(plan: Plan, notifier: Notifier) -> Notified:
    """End a look that found nothing new; this host learns what others told."""
    if _told_whom(notifier.memory.read().state) != _told_whom(plan.state):
        notifier.memory.write(Remembered(plan.state))
    return Notified(open_count=_open_count(plan.state))


def _told_whom(state: State) -> dict[str, tuple[Level, tuple[str, ...]]]:
    return {key: (known.alert.level, tuple(sorted(known.told))) for key, known in state.alerts.items()}


def _remember(outcome: _Outcome, look: Look, notifier: Notifier, *, why: PgvaultError) -> Notified:
    """Keep on this host what the repository did not take."""
    changed = {key for key, known in outcome.state.alerts.items() if known.changed_at == look.now}
    unrecorded = notifier.memory.read().unrecorded
    notifier.memory.write(Remembered(outcome.state, unrecorded | changed))
    return outcome.notified(f"the repository does not know what was told: {why}")


def _plan(repository: Repository, look: Look, notifier: Notifier) -> Plan:
    """Plan by the newest notice, and by what this host told while it could not leave one."""
    remembered = notifier.memory.read()
    try:
        document = read_newest(repository)
        found = None if document is None else State.from_json(document, where=str(document.get("id")))
    except ObjectCorrupt as error:
        logger.warning("%s; another one is put behind it", error)
        found = None
    # Without a notice that can be read, what this host knew goes on, and who looked when begins anew.
    state = found or replace(remembered.state, looked_at={})
    return plan_alerts(look, state.merged(remembered.state, remembered.unrecorded), notifier.voice.router)


def _is_due(plan: Plan, look: Look, notifier: Notifier) -> bool:
    """Tell whether there is something to tell, or to store."""
    is_changed = any(known.changed_at == look.now for known in plan.state.alerts.values())
    silent = [
        status.cluster
        for status in look.statuses
        if abs(look.now - plan.state.looked_at.get(status.cluster, look.now - HEARTBEAT)) >= HEARTBEAT
    ]
    is_beating = look.is_whole and bool(silent)
    return bool(plan.sendings) or is_changed or is_beating or bool(notifier.memory.read().unrecorded)


def _is_worth_a_notice(plan: Plan, outcome: _Outcome, look: Look, notifier: Notifier) -> bool:
    """Tell whether anything is known now that was not: a receiver that is dead for a week is not news each minute."""

    def failing(state: State) -> dict[str, str]:
        return {name: each.error for name, each in state.errors.items()}

    return (
        any(known.changed_at == look.now for known in outcome.state.alerts.values())
        or outcome.state.looked_at != plan.state.looked_at
        or failing(outcome.state) != failing(plan.state)
        or bool(notifier.memory.read().unrecorded)
    )


def _tell(plan: Plan, look: Look, notifier: Notifier) -> _Outcome:
    """Tell what is planned; return how that went, and what is known now that some was told and some was not."""
    deliveries = deliver(
        plan.sendings,
        notifier.receivers,
        notifier.voice,
        patience=notifier.patience,
        limit_seconds=notifier.limit_seconds,
    )
    told = [sending for each in deliveries for sending in each.told]
    state = delivered(plan.state, told, look.now)
    errors = dict(state.errors)
    for each in deliveries:
        before = errors.pop(each.receiver, None)
        if each.error is not None:
            since = before.at if before is not None and before.error == str(each.error) else look.now
            errors[each.receiver] = Failure(str(each.error), since)
    looked_at = dict(state.looked_at)
    if look.is_whole and Notified(deliveries).is_alive:
        looked_at.update({status.cluster: look.now for status in look.statuses})
    return _Outcome(deliveries, replace(state, looked_at=looked_at, errors=errors))


def _open_count(state: State) -> int:
    return sum(known.is_open for known in state.alerts.values())


def ping(notifier: Notifier) -> PgvaultError | None:
    """Ask the address of the dead man's switch, where there is one; return why that failed."""
    address = notifier.voice.router.config.ping
    if address is None:
        return None
    try:
        within(PING_SECONDS, lambda: notifier.patience.persist(lambda: request(read_address(address))))
    except Overdue:
        return StoreUnreachable(f"no answer within {PING_SECONDS:g} s")
    except PgvaultError as error:
        return error
    return None
