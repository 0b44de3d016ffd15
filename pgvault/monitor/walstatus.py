"""Judge a cluster's protection: what it rests on in, findings out; pure, so every rule is tested without a server.

Health follows from what the repository holds and where the server stands now, never from our own exit statuses or
what the server counts as archived: a command that stores nowhere satisfies both. A claim over nothing (no backup, no
segment) is red, and what can not be known is said to be unknown. A server or a repository that does not answer is a
finding like any other; what the other one tells is judged all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from pgvault.amounts import say_bytes
from pgvault.errors import PgvaultError, UsageError
from pgvault.instants import iso
from pgvault.monitor.backupage import TakenBackup, judge_backup
from pgvault.monitor.finding import Figures, Finding, Level, moment, ok, red, span, warn
from pgvault.monitor.logicalstatus import tell_logical
from pgvault.monitor.slots import AHEAD, AgePromise
from pgvault.monitor.walfacts import (
    ClusterFacts,
    DiskFacts,
    GapFact,
    Lag,
    RepositoryFacts,
    lag_limit,
    measure_lag,
    measure_pace,
)
from pgvault.postgres.walname import SegmentFile, TimelineHistoryFile, parse_wal_name
from pgvault.postgres.walstate import WalState

LEAST_TIME_UNTIL_FULL = timedelta(hours=4)
CLOCK_TOLERANCE = timedelta(seconds=5)
NAMES_SHOWN = 3
EXPIRED = ", but for WAL that retention removed"


def judge(facts: ClusterFacts) -> tuple[Finding, ...]:
    """Return every finding, whatever is whole and whatever is broken."""
    server, held = facts.server, facts.repository
    findings = [*_server(facts)]
    if isinstance(held, PgvaultError):
        findings.append(red("repository", str(held), hint=held.hint))
    else:
        findings += _backups(held, server.at if isinstance(server, WalState) else facts.host_at, facts.age)
        findings += _protection(held)
    if isinstance(server, WalState):
        findings += _settings(server, is_streamed=facts.is_streamed)
        findings += _archiver(server, held if isinstance(held, RepositoryFacts) else None)
        if facts.is_streamed:
            findings.append(_slot(server))
    if isinstance(held, RepositoryFacts):
        findings.append(_last_segment(held, server.at if isinstance(server, WalState) else facts.host_at))
        findings.append(_lag(facts, held))
        findings += _gaps(held)
    findings.append(_disk(facts))
    return tuple(findings)


def _server(facts: ClusterFacts) -> Iterator[Finding]:
    server = facts.server
    if isinstance(server, PgvaultError):
        yield red("server", str(server), hint=server.hint)
        return
    figures: Figures = {"timeline": server.timeline, "lsn": str(server.end_lsn), "at": iso(server.at)}
    said = f"PostgreSQL {server.version_text}, timeline {server.timeline}, WAL at {server.end_lsn}"
    if facts.primary_error is not None:
        yield red("primary", str(facts.primary_error), hint=facts.primary_error.hint)
    if facts.standby is not None:
        behind = say_bytes(max(0, server.end_lsn - facts.standby.end_lsn))
        yield ok("server", f"{said}; the standby that is backed up has received all but {behind} of it", figures)
    elif server.is_standby:
        hint = "Set primary_dsn, so that what the primary has written and archived is asked there."
        yield warn("server", f"{said}: it is a standby, and its primary may be further", figures, hint=hint)
    else:
        yield ok("server", said, figures)
    offset = facts.host_at - server.at
    if abs(offset) > CLOCK_TOLERANCE:
        ahead = "ahead of" if offset > timedelta(0) else "behind"
        yield warn(
            "clocks",
            f"this host's clock is {span(abs(offset))} {ahead} the server's",
            {"offset_seconds": offset.total_seconds()},
            hint="Ages are told by the server's clock; those of WAL by that of the host that archives.",
        )


def _backups(held: RepositoryFacts, now: datetime, promise: AgePromise) -> Iterator[Finding]:
    newest = held.newest_until(now + AHEAD)  # one with a clock far ahead would hide for years that none follows
    if newest is None:
        said = "there is no physical backup: no point in time can be reached" if held.logical else "there is no backup"
        none: Figures = {"kind": "full", "count": 0, "last_at": None, "is_stale": True}
        yield red("backup", said, none, hint="Take one: pgvault backup")
    else:
        told = TakenBackup("full", newest.label, newest.started_at or newest.stopped_at, newest.stopped_at)
        said = f"{newest.label}, {span(now - newest.stopped_at)} ago; {len(held.backups)} in all"
        yield judge_backup(told, promise, said, {"count": len(held.backups)}, now=now)
        if newest.bad_pages:
            yield red(
                "pages",
                f"backup {newest.label} holds {newest.bad_pages} pages whose checksum is wrong",
                {"count": newest.bad_pages},
                hint="The cluster itself is damaged: see pgvault show, then repair or restore an older backup.",
            )
    if held.unreadable:
        yield red("unreadable", _some(held.unreadable), {"count": len(held.unreadable)}, hint="See: pgvault verify")
    if held.lost:
        # What a newer backup has healed must not stay red for ever: nobody would look any more.
        level = warn if newest is not None and newest.is_whole else red
        yield level("not restorable", _some(held.lost), {"count": len(held.lost)}, hint="See: pgvault verify")
    yield from tell_logical(held.logical, now)


def _protection(held: RepositoryFacts) -> Iterator[Finding]:
    if not held.is_system_known:
        hint = "Is this the cluster's own server? Then: pgvault adopt DIR --new-system, and pgvault backup."
        yield red("system", "the server's system identifier is not one of this cluster", hint=hint)
    if held.unprotected is not None:
        yield red("protection", f"{held.unprotected}: nothing protects it", hint="Take one: pgvault backup")
    if held.forks:
        hint = "Take a backup on the timeline that is production's: pgvault backup"
        yield red("forks", _some(held.forks), {"count": len(held.forks)}, hint=hint)
    if held.strays:
        yield warn(
            "strays",
            f"{_some(held.strays)}; backups since then are of this server's",
            {"count": len(held.strays)},
            hint="Stop that server's archiving, and move what it archived of that timeline out of the repository. "
            "Until then a standby that restores from there starts only with recovery_target_timeline = current, "
            "and one that does not takes the same number when it is promoted, and then can not archive.",
        )


def _settings(server: WalState, *, is_streamed: bool) -> Iterator[Finding]:
    """A server that archives nothing, or in its own time, is one whose loss has no bound."""
    if is_streamed:
        said = "streamed" + (", and archived" if server.is_archiving else "")
        yield ok("archiving", said, {"archive_mode": server.archive_mode})
        return
    if server.is_standby and not server.is_archiving:
        yield warn("archiving", "unknown: its primary archives, and the dsn names a standby")
        return
    figures: Figures = {
        "archive_mode": server.archive_mode,
        "archive_timeout_seconds": server.archive_timeout.total_seconds(),
    }
    if not server.is_archiving:
        what = "archive_command is empty" if server.archive_mode != "off" else "archive_mode is off"
        hint = "Set archive_mode = on and archive_command = 'pgvault wal push %p', then restart the server."
        yield red("archiving", f"the server does not archive: {what}, and nothing streams", figures, hint=hint)
    elif not server.archive_timeout:
        yield red(
            "archiving",
            "archive_timeout is 0: a commit may wait for ever to be archived, so the RPO has no bound",
            figures,
            hint="Set archive_timeout = 60s, or less than your RPO; or stream.",
        )
    else:
        yield ok("archiving", f"on, every {span(server.archive_timeout)} at the latest", figures)


def _archiver(server: WalState, held: RepositoryFacts | None) -> Iterator[Finding]:
    """What the server counts: taken for trouble, never for health."""
    said = server.archiver
    figures: Figures = {
        "failed_count": said.failed_count,
        "last_failed": said.last_failed_name,
        "last_failed_at": None if said.last_failed_at is None else iso(said.last_failed_at),
        "last_archived": said.last_archived_name,
    }
    is_failing = said.last_failed_at is not None and (
        said.last_archived_at is None or said.last_failed_at > said.last_archived_at
    )
    if is_failing and server.is_archiving:
        yield red(
            "archiver",
            f"failed {said.failed_count} times, last at {said.last_failed_name}, and has stored nothing since",
            figures,
            hint=f"archive_command is {server.archive_library or server.archive_command!r}; see the server's log.",
        )
    name = said.last_archived_name
    if held is not None and name is not None and _is_listed_kind(name) and name not in held.names:
        yield red(
            "archive",
            f"the server counts {name} as archived, and it is not in the repository",
            figures,
            hint="archive_command stores elsewhere or nowhere, or somebody removed it. See: pgvault check",
        )


def _is_listed_kind(name: str) -> bool:
    """Tell whether a file is one that a listing of the repository's WAL tells of."""
    try:
        return isinstance(parse_wal_name(name), SegmentFile | TimelineHistoryFile)
    except UsageError:
        return False


def _slot(server: WalState) -> Finding:
    slot = server.slot
    hint = "Does pgvault wal stream run, and what does its log say? It makes the slot, and heals what was lost."
    if slot is None:
        said = "the server has no slot for the stream: what it writes now may be gone before we ask"
        return red("slot", said, {"is_active": False, "wal_status": None}, hint=hint)
    figures: Figures = {
        "name": slot.name,
        "is_active": slot.is_active,
        "wal_status": slot.wal_status,
        "restart_lsn": None if slot.restart_lsn is None else str(slot.restart_lsn),
        "safe_bytes": slot.safe_bytes,
        "kept_bytes": None if slot.restart_lsn is None else max(0, server.end_lsn - slot.restart_lsn),
    }
    if slot.invalidation_reason is not None or slot.wal_status == "lost":
        why = slot.invalidation_reason or "the server removed WAL that it still needed"
        return red("slot", f"{slot.name} is lost: {why}", figures, hint=hint)
    if slot.restart_lsn is None:
        return red("slot", f"{slot.name} reserves no WAL", figures, hint=hint)
    if slot.wal_status == "unreserved":
        return red("slot", f"{slot.name} is about to be lost: the next checkpoint removes its WAL", figures, hint=hint)
    if not slot.is_active:
        return red("slot", f"{slot.name} is inactive: nobody receives WAL", figures, hint=hint)
    limit = "" if slot.safe_bytes is None else f", lost in {say_bytes(max(0, slot.safe_bytes))}"
    return ok("slot", f"{slot.name} is active, {slot.wal_status} from {slot.restart_lsn}{limit}", figures)


def _last_segment(held: RepositoryFacts, now: datetime) -> Finding:
    end = held.end
    if end is None:
        return red("last segment", "no WAL is stored", {"count": 0, "written_at": None}, hint="See: pgvault check")
    name = f"{end.segment.name}{' (streamed in part)' if end.is_tail else ''}"
    figures: Figures = {"name": end.segment.name, "end_lsn": str(end.end_lsn), "is_tail": end.is_tail}
    if end.error is not None or end.written_at is None:
        return red("last segment", f"{name} does not open: {end.error}", figures, hint="See: pgvault verify")
    age = now - end.written_at
    return ok(
        "last segment",
        f"{name}, written {span(max(age, timedelta(0)))} ago",
        {
            **figures,
            "written_at": iso(end.written_at),
            "stored_at": None if end.stored_at is None else iso(end.stored_at),
            "age_seconds": age.total_seconds(),
        },
    )


def _lag(facts: ClusterFacts, held: RepositoryFacts) -> Finding:
    server = facts.server
    if isinstance(server, PgvaultError):
        return warn("WAL lag", "unknown: the server does not say where it stands")
    lag = measure_lag(server, held)
    if lag is None:
        what = "no WAL" if held.is_timeline_known else "not even the history"
        said = f"without bound: {what} of the server's timeline {server.timeline} is stored"
        return red("WAL lag", said, {"bytes": None, "seconds": None})
    if lag.size == 0 and facts.waited:
        waited = facts.waited.total_seconds()
        lag = Lag(0, waited, is_exact=False, reason="what the server had written was stored while we waited")
    limit = lag_limit(server, facts.rpo)
    if server.is_standby and (lag.seconds is None or lag.seconds <= limit.total_seconds()):
        stored = f"{say_bytes(lag.size)} of what the standby has received is not stored"
        return warn("WAL lag", f"unknown: {stored}, and its primary may be further")
    promise = f"the objective is {span(limit)}" if facts.rpo else f"no objective is set, {span(limit)} is usual"
    seconds = "" if lag.seconds is None else ("" if lag.is_exact else "at most ") + span(lag.seconds)
    said = f"{say_bytes(lag.size)}, {seconds or 'of unknown age'} ({lag.reason})"
    figures: Figures = {
        "bytes": lag.size,
        "seconds": lag.seconds,
        "is_upper_bound": not lag.is_exact,
        "limit_seconds": limit.total_seconds(),
    }
    if lag.seconds is None:
        return red("WAL lag", said, figures)
    if lag.seconds > limit.total_seconds():
        return red("WAL lag", f"{said}; {promise}", figures, hint="Commits since then would be lost.")
    return ok("WAL lag", said, figures)


def _gaps(held: RepositoryFacts) -> Iterator[Finding]:
    for gap in held.gaps:
        said = f"{_missing(gap)} missing from {gap.start_lsn} to {gap.end_lsn}: {gap.cause}"
        figures: Figures = {
            "timeline": gap.timeline,
            "start_lsn": str(gap.start_lsn),
            "end_lsn": str(gap.end_lsn),
            "segment_count": gap.segment_count,
        }
        if not gap.is_healed:
            hint = "Nothing behind it can be reached until there is a new backup: pgvault backup"
            yield red("gap", said, figures, hint=hint)
        elif gap.is_recorded:
            yield warn("gap", f"{said}; a later backup is behind it", figures)
        else:
            yield red("gap", f"{said}; moments in it can not be restored", figures, hint="See: pgvault wal list")
    if not held.gaps and held.end is not None and held.backups:
        yield ok("gaps", f"none from the oldest backup to {held.end.end_lsn}" + (EXPIRED if held.has_expired else ""))
    if held.begins_at is not None:
        yield ok("window", f"begins {moment(held.begins_at)}", {"begins_at": iso(held.begins_at)})


def _missing(gap: GapFact) -> str:
    return (
        f"{gap.first_name} is" if gap.segment_count <= 1 else f"{gap.first_name} and {gap.segment_count - 1} more are"
    )


def _disk(facts: ClusterFacts) -> Finding:
    name, disk, server, held = "pg_wal disk", facts.disk, facts.server, facts.repository
    whose = " beside the standby; the primary's is not seen from here" if facts.standby is not None else ""
    if not isinstance(disk, DiskFacts):
        elsewhere: Figures = {"is_here": False} if isinstance(server, WalState) else {}
        return warn(name, f"unknown: {disk}", elsewhere)
    figures: Figures = {
        "is_here": True,
        "path": str(disk.path),
        "free_bytes": disk.free_bytes,
        "total_bytes": disk.total_bytes,
        "ready_count": disk.ready_count,
        "ready_bytes": disk.ready_bytes,
    }
    waiting = "" if not disk.ready_count else f", {disk.ready_count} files wait for the archiver"
    said = f"{say_bytes(disk.free_bytes)} free of {say_bytes(disk.total_bytes)}{waiting}{whose}"
    positions = held.positions if isinstance(held, RepositoryFacts) else ()
    pace = measure_pace(server, positions) if isinstance(server, WalState) else None
    if pace is None:
        return warn(
            name, f"{said}; unknown how long that lasts: no position is known that is a minute old or more", figures
        )
    if pace.bytes_per_second <= 0:
        return ok(name, f"{said}; nothing was written in the last {span(pace.over)}", figures)
    lasts = timedelta(seconds=min(disk.free_bytes / pace.bytes_per_second, timedelta.max.total_seconds() / 2))
    figures = {**figures, "bytes_per_second": pace.bytes_per_second, "seconds_until_full": lasts.total_seconds()}
    how = f"{said}; full in {span(lasts)} if archiving stopped, at the last {span(pace.over)}'s pace"
    if lasts < LEAST_TIME_UNTIL_FULL:
        return red(name, how, figures, hint="A full pg_wal stops the server: make room, or let archiving catch up.")
    return ok(name, how, figures)


def _some(problems: tuple[str, ...]) -> str:
    more = len(problems) - NAMES_SHOWN
    return "; ".join(problems[:NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def is_broken(findings: tuple[Finding, ...]) -> bool:
    """Tell whether an objective or a rule of health is broken; nothing looked at is."""
    return not findings or any(finding.level is Level.RED for finding in findings)
