"""Which WAL the grace spares: what was within the window so long ago, and what marked backups lead through.

    marked backup  ●════════════════════╡ hole      all of the stretch stays until the backup is removed
    now − window − grace ─────┤                     what the window let go since then stays

WAL has no tombstone. So it goes only when a window longer by the grace would let it go, and a backup that is marked
reaches as far as it did before: until a backup is removed, taking it back takes back every moment behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from pgvault.expire.facts import ExpireFacts
from pgvault.expire.needed import Needed, Numbers, on_way
from pgvault.expire.policy import Policy
from pgvault.expire.reach import Reach
from pgvault.expire.survey import Survey, survey


def survey_patiently(facts: ExpireFacts, policy: Policy, *, abandoned: Collection[str] = ()) -> Survey:
    """Look at every copy as if the window were longer by the grace."""
    retention = policy.retention
    if retention is not None and retention.window is not None:
        longer = retention.model_copy(update={"window": retention.window + policy.grace})
        policy = replace(policy, retention=longer)
    return survey(facts, policy, abandoned=abandoned)


def spared_for(surveyed: Survey, system_identifier: int, marked: Collection[str]) -> Needed:
    """Return the WAL of a system by which marked backups reach what they reached before, in any copy."""
    systems = (each for copy in surveyed.copies for each in copy.systems)
    reaches = (each for system in systems if system.system_identifier == system_identifier for each in system.reaches)
    return Needed.of(number for reach in reaches for number in _through(reach, marked))


def _through(reach: Reach, marked: Collection[str]) -> Iterator[Numbers]:
    starts = [backup.start_lsn.value for backup in reach.backups if backup.label in marked]
    if starts:
        yield from on_way(reach.path, min(starts) // reach.path.segment_size, reach.stretch.last_number)
