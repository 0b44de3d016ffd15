"""`wal fetch` looks ahead: starting the process that does (wal/ahead.py), and that process.

    python -P -m pgvault.cli.lookahead PLAN SEGMENT COUNT [DATA]

It belongs to nobody: a session and a log of its own, no descriptor and no directory of the server's.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pgvault.errors import PgvaultError
from pgvault.postgres.lsn import MIB
from pgvault.process import start
from pgvault.wal.fetchplan import FetchPlan
from pgvault.wal.spool import LOG_NAME, Spool, is_unattended, spool_directory

if TYPE_CHECKING:
    from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

STORE_DEADLINE_SECONDS = 60.0
# Replay and the segment asked for go first: what is fetched for later made them wait (70 to 40 ms a segment on two
# processors, 2026-11-21).
POLITENESS = 5
LOG_BYTES = 1 << 20  # a larger one begins anew
# To keep the memory of one segment for the next: to give it back and get it zeroed anew takes as long as to unseal it
# (25 of 70 ms of processor time a segment, 2026-11-21). For glibc; others pass it over.
KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 * MIB),
    "MALLOC_TRIM_THRESHOLD_": str(256 * MIB),
}


def start_ahead(plan_path: Path, plan: FetchPlan, name: str, *, count: int, data: Path) -> None:
    """Start to look ahead at what follows the segment `name`, unless somebody does; never a reason to fail."""
    plan_path = plan_path.absolute()
    directory = spool_directory(plan_path, plan.restore_id)
    if directory is None or not os.access(plan_path.parent, os.W_OK | os.X_OK):
        return
    from pgvault.wal.ahead import is_worth_it

    if not is_worth_it(plan, name) or not is_unattended(directory):
        return
    log = plan_path.parent / LOG_NAME
    with suppress(OSError, PgvaultError):
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.unlink()
        words: list[str | Path] = [
            sys.executable,
            "-P",
            "-m",
            "pgvault.cli.lookahead",
            plan_path,
            name,
            str(count),
            data,
        ]
        start(words, env=KEEP_MEMORY | dict(os.environ), log=log, cwd=Path("/"))


def main() -> None:
    """Look ahead until the restore is over."""
    plan_path, name, count, data = sys.argv[1:]
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("pgvault").setLevel(logging.INFO)
    try:
        look_ahead(Path(plan_path), name, count=int(count), data=Path(data))
    except (PgvaultError, OSError) as error:
        logger.warning("can not look ahead: %s", error)
    # Not by returning: a thread may be waiting for a store.
    os._exit(0)


def look_ahead(plan_path: Path, name: str, *, count: int, data: Path) -> None:
    """Look ahead at what follows the segment `name`, unless somebody does. Raises PgvaultError, OSError."""
    directory = spool_directory(plan_path, FetchPlan.load(plan_path).restore_id)
    spool = None if directory is None else Spool.claim(directory)
    if spool is None:
        return
    # After the claim: it takes a while, and who asks meanwhile shall see that it is worth waiting.
    from pgvault.wal.ahead import LookAhead, Restore

    restore = Restore.load(plan_path, data=data)
    ahead = LookAhead(restore, spool, after=name, ahead=count)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: ahead.stop())
    os.nice(POLITENESS)
    ahead.run(lambda: open_source(restore.plan))


def open_source(plan: FetchPlan) -> Repository:
    """Open the repository that a plan names."""
    from pgvault.cli.opening import RepositorySource
    from pgvault.cli.reading import open_copies_of
    from pgvault.stores.retry import Patience

    config = RepositorySource.from_json(plan.source).load()
    return open_copies_of(plan, config, patience=Patience(deadline_seconds=STORE_DEADLINE_SECONDS))


if __name__ == "__main__":
    main()
