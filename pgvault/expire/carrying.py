"""What all steps of carrying out a plan share: whom to ask again before each, and what has been done so far."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from pgvault.errors import PgvaultError, StoreDenied, StoreUnreachable, VerifyFailed
from pgvault.expire.actions import ExpirePlan
from pgvault.expire.gather import Gathered, look_again, pins_label, pins_wal
from pgvault.expire.removing import Remover, Tally
from pgvault.instants import iso
from pgvault.postgres.walname import WalSegment
from pgvault.repository.holds import read_holds
from pgvault.repository.leases import Lease, Terms
from pgvault.repository.repository import Repository
from pgvault.repository.tombstones import Order
from pgvault.repository.writing import decided


@dataclass(slots=True)
class Report:
    """What an expiry did, and what it left."""

    plan: ExpirePlan
    marked: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)  # labels that were taken back, and why
    removed: list[str] = field(default_factory=list)  # labels of which nothing is left
    swept: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)  # labels, or "WAL of system …", that stay for now, and why
    tallies: dict[str, Tally] = field(default_factory=dict)  # by copy
    notes: list[str] = field(default_factory=list)
    problems: list[PgvaultError] = field(default_factory=list)  # what somebody must see to

    @property
    def bytes_won(self) -> int:
        """Stored bytes that went, in all copies together."""
        return sum(tally.stored_bytes for tally in self.tallies.values())

    def require_done(self) -> None:
        """Raise the first thing that somebody must see to."""
        found = [*self.problems, *self._denials()]
        if found:
            more = "" if len(found) == 1 else f"; and {len(found) - 1} more problems"
            raise type(found[0])(f"{found[0]}{more}", hint=found[0].hint)

    def locks(self) -> Iterator[str]:
        """Say what the stores guard."""
        for tally in self.tallies.values():
            if tally.locked_until is not None:
                count = "1 object is" if tally.locked_count == 1 else f"{tally.locked_count} objects are"
                yield f"copy {tally.copy!r}: {count} locked until {iso(tally.locked_until)}"

    def _denials(self) -> Iterator[PgvaultError]:
        for tally in self.tallies.values():
            if tally.first_denial is not None:
                count = "1 object was" if len(tally.denied) == 1 else f"{len(tally.denied)} objects were"
                yield StoreDenied(
                    f"copy {tally.copy!r}: {count} not removed: {tally.first_denial}",
                    hint=tally.first_denial.hint or "May these credentials remove objects, and older versions of them?",
                )


class Run:
    """One expiry under way."""

    def __init__(self, repository: Repository, gathered: Gathered, plan: ExpirePlan, *, by: str, terms: Terms) -> None:
        self.repository = repository
        self.deciding = decided(repository)
        self.cluster = plan.cluster
        self.gathered = gathered
        self.by = by
        self.terms = terms
        answering = tuple(copy for copy in repository.copies if copy.name in gathered.roots)
        self.answering = replace(repository, copies=answering)
        self.removers = {copy.name: Remover(copy) for copy in answering}
        self.report = Report(plan, tallies={name: remover.tally for name, remover in self.removers.items()})
        self.lease: Lease | None = None
        self.why = ""  # the operator's own words

    @property
    def copies_in_order(self) -> list[str]:
        """The copies that answered, the deciding one last."""
        names = [copy.name for copy in self.repository.copies if copy.name in self.removers]
        return [*names[1:], *names[:1]]

    def order(self, why: str) -> Order:
        """Return an order in our name."""
        return Order(self.terms.clock.now(), self.by, why)

    def require_held(self) -> None:
        """See that nobody has taken our lease over. Raises AlreadyRunning."""
        if self.lease is not None:
            self.lease.require_held()

    def reader_of(self, label: str) -> str | None:
        """Return who reads, or makes, a backup at this moment."""
        leases = look_again(self.repository, self.gathered.leases, self.terms)
        found = [entry for entry in leases if pins_label(entry, self.cluster, label)]
        return found[0].described if found else None

    def reader_of_wal(self, segment: WalSegment, system: int) -> str | None:
        """Return who needs a segment, or one before it, at this moment."""
        leases = look_again(self.repository, self.gathered.leases, self.terms)
        found = [entry for entry in leases if pins_wal(entry, self.cluster, segment, system)]
        return found[0].described if found else None

    def new_hold(self, label: str | None = None) -> str | None:
        """Return a hold that the plan did not know and that may want a backup, or WAL, to stay."""
        known = {hold.id for hold in self.gathered.holds}
        return self.any_hold(label, known=known)

    def any_hold(self, label: str | None, *, known: Collection[str] = ()) -> str | None:
        """Return a hold, other than those known, that may want a backup, or WAL, to stay."""
        now = self.terms.clock.now()
        for hold in read_holds(self.answering, self.cluster):
            if hold.id not in known and hold.counts_at(now) and (hold.label is None or hold.label == label):
                return str(hold)
        return None


def judge_view(gathered: Gathered) -> Iterator[PgvaultError]:
    """Yield what made a copy's view incomplete, so that nothing was removed there."""
    for facts in gathered.facts.copies:
        if facts.silence is not None:
            yield StoreUnreachable(
                f"copy {facts.name!r} could not be looked at; nothing was removed that it may lack: {facts.silence}",
                hint=f"If it will never come back: --abandon {facts.name}, and take it out of the configuration.",
            )
        if facts.unreadable:
            yield VerifyFailed(
                f"copy {facts.name!r} holds roots that do not open, and nothing was removed from it: "
                + ", ".join(facts.unreadable),
                hint="See: pgvault verify --repair. What can not be healed goes by: pgvault delete LABEL",
            )
