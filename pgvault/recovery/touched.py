"""What the first transaction behind a target does: "the next commit is at 14:05:03, 3 s later, and touches orders".

    … commit │ target │ next commit          its records lie before its end, among those of others
             └── what is replayed ends here

Read from WAL: the files whose blocks it writes, and the files that go when it commits. Which tables these are only a
catalog can tell: that of the restored server, or, before anything is restored, the inventory of the backup, which does
not know what was made or rewritten since. It is a hint for people who look for the moment before a mistake: what a
transaction did more than a few segments before its end is not seen, and that is said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pgvault.errors import ObjectCorrupt, ObjectMissing
from pgvault.instants import iso
from pgvault.postgres.inventory import RelationEntry
from pgvault.postgres.waldump import Changes, RelationFile
from pgvault.postgres.walname import WalSegment
from pgvault.recovery.facts import RestoreFacts
from pgvault.recovery.plan import RestorePlan
from pgvault.recovery.target import LatestTarget
from pgvault.repository.inventory import read_inventory
from pgvault.repository.manifest import Manifest
from pgvault.repository.repository import Repository

LOOK_BACK = 4  # segments: what is told must not cost more than the plan
MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class Names:
    """Which table a file is."""

    tables: Mapping[RelationFile, str]  # schema.table
    first_normal_file: int = 16384  # lower ones are catalogs, until they are rewritten

    def told(self, files: Iterable[RelationFile]) -> tuple[str, ...]:
        """Return the names, sorted; what has none is counted."""
        named = {self.tables[file] for file in files if file in self.tables}
        others = [file for file in files if file not in self.tables]
        catalogs = [file for file in others if file.number < self.first_normal_file or file.database == 0]
        unknown = len(others) - len(catalogs)
        told = sorted(named)
        if len(told) > MOST_NAMES:
            told = [*told[:MOST_NAMES], f"{len(told) - MOST_NAMES} more"]
        told += ["the catalogs"] * bool(catalogs)
        told += [f"{unknown} {'file' if unknown == 1 else 'files'} without a known name"] * bool(unknown)
        return tuple(told)


@dataclass(frozen=True, slots=True)
class NextCommit:
    """The first transaction that is not replayed."""

    changes: Changes
    is_seen_whole: bool  # else it may have begun before what was looked at


def next_commit(facts: RestoreFacts, plan: RestorePlan) -> NextCommit | None:
    """Look at the first transaction that `plan` does not replay; None where there is none, or WAL is damaged there."""
    end = plan.next_commit
    if end is None or not end.is_commit:
        return None
    segments = [
        WalSegment(run.first.timeline, number, run.first.size)
        for run in plan.segments
        for number in range(run.first.number, run.last.number + 1)
    ]
    segments.sort(key=lambda segment: segment.number)
    at = next((index for index, segment in enumerate(segments) if segment.holds(end.lsn)), None)
    if at is None:
        return None
    first = max(0, at - LOOK_BACK + 1)
    try:
        changes = facts.reader.changes(segments[first : at + 2], end.lsn)
    except (ObjectCorrupt, ObjectMissing):
        return None
    return NextCommit(changes, is_seen_whole=first == 0)


def landing_line(plan: RestorePlan, found: NextCommit | None, names: Names) -> str:
    """Say between which two commits the plan lands, and what the one behind does: one sentence for people."""
    before = plan.last_commit
    last = "no commit lies before it" if before is None else f"the last commit is of {iso(before.at)}"
    if plan.next_commit is None:
        return f"{last}, and nothing behind it is archived" if isinstance(plan.target, LatestTarget) else last
    what = "commit" if plan.next_commit.is_commit else "transaction, which was rolled back,"
    line = f"{last}; the next {what} is of {iso(plan.next_commit.at)}"
    if before is not None:
        line += f", {(plan.next_commit.at - before.at).total_seconds():.3g} s later,"
    if found is None:
        return line.rstrip(",")
    touched, removed = names.told(found.changes.changed), names.told(found.changes.removed)
    deeds = [f"touches {', '.join(touched)}"] * bool(touched) + [f"removes {', '.join(removed)}"] * bool(removed)
    line = f"{line} and {' and '.join(deeds)}" if deeds else f"{line} and touches no table"
    return line if found.is_seen_whole else f"{line} (its last {LOOK_BACK} segments were looked at)"


def names_at_backup(repository: Repository, manifest: Manifest, files: Collection[RelationFile]) -> Names:
    """Return what files were called when the backup was taken; nothing where no inventory tells."""
    tables: dict[RelationFile, str] = {}
    for entry in read_inventory(repository, manifest) if files else ():
        if isinstance(entry, RelationEntry) and (file := RelationFile(entry.database, entry.filenode)) in files:
            tables[file] = f"{entry.schema}.{entry.name}"
    return Names(tables)


def tell_landing(repository: Repository, facts: RestoreFacts, plan: RestorePlan, manifest: Manifest) -> str:
    """Say where a plan lands, before anything is restored; what can not be read is left out."""
    found = next_commit(facts, plan)
    names = Names({})
    if found is not None:
        with suppress(ObjectCorrupt, ObjectMissing):
            names = names_at_backup(repository, manifest, found.changes.changed | found.changes.removed)
    return landing_line(plan, found, names)
