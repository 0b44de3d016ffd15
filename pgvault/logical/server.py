"""What the server of a logical backup says of itself, asked so that any role may.

Nothing is needed but CONNECT and SELECT; what a role may not ask is None.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pgvault.errors import MajorUnsupported, OtherCluster, ServerUnfit
from pgvault.logical.request import LogicalRequest
from pgvault.postgres.connection import read_number
from pgvault.postgres.dumping import DumpTarget, dump_dsn, find_dump_programs
from pgvault.postgres.programs import SUPPORTED_MAJORS, Programs
from pgvault.postgres.replication import ServerAddress
from pgvault.postgres.server import Session
from pgvault.repository.repository import Repository
from pgvault.repository.systems import ADOPT_HINT, known_systems

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogicalServer:
    """A server, our session with it, and how programs reach it."""

    session: Session
    request: LogicalRequest
    address: ServerAddress  # the one that was reached, of those that the dsn lists
    programs: Programs
    version_num: int  # 180006
    system_identifier: int | None
    sees_passwords: bool  # of roles

    def target(self, database: str) -> DumpTarget:
        """Return one database as programs reach it."""
        dsn = dump_dsn(self.address, database)
        return DumpTarget(self.programs, dsn, self.address.password, self.request.environment)


def find_server(session: Session, request: LogicalRequest) -> LogicalServer:
    """Ask for what a dump needs to know. Raises MajorUnsupported, ProgramMissing, ServerUnfit."""
    (version,) = session.row("SELECT current_setting('server_version_num')::int")
    version_num = read_number(version)
    major = version_num // 10_000
    if major not in SUPPORTED_MAJORS:
        raise MajorUnsupported(
            f"PostgreSQL {major} is not one pgvault was tested with ({', '.join(map(str, SUPPORTED_MAJORS))})"
        )
    return LogicalServer(
        session,
        request,
        ServerAddress.of(session, request.dsn, password=request.password),
        find_dump_programs(major),
        version_num,
        _system_identifier(session),
        _sees_passwords(session),
    )


def require_same_system(repository: Repository, server: LogicalServer) -> None:
    """Refuse a server that is not the one whose WAL is archived under this name. Raises OtherCluster.

    Nothing is recorded: where there are logical backups alone, a provider may move the cluster to a new system.
    """
    known = known_systems(repository, server.request.cluster)
    found = server.system_identifier
    if known and found is not None and found not in known:
        raise OtherCluster(
            f"system identifier {found} is not one of cluster {server.request.cluster!r} "
            f"(known: {', '.join(map(str, sorted(known)))})",
            hint=ADOPT_HINT,
        )


def _system_identifier(session: Session) -> int | None:
    try:
        (found,) = session.row("SELECT system_identifier FROM pg_catalog.pg_control_system()")
    except ServerUnfit as error:  # a provider may have revoked it
        logger.debug("the system identifier is not known: %s", error)
        return None
    return read_number(found)


def _sees_passwords(session: Session) -> bool:
    """Whether our role may read them: asked by doing so, since a provider may forbid it in a way of its own."""
    try:
        session.rows("SELECT rolpassword FROM pg_catalog.pg_authid LIMIT 1")
    except ServerUnfit:
        logger.info("roles are kept without their passwords: our role may not read pg_authid")
        return False
    return True
