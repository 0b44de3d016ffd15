"""`check`: the further copies, each of which shall answer, be of this repository, and receive what it should."""

from __future__ import annotations

from collections.abc import Iterator

from pgvault.errors import ObjectiveMissed, PgvaultError
from pgvault.instants import Clock
from pgvault.monitor.copylag import judge_copies, look_at_copies
from pgvault.monitor.finding import Level
from pgvault.monitor.tried import Finding
from pgvault.repository.repository import Repository

WAITS = (
    "The archiver waits for this copy: while it is down, WAL stays in pg_wal, and a full pg_wal stops the server. "
    "With wal: async it would not."
)


def check_copies(repository: Repository, cluster: str, *, clock: Clock) -> Iterator[Finding]:
    """Yield a finding for each further copy: one that lags behind is as red as in `status`."""
    waited_for = {copy.name for copy in repository.copies[1:] if copy.is_sync_for_wal}
    for fact in look_at_copies(repository, cluster, now=clock.now()):
        (judged,) = judge_copies([fact])
        warning = judged.detail if judged.level is Level.WARN else WAITS if fact.copy in waited_for else None
        kind = type(fact.behind) if isinstance(fact.behind, PgvaultError) else ObjectiveMissed
        error = kind(judged.detail, hint=judged.hint) if judged.level is Level.RED else None
        yield Finding("copy", judged.detail, error, warning)
