"""`verify --repair`: what one copy lacks or holds damaged is brought there from where it is whole.

    verify ─► suspects by copy ─► under a lease, each is looked at again and put right (healing.py) ─► verify what they
    belong to again, until nothing more can be put right: behind a root that opens now there may be more

What no copy holds whole stays as it is and is told. The backups are pinned meanwhile, and one whose removal has begun
is left alone. Objects that are under way to a copy that is behind are no damage; `pgvault copy` brings them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pgvault.errors import ObjectMissing, PgvaultError, RepositoryMissing, StoreDenied, StoreUnreachable
from pgvault.instants import Clock
from pgvault.progress import Progress
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import USUAL_TERMS, Lease, Terms, acquire
from pgvault.repository.names import ROOT, is_local, parse_backup
from pgvault.repository.pins import pin
from pgvault.repository.repository import Repository
from pgvault.repository.tombstones import State, read_tombstone
from pgvault.verify.copies import CopyReport, Reports, Request, chosen_copies, put_marks, verify_copies
from pgvault.verify.healing import Healed, Healer
from pgvault.verify.report import Suspect, backup_name
from pgvault.verify.selection import Selection

logger = logging.getLogger(__name__)

ROUNDS = 6  # root, lists, packs; histories, timelines: what is found in one can not be deeper than that
COMMAND = "verify --repair"


@dataclass(slots=True)
class Repairs:
    """What was put right in one copy, and what was not."""

    copy: str
    healed: list[Healed] = field(default_factory=list)
    failed: dict[str, PgvaultError] = field(default_factory=dict)  # by path


def repair_copies(
    repository: Repository,
    request: Request,
    *,
    progress: Progress,
    clock: Clock,
    terms: Terms = USUAL_TERMS,
) -> tuple[Reports, tuple[Repairs, ...]]:
    """Verify, put right what can be, and verify that again; return what is left to tell, and what was done.

    Raises AlreadyRunning when somebody else repairs this cluster, StoreDenied where nothing may be written,
    StoreUnreachable without the deciding copy, RepositoryMissing for a copy that is empty.
    """
    for copy in (repository.deciding, *chosen_copies(repository, request.only)):
        _require_begun(copy)
    quiet = replace(request, keeps_marks=False)
    claim = Claim(cluster=request.cluster)
    with acquire(repository, f"repair-{request.cluster}", claim, command=COMMAND, terms=terms) as lease:
        first = last = verify_copies(repository, quiet, progress=progress, clock=clock)
        repairer = _Repairer(repository, request.cluster, clock, lease)
        pinned = Claim(cluster=request.cluster, labels=_rooted(repository, request.cluster, _labels(first)))
        with pin(repository, pinned, command=COMMAND, terms=terms):
            for _ in range(ROUNDS):
                if not repairer.repair(last):
                    break
                again = replace(quiet, selection=_again(request, last))
                last = verify_copies(repository, again, progress=progress, clock=clock)
                _merge(first, last)
    if request.keeps_marks:
        put_marks(repository, request.cluster, first, clock=clock)
    return first, tuple(repairer.done(each.copy) for each in first.copies)


def _require_begun(copy: Copy) -> None:
    """See that a copy was one, whatever is left of it: a whole repository does not go below a disk that is away."""
    with suppress(StoreDenied, StoreUnreachable):  # which is told when it is looked at
        if all(is_local(name) for name in copy.store.children("")):
            raise RepositoryMissing(
                f"copy {copy.name!r} is empty: there is nothing to repair ({copy.store.url})",
                hint="Is its disk mounted? If all of it is lost: pgvault init, then pgvault copy or verify --repair.",
            )


class _Repairer:
    """Puts right what reports name, and keeps count."""

    def __init__(self, repository: Repository, cluster: str, clock: Clock, lease: Lease) -> None:
        self._repository = repository
        self._cluster = cluster
        self._lease = lease
        self._healers = {copy.name: Healer(repository, copy, clock) for copy in repository.copies}
        self._done: dict[str, Repairs] = {}

    def done(self, copy: str) -> Repairs:
        """What was done in a copy so far."""
        return self._done.setdefault(copy, Repairs(copy))

    def repair(self, reports: Reports) -> bool:
        """Look at every suspect once, the deciding copy's first; tell whether anything was put right."""
        before = self._count()
        for each in reports.copies:
            for suspect in _suspects(each):
                self._lease.require_not_lost()
                if not self._is_going(suspect):
                    self._repair(each.copy, suspect)
        return self._count() > before

    def _repair(self, copy: str, suspect: Suspect) -> None:
        done = self.done(copy)
        try:
            found = self._healers[copy].heal(suspect)
        except PgvaultError as error:
            logger.warning("copy %s: %s was not repaired: %s", copy, suspect.path, error)
            done.failed[suspect.path] = error
            return
        done.failed.pop(suspect.path, None)
        for healed in found:
            logger.info("copy %s: repaired %s: %s", copy, healed.path, healed.was)
        done.healed.extend(found)

    def _count(self) -> int:
        return sum(len(each.healed) for each in self._done.values())

    def _is_going(self, suspect: Suspect) -> bool:
        """Tell whether an object belongs to a backup whose removal has begun."""
        name = parse_backup(suspect.path)
        if name is None:
            return False
        try:
            tombstone = read_tombstone(self._repository, self._cluster, name.label)
        except PgvaultError:
            return False  # damaged itself; it is one of the suspects
        return tombstone is not None and tombstone.state is State.BEGUN


def _suspects(found: CopyReport) -> list[Suspect]:
    """Return the objects to look at, each once, by what is known best of it; roots last."""
    known: dict[str, Suspect] = {}
    for problem in found.report.problems:
        for suspect in problem.suspects:
            if suspect.path not in known or known[suspect.path].expected is None:
                known[suspect.path] = suspect
    return sorted(known.values(), key=lambda suspect: (_is_manifest(suspect.path), suspect.path))


def _is_manifest(path: str) -> bool:
    name = parse_backup(path)
    return name is not None and name.rest == ROOT


def _rooted(repository: Repository, cluster: str, labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels that any copy holds a root of: only those can be pinned, and only those expire."""
    found = []
    for label in sorted(labels):
        with suppress(ObjectMissing):
            repository.reader.size(layout.manifest(cluster, label))
            found.append(label)
    return tuple(found)


def _labels(reports: Reports) -> set[str]:
    names = (parse_backup(suspect.path) for each in reports.copies for suspect in _suspects(each))
    of_backups = {name.label for name in names if name is not None}
    told = {problem.what for each in reports.copies for problem in each.report.problems}
    return of_backups | {what.removeprefix(backup_name("")) for what in told if what.startswith(backup_name(""))}


def _again(request: Request, reports: Reports) -> Selection:
    """Choose all that a problem was of, whole."""
    what = {problem.what for each in reports.copies for problem in each.report.problems}
    is_beside = any(not each.startswith(backup_name("")) for each in what)
    return replace(request.selection, share=None, since=None, labels=frozenset(_labels(reports)), takes_wal=is_beside)


def _merge(first: Reports, last: Reports) -> None:
    """Take over what was found last: whatever had a problem was looked at again."""
    for old, new in zip(first.copies, last.copies, strict=True):
        old.silence = new.silence
        old.report.problems = new.report.problems
        old.report.read_whole |= new.report.read_whole
        old.report.notes = list(dict.fromkeys([*old.report.notes, *new.report.notes]))
