"""The name of every object of format 1, and nothing else: a name is computed here or nowhere.

    pgvault.json                                       identity of the repository
    keys/<n>                                           key documents, the highest n counts
    clusters/<cluster>/systems/<system id>             which system identifiers this cluster has had
    clusters/<cluster>/systems/first                   which of them came first: two that race compete for this name
    clusters/<cluster>/watermarks/<time>-<random>      "at this server time WAL stood here, nothing was open"
    clusters/<cluster>/backups/<label>/manifest        the root; writing it commits the backup
    clusters/<cluster>/backups/<label>/refs            clear: SHA-256 and name of everything it needs
    clusters/<cluster>/backups/<label>/{parts,maps,packs,inventory}/<n>
    clusters/<cluster>/backups/<label>/tombstones/<n>  marked, being removed, or kept after all: the highest n counts
    clusters/<cluster>/backups/<label>/verified/<copy>/<n>     "read back whole in that copy", the highest n counts
    clusters/<cluster>/backups/<label>/drilled/<n>     how a drill of it ended, the highest n counts
    clusters/<cluster>/holds/<id>/<n>                  n = 0: what must stay, and why; n = 1: not any more
    audit/<signer>/<n / 1000>/<n>                      what was done, by whom: a chain for each signing key
    leases/<name>/<n>                                  clear: who does what at the moment
    notices/<label>                                    what a notifier has told, and whom
    quarantine/<time>-<random>/<name>                  bytes that `verify --repair` replaced
    clusters/<cluster>/wal/<system id>/<16 digits>/<WAL file name>
    clusters/<cluster>/wal/<system id>/<timeline>.history
    clusters/<cluster>/wal/<system id>/<16 digits>/<segment>.tail/<from>-<to>      bytes of a segment under way
    clusters/<cluster>/gaps/<time>-<random>            "this WAL is gone, and why"
    clusters/<cluster>/drills/<id>
    clusters/<cluster>/checks/<id>                     what checks found in the live server

Numbers are eight decimal digits from 00000000 (key documents: from 00000001), so that names sort as numbers do.
Names sort by component, not by string.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

IDENTITY = "pgvault.json"
KEYS = "keys"
CLUSTERS = "clusters"
AUDIT = "audit"
AUDIT_GROUP = 1000  # entries
LEASES = "leases"
NOTICES = "notices"
PROBES = "probes"  # written and removed by init and check
QUARANTINE = "quarantine"
NUMBER = re.compile(r"\d{8}", re.ASCII)
GROUP = re.compile(r"\d{5}", re.ASCII)
TAIL = ".tail"
STAMP = "%Y%m%dT%H%M%SZ"
STAMP_LENGTH = 16  # of what it prints
LABEL = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")


def key_document(number: int) -> str:
    """Name of key document `number`, counted from 1."""
    return f"{KEYS}/{number:08d}"


def is_number(name: str) -> bool:
    """Tell whether a name is the number of an object in a series."""
    return NUMBER.fullmatch(name) is not None


def cluster(name: str) -> str:
    """Prefix of all that belongs to a cluster."""
    return f"{CLUSTERS}/{name}"


def systems(cluster_name: str) -> str:
    """Prefix of the cluster's system records."""
    return f"{cluster(cluster_name)}/systems"


def system(cluster_name: str, system_identifier: int) -> str:
    """Name of one system record."""
    return f"{systems(cluster_name)}/{system_identifier}"


def first_system(cluster_name: str) -> str:
    """Name of the record of the system that came first."""
    return f"{systems(cluster_name)}/first"


def watermarks(cluster_name: str) -> str:
    """Prefix of the cluster's watermarks."""
    return f"{cluster(cluster_name)}/watermarks"


def backups(cluster_name: str) -> str:
    """Prefix of the cluster's backups."""
    return f"{cluster(cluster_name)}/backups"


def backup(cluster_name: str, label: str) -> str:
    """Prefix of one backup."""
    return f"{backups(cluster_name)}/{label}"


def manifest(cluster_name: str, label: str) -> str:
    """Name of a backup's root."""
    return f"{backup(cluster_name, label)}/manifest"


def refs(cluster_name: str, label: str) -> str:
    """Name of a backup's clear list of what it needs."""
    return f"{backup(cluster_name, label)}/refs"


def part(cluster_name: str, label: str, number: int) -> str:
    """Name of a piece of the file list."""
    return f"{backup(cluster_name, label)}/parts/{number:08d}"


def block_map(cluster_name: str, label: str, number: int) -> str:
    """Name of a piece of the block maps."""
    return f"{backup(cluster_name, label)}/maps/{number:08d}"


def pack(cluster_name: str, label: str, number: int) -> str:
    """Name of a pack."""
    return f"{backup(cluster_name, label)}/packs/{number:08d}"


def inventory(cluster_name: str, label: str, number: int) -> str:
    """Name of a piece of the inventory."""
    return f"{backup(cluster_name, label)}/inventory/{number:08d}"


def tombstones(cluster_name: str, label: str) -> str:
    """Prefix of a backup's tombstones."""
    return f"{backup(cluster_name, label)}/tombstones"


def tombstone(cluster_name: str, label: str, number: int) -> str:
    """Name of one tombstone, counted from 0."""
    return f"{tombstones(cluster_name, label)}/{number:08d}"


def verified(cluster_name: str, label: str, copy: str) -> str:
    """Prefix of the records that a backup was read back whole in a copy."""
    return f"{all_verified(cluster_name, label)}/{copy}"


def all_verified(cluster_name: str, label: str) -> str:
    """Prefix of those records in whatever copy."""
    return f"{backup(cluster_name, label)}/verified"


def drilled(cluster_name: str, label: str) -> str:
    """Prefix of the records of how drills of a backup ended."""
    return f"{backup(cluster_name, label)}/drilled"


def numbered(prefix: str, number: int) -> str:
    """Name of an object of a numbered series."""
    return f"{prefix}/{number:08d}"


def holds(cluster_name: str) -> str:
    """Prefix of the cluster's holds."""
    return f"{cluster(cluster_name)}/holds"


def hold(cluster_name: str, hold_id: str, number: int) -> str:
    """Name of a hold (0), or of its release (1)."""
    return f"{holds(cluster_name)}/{hold_id}/{number:08d}"


def lease_series(name: str) -> str:
    """Prefix of the entries of a lease."""
    return f"{LEASES}/{name}"


def lease(name: str, number: int) -> str:
    """Name of one entry of a lease."""
    return f"{lease_series(name)}/{number:08d}"


def notice(label: str) -> str:
    """Name of a notice."""
    return f"{NOTICES}/{label}"


def wals(cluster_name: str) -> str:
    """Prefix of the WAL of all systems of a cluster."""
    return f"{cluster(cluster_name)}/wal"


def wal(cluster_name: str, system_identifier: int) -> str:
    """Prefix of the WAL of one system."""
    return f"{wals(cluster_name)}/{system_identifier}"


def wal_file(cluster_name: str, system_identifier: int, name: str) -> str:
    """Name of a WAL file: a segment, .partial, .backup (by its first 16 digits) or .history."""
    prefix = wal(cluster_name, system_identifier)
    return f"{prefix}/{name}" if name.endswith(".history") else f"{prefix}/{name[:16]}/{name}"


def tails(cluster_name: str, system_identifier: int, segment_name: str) -> str:
    """Prefix of the streamed tails of one segment."""
    return f"{wal_file(cluster_name, system_identifier, segment_name)}{TAIL}"


def tail(cluster_name: str, system_identifier: int, segment_name: str, *, start: int, end: int) -> str:
    """Name of the tail that holds the bytes from `start` to `end` of a segment."""
    return f"{tails(cluster_name, system_identifier, segment_name)}/{start:08X}-{end:08X}"


def audit_chain(signer: str) -> str:
    """Prefix of the entries of one signing key."""
    return f"{AUDIT}/{signer}"


def audit_entry(signer: str, number: int) -> str:
    """Name of one entry, counted from 0."""
    return f"{audit_chain(signer)}/{number // AUDIT_GROUP:05d}/{number:08d}"


def parse_audit_entry(path: str) -> tuple[str, int] | None:
    """Return signer and number of an entry by its name; None for a name that no entry has."""
    signer, name = path.removeprefix(f"{AUDIT}/").partition("/")[0], path.rpartition("/")[2]
    if not is_number(name) or path != audit_entry(signer, int(name)):
        return None
    return signer, int(name)


def is_audit_group(name: str) -> bool:
    """Tell whether a name is that of a group of entries."""
    return GROUP.fullmatch(name) is not None


def gaps(cluster_name: str) -> str:
    """Prefix of the cluster's gap records."""
    return f"{cluster(cluster_name)}/gaps"


def drills(cluster_name: str) -> str:
    """Prefix of the cluster's drill reports."""
    return f"{cluster(cluster_name)}/drills"


def checks(cluster_name: str) -> str:
    """Prefix of what checks found in the cluster's live server."""
    return f"{cluster(cluster_name)}/checks"


def stamp(at: datetime) -> str:
    """An aware instant, in UTC, as the first part of a label: 20260115T103000Z."""
    return at.astimezone(UTC).strftime(STAMP)


def stamped_at(label: str) -> datetime | None:
    """Return the instant that a label begins with; None where it begins with none."""
    try:
        return datetime.strptime(label[:STAMP_LENGTH], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def make_label(at: datetime, random: bytes) -> str:
    """The id of a backup, drill or run of checks: when it began (UTC), and two random bytes: clocks may repeat."""
    return f"{stamp(at)}-{random[:2].hex()}"
