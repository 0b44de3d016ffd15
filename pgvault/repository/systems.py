"""Which system identifiers (initdb runs) a cluster has had; what keeps another cluster's WAL out.

    clusters/<cluster>/systems/<system id> = sealed JSON {"system_identifier", "major", "follows", "recorded_at"}

The first WAL or backup of a cluster records its system with follows = null; any later one must be adopted by an
operator (pg_upgrade, a new initdb) and names its predecessor. Two firsts mean that two clusters share a name.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from pgvault.errors import ObjectExists, OtherCluster
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.objects import put_json
from pgvault.repository.repository import Repository

logger = logging.getLogger(__name__)

ADOPT_HINT = "After pg_upgrade or a new initdb: pgvault adopt DIR --new-system. Else the configuration is wrong."
    "After pg_upgrade or a new initdb: pgvault adopt DIR --new-system. Else the config points at another cluster."
)


@dataclass(frozen=True, slots=True)
class System:
    """One initdb of a cluster."""

    system_identifier: int
    major: int


def known_systems(repository: Repository, cluster: str) -> set[int]:
    """Return the system identifiers recorded for a cluster."""
    return {int(name) for name in repository.deciding.store.children(layout.systems(cluster)) if name.isdigit()}


def require_system(repository: Repository, cluster: str, system: System, *, now: datetime) -> None:
    """Accept a recorded system, record the very first one, refuse any other. Raises OtherCluster."""
    known = known_systems(repository, cluster)
    if not known:
        record_system(repository, cluster, system, follows=None, now=now)
        known = known_systems(repository, cluster)
        if known == {system.system_identifier}:
            return
    elif system.system_identifier in known:
        return
    raise OtherCluster(
        f"system identifier {system.system_identifier} is not one of cluster {cluster!r} "
        f"(known: {', '.join(map(str, sorted(known)))})",
        hint=ADOPT_HINT,
    )


def record_system(repository: Repository, cluster: str, system: System, *, follows: int | None, now: datetime) -> None:
    """Record a system; `follows` is the one before it, None for the first. Recording it again is fine."""
    path = layout.system(cluster, system.system_identifier)
    if system.system_identifier in known_systems(repository, cluster):
        return
    document = {
        "system_identifier": str(system.system_identifier),
        "major": system.major,
        "follows": None if follows is None else str(follows),
        "recorded_at": now.isoformat(),
    }
    try:
        put_json(repository, path, Kind.SYSTEM, document=document)
    except ObjectExists:
        logger.debug("system %s was recorded by another process meanwhile", system.system_identifier)
