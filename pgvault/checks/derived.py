"""Every constraint that the catalog has, asked of the rows themselves, database by database.

A backup can hold rows that break a constraint: written while triggers were off, through an index that lied, or
by bits that flipped. So each becomes a query (constraintsql.py) that reads tables and no index. Each failing one is a
result with its offending rows; all that hold are one result for each kind, with the rows that they were asked of. What
holds over no rows proves nothing, and what is not there is no pass: it is told.

A constraint that is NOT VALID was never true of the rows from before it was made: rows that break it are a warning.
A table is read once for all rules of single rows, once for each key, and once for each foreign key.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
from psycopg import errors

from pgvault.checks import constraintsql as sql
from pgvault.checks.constraints import (
    Constraints,
    DatabaseConnection,
    ForeignKey,
    Key,
    Kind,
    Rule,
    Table,
    read_constraints,
)
from pgvault.checks.result import SAMPLE_ROWS, CheckResult, NotTested, Origin, Verdict
from pgvault.logical.tables import Sessions
from pgvault.postgres.fingerprint import ask, number, prepare, said

LOCK_TIMEOUT = timedelta(seconds=60)
TOLD_EACH = 50  # of a kind and database, one result each; further ones are named together
WORDS = {
    Kind.NOT_NULL: "not-null constraints",
    Kind.CHECK: "check constraints",
    Kind.UNIQUE: "unique keys",
    Kind.FOREIGN_KEY: "foreign keys",
}
SINGULAR = {
    Kind.NOT_NULL: "not_null",
    Kind.CHECK: "check_constraint",
    Kind.UNIQUE: "unique_key",
    Kind.FOREIGN_KEY: "foreign_key",
}
# SQLSTATE classes that say nothing of the rows: no room or memory, canceled or out of time.
NOT_ANSWERED = ("53", "57")

Asked = Rule | Key | ForeignKey


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a constraint came out."""

    asked: Asked
    count: int | None = 0  # of rows that break it, or of keys that several rows have; None: not known
    told: str = ""
    sample: tuple[str, ...] = ()
    seconds: float = 0
    is_answered: bool = True

    @property
    def holds(self) -> bool:
        """No row breaks it."""
        return self.count == 0

    def result(self, database: str) -> CheckResult:
        """Return it for the report."""
        return CheckResult(
            name=f"{SINGULAR[kind_of(self.asked)]}:{database}:{self.asked.table}.{self.asked.name}",
            verdict=Verdict.PASSED if self.holds else Verdict.FAILED if self.is_answered else Verdict.UNPROVEN,
            measured=self.count,
            threshold=0,
            severity="critical" if is_validated(self.asked) else "warning",
            detail=self.told,
            seconds=self.seconds,
            database=database,
            sample=self.sample,
            origin=Origin.DERIVED,
            tables=tables_of(self.asked),
        )


@dataclass(slots=True)
class Findings:
    """What was found in one database; filled table by table."""

    rows: dict[int, int] = field(default_factory=dict)  # by oid; of whole partitioned tables, too
    unread: set[int] = field(default_factory=set)  # those whose rows could not be counted
    held: dict[Kind, list[Outcome]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    broken: dict[Kind, list[Outcome]] = field(default_factory=lambda: {kind: [] for kind in Kind})

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Note how constraints came out."""
        for outcome in outcomes:
            (self.held if outcome.holds else self.broken)[kind_of(outcome.asked)].append(outcome)


def kind_of(asked: Asked) -> Kind:
    """Return what sort of constraint it is."""
    if isinstance(asked, Rule):
        return asked.kind
    return Kind.UNIQUE if isinstance(asked, Key) else Kind.FOREIGN_KEY


def is_validated(asked: Asked) -> bool:
    """Whether PostgreSQL promises it of every row."""
    return isinstance(asked, Key) or asked.is_validated


def tables_of(asked: Asked) -> tuple[str, ...]:
    """Return the tables that a constraint is about."""
    return (str(asked.table), str(asked.target)) if isinstance(asked, ForeignKey) else (str(asked.table),)


def derive(dsn: str, database: str, *, jobs: int, deadline: float) -> Iterator[CheckResult | NotTested]:
    """Ask every constraint of a database in `jobs` sessions; what is not asked by `deadline` (monotonic) is unproven.

    Raises psycopg.Error when the server is gone.
    """

    def connect() -> DatabaseConnection:
        connection: DatabaseConnection = psycopg.connect(dsn, dbname=database, autocommit=True)
        connection.prepare_threshold = None
        prepare(connection, lock_timeout=LOCK_TIMEOUT)
        return connection

    with connect() as connection:
        constraints = read_constraints(connection)
    if not constraints.tables:
        yield NotTested(f"constraints of database {database!r}: it has no tables")
        return
    with Sessions(lambda: _ready(connect()), jobs) as sessions:
        findings = _ask_all(sessions, constraints, deadline)
    yield from judge(database, constraints, findings)


def judge(database: str, constraints: Constraints, findings: Findings) -> Iterator[CheckResult | NotTested]:
    """Return one result for each constraint that does not hold, and one for all of a kind that do."""
    for kind in Kind:
        broken, held = findings.broken[kind], findings.held[kind]
        yield from (outcome.result(database) for outcome in broken[:TOLD_EACH])
        if len(broken) > TOLD_EACH:
            yield _further(database, kind, broken[TOLD_EACH:])
        if held:
            yield _summary(database, kind, findings)
        elif not broken:
            yield NotTested(f"{WORDS[kind]} in database {database!r}: there are none")
    yield from (NotTested(f"constraint in database {database!r}: {each}") for each in constraints.untested)


def _summary(database: str, kind: Kind, findings: Findings) -> CheckResult:
    held, failed = findings.held[kind], len(findings.broken[kind])
    rows = {outcome.asked.table.oid: findings.rows.get(outcome.asked.table.oid, 0) for outcome in held}
    empty = sum(rows[outcome.asked.table.oid] == 0 for outcome in held)
    is_proven = empty < len(held)
    detail = f"{len(held)}{f' of {len(held) + failed}' * (failed > 0)} {WORDS[kind]} hold, {sum(rows.values())} rows"
    detail += f"; {empty} of them on empty tables" * (empty > 0)
    return CheckResult(
        name=f"{kind}:{database}",
        verdict=Verdict.PASSED if is_proven else Verdict.UNPROVEN,
        measured=0 if is_proven else None,
        threshold=0,
        severity="critical",
        detail=detail if is_proven else f"not proven: the tables of {len(held)} {WORDS[kind]} are empty",
        seconds=sum(outcome.seconds for outcome in held),
        database=database,
        origin=Origin.DERIVED,
        tables=tuple(sorted({name for each in held if rows[each.asked.table.oid] for name in tables_of(each.asked)})),
    )


def _further(database: str, kind: Kind, more: Sequence[Outcome]) -> CheckResult:
    """Return one result for what is beyond the first ones."""
    answered = [outcome for outcome in more if outcome.is_answered]
    names = tuple(f"{outcome.asked.table}.{outcome.asked.name}" for outcome in more)
    return CheckResult(
        name=f"{kind}:{database}:further",
        verdict=Verdict.FAILED if answered else Verdict.UNPROVEN,
        measured=len(more),
        threshold=0,
        severity="critical" if any(is_validated(outcome.asked) for outcome in answered) else "warning",
        detail=f"{len(more)} more {WORDS[kind]} do not hold, or could not be asked: {', '.join(names[:3])}, …",
        seconds=sum(outcome.seconds for outcome in more),
        database=database,
        sample=names[:SAMPLE_ROWS],
        origin=Origin.DERIVED,
    )


def _ready(connection: DatabaseConnection) -> DatabaseConnection:
    """Make a session ask tables only, and find what functions in constraints name as the application's sessions do."""
    for name, value in sql.SETTINGS.items():
        ask(connection, f"SELECT pg_catalog.set_config('{name}', '{value}', false)")
    connection.execute("RESET search_path")
    return connection


def _ask_all(sessions: Sessions[DatabaseConnection], constraints: Constraints, deadline: float) -> Findings:
    findings = Findings()
    rules: dict[int, list[Rule]] = {}
    for rule in constraints.rules:
        rules.setdefault(rule.table.oid, []).append(rule)
    tables = [table for table in constraints.tables.values() if not table.is_partitioned]
    asked = sessions.map(lambda session, each: ask_table(session, each, rules.get(each.oid, ()), deadline), tables)
    for table, (rows, outcomes) in zip(tables, asked, strict=True):
        oids = {table.oid, table.root or table.oid}
        findings.rows |= {oid: findings.rows.get(oid, 0) + (rows or 0) for oid in oids}
        findings.unread |= oids if rows is None else set()
        findings.add(outcomes)
    wider: list[Key | ForeignKey] = [*constraints.keys, *constraints.foreign_keys]
    empty = {oid for oid, rows in findings.rows.items() if rows == 0} - findings.unread
    findings.add([Outcome(each) for each in wider if each.table.oid in empty])
    rest = [each for each in wider if each.table.oid not in empty]
    findings.add(sessions.map(lambda session, each: ask_wider(session, each, deadline), rest))
    return findings


def ask_table(
    session: DatabaseConnection, table: Table, rules: Sequence[Rule], deadline: float
) -> tuple[int | None, list[Outcome]]:
    """Return the table's rows, None where they can not be read, and how each rule came out, after one pass."""
    rows: int | None = None
    outcomes: list[Outcome] = []
    for first in range(0, max(1, len(rules)), sql.RULES_AT_ONCE):
        some = rules[first : first + sql.RULES_AT_ONCE]
        began = time.monotonic()
        try:
            rows, *counts = _numbers(session, sql.ask_rules(table, some), deadline)
        except psycopg.Error as error:
            if session.closed:
                raise
            if len(some) > 1 and _is_answer(error):  # which of them is it?
                each_alone = [ask_table(session, table, [rule], deadline) for rule in some]
                rows = next((found for found, _ in each_alone if found is not None), rows)
                outcomes += [outcome for _, alone in each_alone for outcome in alone]
            else:
                outcomes += [_failed(rule, error, time.monotonic() - began) for rule in some]
            continue
        seconds = (time.monotonic() - began) / max(1, len(some))
        for rule, count in zip(some, counts, strict=True):
            outcomes.append(_judged(session, rule, count, seconds, deadline))
    return rows, outcomes


def ask_wider(session: DatabaseConnection, asked: Key | ForeignKey, deadline: float) -> Outcome:
    """Say how a key or a foreign key came out."""
    began = time.monotonic()
    query = sql.ask_key(asked) if isinstance(asked, Key) else sql.ask_foreign_key(asked)
    try:
        (count,) = _numbers(session, query, deadline)
    except psycopg.Error as error:
        if session.closed:
            raise
        return _failed(asked, error, time.monotonic() - began)
    return _judged(session, asked, count, time.monotonic() - began, deadline)


def _judged(session: DatabaseConnection, asked: Asked, count: int, seconds: float, deadline: float) -> Outcome:
    if count == 0:
        return Outcome(asked, seconds=seconds)
    if isinstance(asked, ForeignKey):
        told, query = f"rows without a partner in {asked.target}: {count}", sql.sample_foreign_key(asked)
    elif isinstance(asked, Key):
        told, query = f"keys that are there more than once: {count}", sql.sample_key(asked)
    else:
        told, query = f"rows that break it: {count}", sql.sample_rule(asked)
    sample: tuple[str, ...] = ()
    try:
        _limit(session, deadline)
        sample = tuple(_shown(row[0]) for row in ask(session, query))
    except psycopg.Error as error:
        if session.closed:
            raise
        told += f"; which ones is not known: {said(error)}"
    told += "" if is_validated(asked) else "; it is NOT VALID, and so was never promised of older rows"
    return Outcome(asked, count, told, sample, seconds)


def _failed(asked: Asked, error: psycopg.Error, seconds: float) -> Outcome:
    told = f"it could not be asked: {said(error)}"
    if _is_answer(error):
        return Outcome(asked, None, told, (), seconds)
    return Outcome(asked, None, f"not proven: {told}", (), seconds, is_answered=False)


def _is_answer(error: psycopg.Error) -> bool:
    """Whether an error is about the rows, or the constraint: neither time nor room was short."""
    return not (error.sqlstate or "").startswith(NOT_ANSWERED)


def _numbers(session: DatabaseConnection, query: str, deadline: float) -> list[int]:
    _limit(session, deadline)
    (row,) = ask(session, query)
    return [number(each) for each in row]


def _limit(session: DatabaseConnection, deadline: float) -> None:
    left = int((deadline - time.monotonic()) * 1000)
    if left <= 0:
        raise errors.QueryCanceled("the time for all constraints is over")
    ask(session, f"SELECT pg_catalog.set_config('statement_timeout', '{left}', false)")


def _shown(said_of: object) -> str:
    return said_of.decode("utf-8", "backslashreplace") if isinstance(said_of, bytes) else str(said_of)
