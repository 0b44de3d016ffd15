"""What each copy wants to stay: its rules, its window, the holds; then all copies together.

Any of the copies may be the only one left one day, so each is judged by what it holds itself, and whatever one of
them wants stays in all. What was marked deliberately (`pgvault delete`) fulfils no rule, but the WAL that it would
take if it did stays until it is removed: `pgvault undelete` brings back all of it. A hold wants it all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from pgvault.expire.facts import BackupFacts, CopyFacts, ExpireFacts, HoldFacts, PhysicalBackup, WalFacts
from pgvault.expire.needed import NOTHING, Needed
from pgvault.expire.policy import Policy
from pgvault.expire.promises import Promise, Trust, Upheld, uphold, uphold_without_window
from pgvault.expire.reach import Reach, find_reaches, find_unknown_timelines
from pgvault.expire.rules import Judged, Reason, apply_rules, describe_window


@dataclass(frozen=True, slots=True)
class SystemSurvey:
    """One system in one copy."""

    wal: WalFacts
    backups: tuple[PhysicalBackup, ...]
    reaches: tuple[Reach, ...]
    unknown_timelines: tuple[int, ...]

    @property
    def system_identifier(self) -> int:
        """Which one it is."""
        return self.wal.system_identifier


@dataclass(frozen=True, slots=True)
class CopySurvey:
    """One copy, and what it wants."""

    copy: CopyFacts
    systems: tuple[SystemSurvey, ...]
    judged: Judged
    wanted: tuple[Reason, ...]  # what rules, window and holds keep
    held: frozenset[str]  # labels that a hold wants, by name or by time; also of those marked deliberately
    promised: Mapping[int, Needed]  # by system: WAL that promises need


@dataclass(frozen=True, slots=True)
class Survey:
    """All copies that answered and were not abandoned."""

    copies: tuple[CopySurvey, ...]
    silent: tuple[CopyFacts, ...]  # that count and did not answer
    present: Mapping[str, BackupFacts]  # by label, of all that answered
    deliberate: frozenset[str]  # labels marked by the operator
    begun: frozenset[str]  # labels whose removal has begun
    current_systems: frozenset[int]  # of the newest backup, with and without those that go; empty: there is none

    @property
    def held(self) -> frozenset[str]:
        """The labels that a hold wants in any copy."""
        return frozenset[str]().union(*(copy.held for copy in self.copies))

    @property
    def systems(self) -> tuple[int, ...]:
        """All systems of which any copy has anything."""
        return tuple(sorted({system.system_identifier for copy in self.copies for system in copy.systems}))

    def promised(self, system_identifier: int) -> Needed:
        """Return the WAL of a system that promises need in any copy."""
        found = (copy.promised.get(system_identifier, NOTHING) for copy in self.copies)
        return reduce(Needed.__or__, found, NOTHING)

    def wanted(self) -> dict[str, list[str]]:
        """Return why each label stays; which copy wants it is said where another one that holds it does not."""
        holders = {
            label: [each.copy.name for each in self.copies if label in {b.label for b in each.copy.backups}]
            for label in self.present
        }
        wanting: dict[Reason, list[str]] = {}
        for each in self.copies:
            for reason in each.wanted:
                wanting.setdefault(reason, []).append(each.copy.name)
        found: dict[str, list[str]] = {}
        for (label, why), names in wanting.items():
            where = "" if names == holders[label] else f" in copy {', '.join(map(repr, names))}"
            found.setdefault(label, []).append(f"{why}{where}")
        return found


def survey(facts: ExpireFacts, policy: Policy, *, abandoned: Collection[str] = ()) -> Survey:
    """Look at every copy that counts."""
    counted = [copy for copy in facts.copies if copy.name not in abandoned]
    answered = [copy for copy in counted if copy.silence is None]
    present = {backup.label: backup for copy in reversed(answered) for backup in copy.backups}
    deliberate = frozenset(label for label, found in facts.tombstones.items() if found.is_deliberate)
    begun = frozenset(label for label, found in facts.tombstones.items() if found.is_begun)
    current = _current_systems(present.values(), begun, begun | deliberate)
    surveyor = _Surveyor(facts, policy, deliberate, begun, current)
    looks = [surveyor.look_at(copy) for copy in answered]
    fulls, all_fulls = (
        frozenset[str]().union(*(surveyor.kept_fulls(judged) for judged in judgeds))
        for judgeds in ([each.judged for each in looks], [each.everything for each in looks])
    )
    copies = tuple(surveyor.judge(look, fulls, all_fulls) for look in looks)
    silent = tuple(copy for copy in counted if copy.silence is not None)
    return Survey(copies, silent, present, deliberate, begun, current)


def _current_systems(backups: Collection[BackupFacts], *going: frozenset[str]) -> frozenset[int]:
    """Return where the newest physical backup is of, each time without the labels that go."""
    found = set()
    for labels in going:
        staying = [each for each in backups if isinstance(each, PhysicalBackup) and each.label not in labels]
        newest = max(staying, key=lambda backup: (backup.stopped_at, backup.stop_lsn), default=None)
        if newest is not None:
            found.add(newest.system_identifier)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Look:
    """A copy, and what rules choose from in it."""

    copy: CopyFacts
    systems: tuple[SystemSurvey, ...]
    judged: Judged
    everything: Judged  # with what is marked deliberately


@dataclass(frozen=True, slots=True)
class _Surveyor:
    facts: ExpireFacts
    policy: Policy
    deliberate: frozenset[str]
    begun: frozenset[str]
    current_systems: frozenset[int]

    def look_at(self, copy: CopyFacts) -> _Look:
        systems = tuple(self._systems(copy))
        return _Look(
            copy,
            systems,
            judged=self._judge(copy, systems, without=self.begun | self.deliberate),
            everything=self._judge(copy, systems, without=self.begun),
        )

    def kept_fulls(self, judged: Judged) -> frozenset[str]:
        """Return the fulls that rules keep: without a window, WAL is kept from the oldest of them on."""
        kept = {label for label, _ in apply_rules(judged, self.policy, now=self.facts.now)}
        return frozenset(each.label for each in judged.physical if each.is_full and each.label in kept)

    def judge(self, look: _Look, fulls: frozenset[str], all_fulls: frozenset[str]) -> CopySurvey:
        held, held_wal = self._uphold_holds(look.systems, look.everything)
        wanted, promised = self._uphold_rules(look.systems, look.judged, fulls)
        # What it would take if nothing had been marked deliberately; the labels of this are not wanted.
        _, undeleted = self._uphold_rules(look.systems, look.everything, all_fulls)
        together = {
            each.system_identifier: promised[each.system_identifier]
            | undeleted[each.system_identifier]
            | held_wal[each.system_identifier]
            for each in look.systems
        }
        reasons = tuple(dict.fromkeys((*wanted, *(each for each in held if each[0] not in self.deliberate))))
        return CopySurvey(
            look.copy, look.systems, look.judged, reasons, frozenset(label for label, _ in held), together
        )

    def _systems(self, copy: CopyFacts) -> Iterator[SystemSurvey]:
        physical = [each for each in copy.backups if isinstance(each, PhysicalBackup)]
        for wal in copy.wal:
            backups = tuple(each for each in physical if each.system_identifier == wal.system_identifier)
            is_current = not self.current_systems or wal.system_identifier in self.current_systems
            reaches = find_reaches(wal, backups, going=self.begun | self.deliberate, is_current=is_current)
            yield SystemSurvey(wal, backups, reaches, find_unknown_timelines(wal, backups))

    def _judge(self, copy: CopyFacts, systems: Sequence[SystemSurvey], *, without: frozenset[str]) -> Judged:
        restorable = {each.label for system in systems for reach in system.reaches for each in reach.backups}
        backups = tuple(each for each in copy.backups if each.label not in without)
        sound = frozenset(
            each.label
            for each in backups
            if isinstance(each, PhysicalBackup)
            and each.is_full
            and not each.has_page_errors
            and each.label in copy.verified & restorable
        )
        return Judged(copy.name, backups, sound, copy.verified)

    def _uphold_rules(
        self, systems: Sequence[SystemSurvey], judged: Judged, fulls: frozenset[str]
    ) -> tuple[tuple[Reason, ...], dict[int, Needed]]:
        """Return what rules and window keep of the backups that are judged, and the WAL by system."""
        reasons = dict.fromkeys(apply_rules(judged, self.policy, now=self.facts.now))
        trust = self._trust(judged)
        wal: dict[int, Needed] = {}
        for system in systems:
            upheld = self._uphold_window(system.reaches, fulls, trust)
            reasons |= dict.fromkeys(upheld.reasons)
            wal[system.system_identifier] = upheld.wal
        return tuple(reasons), wal

    def _uphold_window(self, reaches: Sequence[Reach], fulls: Collection[str], trust: Trust) -> Upheld:
        window = None if self.policy.retention is None else self.policy.retention.window
        if window is None:
            return uphold_without_window(reaches, fulls, trust)
        return uphold(Promise(self.facts.now - window, None, describe_window(window)), reaches, trust)

    def _uphold_holds(
        self, systems: Sequence[SystemSurvey], judged: Judged
    ) -> tuple[tuple[Reason, ...], dict[int, Needed]]:
        reasons: dict[Reason, None] = {}
        wal = {system.system_identifier: NOTHING for system in systems}
        for hold in self.facts.holds:
            what = f"hold {hold.hold_id}"
            reasons |= {(each.label, f"wanted by {what}"): None for each in judged.backups if is_held(each, hold)}
            if hold.since is None or hold.until is None:
                continue
            for system in systems:
                upheld = uphold(Promise(hold.since, hold.until, what), system.reaches, self._trust(judged))
                reasons |= dict.fromkeys(upheld.reasons)
                wal[system.system_identifier] |= upheld.wal
        return tuple(reasons), wal

    def _trust(self, judged: Judged) -> Trust:
        return Trust({each.label for each in judged.backups}, judged.sound, self.policy.grace)


def is_held(backup: BackupFacts, hold: HoldFacts) -> bool:
    """Tell whether a hold names a backup, or a moment at which it was taken."""
    if backup.label in hold.labels:
        return True
    if hold.since is None or hold.until is None:
        return False
    return backup.started_at <= hold.until and backup.stopped_at >= hold.since
