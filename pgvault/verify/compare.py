"""What one copy should hold by what another one holds: judged from names and roots, nothing is read back here.

    deciding copy    whatever is in another copy was in this one first: what it lacks was lost, or taken away
    other copies     what they lack may be under way. It is a loss where it was read back whole there before, and where
                     nobody says that it was done without waiting for this copy

What expire is removing, and what a dead process left half done, is missed by nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pgvault.audit.facts import Cut, last_checkpoint
from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, PgvaultError, WrongKey
from pgvault.instants import iso
from pgvault.pipeline.header import Kind
from pgvault.postgres.walname import SegmentFile, parse_wal_name
from pgvault.repository import layout
from pgvault.repository.catalog import Catalog, Root, read_root
from pgvault.repository.copies import Copy
from pgvault.repository.repository import Repository
from pgvault.repository.tombstones import State, read_tombstone
from pgvault.repository.verified import Verified
from pgvault.verify.alone import alone
from pgvault.verify.report import Problem, Suspect, VerifyReport, backup_name

COPY_HINT = "pgvault copy brings what is not there yet."


@dataclass(frozen=True, slots=True)
class Held:
    """What one copy holds, by names and roots."""

    copy: Copy
    catalog: Catalog
    segments: Mapping[str, str]  # path → name of each archived segment

    @property
    def committed(self) -> frozenset[str]:
        """Labels whose root opens."""
        roots: tuple[Root, ...] = (*self.catalog.backups, *self.catalog.logical)
        return frozenset(root.label for root in roots)


def list_segments(repository: Repository, cluster: str) -> dict[str, str]:
    """Return path → name of every archived segment of every system, by names alone."""
    found = {}
    for entry in repository.reader.entries(layout.wals(cluster)):
        name = entry.key.rpartition("/")[2]
        with suppress(PgvaultError):
            if isinstance(parse_wal_name(name), SegmentFile):
                found[entry.key] = name
    return found


@dataclass(frozen=True, slots=True)
class Comparison:
    """One copy beside another."""

    repository: Repository  # all copies
    cluster: str
    held: Held
    marks: Mapping[tuple[str, str], Verified]

    def with_deciding(self, deciding: Held, report: VerifyReport) -> None:
        """Add to the report of a further copy what it lacks of the deciding one."""
        unfinished = {backup_name(label) for label in self.held.catalog.unfinished}
        report.problems[:] = [problem for problem in report.problems if problem.what not in unfinished]
        behind = []
        unreadable = {entry.label for entry in self.held.catalog.unreadable}
        for label in sorted(deciding.committed - self.held.committed - unreadable):
            if self._is_going(label) or self._has_root(self.held.copy, label):
                continue
            loss = self._loss(label)
            if loss is None:
                behind.append(label)
            else:
                root = Suspect(layout.manifest(self.cluster, label), None)
                report.problems.append(Problem(backup_name(label), loss, (root,)))
        if behind:
            first = behind[0] if len(behind) == 1 else f"{len(behind)} backups, {behind[0]} the first of them,"
            report.notes.append(f"copy {self.held.copy.name!r} is behind: {first} not there yet; {COPY_HINT}")
        report.problems.extend(self._aborted(deciding))
        self._compare_wal(deciding, report)

    def with_further(self, further: Held, report: VerifyReport) -> None:
        """Add to the report of the deciding copy what it lacks of another."""
        known = {entry.label for entry in self.held.catalog.unreadable} | self.held.committed
        known |= set(self.held.catalog.aborted)
        for label in sorted(further.committed - known):
            root = Suspect(layout.manifest(self.cluster, label), None)
            if not self._is_going(label) and self._lacks_root(self.held.copy, label):
                error = ObjectMissing(f"its root is in copy {further.copy.name!r}, and gone from the deciding copy")
                report.problems[:] = [p for p in report.problems if p.what != backup_name(label)]
                report.problems.append(Problem(backup_name(label), error, (root,)))
        for path, name in _newer(further.segments, self.held.segments):
            if not self.held.copy.has(path):
                error = ObjectMissing(f"it is in copy {further.copy.name!r}, and gone from the deciding copy")
                report.problems.append(Problem(f"WAL {name}", error, (Suspect(path, Kind.WAL),)))
        for path in self._lost_entries(further.copy):
            error = ObjectMissing(f"it is in copy {further.copy.name!r}, and gone from the deciding copy")
            report.problems.append(Problem(f"audit entry {path}", error, (Suspect(path, Kind.AUDIT),)))

    def _lost_entries(self, further: Copy) -> Iterator[str]:
        """Yield the audit entries that the deciding copy lacks, but for those that a checkpoint of their chain cut."""
        theirs = _entries(further)  # first, since an entry gets there last
        ours = _entries(self.held.copy)
        for signer, numbers in theirs.items():
            held = ours.get(signer, set())
            lost = numbers - held
            if lost and held and min(lost) < min(held):
                checkpoint = last_checkpoint(alone(self.repository, self.held.copy), signer, sorted(held))
                cut = None if checkpoint is None else Cut.of(checkpoint)
                lost = {number for number in lost if cut is None or number >= cut.first}
            yield from (layout.audit_entry(signer, number) for number in sorted(lost))

    def _loss(self, label: str) -> PgvaultError | None:
        """Why a backup should be in this copy by now; None where it may well be under way."""
        copy, path = self.held.copy, layout.manifest(self.cluster, label)
        mark = self.marks.get((label, copy.name))
        if mark is not None:
            return ObjectMissing(f"{path!r} is gone from copy {copy.name!r}: it was read back there at {iso(mark.at)}")
        if copy.is_sync_for_backups:
            return ObjectMissing(f"{path!r} is absent in copy {copy.name!r}, which backups wait for", hint=COPY_HINT)
        return None

    def _aborted(self, deciding: Held) -> Iterator[Problem]:
        """A backup that the deciding copy says never was one."""
        for label in sorted(self.held.committed & set(deciding.catalog.aborted)):
            path = layout.manifest(self.cluster, label)
            error = ObjectCorrupt(f"{path!r} is a root in copy {self.held.copy.name!r}: that backup was aborted")
            yield Problem(backup_name(label), error, (Suspect(path, None),))

    def _compare_wal(self, deciding: Held, report: VerifyReport) -> None:
        newer = _newer(deciding.segments, self.held.segments)
        if self.held.copy.is_sync_for_wal:
            for path, name in newer:
                if not self.held.copy.has(path):
                    error = ObjectMissing(
                        f"{path!r} is absent in copy {self.held.copy.name!r}, which the archiver waits for",
                        hint=COPY_HINT,
                    )
                    report.problems.append(Problem(f"WAL {name}", error, (Suspect(path, Kind.WAL),)))
        elif newer:
            count = "1 WAL segment" if len(newer) == 1 else f"{len(newer)} WAL segments"
            first = newer[0][1]
            report.notes.append(f"copy {self.held.copy.name!r} is behind: {count} from {first} on; {COPY_HINT}")

    def _is_going(self, label: str) -> bool:
        """Tell whether the backup's removal has begun; a tombstone that does not open is a problem of its own."""
        try:
            tombstone = read_tombstone(self.repository, self.cluster, label)
        except PgvaultError:
            return False
        return tombstone is not None and tombstone.state is State.BEGUN

    def _has_root(self, copy: Copy, label: str) -> bool:
        return not self._lacks_root(copy, label)

    def _lacks_root(self, copy: Copy, label: str) -> bool:
        """Look once more: a root may have come since the listing. Raises StoreUnreachable."""
        try:
            read_root(alone(self.repository, copy), self.cluster, label)
        except ObjectMissing:
            return True
        except (FormatUnsupported, ObjectCorrupt, WrongKey):
            return False  # there, and damaged: that is found by whoever reads it
        return False


def _newer(of: Mapping[str, str], than: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return path and name of the segments behind all that the other has of their timeline, in order.

    Of a timeline that it has nothing of, only if it has nothing of a later one: older WAL expires.
    """
    newest: dict[tuple[str, str], str] = {}  # system, timeline → name
    latest: dict[str, str] = {}  # system → timeline
    for path, name in than.items():
        system, timeline = _line(path, name)
        newest[system, timeline] = max(newest.get((system, timeline), ""), name)
        latest[system] = max(latest.get(system, ""), timeline)
    found = []
    for path, name in sorted(of.items()):
        system, timeline = _line(path, name)
        known = newest.get((system, timeline))
        if timeline > latest.get(system, "") if known is None else name > known:
            found.append((path, name))
    return found


def _line(path: str, name: str) -> tuple[str, str]:
    """System and timeline, as texts that sort as they do."""
    return path.split("/")[3], name[:8]


def _entries(copy: Copy) -> dict[str, set[int]]:
    """Return the numbers of the audit entries in a copy, by signer, by names alone."""
    found: dict[str, set[int]] = {}
    for entry in copy.store.list(layout.AUDIT):
        signer, number = entry.key.split("/")[1], entry.key.rpartition("/")[2]
        if layout.is_number(number) and entry.key == layout.audit_entry(signer, int(number)):
            found.setdefault(signer, set()).add(int(number))
    return found
