"""One run of a kind at a time on this host, for what leases in the repository do not keep apart.

Backups, expiry and repairs hold a lease, and a stream its spool: see there. Drills and verifications are fine beside
another. But a copy that takes hours would be begun again every quarter of an hour, and so would a long check on a
server that has work to do. Those hold a file of this user's, which is free as soon as their process is gone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgvault.errors import AlreadyRunning
from pgvault.wal.notes import find_state


@contextmanager
def alone_here(what: str, *of: object) -> Iterator[None]:
    """Be the only `what` of these things on this host. Raises AlreadyRunning.

    A host on which no file can be kept, as in a container whose file system is read-only, keeps nobody out.
    """
    state = find_state(os.environ.get("PGVAULT_STATE"))
    descriptor = None
    if state is not None:
        digest = hashlib.blake2b(repr((what, *map(str, of))).encode(), digest_size=8).hexdigest()
        try:
            descriptor = os.open(Path(state) / f"alone-{digest}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            descriptor = None
    if descriptor is None:
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"another {what} is at work on this host") from None
        except OSError:
            pass  # a file system without locks, as NFS may be: better twice than not at all
        yield
    finally:
        os.close(descriptor)
