"""A drill that is killed while its server waits for WAL; run as a program: REPOSITORY SCRATCH IMAGE."""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

from pgvault.drill.isolation import Isolation, IsolationWish
from pgvault.drill.run import DrillRequest, run_drill
from pgvault.drill.walservice import WalService
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


def die(self: WalService, name: str) -> str:
    """Instead of delivering a file."""
    os.kill(os.getpid(), signal.SIGKILL)
    return "error"


def main(root: Path, scratch: Path, image: str) -> None:
    """Drill to the death."""
    WalService._deliver = die  # type: ignore[method-assign]
    request = DrillRequest(
        cluster="main",
        restore=RestoreRequest(LatestTarget()),
        checks=(),
        objectives=EXACT,
        failure=None,
        scratch=scratch,
        timeout=timedelta(seconds=60),
        jobs=2,
        isolation=IsolationWish(Isolation.CONTAINER, engine="podman", image=image),
    )
    repository = open_repository([Copy("primary", FileStore(root))], Credential("raw", KEY))
    run_drill(repository, request, clock=SystemClock(), progress=NoProgress())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
