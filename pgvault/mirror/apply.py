"""Do what a plan says: read from the source, check, put into the target; stage after stage, several at a time.

Whatever is put was seen whole before. A store that does not answer ends the round; what is damaged is told and the
others go on. A round that is killed is made good by the next: what has come is listed, and not brought again.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Lock

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectExists, ObjectMissing, PgvaultError
from pgvault.instants import Clock
from pgvault.mirror.budget import ByteBudget
from pgvault.mirror.plan import HEAL, CopyPlan, Problem, Removal, Transfer
from pgvault.pooling import map_bounded
from pgvault.progress import NoProgress, Progress
from pgvault.repository import layout
from pgvault.repository.copies import Copy
from pgvault.repository.lengths import lengths_of
from pgvault.repository.whole import check_whole
from pgvault.stores.base import CopyingStore
from pgvault.stores.commit import put_object

logger = logging.getLogger(__name__)

JOBS = 4  # objects of one lane and target under way


class _Withheld(Exception):
    """What an object needs is not in the target."""


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a round did in one target."""

    copy: str
    objects: int = 0
    size: int = 0  # bytes
    removed: int = 0
    problems: tuple[Problem, ...] = ()
    error: PgvaultError | None = None  # what ended it early

    def __add__(self, other: CopyReport) -> CopyReport:
        """Both together."""
        return CopyReport(
            self.copy,
            self.objects + other.objects,
            self.size + other.size,
            self.removed + other.removed,
            (*self.problems, *other.problems),
            self.error or other.error,
        )


@dataclass(slots=True)
class Carrier:
    """Brings objects from one copy to another; for several threads."""

    source: Copy
    target: Copy
    clock: Clock
    budget: ByteBudget = field(default_factory=ByteBudget)
    stop: Event = field(default_factory=Event)
    progress: Progress = field(default_factory=NoProgress)
    jobs: int = JOBS
    _lock: Lock = field(default_factory=Lock)

    def apply(self, plan: CopyPlan) -> CopyReport:
        """Do what the plan says; what ended it early stands in the report."""
        done: dict[str, int] = {}
        problems = list(plan.problems)
        removed = 0
        error: PgvaultError | None = None
        try:
            for stage in plan.stages:
                with ThreadPoolExecutor(self.jobs, thread_name_prefix=f"copy-{self.target.name}") as pool:
                    found = map_bounded(pool, self._guarded(done), stage, ahead=2 * self.jobs)
                    problems += [problem for problem in found if problem is not None]
            removed = sum(self._remove(removal) for removal in plan.removals if not self.stop.is_set())
        except PgvaultError as failure:
            error = failure
        return CopyReport(self.target.name, len(done), sum(done.values()), removed, tuple(problems), error)

    def _guarded(self, done: dict[str, int]) -> Callable[[Transfer], Problem | None]:
        def work(transfer: Transfer) -> Problem | None:
            if self.stop.is_set():
                return None
            try:
                with self.budget.taking(transfer.size):
                    self._bring(transfer)
            except _Withheld as reason:
                return Problem(transfer.path, str(reason))
            except ObjectMissing:
                # A tail that was merged, a backup that was removed: the next look sees how things are then.
                return None
            except (FormatUnsupported, ObjectCorrupt) as error:
                return Problem(transfer.path, f"the source is damaged: {error}", HEAL)
            except ObjectExists:
                return Problem(transfer.path, "something else has that name in this copy", HEAL)
            with self._lock:
                done[transfer.path] = transfer.size
            self.progress.advance(transfer.size)
            return None

        return work

    def _bring(self, transfer: Transfer) -> None:
        if transfer.needs:
            self._require(transfer)
        if self._was_copied_within(transfer):
            return
        body = self.source.store.get(transfer.path)
        check_whole(transfer.path, body, sha256=transfer.sha256)
        if transfer.replaces:
            self._put_aside(transfer.path)
        put_object(self.target.store, transfer.path, body)
        logger.debug("brought %s to copy %r, %d bytes", transfer.path, self.target.name, len(body))

    def _was_copied_within(self, transfer: Transfer) -> bool:
        """Let the store copy it, where both lie in one and what it must be is known; whether it did."""
        target = self.target.store
        if transfer.sha256 is None or not isinstance(target, CopyingStore):
            return False
        try:
            return target.server_copy(self.source.store, transfer.path, length=transfer.size, sha256=transfer.sha256)
        except ObjectExists:
            return False  # another's, or brought by somebody else meanwhile: streaming tells

    def _require(self, transfer: Transfer) -> None:
        """Look in both stores once more: what a listing showed, and what was put, is what is there now."""
        held = lengths_of(self.target.store, transfer.needs)
        wanted = lengths_of(self.source.store, transfer.needs)
        # What the source has removed meanwhile tells nothing of the target's.
        lacking = [path for path in transfer.needs if path not in held or wanted.get(path, held[path]) != held[path]]
        if lacking:
            raise _Withheld(f"withheld, since {min(lacking)!r} is not in this copy")

    def _put_aside(self, path: str) -> None:
        """Keep what the target has under `path` in quarantine, and make room."""
        aside = f"{layout.QUARANTINE}/{layout.make_label(self.clock.now(), secrets.token_bytes(2))}/{path}"
        try:
            put_object(self.target.store, aside, self.target.store.get(path))
        except ObjectMissing:
            return
        self.target.store.delete(path)
        logger.warning("copy %r held a root of an aborted backup: %s is in %s", self.target.name, path, aside)

    def _remove(self, removal: Removal) -> bool:
        if not lengths_of(self.target.store, removal.behind):
            return False
        self.target.store.delete(removal.path)
        return True
