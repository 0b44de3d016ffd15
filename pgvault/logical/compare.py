"""Compare what two live servers hold: every table of every database, and the large objects.

Two servers of one cluster, one of which is in recovery, are a primary and its physical replica: they are compared
exactly, while both go on (replica.py says how). Any other two are compared by fingerprint (tables.py), and what differs
is read once more: a copy that is written to, such as a subscriber of logical replication, can be behind at that
moment, too. Unlogged tables have no rows on a replica; there they are passed over, and counted.

What is not equal for certain and not different for certain is undecided, and told with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

import psycopg

from pgvault.errors import ServerUnfit, ServerUnreachable, UsageError, VerifyFailed
from pgvault.logical.pair import Pair
from pgvault.logical.replica import compare_heap
from pgvault.logical.tables import DatabaseConnection, Difference, Sessions, compare_records, read_database
from pgvault.postgres.fingerprint import (
    Encoding,
    TableName,
    are_comparable,
    ask,
    encoding_of,
    explain,
    fingerprint_large_objects,
    list_tables,
    number,
    open_session,
    said,
    text,
)
from pgvault.progress import Progress

ATTEMPTS = 3  # at a table that was locked, rewritten, or whose reading a replica's replay canceled
LARGE_OBJECTS = "large objects"


@dataclass(frozen=True, slots=True)
class Server:
    """One of the two, and how to get there."""

    name: str  # for people
    dsn: str
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CompareOrder:
    """What to compare, and how gently."""

    databases: tuple[str, ...]  # none: all of both
    jobs: int = 2  # sessions with each server
    lock_timeout: timedelta = timedelta(seconds=5)
    statement_timeout: timedelta = timedelta(0)  # 0: none
    patience: timedelta = timedelta(minutes=1)  # for a replica to replay what a reading saw


class Relation(StrEnum):
    """What the two are to each other."""

    REPLICA = "replica"  # one is in recovery, of the same cluster
    COPY = "copy"


class Verdict(StrEnum):
    """What is said of a table that is not equal."""

    DIFFERENT = "different"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Deviation:
    """One table that is not equal for certain."""

    database: str
    table: str  # empty: the whole database
    verdict: Verdict
    why: str

    def __str__(self) -> str:
        return f"{self.verdict}: database {self.database!r}, {self.table or 'all of it'}: {self.why}"


@dataclass(slots=True)
class Comparison:
    """What came of it."""

    relation: Relation
    databases: list[str] = field(default_factory=list)
    table_count: int = 0  # compared, on whichever side they were
    row_count: int = 0  # of those of the first, or of the primary
    unlogged_count: int = 0  # passed over
    deviations: list[Deviation] = field(default_factory=list)

    def of(self, verdict: Verdict) -> list[Deviation]:
        """Those deviations."""
        return [deviation for deviation in self.deviations if deviation.verdict is verdict]

    def require_equal(self) -> None:
        """Raise VerifyFailed for differences, ServerUnfit for what is undecided, UsageError if nothing was compared."""
        different, undecided = self.of(Verdict.DIFFERENT), self.of(Verdict.UNDECIDED)
        if different:
            raise VerifyFailed(f"the servers differ: {_count(different)}, the first: {different[0]}")
        if undecided:
            raise ServerUnfit(f"not everything could be compared: {_count(undecided)}, the first: {undecided[0]}")
        if not self.table_count:
            raise UsageError("there is no table to compare", hint="Name the right database with --database.")


def _count(deviations: Sequence[Deviation]) -> str:
    return "1 table" if len(deviations) == 1 else f"{len(deviations)} tables"


@dataclass(frozen=True, slots=True)
class _Facts:
    system_identifier: int | None  # None: a provider keeps it to itself
    started_at: str
    in_recovery: bool
    databases: tuple[str, ...]


def compare_servers(first: Server, second: Server, order: CompareOrder, *, progress: Progress) -> Comparison:
    """Compare two servers. What differs is in the result: `require_equal` says whether that is good.

    Raises ServerUnreachable, ServerUnfit for two standbys of one cluster and where a server refuses to answer,
    UsageError for a database that neither has and for a server that would be compared with itself.
    """
    try:
        return _compare_servers(first, second, order, progress=progress)
    except psycopg.Error as error:
        if error.sqlstate is None or error.sqlstate.startswith(("08", "57P")):
            raise ServerUnreachable(f"a session with PostgreSQL was lost: {said(error)}") from error
        raise ServerUnfit(f"the servers can not be compared: {said(error)}") from error


def _compare_servers(first: Server, second: Server, order: CompareOrder, *, progress: Progress) -> Comparison:
    facts = [_facts(first, order), _facts(second, order)]
    if facts[0].started_at == facts[1].started_at:
        raise UsageError(
            f"'{first.name}' and '{second.name}' lead to one and the same server",
            hint="Name each of the two by an address of its own: nothing is compared through a load balancer.",
        )
    related = _are_related(facts)
    if related and facts[0].in_recovery and facts[1].in_recovery:
        raise ServerUnfit("both servers are standbys of one cluster", hint="Compare each of them with their primary.")
    if related and facts[0].in_recovery:
        first, second, facts = second, first, facts[::-1]
    is_replica = related and facts[1].in_recovery
    result = Comparison(Relation.REPLICA if is_replica else Relation.COPY)
    for database in _choose(facts, order.databases):
        progress.phase(f"comparing {database}")
        result.databases.append(database)
        lacking = [
            side.name for side, known in zip((first, second), facts, strict=True) if database not in known.databases
        ]
        if lacking:
            result.deviations.append(Deviation(database, "", Verdict.DIFFERENT, f"it is not in {lacking[0]}"))
            continue
        compare = _compare_replica if is_replica else _compare_copy
        compare(_opener(first, database, order), _opener(second, database, order), database, order, result)
    return result


FACTS = """
SELECT pg_postmaster_start_time()::text, pg_is_in_recovery(),
       ARRAY(SELECT datname::text FROM pg_database
              WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2 ORDER BY datname)
"""


def _facts(server: Server, order: CompareOrder) -> _Facts:
    with open_session(server.dsn, server.password, lock_timeout=order.lock_timeout) as session:
        ((started_at, in_recovery, databases),) = ask(session, FACTS)
        system = _system_identifier(session)
    names = databases if isinstance(databases, list) else []
    return _Facts(system, text(started_at), bool(in_recovery), tuple(map(text, names)))


def _system_identifier(session: DatabaseConnection) -> int | None:
    try:
        ((found,),) = ask(session, "SELECT system_identifier FROM pg_control_system()")
    except psycopg.errors.InsufficientPrivilege:
        return None
    return number(found)


def _are_related(facts: Sequence[_Facts]) -> bool:
    """Tell whether both are of one cluster. Raises ServerUnfit where that decides, and is not to be known."""
    known = {each.system_identifier for each in facts}
    if None in known and facts[0].in_recovery != facts[1].in_recovery:
        raise ServerUnfit(
            "one server is in recovery, and our role may not ask whether it is a replica of the other",
            hint="GRANT EXECUTE ON FUNCTION pg_control_system() TO that role.",
        )
    return None not in known and len(known) == 1


def _choose(facts: Sequence[_Facts], wanted: Sequence[str]) -> list[str]:
    known = sorted({name for each in facts for name in each.databases})
    if absent := [name for name in wanted if name not in known]:
        raise UsageError(f"neither server has a database {absent[0]!r}", hint=f"They have: {', '.join(known)}.")
    return list(dict.fromkeys(wanted)) or known


def _opener(server: Server, database: str, order: CompareOrder) -> Callable[[], DatabaseConnection]:
    return lambda: open_session(
        server.dsn,
        server.password,
        database=database,
        lock_timeout=order.lock_timeout,
        statement_timeout=order.statement_timeout,
    )


Opener = Callable[[], DatabaseConnection]


def _compare_copy(first: Opener, second: Opener, database: str, order: CompareOrder, result: Comparison) -> None:
    """Compare by fingerprint, and what differs once more."""
    expected = read_database(first, jobs=order.jobs)
    found = read_database(second, jobs=order.jobs)
    portable = are_comparable(_encoding(first), _encoding(second))
    differences = compare_records(expected, found, are_portable=portable)
    names = {each.name for each in differences}
    if names:
        again = [read_database(opener, jobs=order.jobs, only=names) for opener in (first, second)]
        differences = compare_records(*again, are_portable=portable)
    result.table_count += len({record.name for record in (*expected, *found)} - {LARGE_OBJECTS})
    result.row_count += sum(record.rows or 0 for record in expected if record.name != LARGE_OBJECTS)
    result.deviations += [_deviation(database, difference) for difference in differences]


def _encoding(opener: Opener) -> Encoding:
    with opener() as session:
        return encoding_of(session)


def _deviation(database: str, difference: Difference) -> Deviation:
    verdict = Verdict.DIFFERENT if difference.is_proven else Verdict.UNDECIDED
    return Deviation(database, difference.name, verdict, difference.told)


def _compare_replica(first: Opener, second: Opener, database: str, order: CompareOrder, result: Comparison) -> None:
    """Compare a primary with its replica."""

    def connect() -> Pair:
        primary = first()
        try:
            return Pair(primary, second(), order.patience)
        except BaseException:
            primary.close()
            raise

    with Sessions(connect, order.jobs) as sessions:
        tables, deviations = sessions.do(lambda pair: _common_tables(pair, database))
        result.deviations += deviations
        logged = sorted((each for each in tables if not each.is_unlogged), key=lambda each: -each.bytes)
        result.unlogged_count += len(tables) - len(logged)
        result.table_count += len(logged) + len(deviations)
        for rows, deviation in sessions.map(lambda pair, table: _compare_table(pair, database, table), logged):
            result.row_count += rows
            result.deviations += [] if deviation is None else [deviation]
        deviation = sessions.do(lambda pair: _compare_large_objects(pair, database))
        result.deviations += [] if deviation is None else [deviation]


def _common_tables(pair: Pair, database: str) -> tuple[list[TableName], list[Deviation]]:
    """Return the tables that both have, and what is said of those that only one has."""
    on_primary, on_replica = map(_by_name, pair.quick(list_tables))
    if on_primary.keys() != on_replica.keys():
        before, on_replica, on_primary, after = map(_by_name, pair.turns(list_tables))
        missing = (before.keys() & on_primary.keys()) - on_replica.keys()
        extra = (on_replica.keys() & after.keys()) - on_primary.keys()
    else:
        missing = extra = set()
    told = [(name, "it is missing on the replica") for name in sorted(missing)]
    told += [(name, "it is on the replica only") for name in sorted(extra)]
    deviations = [Deviation(database, f"{schema}.{name}", Verdict.DIFFERENT, why) for (_, schema, name), why in told]
    return [table for key, table in on_primary.items() if key in on_replica], deviations


def _by_name(tables: Sequence[TableName]) -> dict[tuple[int, str, str], TableName]:
    return {(each.oid, each.schema, each.table): each for each in tables}


def _compare_table(pair: Pair, database: str, table: TableName) -> tuple[int, Deviation | None]:
    """Return the table's rows, and what is said of it unless it is equal."""
    why = ""
    for _ in range(ATTEMPTS):
        try:
            found = compare_heap(pair, table)
        except ServerUnfit as error:
            why = str(error)
        except psycopg.Error as error:
            why = _explain(pair, error)
        else:
            verdict = Verdict.DIFFERENT if found.is_different else Verdict.UNDECIDED
            is_equal = not found.is_different and not found.undecided
            return found.rows, None if is_equal else Deviation(database, str(table), verdict, str(found))
        if table.oid not in {each.oid for each in list_tables(pair.primary)}:
            return 0, None  # dropped since: there is nothing to be compared any more
    return 0, Deviation(database, str(table), Verdict.UNDECIDED, why)


def _explain(pair: Pair, error: psycopg.Error) -> str:
    """Return why a table could not be read. Raises ServerUnreachable where a session is gone."""
    gone = pair.replica if pair.replica.closed else pair.primary
    try:
        return explain(gone, error, what="it")
    except ServerUnfit as unfit:
        return str(unfit)


def _compare_large_objects(pair: Pair, database: str) -> Deviation | None:
    """Compare all of them together: different if they are so twice while the primary's did not change."""
    try:
        one, two = pair.quick(fingerprint_large_objects)
        for _ in range(ATTEMPTS):
            if one.fingerprint is None or two.fingerprint is None:
                return Deviation(database, LARGE_OBJECTS, Verdict.UNDECIDED, one.why or two.why or "")
            if one == two:
                return None
            rounds = [pair.turns(fingerprint_large_objects) for _ in range(2)]
            seen = {facts for before, _, after, _ in rounds for facts in (before, after)}
            if any(facts in seen for _, facts, _, last in rounds for facts in (facts, last)):
                return None
            if len(seen) == 1:
                return Deviation(database, LARGE_OBJECTS, Verdict.DIFFERENT, "they have other content on the replica")
    except (ServerUnfit, psycopg.Error) as error:
        why = _explain(pair, error) if isinstance(error, psycopg.Error) else str(error)
        return Deviation(database, LARGE_OBJECTS, Verdict.UNDECIDED, why)
    return Deviation(database, LARGE_OBJECTS, Verdict.UNDECIDED, "they change too fast to be compared")
