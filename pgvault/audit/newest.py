"""Read what happened last: the chains from their ends backwards, merged by time, no more of them than is asked for."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from pgvault.audit.chain import UNREADABLE, entry_at, numbers_backwards, signers
from pgvault.audit.entry import Entry
from pgvault.errors import ObjectMissing, PgvaultError
from pgvault.repository.repository import Repository

READ_MAX = 20_000  # entries, whatever is looked for
SLACK = timedelta(minutes=10)  # by which an entry may be older than the one before it


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries are asked for."""

    limit: int
    since: datetime | None = None
    cluster: str | None = None
    what: str | None = None

    def takes(self, entry: Entry) -> bool:
        """Whether an entry is one of them."""
        return (
            (self.since is None or entry.at >= self.since)
            and self.cluster in (None, entry.event.get("cluster"))
            and self.what in (None, entry.event.get("what"))
        )


def newest(
    repository: Repository, wanted: Wanted, *, passed_over: Callable[[str, int, PgvaultError], None]
) -> list[Entry]:
    """Return entries, newest first; `passed_over` is told which did not open: signer, number, why."""
    chains = [_backwards(repository, signer, wanted, passed_over) for signer in signers(repository)]
    merged = heapq.merge(*chains, key=lambda entry: entry.at, reverse=True)
    return list(islice(filter(wanted.takes, islice(merged, READ_MAX)), wanted.limit))


def _backwards(
    repository: Repository, signer: str, wanted: Wanted, passed_over: Callable[[str, int, PgvaultError], None]
) -> Iterator[Entry]:
    later: int | None = None
    for number in numbers_backwards(repository, signer):
        if later is not None and later > number + 1:
            passed_over(signer, number + 1, ObjectMissing(f"{later - number - 1} entries from there on are missing"))
        later = number
        try:
            entry = entry_at(repository, signer, number)
        except UNREADABLE as error:
            passed_over(signer, number, error)
            continue
        if wanted.since is not None and entry.at < wanted.since - SLACK:
            return
        yield entry
