"""A replication connection: what a server says of its WAL to whoever wants to stream it.

    IDENTIFY_SYSTEM            system identifier, timeline, how far its WAL is flushed (standby: received)
    TIMELINE_HISTORY n         the content of a history file
    START_REPLICATION …        here only to ask whether the server still has a segment

Errors are told apart by SQLSTATE: messages come in the server's language. The streaming itself is pg_receivewal's.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from select import select
from typing import Self

import psycopg
from psycopg import conninfo, pq

from pgvault.errors import ServerUnfit, ServerUnreachable
from pgvault.postgres.connection import CONNECTION_DEFAULTS, Connection, read_number, read_text
from pgvault.postgres.grants import replication_grant, replication_line
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.walname import WalSegment

REMOVED = b"58P01"  # undefined_file: the segment is not in pg_wal any more
SENDERS = "max_wal_senders"
BUSY = "SELECT count(*) FROM pg_stat_get_wal_senders()"
# Who logged in counts, not who `options` or a setting of the role made of it.
MAY_REPLICATE = "SELECT rolname::text, rolreplication OR rolsuper FROM pg_roles WHERE rolname = session_user"
PROBE_SECONDS = 10.0  # a server that has the segment sends its first bytes within milliseconds
# They choose among several hosts; here the choice has been made.
CHOOSING = ("hostaddr", "load_balance_hosts", "target_session_attrs")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """One server: a dsn without choice and without password, and the password."""

    dsn: str
    password: str | None = field(repr=False)

    def __str__(self) -> str:
        given = conninfo.conninfo_to_dict(self.dsn)
        return f"{given['host']}:{given['port']}"

    @classmethod
    def of(cls, connection: Connection, dsn: str, *, password: str | None) -> Self:
        """Name the server that `connection`, made from `dsn`, has reached.

        Where a dsn lists several hosts, a second connection may reach another one.
        """
        given = {name: str(value) for name, value in conninfo.conninfo_to_dict(dsn).items()}
        named = given.pop("password", password)
        for name in CHOOSING:
            given.pop(name, None)
        host, port = connection.peer()
        return cls(conninfo.make_conninfo("", **(given | {"host": host, "port": port})), named)

    def replication_dsn(self) -> str:
        """Return the connection string for a program that adds `replication` itself; no password."""
        given = {name: str(value) for name, value in conninfo.conninfo_to_dict(self.dsn).items()}
        defaults = {name: value for name, value in CONNECTION_DEFAULTS.items() if name != "client_encoding"}
        return conninfo.make_conninfo("", **(defaults | given))


@dataclass(frozen=True, slots=True)
class Identity:
    """What IDENTIFY_SYSTEM says."""

    system_identifier: int
    timeline: int
    current_lsn: Lsn  # flushed; on a standby: what it can send


def require_replication_role(connection: Connection) -> str:
    """Return our role when it may replicate. Raises ServerUnfit.

    Of a replication connection that fails there is no SQLSTATE to tell this from an outage.
    """
    role, may_replicate = connection.row(MAY_REPLICATE)
    name = read_text(role)
    if not may_replicate:
        raise ServerUnfit(f"role {name!r} may not replicate", hint=f"As a superuser: {replication_grant(name)};")
    return name


def require_free_sender(connection: Connection) -> tuple[int, int]:
    """Return how many WAL senders are in use, and of how many; one is free. Raises ServerUnfit."""
    most = int(connection.settings((SENDERS,))[SENDERS])
    (busy,) = connection.row(BUSY)
    used = read_number(busy)
    if used >= most:
        raise ServerUnfit(
            f"all {most} WAL senders are in use", hint=f"Raise {SENDERS}: standbys and streams hold one each."
        )
    return used, most


def identify(address: ServerAddress) -> tuple[Identity, TimelineHistory]:
    """Return what the server is and how its timeline came about.

    Raises ServerUnreachable, ServerUnfit where it admits no replication.
    """
    with closing(connect_replication(address)) as connection:
        try:
            row = connection.execute(b"IDENTIFY_SYSTEM").fetchone()
            if row is None:
                raise ServerUnreachable("the server did not say which system it is")
            found = Identity(int(_text(row[0])), int(_text(row[1])), Lsn.parse(_text(row[2])))
            if found.timeline == 1:
                return found, TimelineHistory(1)
            content = _history(connection, found.timeline)
        except psycopg.Error as error:
            raise explain_replication(error) from error
    return found, TimelineHistory.parse(content, found.timeline)


def read_history(address: ServerAddress, timeline: int) -> bytes:
    """Return the history file of a timeline as the server has it. Raises ServerUnreachable, ServerUnfit."""
    with closing(connect_replication(address)) as connection:
        try:
            return _history(connection, timeline)
        except psycopg.Error as error:
            raise explain_replication(error) from error


def _history(connection: psycopg.Connection[tuple[object, ...]], timeline: int) -> bytes:
    row = connection.execute(b"TIMELINE_HISTORY %d" % timeline).fetchone()
    if row is None:
        raise ServerUnreachable(f"the server did not send the history of timeline {timeline}")
    return row[1] if isinstance(row[1], bytes) else str(row[1]).encode()


def holds_segment(address: ServerAddress, segment: WalSegment) -> bool:
    """Tell whether the server can still send that segment, by asking for it and hanging up.

    Raises ServerUnreachable, ServerUnfit when it refuses for another reason.
    """
    with closing(connect_replication(address)) as connection:
        raw = connection.pgconn
        command = f"START_REPLICATION PHYSICAL {segment.start_lsn} TIMELINE {segment.timeline}"
        try:
            raw.send_query(command.encode())
            result = _next_result(raw)
            if result is not None and result.status == pq.ExecStatus.COPY_BOTH:
                result = _after_copy(raw)
                if result is None:
                    return True
        except psycopg.Error as error:
            raise explain_replication(error) from error
    if result is None:
        raise ServerUnreachable(f"the server did not answer when asked for WAL segment {segment.name}")
    if result.error_field(pq.DiagnosticField.SQLSTATE) == REMOVED:
        return False
    said = (result.error_message or b"the stream ended").decode("utf-8", "backslashreplace").strip()
    raise ServerUnfit(f"PostgreSQL refuses to send WAL segment {segment.name}: {said.partition(chr(10))[0]}")


def _after_copy(raw: pq.abc.PGconn) -> pq.abc.PGresult | None:
    """Return None when WAL comes, or nothing for a while, else the error that ended the copy."""
    deadline = time.monotonic() + PROBE_SECONDS
    while True:
        length, _ = raw.get_copy_data(1)  # 0 would wait, holding the interpreter's lock
        if length > 0:
            return None
        if length < 0:
            return _next_result(raw)
        if not _wait_for_input(raw, deadline):
            return None
        raw.consume_input()


def _next_result(raw: pq.abc.PGconn) -> pq.abc.PGresult | None:
    deadline = time.monotonic() + PROBE_SECONDS
    while raw.is_busy():
        if not _wait_for_input(raw, deadline):
            return None
        raw.consume_input()
    return raw.get_result()


def _wait_for_input(raw: pq.abc.PGconn, deadline: float) -> bool:
    readable, _, _ = select([raw.socket], [], [], max(0.0, deadline - time.monotonic()))
    return bool(readable)


def connect_replication(address: ServerAddress) -> psycopg.Connection[tuple[object, ...]]:
    """Open a replication connection; the caller closes it. Raises ServerUnreachable, ServerUnfit."""
    given = {name: str(value) for name, value in conninfo.conninfo_to_dict(address.replication_dsn()).items()}
    if address.password is not None:
        given["password"] = address.password
    given["replication"] = "true"
    try:
        return psycopg.connect(conninfo.make_conninfo("", **given), autocommit=True)
    except psycopg.OperationalError as error:
        said = str(error)
        if "pg_hba.conf" in said:  # in whatever language
            line = replication_line(
                given.get("user", "ROLE"),
                host=given["host"],
                sslmode=given.get("sslmode", ""),
                has_password=address.password is not None,
            )
            raise ServerUnfit(
                f"the server admits no replication connection: {_first_line(said)}",
                hint=f"Add a line to pg_hba.conf, and reload: {line}",
            ) from error
        raise explain_replication(error) from error


def explain_replication(error: psycopg.Error) -> ServerUnreachable | ServerUnfit:
    """Turn what went wrong on a replication connection into an error of ours."""
    said = error.diag.message_primary or _first_line(str(error))
    if (error.sqlstate or "08").startswith(("08", "57P", "53")):  # 53: no free wal sender just now
        return ServerUnreachable(f"no replication connection with PostgreSQL: {said}")
    return ServerUnfit(f"PostgreSQL refuses replication: {said}", hint=error.diag.message_hint)


def _first_line(said: str) -> str:
    return said.removeprefix("connection failed: ").strip().partition("\n")[0]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
