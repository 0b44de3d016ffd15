"""Judge logical backups: as what protects a cluster that has nothing else, and as an addition beside WAL.

Where `source: logical` is configured, what would be lost is everything since the last backup's snapshot: the backup's
age is held against the objective, and no WAL is asked for. Elsewhere they are told of and never judged.
A backup of one data class holds the rows of no other table: it never counts as one of the cluster. One of some of the
databases counts for those only: what is judged is the database whose newest backup is the oldest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from pgvault.errors import PgvaultError
from pgvault.instants import iso
from pgvault.logical.databases import choose_databases, find_databases
from pgvault.logical.request import LogicalRequest
from pgvault.monitor.backupage import TakenBackup, judge_backup
from pgvault.monitor.finding import Figures, Finding, moment, ok, red, span, warn
from pgvault.monitor.slots import AHEAD, STALE, AgePromise
from pgvault.postgres.connection import Connection, read_instant, read_text
from pgvault.repository.catalog import Catalog, read_catalog
from pgvault.repository.logical import LogicalManifest, LogicalType
from pgvault.repository.repository import Repository

CLOCK_TOLERANCE = timedelta(seconds=5)
NONE: Figures = {"kind": "logical", "count": 0, "last_at": None, "is_stale": True}
TAKE_ONE = "Take one: pgvault backup --type logical"


@dataclass(frozen=True, slots=True)
class LogicalFact:
    """A committed logical or schema backup."""

    label: str
    type: LogicalType
    class_name: str | None
    snapshot_at: datetime  # the earliest of its databases: later commits are not in it
    stopped_at: datetime
    databases: tuple[str, ...]
    started_at: datetime | None = None  # server clock; None: as it stopped

    @classmethod
    def of(cls, manifest: LogicalManifest) -> LogicalFact:
        """Return what a root says."""
        return cls(
            label=manifest.label,
            type=manifest.type,
            class_name=manifest.class_name,
            snapshot_at=min((each.snapshot_at for each in manifest.databases), default=manifest.started_at),
            stopped_at=manifest.stopped_at,
            databases=tuple(each.name for each in manifest.databases),
            started_at=manifest.started_at,
        )


@dataclass(frozen=True, slots=True)
class LogicalHeld:
    """What the repository holds of a cluster that has logical backups only."""

    backups: tuple[LogicalFact, ...]
    unreadable: tuple[str, ...]  # roots that do not open, with why


@dataclass(frozen=True, slots=True)
class ServerWord:
    """What any role may ask of a server."""

    version_text: str
    at: datetime  # its clock
    databases: tuple[str, ...] = ()  # that a backup without --database holds


@dataclass(frozen=True, slots=True)
class ClassPromise:
    """A data class that is judged by itself."""

    name: str
    rpo: timedelta | None
    databases: tuple[str, ...] | None = None  # patterns; None: all


@dataclass(frozen=True, slots=True)
class LogicalFacts:
    """All that the status of a cluster with `source: logical` is judged by."""

    host_at: datetime  # this host's clock, when the server's was read
    server: ServerWord | PgvaultError
    held: LogicalHeld | PgvaultError
    rpo: timedelta | None  # the objective
    classes: tuple[ClassPromise, ...] = ()  # those that are backed up by themselves, or have an objective
    age: AgePromise = field(default_factory=AgePromise)  # when its newest backup is too old


def ask_server(connection: Connection, request: LogicalRequest) -> ServerWord:
    """Ask what needs no grant at all.

    Raises ServerUnreachable; ServerUnfit and UsageError for databases that can not be dumped as they are configured.
    """
    version, at = connection.row(
        "SELECT current_setting('server_version'), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    )
    databases = choose_databases(find_databases(connection), request)
    return ServerWord(read_text(version), read_instant(at), tuple(each.name for each in databases))


def read_logical_held(repository: Repository, cluster: str) -> LogicalHeld:
    """Read the roots. Raises what reading a store raises."""
    catalog = read_catalog(repository, cluster)
    return LogicalHeld(
        facts_of(catalog), tuple(f"backup {entry.label} ({entry.error})" for entry in catalog.unreadable)
    )


def facts_of(catalog: Catalog) -> tuple[LogicalFact, ...]:
    """Return what a catalog holds of them."""
    return tuple(map(LogicalFact.of, catalog.logical))


def judge_logical(facts: LogicalFacts) -> tuple[Finding, ...]:
    """Judge a cluster that has logical backups only."""
    server, held = facts.server, facts.held
    findings = [*_server(facts)]
    now = server.at if isinstance(server, ServerWord) else facts.host_at
    if isinstance(held, PgvaultError):
        findings.append(red("repository", str(held), hint=held.hint))
        return tuple(findings)
    wanted = server.databases if isinstance(server, ServerWord) else ()
    findings += _backup(held, now, facts, wanted)
    for promise in facts.classes:
        findings.append(_class(held, promise, now, wanted))
    if held.unreadable:
        count = len(held.unreadable)
        findings.append(red("unreadable", held.unreadable[0], {"count": count}, hint="See: pgvault verify"))
    findings += tell_schema(held.backups, now)
    return tuple(findings)


def tell_logical(backups: Sequence[LogicalFact], now: datetime) -> Iterator[Finding]:
    """Tell of logical and schema backups beside physical ones, if there are any."""
    newest = _newest(backups, LogicalType.LOGICAL)
    if newest is not None:
        yield ok("logical backup", _said(newest, now, backups), _figures(newest, now, backups))
    yield from tell_schema(backups, now)


def tell_schema(backups: Sequence[LogicalFact], now: datetime) -> Iterator[Finding]:
    """Tell of the newest schema backup: an old one says that nothing has changed since, as far as it was looked."""
    newest = _newest(backups, LogicalType.SCHEMA)
    if newest is not None:
        yield ok("schema backup", _said(newest, now, backups), _figures(newest, now, backups))


def _server(facts: LogicalFacts) -> Iterator[Finding]:
    if isinstance(facts.server, PgvaultError):
        yield red("server", str(facts.server), hint=facts.server.hint)
        return
    yield ok("server", f"PostgreSQL {facts.server.version_text}", {"at": iso(facts.server.at)})
    offset = facts.host_at - facts.server.at
    if abs(offset) > CLOCK_TOLERANCE:
        ahead = "ahead of" if offset > timedelta(0) else "behind"
        figures: Figures = {"offset_seconds": offset.total_seconds()}
        yield warn("clocks", f"this host's clock is {span(abs(offset))} {ahead} the server's", figures)


def _backup(held: LogicalHeld, now: datetime, facts: LogicalFacts, wanted: Sequence[str]) -> Iterator[Finding]:
    """The age of the last backup of everything; and what of it would be lost."""
    whole = [each for each in held.backups if each.class_name is None]
    whole = [each for each in whole if each.stopped_at <= now + AHEAD] or whole  # see walstatus
    counting, lacking = _counting(whole, wanted)
    if lacking and counting is not None:
        what = f"no logical backup holds database {lacking[0]!r}" + (
            f" and {len(lacking) - 1} more" * (len(lacking) > 1)
        )
        yield red("backup", what, _figures(counting, now, whole), hint=TAKE_ONE)
        return
    if counting is None:
        yield red("backup", "there is no logical backup of all tables", NONE, hint=TAKE_ONE)
        return
    figures = _figures(counting, now, whole)
    said = _said(counting, now, whole)
    if counting is not _newest(whole, LogicalType.LOGICAL):
        said += "; newer ones hold some of the databases only"
    promise = facts.age
    if promise.objective is None and facts.rpo is not None and facts.rpo > STALE:
        promise = replace(promise, objective=facts.rpo)  # who may lose more than a day needs no backup every day
    taken = TakenBackup("logical", counting.label, counting.started_at or counting.stopped_at, counting.stopped_at)
    yield judge_backup(taken, promise, said, figures, now=now)
    yield _loss("data loss", counting, now, facts.rpo)


def _class(held: LogicalHeld, promise: ClassPromise, now: datetime, wanted: Sequence[str]) -> Finding:
    """A data class is in every backup of everything, and in those of its own."""
    holding = [each for each in held.backups if each.class_name in (None, promise.name)]
    if promise.databases is not None:
        wanted = [name for name in wanted if any(fnmatchcase(name, pattern) for pattern in promise.databases)]
    counting, lacking = _counting(holding, wanted)
    if counting is None or lacking:
        what = f" of database {lacking[0]!r}" if counting is not None else ""
        hint = f"{TAKE_ONE} --class {promise.name}"
        lost: Figures = {"class": promise.name, "count": 0, "snapshot_at": None}
        return red(f"class {promise.name}", f"no logical backup holds its tables{what}", lost, hint=hint)
    found = _loss(f"class {promise.name}", counting, now, promise.rpo)
    return replace(found, figures={**found.figures, "class": promise.name})


def _counting(backups: Sequence[LogicalFact], wanted: Sequence[str]) -> tuple[LogicalFact | None, list[str]]:
    """Return the backup that counts, the oldest of those that are each database's newest; and databases in none."""
    newest = {
        name: _newest([each for each in backups if name in each.databases], LogicalType.LOGICAL) for name in wanted
    }
    held = [each for each in newest.values() if each is not None]
    counting = min(held, key=lambda each: each.stopped_at, default=_newest(backups, LogicalType.LOGICAL))
    return counting, [name for name, fact in newest.items() if fact is None]


def _loss(name: str, newest: LogicalFact, now: datetime, rpo: timedelta | None) -> Finding:
    """Nothing brings back what was committed after the snapshot."""
    age = now - newest.snapshot_at
    figures: Figures = {
        "label": newest.label,
        "snapshot_at": iso(newest.snapshot_at),
        "seconds": age.total_seconds(),
        "limit_seconds": None if rpo is None else rpo.total_seconds(),
    }
    said = f"all since {moment(newest.snapshot_at)} ({span(age)}) would be lost"
    if rpo is not None and age > rpo:
        hint = "Back up more often; physical backups with WAL would lose seconds, where the server allows them."
        return red(name, f"{said}; the objective is {span(rpo)}", figures, hint=hint)
    promise = "no objective is set" if rpo is None else f"the objective is {span(rpo)}"
    return ok(name, f"{said}; {promise}", figures)


def _newest(backups: Sequence[LogicalFact], kind: LogicalType) -> LogicalFact | None:
    of_kind = [each for each in backups if each.type is kind]
    return max(of_kind, key=lambda each: each.stopped_at, default=None)


def _said(newest: LogicalFact, now: datetime, backups: Sequence[LogicalFact]) -> str:
    count = sum(each.type is newest.type for each in backups)
    only = "" if newest.class_name is None else f" of class {newest.class_name}"
    return f"{newest.label}{only}, {span(now - newest.stopped_at)} ago; {count} in all"


def _figures(newest: LogicalFact, now: datetime, backups: Sequence[LogicalFact]) -> Figures:
    return {
        "label": newest.label,
        "last_at": iso(newest.stopped_at),
        "stopped_at": iso(newest.stopped_at),
        "age_seconds": (now - newest.stopped_at).total_seconds(),
        "class": newest.class_name,
        "databases": len(newest.databases),
        "count": sum(each.type is newest.type for each in backups),
    }
