"""Judge what each copy by itself says of its newest backups: a listing of all of them together hides an emptied one.

Only roots that open count, newest label first, and of each copy no more are read than it takes to find the newest of
every kind that the copies together have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, PgvaultError, WrongKey
from pgvault.instants import iso
from pgvault.monitor.finding import Figures, Finding, ok, red, span, warn
from pgvault.repository import layout
from pgvault.repository.catalog import Catalog, Root, read_root
from pgvault.repository.copies import Copy
from pgvault.repository.logical import LogicalManifest, LogicalType
from pgvault.repository.repository import Repository

NAME = "copy_backup"
# Between the copies of one commit lie seconds, but for a command that was stopped in between.
USUAL_LAG = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class NewestBackup:
    """The newest backup of a kind."""

    label: str
    stopped_at: datetime


@dataclass(frozen=True, slots=True)
class CopyBackups:
    """What one copy holds by itself, by kind of backup."""

    copy: str
    newest: Mapping[str, NewestBackup] = field(default_factory=dict)
    limit: timedelta = USUAL_LAG  # for which it may lack the newest
    error: PgvaultError | None = None  # why nothing is known of it


def kind_of(root: Root) -> str | None:
    """Return the kind of a backup that protects a cluster; None: it holds some tables only, or no rows."""
    if isinstance(root, LogicalManifest):
        return "logical" if root.type is LogicalType.LOGICAL and root.class_name is None else None
    return "full"


def newest_of(roots: Sequence[Root]) -> dict[str, NewestBackup]:
    """Return the newest of each kind."""
    newest: dict[str, NewestBackup] = {}
    for root in roots:
        kind = kind_of(root)
        if kind is not None and (kind not in newest or newest[kind].stopped_at < root.stopped_at):
            newest[kind] = NewestBackup(root.label, root.stopped_at)
    return newest


def look_at_copy_backups(repository: Repository, cluster: str, catalog: Catalog) -> list[CopyBackups]:
    """Read each copy alone; one that did not answer before is not asked again."""
    wanted = newest_of(catalog.roots)
    found = [CopyBackups(each.name, error=each.error) for each in repository.left_out]
    for number, copy in enumerate(repository.copies):
        limit = USUAL_LAG if number == 0 else copy.backup_lag
        error = repository.unread.get(copy.name)
        if error is None:
            try:
                found.append(CopyBackups(copy.name, _read(repository, copy, cluster, set(wanted)), limit))
                continue
            except PgvaultError as raised:
                error = raised
        found.append(CopyBackups(copy.name, error=error))
    return found


def _read(repository: Repository, copy: Copy, cluster: str, wanted: set[str]) -> dict[str, NewestBackup]:
    alone = replace(repository, copies=(copy,), left_out=())
    roots: list[Root] = []
    missing = set(wanted)
    for label in sorted(alone.reader.names(layout.backups(cluster)), reverse=True) if missing else ():
        try:
            root = read_root(alone, cluster, label)
        except (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey):
            continue  # it is no backup here, and what does not open is told by those who look at all of them
        if root is not None:
            roots.append(root)
            missing.discard(kind_of(root) or "")
        if not missing:
            break
    return newest_of(roots)


def judge_copy_backups(found: Sequence[CopyBackups], catalog: Catalog, *, now: datetime) -> Iterator[Finding]:
    """Yield a finding for each copy and kind of backup that any copy has; none where there is no backup at all."""
    together = newest_of(catalog.roots)
    for copy in found:
        if copy.error is not None:
            yield warn(NAME, f"{copy.copy}: unknown, since it is not read: {copy.error}", {"copy": copy.copy})
            continue
        for kind, newest in together.items():
            yield _judge(copy, kind, copy.newest.get(kind), newest, now)


def _judge(copy: CopyBackups, kind: str, own: NewestBackup | None, newest: NewestBackup, now: datetime) -> Finding:
    lacks = own is None or own.stopped_at < newest.stopped_at
    behind = max(timedelta(0), now - newest.stopped_at) if lacks else timedelta(0)
    figures: Figures = {
        "copy": copy.copy,
        "kind": kind,
        "label": None if own is None else own.label,
        "last_at": None if own is None else iso(own.stopped_at),
        "age_seconds": None if own is None else (now - own.stopped_at).total_seconds(),
        "behind_seconds": behind.total_seconds(),
        "limit_seconds": copy.limit.total_seconds(),
    }
    what = f"no {kind} backup" if own is None else f"{kind} backup {own.label}, {span(now - own.stopped_at)} ago"
    if not lacks:
        return ok(NAME, f"{copy.copy}: {what}", figures)
    said = f"{copy.copy}: {what}, while {newest.label} is in another copy, since {span(behind)}"
    if behind > copy.limit:
        return red(NAME, said, figures, hint="Was it emptied, or does pgvault copy not run? See: pgvault verify")
    return ok(NAME, said, figures)
