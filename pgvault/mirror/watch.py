"""Keep copies up to date: a round after the other, each target and each lane by itself, through outages.

    dr   WAL       ──round──│every│──round──│every│──  away  ──│every│──round──
    dr   backups   ──────────round, for hours───────────────────────────────
    s3   WAL       ──round──│every│──round──│every│──

That a target can not be brought up to date is said once, and once that it can be again. Damage is said once for each
object. Ending in between loses nothing: what has come is in the listing.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from threading import Lock, Thread

from pgvault.mirror.apply import CopyReport
from pgvault.mirror.facts import Settled
from pgvault.mirror.plan import Lane
from pgvault.mirror.run import CopyOrder, copy_into
from pgvault.repository.copies import Copy

logger = logging.getLogger(__name__)


def watch_copies(order: CopyOrder, *, every: timedelta) -> None:
    """Bring every target what it lacks, again and again, until `order.stop` is set."""
    speakers = {target.name: Speaker(target.name) for target in order.targets}
    threads = [
        Thread(target=_watch, args=(order, target, lane, every, speakers[target.name]), daemon=True)
        for target in order.targets
        for lane in order.lanes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _watch(order: CopyOrder, target: Copy, lane: Lane, every: timedelta, speaker: Speaker) -> None:
    settled = Settled(monotonic=order.clock.monotonic)
    mine = replace(order, lanes=(lane,))
    while not order.stop.is_set():
        report = copy_into(mine, target, settled=settled)
        speaker.tell(lane, report)
        if report.error is None:
            # A target that was there and is empty lost its disk: nothing is begun below an empty mount point.
            mine = replace(mine, may_begin=False)
        order.stop.wait(every.total_seconds())


class Speaker:
    """Says what happens to one target, each thing once. For several threads."""

    def __init__(self, copy: str) -> None:
        self._copy = copy
        self._lock = Lock()
        self._failing: set[Lane] = set()
        self._told: set[tuple[str, str]] = set()

    def tell(self, lane: Lane, report: CopyReport) -> None:
        """Say what is new in a report."""
        with self._lock:
            if report.objects or report.removed:
                logger.info("copy %r: brought %d objects, %d bytes", self._copy, report.objects, report.size)
            for problem in report.problems:
                if (problem.path, problem.why) not in self._told:
                    logger.warning("copy %r: %s was not brought: %s", self._copy, problem.path, problem.why)
                self._told.add((problem.path, problem.why))
            if report.error is not None:
                if not self._failing:
                    logger.warning("copy %r can not be brought up to date: %s", self._copy, report.error)
                self._failing.add(lane)
            elif lane in self._failing:
                self._failing.discard(lane)
                if not self._failing:
                    logger.warning("copy %r is brought up to date again", self._copy)
