"""Which system identifiers (initdb runs) a cluster has had; what keeps another cluster's WAL out.

    clusters/<cluster>/systems/<system id> = sealed JSON {"system_identifier", "major", "follows", "recorded_at"}
    clusters/<cluster>/systems/first       = the same document, of the system that came first

The first WAL or backup of a cluster records its system with follows = null; any later one must be adopted by an
operator (pg_upgrade, a new initdb) and names its predecessor. Whoever comes first puts `first`: two servers that
begin to archive under one cluster name at the same moment compete for that one name, and one of them is refused for
ever, where two records of their own would let both in.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgvault.errors import ObjectCorrupt, ObjectExists, OtherCluster
from pgvault.instants import iso
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.fields import read_decimal
from pgvault.repository.objects import put_json, read_json
from pgvault.repository.repository import Repository
from pgvault.repository.writing import decided

logger = logging.getLogger(__name__)

ADOPT_HINT = (
    "After pg_upgrade or a new initdb: pgvault adopt DIR --new-system. "
    "Otherwise two servers archive under one cluster name."
)


@dataclass(frozen=True, slots=True)
class System:
    """One initdb of a cluster."""

    system_identifier: int
    major: int


def known_systems(repository: Repository, cluster: str) -> set[int]:
    """Return the system identifiers recorded for a cluster."""
    return {int(name) for name in repository.reader.names(layout.systems(cluster)) if name.isdigit()}


def require_system(repository: Repository, cluster: str, system: System, *, now: datetime) -> None:
    """Accept a recorded system, record the very first one, refuse any other. Raises OtherCluster."""
    known = known_systems(decided(repository), cluster)
    if not known:
        known = {_claim_first(repository, cluster, system, now=now)}
        if system.system_identifier in known:
            record_system(repository, cluster, system, follows=None, now=now)
    if system.system_identifier not in known:
        raise OtherCluster(
            f"system identifier {system.system_identifier} is not one of cluster {cluster!r} "
            f"(known: {', '.join(map(str, sorted(known)))})",
            hint=ADOPT_HINT,
        )


def record_system(repository: Repository, cluster: str, system: System, *, follows: int | None, now: datetime) -> None:
    """Record a system; `follows` is the one before it, None for the first. Recording it again is fine."""
    path = layout.system(cluster, system.system_identifier)
    if system.system_identifier in known_systems(decided(repository), cluster):
        return
    try:
        put_json(repository, path, Kind.SYSTEM, document=_document(system, follows=follows, now=now))
    except ObjectExists:
        logger.debug("system %s was recorded by another process meanwhile", system.system_identifier)


def _claim_first(repository: Repository, cluster: str, system: System, *, now: datetime) -> int:
    """Put `first` unless it is there; return the identifier of the system that it names."""
    path = layout.first_system(cluster)
    try:
        put_json(repository, path, Kind.SYSTEM, document=_document(system, follows=None, now=now))
    except ObjectExists:
        document = read_json(repository, path, Kind.SYSTEM)
        try:
            return read_decimal(document["system_identifier"])
        except (KeyError, ValueError) as error:
            raise ObjectCorrupt(f"system record {path!r} is malformed") from error
    return system.system_identifier


def _document(system: System, *, follows: int | None, now: datetime) -> Mapping[str, Any]:
    return {
        "system_identifier": str(system.system_identifier),
        "major": system.major,
        "follows": None if follows is None else str(follows),
        "recorded_at": iso(now),
    }
