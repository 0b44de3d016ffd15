"""`check`: can this cluster archive now? Every answer comes from trying it, none from a setting alone.

repository opens · store keeps put-if-absent · server answers · grants · settings · directory readable · a real
segment goes through the server's own archive_command, or the stream. A finding that could not be looked at is red as
well; a warning is something that holds today and may hurt later: it fails nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

from pgvault.backup.local import check_directory
from pgvault.backup.source import check_server
from pgvault.backup.take import leave_watermark
from pgvault.config import ClusterConfig, StreamConfig
from pgvault.errors import PgvaultError, ServerUnfit
from pgvault.instants import Clock
from pgvault.monitor.copycheck import check_copies
from pgvault.monitor.storecheck import store_findings
from pgvault.monitor.streamcheck import check_kept, check_replication, check_role, check_slot
from pgvault.monitor.tried import Finding, tried
from pgvault.postgres.connection import read_text
from pgvault.postgres.server import ServerFacts, Session
from pgvault.repository.repository import Repository
from pgvault.repository.systems import System, require_system
from pgvault.restore.adopt import awaits_backup
from pgvault.wal.arrival import ArchivingServer, prove_archiving, way_of

# What a managed server refuses.
ACCESS = ("server", "grants", "data directory", "replication role", "replication")
CLOSED = """
SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 AND NOT has_database_privilege(oid, 'CONNECT')
ORDER BY datname
"""


def check_cluster(
    name: str,
    config: ClusterConfig,
    *,
    open_repository: Callable[[], Repository],
    open_session: Callable[[], Session],
    clock: Clock,
) -> list[Finding]:
    """Try everything that archiving needs, in order, and stop at the first thing that the rest depends on."""
    findings: list[Finding] = []
    try:
        repository = open_repository()
        findings.append(Finding("repository", f"opens ({repository.deciding.store.url})"))
        findings += store_findings(repository)
        with open_session() as session:
            facts = session.facts()
            findings.append(Finding("server", f"PostgreSQL {facts.version_text}, system {facts.system_identifier}"))
            slot = None if config.stream is None else config.stream.slot
            server = ArchivingServer(repository, name, session, facts, config.archive_wait, clock, slot)
            findings += _server_findings(server, config)
    except PgvaultError as error:
        findings.append(Finding("repository" if not findings else "server", "", error))
    return [*findings, *_way_out(findings)]


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
    fit = tried("settings", lambda: _settings(facts, config.stream))
    yield fit
    if config.stream is None:
        yield tried("archive_timeout", lambda: _timeout(facts))
    else:
        yield from _stream_findings(server, config, config.stream)
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
        detail, warning = check_kept(session, config.data_directory or facts.data_directory)
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


def _settings(facts: ServerFacts, stream: StreamConfig | None) -> str:
    check_server(facts, is_untested_major_allowed=False, is_streamed=stream is not None)
    if facts.wal_level == "minimal":
        raise ServerUnfit("wal_level is minimal", hint="Set wal_level = replica and restart the server.")
    if stream is not None:
        return f"streamed, a tail every {stream.every.total_seconds():g} s; archive_mode {facts.archive_mode}"
    return f"archive_mode {facts.archive_mode}, archive_command {facts.archive_command or facts.archive_library!r}"


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
    return f"{stored.path.rpartition('/')[2]} went through {way_of(server)} and was read back"
