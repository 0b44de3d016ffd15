"""RPO of each copy: what would be left if it were all that is left.

The copy that the drill read is measured by what was replayed; any other by a plan to its own latest moment, from its
own roots, names, watermarks and the last of its WAL: nothing is replayed, and the method says so. A copy that can not
be asked is in the list all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pgvault.drill.rpo import UNPROVEN, FailureMoment, Rpo, begun_at, measure_rpo
from pgvault.errors import PgvaultError, Refused
from pgvault.recovery.gather import Workplace, gathering
from pgvault.recovery.idleness import proven_until
from pgvault.recovery.path import find_path
from pgvault.recovery.plan import RestoreRequest, plan_restore
from pgvault.recovery.target import LatestTarget, TargetOptions
from pgvault.repository.repository import Repository

REPLAYED = "replayed by this drill"
PLANNED = "planned from its own listings and the end of its WAL, not replayed"


@dataclass(frozen=True, slots=True)
class CopyRpo:
    """What one copy would leave."""

    copy: str
    rpo: Rpo | None  # None: not known
    method: str  # how it was found, or why it was not
    is_wanted: bool = True  # not told to be left alone

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "copy": self.copy,
            "rpo_seconds": None if self.rpo is None else round(self.rpo.seconds, 3),
            "proven_until": None if self.rpo is None else self.rpo.to_json()["proven_until"],
            "proven_by": None if self.rpo is None else self.rpo.source,
            "method": self.method,
        }


@dataclass(frozen=True, slots=True)
class Measuring:
    """What the copies of a repository are measured for."""

    cluster: str
    options: TargetOptions  # of the drill: a timeline that was chosen is chosen in each copy
    failure: FailureMoment
    workplace: Workplace


def measure_copies(repository: Repository, measuring: Measuring, *, replayed: Rpo) -> Iterator[CopyRpo]:
    """Yield the RPO of every copy; `replayed` is that of all that were read, as one."""
    whole = copy_read(repository)
    for copy in repository.copies:
        if copy.name == whole:
            yield CopyRpo(copy.name, replayed, REPLAYED)
        elif copy.name in repository.unread:
            yield CopyRpo(copy.name, None, f"not known: {repository.unread[copy.name]}")
        else:
            alone = replace(repository, copies=(copy,), left_out=())
            yield _planned(alone, copy.name, measuring)
    for each in repository.left_out:
        is_wanted = not isinstance(each.error, Refused)
        yield CopyRpo(each.name, None, f"not {'known' if is_wanted else 'asked'}: {each.error}", is_wanted)


def copy_read(repository: Repository) -> str | None:
    """Return the one copy that all was read from; None where another had to help out."""
    first = repository.copies[0].name
    helped = any(each.copy == first != each.taken_from for each in repository.reader.damages)
    return None if helped or first in repository.unread else first


def _planned(repository: Repository, name: str, measuring: Measuring) -> CopyRpo:
    request = RestoreRequest(LatestTarget(), options=measuring.options)
    try:
        with gathering(repository, measuring.cluster, None, workplace=measuring.workplace) as gathered:
            facts = gathered.facts
            plan = plan_restore(facts, request)
            path = find_path(plan.timeline, facts.inventory)
            rpo = measure_rpo(
                measuring.failure,
                backup_started_at=begun_at(gathered.manifest(plan.backup_label)),
                last_commit_at=None if plan.last_commit is None else plan.last_commit.at,
                idle_until=proven_until(path, plan.wal_end_lsn, watermarks=facts.watermarks),
            )
    except PgvaultError as error:
        return CopyRpo(name, None, f"not known: {error}")
    if rpo is None:
        return CopyRpo(name, None, UNPROVEN)
    if rpo.doubt is not None:
        return CopyRpo(name, None, rpo.doubt)
    return CopyRpo(name, replace(rpo, source=rpo.source.replace("replayed", "archived")), PLANNED)
