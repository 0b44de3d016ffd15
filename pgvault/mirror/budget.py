"""A bound on the bytes that are held in memory at a time, by however many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from pgvault.postgres.lsn import MIB

MOST_BYTES = 256 * MIB


class ByteBudget:
    """So many bytes may be under way; one that is larger goes alone."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._taken = 0
        self._changed = Condition()

    @contextmanager
    def taking(self, size: int) -> Iterator[None]:
        """Wait until there is room for `size` bytes, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + size <= self._most)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()
