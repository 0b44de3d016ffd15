"""How pg_dump and its relatives are called: which of them, with what words, in what environment.

A pg_dump of the server's own major is taken, else of the nearest newer one: an older one refuses, and what a newer one
writes a server of the old major may not be able to load. The password goes into the environment, never into argv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from psycopg import conninfo

from pgvault.errors import ProgramMissing
from pgvault.postgres.connection import CONNECTION_DEFAULTS
from pgvault.postgres.programs import SUPPORTED_MAJORS, Programs, client_programs
from pgvault.postgres.replication import ServerAddress

# What would make pg_dump write, or connect, in another way than we say.
NOT_PASSED_ON = ("PGCLIENTENCODING", "PGOPTIONS", "PGDATESTYLE", "PGTZ", "PGGEQO", "PG_COLOR")
PROGRAM_NAME = "pgvault pg_dump"  # application_name, unless the dsn says another: ours is "pgvault"
DISK_FULL = "No space left on device"


@dataclass(frozen=True, slots=True)
class DumpTarget:
    """One database as a program reaches it, and with what programs."""

    programs: Programs
    dsn: str  # without password
    password: str | None
    environment: Mapping[str, str]  # what libpq may need of ours

    @property
    def env(self) -> dict[str, str]:
        """The program's whole environment."""
        passed = {name: value for name, value in self.environment.items() if name not in NOT_PASSED_ON}
        password = {} if self.password is None else {"PGPASSWORD": self.password}
        # Their messages are read by people who search for them, and by us.
        return passed | password | {"LC_ALL": "C", "PGAPPNAME": PROGRAM_NAME}

    def pg_dump(self, directory: Path, *, jobs: int, snapshot: str, lock_wait: timedelta) -> list[str | Path]:
        """Return the words of a dump in directory format, uncompressed, in a snapshot that another session exported."""
        return [
            self.programs.path("pg_dump"),
            "--no-password",
            "--format=directory",
            f"--jobs={jobs}",
            "--compress=0",
            "--no-sync",
            f"--snapshot={snapshot}",
            f"--lock-wait-timeout={_milliseconds(lock_wait)}",
            f"--file={directory}",
            f"--dbname={self.dsn}",
        ]

    def definitions(self, *, snapshot: str | None, lock_wait: timedelta) -> list[str | Path]:
        """Return the words that print the definitions as SQL."""
        words: list[str | Path] = [self.programs.path("pg_dump"), "--no-password", "--schema-only"]
        words += [] if snapshot is None else [f"--snapshot={snapshot}"]
        return [*words, f"--lock-wait-timeout={_milliseconds(lock_wait)}", f"--dbname={self.dsn}"]

    def globals(self, *, with_passwords: bool) -> list[str | Path]:
        """Return the words that print roles, tablespaces and what is granted on them."""
        database = str(conninfo.conninfo_to_dict(self.dsn).get("dbname", ""))
        words: list[str | Path] = [self.programs.path("pg_dumpall"), "--no-password", "--globals-only"]
        words += [] if with_passwords else ["--no-role-passwords"]
        # Without it pg_dumpall wants "postgres" or "template1", which not every role may connect to.
        words += [f"--database={database}"] if database else []
        return [*words, f"--dbname={self.dsn}"]


def dump_dsn(address: ServerAddress, database: str) -> str:
    """Return the connection string of a database for a program: no password, no encoding but the database's own."""
    given = {name: str(value) for name, value in conninfo.conninfo_to_dict(address.dsn).items()}
    defaults = {name: value for name, value in CONNECTION_DEFAULTS.items() if name != "application_name"}
    parameters = defaults | given | {"dbname": database}
    del parameters["client_encoding"]
    return conninfo.make_conninfo("", **parameters)


def excluding_rows(tables: Sequence[str]) -> list[str]:
    """Return the words that keep the rows of some tables out; names quoted as SQL has them are taken to the letter."""
    return [f"--exclude-table-data={name}" for name in tables]


def find_dump_programs(major: int) -> Programs:
    """Return the programs that dump a server of that major. Raises ProgramMissing with what is here and needed."""
    found = {programs.major: programs for programs in reversed(client_programs())}
    for candidate in SUPPORTED_MAJORS:
        if candidate >= major and candidate in found:
            return found[candidate]
    here = ", ".join(map(str, sorted(found))) or "none"
    raise ProgramMissing(
        f"no pg_dump for a server of PostgreSQL {major} on this machine; there is: {here}",
        hint=f"Install the client package of PostgreSQL {major}, or of a newer one up to {SUPPORTED_MAJORS[-1]}.",
    )


def _milliseconds(wait: timedelta) -> int:
    return max(1, int(wait / timedelta(milliseconds=1)))
