"""Open the small objects beside backups' data and WAL: systems, watermarks, gaps, holds, tombstones, marks, reports;
and the entries of the audit chains, which belong to all clusters.

    names ─► kind ─► each frame opens under exactly that name

Nothing of a restore depends on most of them. Yet a hold that does not open holds nothing, and a system's record decides
who may archive; so a damaged one is a problem like any other. Names that are none of ours are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from pgvault.audit.chain import read_body
from pgvault.errors import ObjectMissing, PgvaultError, StoreUnreachable
from pgvault.pipeline.header import Kind
from pgvault.pooling import map_bounded
from pgvault.repository import layout
from pgvault.repository.objects import read_frames
from pgvault.repository.repository import Repository
from pgvault.verify.report import Findings, Suspect

SERIES = r"/\d{8}"
IN_CLUSTER: tuple[tuple[Kind, str], ...] = (
    (Kind.SYSTEM, r"systems/(first|\d+)"),
    (Kind.WATERMARK, r"watermarks/[^/]+"),
    (Kind.GAP, r"gaps/[^/]+"),
    (Kind.DRILL, r"drills/[^/]+"),
    (Kind.CHECKS, r"checks/[^/]+"),
    (Kind.HOLD, rf"holds/[^/]+{SERIES}"),
)
IN_BACKUP: tuple[tuple[Kind, str], ...] = (
    (Kind.TOMBSTONE, rf"tombstones{SERIES}"),
    (Kind.VERIFIED, rf"verified/[^/]+{SERIES}"),
    (Kind.DRILLED, rf"drilled{SERIES}"),
)
PREFIXES = ("systems", "watermarks", "gaps", "drills", "checks", "holds")


def verify_records(repository: Repository, cluster: str, findings: Findings) -> None:
    """Open every record of a cluster. Raises StoreUnreachable."""
    for suspect in list_records(repository, cluster):
        findings.tried(f"record {suspect.path}", partial(_open, repository, suspect, findings), suspect)


def verify_audit(repository: Repository, findings: Findings, *, jobs: int) -> None:
    """Open every entry of the audit chains, and see who signed: whether they are whole as chains is for `audit verify`.

    Raises StoreUnreachable.
    """
    names = (entry.key for entry in repository.reader.entries(layout.AUDIT))
    suspects = (Suspect(name, Kind.AUDIT) for name in names if layout.parse_audit_entry(name) is not None)
    with ThreadPoolExecutor(jobs, thread_name_prefix="verify") as pool:
        for suspect, error in map_bounded(pool, partial(_try, repository), suspects, ahead=4 * jobs):
            if error is None:
                findings.report.record_count += 1
            elif not isinstance(error, ObjectMissing):  # removed since it was listed
                findings.note(f"audit entry {suspect.path}", error, [suspect])


def _try(repository: Repository, suspect: Suspect) -> tuple[Suspect, PgvaultError | None]:
    try:
        repository.reader.read(suspect.path, partial(read_body, repository, suspect.path))
    except StoreUnreachable:
        raise
    except PgvaultError as error:
        return suspect, error
    return suspect, None


def list_records(repository: Repository, cluster: str) -> Iterator[Suspect]:
    """Yield the records of a cluster by name and kind."""
    prefix = layout.cluster(cluster)
    for directory in PREFIXES:
        yield from _listed(repository, f"{prefix}/{directory}", prefix, IN_CLUSTER)
    for label in repository.reader.names(layout.backups(cluster)):
        backup = layout.backup(cluster, label)
        marks = (layout.tombstones, layout.all_verified, layout.drilled)
        for listed in (prefix_of(cluster, label) for prefix_of in marks):
            yield from _listed(repository, listed, backup, IN_BACKUP)


def _listed(repository: Repository, prefix: str, above: str, kinds: tuple[tuple[Kind, str], ...]) -> Iterator[Suspect]:
    for entry in repository.reader.entries(prefix):
        name = entry.key.removeprefix(f"{above}/")
        for kind, pattern in kinds:
            if re.fullmatch(pattern, name, re.ASCII):
                yield Suspect(entry.key, kind)


def _open(repository: Repository, suspect: Suspect, findings: Findings) -> None:
    assert suspect.kind is not None
    with suppress(ObjectMissing):  # removed since it was listed
        for _ in read_frames(repository, suspect.path, suspect.kind):
            pass
        findings.report.record_count += 1
