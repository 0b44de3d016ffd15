"""An empty server in a scratch directory: what a logical backup, or definitions alone, are loaded into.

initdb makes it anew; nothing of production's data directory goes in. Names of roles and databases are free for what
is loaded: the only role is the bootstrap superuser, and database `postgres` is gone, so that the backup's own one comes
with its own encoding and locale.

Tablespaces are there by name, inside of the cluster's own directory: CREATE TABLESPACE as the backup has it names an
absolute path, which on this host may be production's.

What is loaded runs as code in here (functions of indexes, of checks, of materialized views), so the server has no TCP,
event triggers do not fire (17 and later), what reads a foreign table is refused, and libpq connects to nothing
(dblink): a drill asks no other server. What functions of a superuser do to files and programs of this host is not
kept from them.
"""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import make_conninfo

from pgvault.drill.owning import OwnUserLauncher
from pgvault.drill.restored import OPTIONS
from pgvault.drill.scratch import Scratch, make_instance, server_settings
from pgvault.errors import DrillNotRun, ProgramFailed, ProgramMissing, RecoveryFailed
from pgvault.logical.roles import TOKEN, statements, unquote
from pgvault.postgres.fingerprint import quote
from pgvault.postgres.instance import SUPERUSER, Instance, init_cluster
from pgvault.postgres.launcher import HOST
from pgvault.postgres.programs import SUPPORTED_MAJORS, Programs, find_programs, installed_majors

SEGMENT_BYTES = 16 << 20
START_SECONDS = 60.0
MAINTENANCE = "template1"
SETTINGS = {
    "wal_level": "minimal",  # what is thrown away needs no WAL
    "max_wal_senders": "0",
    "max_locks_per_transaction": "1024",  # a table takes several, and there may be many thousands
    "maintenance_work_mem": "256MB",
    "allow_in_place_tablespaces": "on",
}
SETTINGS_17 = {"event_triggers": "off"}
GUARD = "restrict_nonsystem_relation_kind"  # since 15.8, 16.4 and 17.1
GRANTOR = re.compile(rb'GRANTED BY ("(?:[^"]|"")+"|[^\s";]+);')


def nearest_programs(major: int) -> Programs:
    """Return the programs of that major, else of the nearest newer supported one. Raises ProgramMissing."""
    for candidate in SUPPORTED_MAJORS:
        if candidate >= major and candidate in installed_majors():
            return find_programs(candidate)
    here = ", ".join(map(str, installed_majors())) or "none"
    raise ProgramMissing(
        f"no programs of PostgreSQL {major} or newer on this machine",
        hint=f"Here are: {here}. Install the server package of PostgreSQL {major}.",
    )


def bootstrap_name(role_statements: bytes) -> str:
    """Return what the scratch's first superuser has to be called: as at the source, where that shows.

    From 16 on nobody but the bootstrap superuser may say `GRANTED BY` its name.
    """
    names = {match[1] for match in GRANTOR.finditer(role_statements)}
    if not names or SUPERUSER.encode() in names or len(names) > 1:
        return SUPERUSER
    (name,) = names
    text = name.decode("utf-8", "surrogateescape")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def make_empty(scratch: Scratch, programs: Programs, superuser: str) -> Instance:
    """Make an empty cluster in the scratch and return its server, not started. Raises DrillNotRun."""
    scratch.data.mkdir(mode=0o700)
    launcher = scratch.launcher
    if isinstance(launcher, OwnUserLauncher):
        launcher = HOST  # initdb asks for its user's name, and he has none
    else:
        scratch.give_all()
    try:
        init_cluster(programs, scratch.data, options=("--no-sync", "-U", superuser), launcher=launcher)
    except ProgramFailed as error:
        raise DrillNotRun(f"no empty server can be made: {error}") from error
    scratch.give_all()
    return make_instance(scratch, programs)


def start_empty(instance: Instance, superuser: str) -> None:
    """Start it, without database `postgres`. Raises DrillNotRun; whoever calls ends the server, come what may."""
    try:
        instance.start(_settings(instance.programs))
        instance.wait_ready(START_SECONDS)
    except RecoveryFailed as error:
        raise DrillNotRun(f"the empty server does not start: {error}", hint=error.hint) from error
    with psycopg.connect(loading_dsn(instance, superuser), autocommit=True) as connection:
        connection.execute("DROP DATABASE postgres")


def make_tablespaces(instance: Instance, superuser: str, role_statements: str) -> None:
    """Make the tablespaces that a dump of globals names, in place: an empty location means below pg_tblspc."""
    with psycopg.connect(loading_dsn(instance, superuser), autocommit=True, client_encoding="UTF8") as connection:
        for name in tablespaces(role_statements):
            statement = f"CREATE TABLESPACE {quote(name)} LOCATION ''"
            connection.execute(statement.encode("utf-8", "surrogateescape"))


def tablespaces(role_statements: str) -> list[str]:
    """Return the names of the tablespaces that a dump of globals makes."""
    words = [TOKEN.findall(statement) for statement in statements(role_statements)]
    return [unquote(each[2]) for each in words if [word.upper() for word in each[:2]] == ["CREATE", "TABLESPACE"]]


def loading_dsn(instance: Instance, superuser: str) -> str:
    """Return the connection string with which the scratch is filled."""
    options = f"{OPTIONS} -c {GUARD}=foreign-table" if _is_guarded(instance.programs) else OPTIONS
    return make_conninfo(instance.dsn, user=superuser, dbname=MAINTENANCE, hostaddr="", options=options)


def _settings(programs: Programs) -> dict[str, str]:
    late = SETTINGS_17 if programs.major >= 17 else {}
    return {**server_settings(SEGMENT_BYTES), **SETTINGS, **late}


def _is_guarded(programs: Programs) -> bool:
    """Whether the server knows the setting; one that does not would refuse the session."""
    first = {15: 8, 16: 4, 17: 1}
    major, _, minor = programs.minor_text.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        return programs.major >= 18
    return programs.major >= 18 or int(minor) >= first.get(programs.major, 0)
