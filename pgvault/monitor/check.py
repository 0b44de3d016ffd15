"""`check`: can this cluster archive now? Every answer comes from trying it, none from a setting alone.

repository opens · store keeps put-if-absent · server answers · grants · settings · directory readable · a real
segment goes through the server's own archive_command, or the stream. Of a standby, the one that archives and switches
WAL is its primary: without a way to it, what it would say is unknown. A finding that could not be looked at is red as
well; a warning is something that holds today and may hurt later: it fails nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

from pgvault.backup.local import check_directory
from pgvault.backup.source import check_server
from pgvault.backup.take import leave_watermark
from pgvault.config import ClusterConfig, StreamConfig
from pgvault.errors import PgvaultError, ServerUnfit
from pgvault.instants import Clock
from pgvault.monitor.copycheck import check_copies
from pgvault.monitor.remotecheck import remote_findings
from pgvault.monitor.storecheck import store_findings
from pgvault.monitor.streamcheck import check_kept, check_replication, check_role, check_slot
from pgvault.monitor.tried import Finding, tried
from pgvault.postgres.connection import read_text
from pgvault.postgres.server import ServerFacts, Session
from pgvault.postgres.standby import Primary
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System, require_system
from pgvault.restore.adopt import awaits_backup
from pgvault.wal.arrival import ArchivingServer, prove_archiving, way_of

# What a managed server refuses.
ACCESS = ("server", "grants", "data directory", "replication role", "replication", "wal senders")
CLOSED = """
SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 AND NOT has_database_privilege(oid, 'CONNECT')
ORDER BY datname
"""


def check_cluster(
    name: str,
    config: ClusterConfig,
    *,
    open_repository: Callable[[], Repository],
    connect: Callable[[ClusterConfig], Session],
    clock: Clock,
) -> list[Finding]:
    """Try everything that archiving needs, in order, and stop at the first thing that the rest depends on."""
    findings: list[Finding] = []
    try:
        repository = open_repository()
        findings.append(Finding("repository", f"opens ({repository.deciding.store.url})"))
        findings += store_findings(repository)
        with connect(config) as session, ExitStack() as stack:
            facts = session.facts()
            kind = "a standby, " if facts.in_recovery else ""
            said = f"PostgreSQL {facts.version_text}, {kind}system {facts.system_identifier}"
            findings.append(Finding("server", said))
            slot = None if config.stream is None else config.stream.slot
            server = ArchivingServer(repository, name, session, facts, config.archive_wait, clock, slot)
            if facts.in_recovery:
                found, primary = _find_primary(facts, config, connect, stack)
                findings.append(found)
                server = replace(server, primary=primary)
            findings += _server_findings(server, config)
    except PgvaultError as error:
        findings.append(Finding("repository" if not findings else "server", "", error))
    return [*findings, *_way_out(findings)]


def _find_primary(
    facts: ServerFacts, config: ClusterConfig, connect: Callable[[ClusterConfig], Session], stack: ExitStack
) -> tuple[Finding, Primary | None]:
    """Return the primary of a standby, to be closed by `stack`, and what is to be said of it."""
    way = config.of_primary()
    if way is None:
        warning = "Set primary_dsn, so that a backup need not wait for somebody to finish its last WAL segment."
        return Finding("primary", "not known: its WAL is waited for", warning=warning), None
    try:
        primary = Primary(lambda: connect(way), facts)
    except PgvaultError as error:
        return Finding("primary", "", error), None
    stack.callback(primary.close)
    return Finding("primary", f"answers, and writes timeline {primary.facts.timeline}"), primary


def _way_out(findings: list[Finding]) -> Iterator[Finding]:
    """Where the server gives no access for physical backups, logical ones may be all that there can be."""
    denied = [each.name for each in findings if each.name in ACCESS and isinstance(each.error, ServerUnfit)]
    if denied:
        yield Finding(
            "logical backups",
            f"would work without what {' and '.join(denied)} lacks: they need CONNECT and SELECT only",
            warning="A managed server that gives neither files nor replication: set source: logical for this cluster, "
            "and back up with pgvault backup --type logical. No point in time then: only the moment of each backup.",
        )


def _server_findings(server: ArchivingServer, config: ClusterConfig) -> Iterator[Finding]:
    facts, repository = server.facts, server.repository
    data = config.data_directory or facts.data_directory
    yield tried("grants", lambda: _grants(server.session))
    yield inventory_finding(server.session)
    primary = None if server.primary is None else server.primary.facts
    writer = primary if facts.in_recovery else facts
    fit = tried("settings", lambda: _settings(facts, writer, config.stream))
    yield fit
    if config.stream is None and writer is not None:
        yield tried("archive_timeout", lambda: _timeout(writer))
    elif config.stream is None:
        warning = "Unless it is set there, a backup waits in vain for its last WAL segment: or set primary_dsn."
        yield Finding("archive_timeout", "unknown: it is the primary's, which is not known", warning=warning)
    else:
        yield from _stream_findings(server, config, config.stream)
    if config.source == "stream":
        yield from remote_findings(server.session, config, facts)
    else:
        yield tried("data directory", lambda: f"is the server's ({check_directory(facts, data).version_directory})")
    system = System(facts.system_identifier, facts.major)
    known = tried("system", lambda: _system(server, system))
    yield known
    if fit.error is None and known.error is None:
        yield tried("archiving", lambda: _archiving(server))
    yield tried("adoption", lambda: _adoption(server))
    yield from check_copies(repository, server.cluster, clock=server.clock)


def _stream_findings(server: ArchivingServer, config: ClusterConfig, stream: StreamConfig) -> Iterator[Finding]:
    session, facts = server.session, server.facts
    yield tried("replication role", lambda: check_role(session))
    yield tried("replication", lambda: check_replication(session, config, facts))
    yield tried("slot", lambda: check_slot(session, stream.slot))
    try:
        here = None if config.source == "stream" else config.data_directory or facts.data_directory
        detail, warning = check_kept(session, here)
        yield Finding("kept WAL", detail, warning=warning)
    except PgvaultError as error:
        yield Finding("kept WAL", "", error)


def _grants(session: Session) -> str:
    missing = session.missing_grants()
    if missing:
        raise ServerUnfit(f"the role lacks {len(missing)} grants", hint=f"As a superuser: {'; '.join(missing)};")
    return "the role may do all that pgvault needs"


def inventory_finding(session: Session) -> Finding:
    """What a backup can note of the databases, for drills to compare with; none of it is needed for a backup."""
    closed = session.rows(CLOSED)
    if not closed:
        return Finding("inventory", "the role may connect to every database")
    names = ", ".join(repr(read_text(name)) for (name,) in closed)
    return Finding(
        "inventory",
        f"the role may not connect to {names}",
        warning="Backups are whole all the same, but drills can not compare what such a database held: GRANT CONNECT.",
    )


def _settings(facts: ServerFacts, writer: ServerFacts | None, stream: StreamConfig | None) -> str:
    check_server(facts, is_untested_major_allowed=False, is_streamed=stream is not None, primary=writer)
    if facts.wal_level == "minimal":
        raise ServerUnfit("wal_level is minimal", hint="Set wal_level = replica and restart the server.")
    if stream is not None:
        return f"streamed, a tail every {stream.every.total_seconds():g} s; archive_mode {facts.archive_mode}"
    if writer is None:
        return f"archive_mode {facts.archive_mode} on the standby; its primary's is not known"
    return f"archive_mode {writer.archive_mode}, archive_command {writer.archive_command or writer.archive_library!r}"


def _timeout(facts: ServerFacts) -> str:
    if facts.archive_timeout == timedelta(0):
        raise ServerUnfit(
            "archive_timeout is 0: a commit may wait for ever to be archived, so the RPO has no bound",
            hint="Set archive_timeout = 60s, or less than your RPO; or stream: pgvault wal stream.",
        )
    return f"{facts.archive_timeout.total_seconds():.0f} s"


def _system(server: ArchivingServer, system: System) -> str:
    require_system(server.repository, server.cluster, system, now=server.clock.now())
    return f"{system.system_identifier} is this cluster's"


def _adoption(server: ArchivingServer) -> str:
    """After a restore, a failover or pg_upgrade nobody may run unprotected without knowing."""
    waiting = awaits_backup(server.repository, server.cluster, timeline=server.facts.timeline)
    if waiting is not None:
        raise ServerUnfit(f"{waiting}: what happens from here on is not protected", hint="Take one: pgvault backup")
    return "every timeline and system that counts has a backup, or there is none yet"


def _archiving(server: ArchivingServer) -> str:
    stored = prove_archiving(server)
    leave_watermark(server, source="check")
    name = stored.path.rpartition("/")[2]
    if server.writer is None:
        return f"{name} is there, just before what the standby replays: nothing was switched, since nobody can here"
    return f"{name} went through {way_of(server)} and was read back"
