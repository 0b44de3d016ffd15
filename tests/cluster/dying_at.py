"""A drill that is killed as soon as a phase begins; run as a program: REPOSITORY SCRATCH ISOLATION PHASE."""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from pgvault.drill.isolation import Isolation, IsolationWish
from pgvault.drill.run import DrillRequest, run_drill
from pgvault.instants import SystemClock
from pgvault.progress import NoProgress
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import LatestTarget
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import open_repository
from pgvault.stores.file import FileStore
from tests.archive import KEY
from tests.cluster.drills import EXACT


class Deadly(NoProgress):
    """Takes the drill's life."""

    def __init__(self, at: str) -> None:
        self._at = at

    def phase(self, name: str, total_bytes: int | None = None) -> None:
        if name == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


def main(root: str, scratch: str, isolation: str, phase: str) -> None:
    """Drill to the death."""
    request = DrillRequest(
        cluster="main",
        restore=RestoreRequest(LatestTarget()),
        checks=(),
        objectives=EXACT,
        failure=None,
        scratch=Path(scratch),
        timeout=timedelta(seconds=60),
        jobs=2,
        isolation=IsolationWish(Isolation(isolation)),
    )
    repository = open_repository([Copy("primary", FileStore(Path(root)))], Credential("raw", KEY))
    report = run_drill(repository, request, clock=SystemClock(), progress=Deadly(phase))
    raise AssertionError(report.reason)


if __name__ == "__main__":
    main(*sys.argv[1:])
