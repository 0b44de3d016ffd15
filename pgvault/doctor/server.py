"""Judge a server's settings and our role, where a mistake shows before anything was archived."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pgvault.config import ClusterConfig
from pgvault.errors import PgvaultError
from pgvault.monitor.finding import Finding, ok, red, warn
from pgvault.monitor.streamcheck import KEEP_SETTING
from pgvault.postgres.server import ServerFacts

PUSHES = re.compile(r"(pgvault|pushprogram\.py)\b.*\bwal\s+push\b", re.DOTALL)
STORES_NOTHING = re.compile(r"\s*((/usr)?/bin/)?(true|:|exit\s+0|cd\s+\.)\s*;?\s*")
HIDES_FAILURE = re.compile(r"(\|\||;|&)\s*((/usr)?/bin/)?(true|:|exit\s+0)\s*;?\s*$")
SETTINGS_HINT = "pgvault check --print-settings writes the lines to paste."
# What the role of a dsn may change; the checks themselves ask in a transaction that can only read.
WRITES = """
SELECT current_user::text, rolsuper, (
    SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE'))
FROM pg_roles WHERE rolname = current_user
"""


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """What a server was told to do with its WAL."""

    wal_level: str
    archive_mode: str  # off, on, always
    archive_command: str
    archive_library: str

    @classmethod
    def of(cls, facts: ServerFacts) -> ArchiveSettings:
        """Return those of a server."""
        return cls(facts.wal_level, facts.archive_mode, facts.archive_command, facts.archive_library)


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """The role by which checks ask."""

    name: str
    is_superuser: bool
    writable_count: int  # tables that it may change


@dataclass(frozen=True, slots=True)
class AskedServer:
    """What one server said."""

    facts: ServerFacts
    missing_grants: Sequence[str]  # statements
    kept: tuple[str, str | None] | None  # of a stream: what its slot may keep, and a warning; see streamcheck
    role: RoleFacts | PgvaultError | None  # None: nothing is checked


def judge_server(asked: AskedServer, config: ClusterConfig) -> Iterator[Finding]:
    """Yield how the server is set up for us."""
    facts = asked.facts
    said = f"PostgreSQL {facts.version_text}" + (", a standby" if facts.in_recovery else "")
    yield ok("server", said)
    if config.source != "logical":
        yield judge_wal(ArchiveSettings.of(facts), is_streamed=config.stream is not None)
        yield judge_grants(asked.missing_grants)
    if asked.kept is not None:
        detail, advice = asked.kept
        yield ok(KEEP_SETTING, detail) if advice is None else warn(KEEP_SETTING, detail, hint=advice)
    if asked.role is not None:
        yield judge_role(asked.role)


def judge_wal(facts: ArchiveSettings, *, is_streamed: bool) -> Finding:
    """Judge whether WAL holds what is needed, and is handed to us."""
    name = "archive settings"
    if facts.wal_level == "minimal":
        return red(name, "wal_level is minimal: no backup can be taken", hint="Set wal_level = replica, and restart.")
    if is_streamed:
        return ok(name, f"wal_level {facts.wal_level}, streamed")
    if facts.archive_mode == "off":
        return red(name, "archive_mode is off, and nothing streams: no WAL is kept", hint=SETTINGS_HINT)
    if facts.archive_library:
        said = f"archive_library is {facts.archive_library!r}, which takes the place of archive_command"
        return red(name, said, hint=f"Set archive_library = ''. {SETTINGS_HINT}")
    return _command(name, facts)


def _command(name: str, facts: ArchiveSettings) -> Finding:
    command = facts.archive_command
    if not command.strip():
        return red(name, "archive_command is empty: WAL piles up in pg_wal until the disk is full", hint=SETTINGS_HINT)
    if STORES_NOTHING.fullmatch(command):
        said = f"archive_command is {command!r}: the server throws WAL away, and believes that it is archived"
        return red(name, said, hint=SETTINGS_HINT)
    if HIDES_FAILURE.search(command):
        said = f"archive_command {command!r} succeeds even where it fails: the server then throws that WAL away"
        return red(name, said, hint=f"End it with the push itself. {SETTINGS_HINT}")
    if PUSHES.search(command) is None:
        said = f"archive_command {command!r} does not call `pgvault wal push`, as far as one can see"
        return warn(name, said, hint=f"If a script of yours does: pgvault check proves it. {SETTINGS_HINT}")
    return ok(name, f"wal_level {facts.wal_level}, archive_mode {facts.archive_mode}, archive_command is pgvault's")


def judge_grants(missing: Sequence[str]) -> Finding:
    """Judge what the role may do."""
    if missing:
        return red("grants", f"the role lacks {len(missing)} grants", hint=f"As a superuser: {'; '.join(missing)};")
    return ok("grants", "the role may do all that backups need")


def judge_role(role: RoleFacts | PgvaultError) -> Finding:
    """Judge whether whoever writes a check could change data with it."""
    name = "role of checks"
    hint = "Give checks_dsn a role of its own: CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader;"
    if isinstance(role, PgvaultError):
        return red(name, str(role), hint=role.hint)
    if role.is_superuser:
        return warn(
            name, f"checks are asked by the superuser {role.name!r}, in a transaction that only reads", hint=hint
        )
    if role.writable_count:
        said = f"checks are asked by {role.name!r}, who may change {role.writable_count} tables"
        return warn(name, said, hint=hint)
    return ok(name, f"{role.name!r} may change no table")


def judge_programs(major: int, found: Mapping[str, PgvaultError | str]) -> Iterator[Finding]:
    """Yield whether the programs that are needed for a server of that major are here, by what they are for."""
    for purpose, each in found.items():
        if isinstance(each, PgvaultError):
            yield red(f"programs for {purpose}", f"PostgreSQL {major}: {each}", hint=each.hint)
        else:
            yield ok(f"programs for {purpose}", each)
