"""One connection to one server, which says in our words what went wrong.

Autocommit, without time limits, never reconnected. Text arrives as the server's bytes (client_encoding SQL_ASCII):
backup_label must be kept to the byte, and a database named in another encoding must not break a backup. So
text is `bytes` in every row; the functions `read_…` turn one value of a row into a type.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import sleep
from types import TracebackType
from typing import Self

import psycopg
from psycopg import conninfo, errors

from pgvault.errors import ConfigInvalid, ServerUnfit, ServerUnreachable
from pgvault.postgres.grants import GRANTED_FUNCTIONS, SETTINGS_ROLE, grants_for
from pgvault.postgres.lsn import Lsn

logger = logging.getLogger(__name__)

CONNECTION_DEFAULTS = {
    "application_name": "pgvault",
    "client_encoding": "SQL_ASCII",
    "connect_timeout": "10",
    # A firewall that drops us silently is noticed within a minute, not after the kernel's two hours.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# Any of these, set for the role or the cluster, would end the session in the middle of a long backup.
TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")
TIMEOUTS_17 = ("transaction_timeout",)

# Of one statement by itself, which is all that we send, only a standby's replay makes a conflict.
CONFLICT_RETRIES = 4
CONFLICT_PAUSE_SECONDS = 0.25

UNREACHED = (
    "Does it run, and does psql with the same dsn get in? A socket is named by its directory: host=/run/postgresql."
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Connection:
    """A connection, closed at the end of a `with`."""

    def __init__(self, dsn: str, *, password: str | None = None, is_remote: bool = False) -> None:
        """Connect. Raises ServerUnreachable, ConfigInvalid for a dsn that means nothing, ServerUnfit for a pooler.

        What the dsn says wins over our defaults; `password` is for a dsn without one. `is_remote`: files come by
        the replication protocol, so the role needs less.
        """
        self._is_remote = is_remote
        self._connection = open_connection(dsn, password)
        self._dsn, self._password = dsn, password
        try:
            self._connection.add_notice_handler(lambda notice: logger.debug("server: %s", notice.message_primary))
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session; PostgreSQL forgets a backup that was started and not stopped."""
        self._connection.close()

    @property
    def raw(self) -> psycopg.Connection[tuple[object, ...]]:
        """The connection itself, for sessions with rules of their own (fingerprint.py); `row` is not for those."""
        return self._connection

    def peer(self) -> tuple[str, str]:
        """Return host (or socket directory) and port of the server that was reached, of those in the dsn."""
        return os.fsdecode(self._connection.pgconn.host), os.fsdecode(self._connection.pgconn.port)

    def beside(self, database: str | None, *, limits: Mapping[str, str]) -> psycopg.Connection[tuple[object, ...]]:
        """Open another session by the same dsn, in `database` if that is named, with the settings `limits`.

        The caller closes it. A dsn of several hosts may lead to another server. Raises ServerUnreachable,
        psycopg.Error, and UnicodeError for a name that can not be sent.
        """
        raw = open_connection(self._dsn, self._password, database=database)
        try:
            for name, value in (("search_path", "pg_catalog"), *limits.items()):
                raw.execute("SELECT set_config(%s, %s, false)", (name, value))
        except BaseException:
            raw.close()
            raise
        return raw

    def ping(self) -> None:
        """Make sure that the session lives. Raises ServerUnreachable."""
        (pid,) = self.row("SELECT pg_backend_pid()")
        if pid != self._pid:
            raise ServerUnreachable("the session with PostgreSQL was replaced by another one")

    def missing_grants(self) -> tuple[str, ...]:
        """Return those statements of `grants_for` our role that were not executed in this database."""
        (role,) = self.row("SELECT current_user::text")
        (has_settings,) = self.row("SELECT pg_has_role(current_user, %s, 'USAGE')", SETTINGS_ROLE)
        held = [has_settings] + [
            self.row("SELECT has_function_privilege(current_user, %s, 'EXECUTE')", f"pg_catalog.{function}")[0]
            for function in GRANTED_FUNCTIONS
        ]
        name = read_text(role)
        missing = {grant for grant, is_held in zip(grants_for(name), held, strict=True) if not is_held}
        return tuple(grant for grant in grants_for(name, is_remote=self._is_remote) if grant in missing)

    def settings(self, names: Sequence[str]) -> dict[str, str]:
        """Read settings as pg_settings has them, numbers without units. Raises ServerUnfit for hidden ones."""
        rows = self.rows("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", list(names))
        settings = {read_text(name): read_path(value) for name, value in rows}
        if hidden := [name for name in names if name not in settings]:
            raise self._denied(f"setting {hidden[0]} is hidden")
        return settings

    def row(self, query: str, *values: object) -> Sequence[object]:
        """Return the one row of a query; same errors as `rows`."""
        (row,) = self.rows(query, *values)
        return row

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return all rows of a query; `values` are for its %s.

        A standby cancels what stands in the way of its replay: then it is asked again. Raises ServerUnreachable when
        the session is gone, ServerUnfit for whatever else PostgreSQL says.
        """
        for _ in range(CONFLICT_RETRIES):
            try:
                return self._execute(query, values)
            except errors.SerializationFailure as error:
                if self._connection.closed:
                    raise self._explain(error) from error
                logger.debug("asked again: %s", error.diag.message_primary)
                sleep(CONFLICT_PAUSE_SECONDS)
        try:
            return self._execute(query, values)
        except errors.SerializationFailure as error:
            raise self._explain(error) from error

    def _execute(self, query: str, values: Sequence[object]) -> list[tuple[object, ...]]:
        """Return all rows of a query; SerializationFailure is the caller's to deal with."""
        try:
            return self._connection.execute(query.encode(), values or None).fetchall()
        except errors.SerializationFailure:
            raise
        except errors.InsufficientPrivilege as error:
            raise self._denied(error.diag.message_primary or "permission denied") from error
        except psycopg.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: psycopg.Error) -> ServerUnreachable | ServerUnfit:
        said = error.diag.message_primary or str(error).strip().partition("\n")[0]
        # 08: connection exceptions; 57P: shut down, crashed, terminated. libpq's own errors have no code.
        if self._connection.closed or (error.sqlstate or "08").startswith(("08", "57P")):
            return ServerUnreachable(f"the session with PostgreSQL was lost: {said}")
        return ServerUnfit(f"PostgreSQL refuses: {said}", hint=error.diag.message_hint)

    def _denied(self, said: str) -> ServerUnfit:
        # Not Connection.info, which decodes names as ASCII here.
        role, database = read_text(self._connection.pgconn.user), read_text(self._connection.pgconn.db)
        missing = self.missing_grants()
        if not missing:
            return ServerUnfit(f"role '{role}' lacks rights on this server: {said}")
        needed = len(grants_for(role, is_remote=self._is_remote))
        return ServerUnfit(
            f"role '{role}' lacks {len(missing)} of the {needed} grants that pgvault needs: {said}",
            hint=f"As a superuser, in database '{database}': {'; '.join(missing)};",
        )

    def _prepare(self) -> None:
        (pid,) = self.row("SELECT pg_backend_pid()")
        self._pid = pid
        if pid != self._connection.info.backend_pid:
            raise ServerUnfit(
                "a connection pooler stands between pgvault and PostgreSQL",
                hint="A backup lives in one session: let the dsn name the server itself.",
            )
        if self._connection.info.server_version < 150000:
            return  # whoever asks for the facts refuses it by its major
        timeouts = TIMEOUTS + (TIMEOUTS_17 if self._connection.info.server_version >= 170000 else ())
        for name in ("search_path", *timeouts):
            value = "pg_catalog" if name == "search_path" else "0"
            self.row("SELECT set_config(%s, %s, false)", name, value)


def open_connection(
    dsn: str, password: str | None = None, *, database: str | None = None
) -> psycopg.Connection[tuple[object, ...]]:
    """Connect, with autocommit and text as bytes; `database` instead of the one that the dsn names.

    Raises ServerUnreachable, and ConfigInvalid for a dsn that means nothing.
    """
    try:
        given = {name: str(value) for name, value in conninfo.conninfo_to_dict(dsn).items()}
    except psycopg.Error:
        # Its message quotes the text, which may hold a password.
        raise ConfigInvalid("the dsn is neither 'key=value …' nor a postgresql:// address") from None
    parameters = CONNECTION_DEFAULTS | ({"password": password} if password is not None else {}) | given
    parameters["client_encoding"] = "SQL_ASCII"
    if database is not None:
        parameters["dbname"] = database
    try:
        return psycopg.connect(conninfo.make_conninfo("", **parameters), autocommit=True)
    except psycopg.OperationalError as error:
        lines = [line.strip() for line in str(error).removeprefix("connection failed: ").splitlines()]
        said = "; ".join(line for line in lines if line and not line.startswith("Is the server running"))
        raise ServerUnreachable(f"PostgreSQL can not be reached: {said}", hint=UNREACHED) from error


def read_bytes(value: object) -> bytes:
    """Text, exactly as the server has it."""
    if not isinstance(value, bytes):
        raise TypeError(f"expected text from PostgreSQL, not {type(value).__name__}")
    return value


def read_text(value: object) -> str:
    """A name for people; bytes that are no UTF-8 are shown by their numbers."""
    return read_bytes(value).decode("utf-8", "backslashreplace")


def read_path(value: object) -> str:
    """A path, or anything else that must go back to the system byte for byte."""
    return os.fsdecode(read_bytes(value))


def read_number(value: object) -> int:
    """A number of any of the integer types."""
    if not isinstance(value, int):
        raise TypeError(f"expected a number from PostgreSQL, not {type(value).__name__}")
    return value


def read_lsn(value: object) -> Lsn:
    """An LSN that the query cast to text."""
    return Lsn.parse(read_text(value))


def read_instant(value: object) -> datetime:
    """From microseconds since 1970, exactly: a float would round the last digit."""
    return EPOCH + timedelta(microseconds=read_number(value))
