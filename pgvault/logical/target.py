"""The server that a logical backup is restored into: sessions with its databases, and how programs reach it.

Secrets go to programs by their environment. A session decodes names as UTF-8; where a database has no encoding they
survive as surrogate escapes, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

import psycopg
from psycopg import conninfo

from pgvault.errors import ConfigInvalid, PgvaultError, ServerUnfit, ServerUnreachable
from pgvault.postgres.connection import CONNECTION_DEFAULTS
from pgvault.postgres.dumping import NOT_PASSED_ON
from pgvault.postgres.fingerprint import Encoding, ask, encoded, encoding_of, number, prepare, said, text

Session = psycopg.Connection[tuple[object, ...]]
LOCK_TIMEOUT = timedelta(minutes=1)
SECRETS = frozenset({"password", "sslpassword"})
OURS = frozenset({"client_encoding", "application_name", "fallback_application_name", "dbname"})
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What a server is, and what we may do there."""

    version_num: int
    maintenance: str  # the database in which what concerns all of them is done
    role: str
    is_superuser: bool
    makes_roles: bool
    makes_databases: bool
    databases: frozenset[str]
    roles: frozenset[str]
    owned_roles: frozenset[str]  # those whose objects we may make ours, and ours theirs
    tablespaces: frozenset[str]
    extensions: frozenset[str]  # that can be made there

    @property
    def major(self) -> int:
        return self.version_num // 10_000


class Target:
    """A server by its DSN; nothing is kept open."""

    def __init__(self, dsn: str, *, password: str | None = None, environment: Mapping[str, str] = NOTHING) -> None:
        """Raises ConfigInvalid for a dsn that means nothing. `password` is for one without.

        `environment` is what programs need of ours to connect: HOME with its .pgpass, PG*.
        """
        given = _parse(dsn)
        self._given = ({"password": password} if password is not None else {}) | given
        self._environment = environment
        self.named_database = given.get("dbname")

    def connect(self, database: str) -> Session:
        """Return a new session, which commits each statement. Raises ServerUnreachable."""
        parameters = CONNECTION_DEFAULTS | self._given
        parameters["client_encoding"] = "UTF8"
        parameters["dbname"] = database
        try:
            session: Session = psycopg.connect(conninfo.make_conninfo("", **parameters), autocommit=True)
        except psycopg.OperationalError as error:
            said_lines = "; ".join(str(error).removeprefix("connection failed: ").split("\n")).strip("; ")
            raise ServerUnreachable(f"PostgreSQL can not be reached: {said_lines}") from error
        try:
            if encoding_of(session).name == "SQL_ASCII":
                session.execute("SET client_encoding = 'SQL_ASCII'")
            for name in ("search_path", "statement_timeout", "idle_in_transaction_session_timeout"):
                value = "" if name == "search_path" else "0"
                session.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])
        except BaseException:
            session.close()
            raise
        return session

    def find_maintenance(self) -> str:
        """Return a database to connect to: the one the DSN names, or where that is not there, postgres.

        Raises ServerUnreachable as for the first.
        """
        tried = dict.fromkeys((self.named_database or "postgres", "postgres"))
        problems = []
        for name in tried:
            try:
                self.connect(name).close()
            except ServerUnreachable as error:
                problems.append(error)
            else:
                return name
        raise problems[0]

    @contextmanager
    def session(self, database: str) -> Iterator[Session]:
        """A session for a `with`; what PostgreSQL says is raised as ServerUnfit or ServerUnreachable."""
        session = self.connect(database)
        try:
            yield session
        except psycopg.Error as error:
            raise explained(session, error) from error
        finally:
            session.close()

    def fingerprinting(self, database: str) -> Session:
        """Return a session that is prepared to fingerprint tables."""
        session = self.connect(database)
        prepare(session, lock_timeout=LOCK_TIMEOUT)
        return session

    def facts(self) -> TargetFacts:
        """Ask the server what it is."""
        maintenance = self.find_maintenance()
        with self.session(maintenance) as session:
            query = "SELECT rolname::text, rolsuper, rolcreaterole, rolcreatedb FROM pg_catalog.pg_roles"
            ((role, is_superuser, makes_roles, makes_databases),) = ask(
                session, f"{query} WHERE rolname = current_user"
            )
            mine = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE pg_catalog.pg_has_role(oid, 'MEMBER')"
            return TargetFacts(
                version_num=session.info.server_version,
                maintenance=maintenance,
                role=text(role),
                is_superuser=bool(is_superuser),
                makes_roles=bool(makes_roles),
                makes_databases=bool(makes_databases),
                databases=names(session, "SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn"),
                roles=names(session, "SELECT rolname::text FROM pg_catalog.pg_roles"),
                owned_roles=names(session, mine),
                tablespaces=names(session, "SELECT spcname::text FROM pg_catalog.pg_tablespace"),
                extensions=names(session, "SELECT name::text FROM pg_catalog.pg_available_extensions"),
            )

    def encoding(self, database: str) -> Encoding:
        """The encoding of one of its databases."""
        with self.session(database) as session:
            return encoding_of(session)

    def program_address(self, database: str) -> str:
        """The connection string for a program's argv: without secrets."""
        public = {name: value for name, value in self._given.items() if name not in SECRETS | OURS}
        return conninfo.make_conninfo("", **public, dbname=database, application_name="pgvault")

    def program_environment(self) -> Mapping[str, str]:
        """The environment of a program that connects to it."""
        passed = {name: value for name, value in self._environment.items() if name not in NOT_PASSED_ON}
        password = {"PGPASSWORD": self._given["password"]} if "password" in self._given else {}
        return passed | password | {"LC_ALL": "C"}


def holds_password(dsn: str) -> bool:
    """Tell whether a connection string holds a secret. Raises ConfigInvalid."""
    return bool(SECRETS & _parse(dsn).keys())


def _parse(dsn: str) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in conninfo.conninfo_to_dict(dsn).items()}
    except psycopg.Error:
        # Its message quotes the text, which may hold a password.
        raise ConfigInvalid("--into is neither 'key=value …' nor a postgresql:// address") from None


def names(session: Session, query: str) -> frozenset[str]:
    """Return one column of names."""
    return frozenset(text(name) for (name,) in ask(session, query))


def numbers(session: Session, query: str) -> frozenset[int]:
    """Return one column of numbers."""
    return frozenset(number(each) for (each,) in ask(session, query))


def run_statement(session: Session, statement: str) -> str | None:
    """Run a statement; return what the server said against it. Raises ServerUnreachable."""
    try:
        session.execute(encoded(statement))
    except psycopg.Error as error:
        problem = explained(session, error)
        if isinstance(problem, ServerUnreachable):
            raise problem from error
        return said(error)
    return None


def explained(session: Session, error: psycopg.Error) -> PgvaultError:
    """Return what PostgreSQL said as an error of ours."""
    if session.closed or (error.sqlstate or "08").startswith(("08", "57P")):
        return ServerUnreachable(f"the session with PostgreSQL was lost: {said(error)}")
    return ServerUnfit(f"PostgreSQL refuses: {said(error)}", hint=error.diag.message_hint)
