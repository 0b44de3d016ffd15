"""Copies: the replicas of one repository.

The first copy in the configuration decides what exists: whoever puts an object there first has the name. Every other
copy receives exactly those bytes, either before a command may say that it is done (*sync*) or some time later, by
`pgvault copy` (*async*). WAL is set apart from backups: a region that is down must never stop the archiver.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from pgvault.errors import ObjectMissing, PgvaultError
from pgvault.stores.base import ObjectStore

USUAL_WAL_LAG = timedelta(minutes=15)
USUAL_BACKUP_LAG = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Copy:
    """One replica of the repository."""

    name: str  # as in the configuration
    store: ObjectStore
    is_sync_for_backups: bool = False  # of a further copy: a backup is committed only when it is here, too
    is_sync_for_wal: bool = False  # of a further copy: WAL is acknowledged only when it is here, too
    wal_lag: timedelta = USUAL_WAL_LAG  # for which a further copy may lack what was pushed
    backup_lag: timedelta = USUAL_BACKUP_LAG  # and a backup that was committed

    def has(self, path: str) -> bool:
        """Tell whether an object is here, whatever it holds. Raises StoreUnreachable, StoreDenied."""
        try:
            self.store.size(path)
        except ObjectMissing:
            return False
        return True


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A copy that a command reads without."""

    name: str
    error: PgvaultError  # why
    is_deciding: bool = False  # then nothing can be written
