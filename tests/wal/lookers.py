"""A look-ahead inside the test's own process, so that what it holds can be damaged at a known moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pgvault.cli.fastfetch import take
from pgvault.repository.repository import Repository
from pgvault.wal.ahead import LookAhead, Restore
from pgvault.wal.fetchplan import FetchPlan
from pgvault.wal.spool import Spool, spool_directory

SEGMENT_LENGTH = 24


@dataclass(frozen=True, slots=True)
class Looker:
    """A look-ahead that runs, and the place of a server that asks it."""

    plan: Path
    directory: Path  # the spool
    pg_wal: Path
    thread: threading.Thread

    def take(self, name: str, to: str = "RECOVERYXLOG") -> bool:
        """Ask as the quick way of `wal fetch` does; False also where nobody answers."""
        try:
            return take(str(self.plan), name, str(self.pg_wal / to))
        except OSError:
            return False

    def waiting(self) -> list[str]:
        """The segments in the spool."""
        return sorted(p.name for p in self.directory.iterdir() if len(p.name) == SEGMENT_LENGTH)

    def wait_for(self, *names: str) -> None:
        """Wait until exactly these segments lie in the spool."""
        wait_until(lambda: self.waiting() == sorted(names))

    def wait_ended(self) -> None:
        """Wait until it has gone, and see that it left nothing."""
        self.thread.join(10)
        assert not self.thread.is_alive()
        assert not self.directory.exists()


def wait_until(claim: Callable[[], object], *, seconds: float = 10) -> None:
    """Wait until `claim` holds."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@contextmanager
def looking(
    repository: Repository,
    plan: FetchPlan,
    pg_wal: Path,
    *,
    after: str = "",
    ahead: int = 3,
    keep_free: int = 0,
) -> Iterator[Looker]:
    """Look ahead for a restore whose plan lies beside its data directory."""
    data = pg_wal.parent
    path = data.with_name(f"{data.name}.pgvault") / "plan.json"
    path.parent.mkdir(exist_ok=True)
    plan.save(path)
    directory = spool_directory(path, plan.restore_id)
    assert directory is not None
    spool = Spool.claim(directory, keep_free=keep_free)
    assert spool is not None
    look = LookAhead(Restore.load(path, data=data), spool, after=after, ahead=ahead)
    thread = threading.Thread(target=look.run, args=(lambda: repository,))
    thread.start()
    try:
        yield Looker(path, directory, pg_wal, thread)
    finally:
        look.stop()
        thread.join(15)
