"""Checks across two systems: orders here against payments there, by counts, sums and row by row.

Rows come in the order of their keys from both sides and are matched in one pass (matching.py, sides.py). The measure is
the number of disagreements: keys that are missing, extra, different or repeated, rows without a key, one for each sum
that is off by more than its tolerance, and, where rows are not matched, the difference of the counts.

Restored data are of the past, and the other system has gone on. With `time`, what is younger than the moment that was
restored to is left out on both sides; without it, a drill of an older moment proves nothing here. A row that the other
system has changed or removed since then is a difference that nobody can tell from a loss: `time` should be the time of
a row's last change. A side without rows never passes; another system that can not be reached makes it "not proven".
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import psycopg
from psycopg.conninfo import make_conninfo

from pgvault.checks.answer import Planned, ask
from pgvault.checks.clock import CLOCK, Unproven, moment_of, reads_wall_clock
from pgvault.checks.conclude import Found, conclude
from pgvault.checks.matching import EXACTLY, Compared, Finding, Kind, NotInOrder, Row, Tally, add_up, match_rows
from pgvault.checks.query import NO_INDEXES, NOW, Moment, Query
from pgvault.checks.result import CheckResult
from pgvault.checks.scanned import locked_tables
from pgvault.checks.session import Session, reading
from pgvault.checks.sides import SETTINGS, FileSide, QuerySide, SideUnfit, Wanted
from pgvault.checks.sql import statements
from pgvault.config import CrossSystemCheck, Side, Tolerance
from pgvault.errors import PgvaultError

AHEAD = "; what the other system has got since the restored moment is in it: time leaves that out"

OpenSide = QuerySide | FileSide


def run_cross_system(dsn: str, check: CrossSystemCheck, *, database: str | None, moment: Moment = NOW) -> CheckResult:
    """Compare the two sides, of which `this` is reached by `dsn`; never raises for what either of them says."""

    def look() -> Found:
        deadline = time.monotonic() + check.timeout.total_seconds()
        with ExitStack() as stack:
            try:
                return _look(check, _Sides(check, dsn, database, moment, stack), deadline)
            except (SideUnfit, NotInOrder) as error:
                return Found(None, str(error))

    return conclude(check, look, database=database)


class _Sides:
    """Both sides, opened: this cluster's first, whose clock says when now is."""

    def __init__(
        self, check: CrossSystemCheck, dsn: str, database: str | None, moment: Moment, stack: ExitStack
    ) -> None:
        self._check, self._dsn, self._stack = check, dsn, stack
        self._sessions: dict[str | None, Session] = {}  # with this cluster, by database: one snapshot for both sides
        self.database = database
        named = {"left": check.left, "right": check.right}
        self.as_of = moment_of(self._session(next(side for side in named.values() if side.is_this)), moment)
        self.may_be_ahead = (
            moment.is_restored and check.time is None and not all(side.is_this for side in named.values())
        )
        if self.may_be_ahead and self.as_of.is_past:
            raise Unproven(
                "the other system has gone on since, and without time nobody can tell which rows are younger"
            )
        self.opened = {name: self._open(name, side) for name, side in sorted(named.items(), key=_this_first)}

    @property
    def left(self) -> OpenSide:
        return self.opened["left"]

    @property
    def right(self) -> OpenSide:
        return self.opened["right"]

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables of this cluster that were asked."""
        found = {str(table) for session in self._sessions.values() for table in locked_tables(session)}
        return tuple(sorted(found))

    def _session(self, side: Side) -> Session:
        database = side.database or self.database
        if database not in self._sessions:
            query = Query("", settings={**SETTINGS, **NO_INDEXES})
            opening = reading(self._dsn, query, database=database, timeout=self._check.timeout)
            self._sessions[database] = self._stack.enter_context(opening)
        return self._sessions[database]

    def _open(self, name: str, side: Side) -> OpenSide:
        if side.csv is not None:
            try:
                return FileSide(name, side, side.csv)
            except OSError as error:
                raise Unproven(f"the {name} side's file {str(side.csv)!r} can not be read: {error.strerror}") from error
        text = self.as_of.put_into(side.query or "")
        if side.is_this:
            session = self._session(side)
            self._require_no_clock(session, text)
        else:
            session = self._other(name, side)
        return QuerySide(name, session, text)

    def _other(self, name: str, side: Side) -> Session:
        try:
            password = None if side.password is None else side.password.read().decode()
            dsn = make_conninfo(side.dsn, **({} if password is None else {"password": password}))
            opening = reading(dsn, Query("", settings=SETTINGS), database=side.database, timeout=self._check.timeout)
            return self._stack.enter_context(opening)
        except (psycopg.OperationalError, PgvaultError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Unproven(f"the {name} side can not be reached: {said}") from error

    def _require_no_clock(self, session: Session, text: str) -> None:
        """Raise Unproven where a query of older data reads the wall clock."""
        planned = Planned()

        def looked(statement: str) -> None:
            if self.as_of.is_past and reads_wall_clock(session, statement, planned):
                raise Unproven(CLOCK)

        for statement in statements(text):
            ask(session, f"SELECT FROM ({statement}\n) AS side LIMIT 0", planned, looked)


def _this_first(named: tuple[str, Side]) -> tuple[bool, str]:
    name, side = named
    return not side.is_this, name


def _look(check: CrossSystemCheck, sides: _Sides, deadline: float) -> Found:
    key = check.key or ()
    columns = _columns(check, sides)
    cutoff = None if check.time is None else sides.as_of.require() - (check.cutoff or timedelta())
    wanted = Wanted(key, [column.name for column in columns], check.time, cutoff)
    left, right = (_until(deadline, check, side.rows(wanted)) for side in (sides.left, sides.right))
    try:
        if key:
            tally = match_rows(left, right, columns, key, is_all=check.show == "all")
        else:
            tally = add_up(left, right, columns)
    except OSError as error:
        raise Unproven(f"a file could not be read to its end: {error.strerror}") from error
    found = _found(check, tally, sides.tables)
    return replace(found, detail=f"{found.detail}{AHEAD}") if found.measured and sides.may_be_ahead else found


def _columns(check: CrossSystemCheck, sides: _Sides) -> list[Compared]:
    """Return what is compared: what the check names, else all that both sides have. Raises SideUnfit."""
    apart = {*(check.key or ()), *([check.time] if check.time else [])}
    left, right = sides.left.columns, sides.right.columns
    wanted = check.columns
    if wanted is None:
        wanted = dict.fromkeys((name for name in left if name in right and name not in apart), EXACTLY)
        lefts, rights = (", ".join(repr(name) for name in side if name not in apart) for side in (left, right))
        if not wanted and lefts and rights and check.compare != ("count",):
            raise SideUnfit(
                f"no column besides the key is on both sides, so no value would be compared: {lefts} on the left, "
                f"{rights} on the right (columns: [] compares keys alone)"
            )
    for name in (*apart, *wanted):
        for side, known in (("left", left), ("right", right)):
            if name not in known:
                raise SideUnfit(f"the {side} side has no column {name!r}")
    is_blank_null = any(side.csv is not None and side.null == "" for side in (check.left, check.right))
    return [
        Compared(name, _kind(tolerance, left[name], right[name]), tolerance, is_blank_null)
        for name, tolerance in wanted.items()
    ]


def _kind(tolerance: Tolerance, left: Kind, right: Kind) -> Kind:
    """A tolerance is of numbers; of a file nothing is known, so the other side says what its texts mean."""
    if tolerance != EXACTLY:
        return Kind.NUMBER
    return left if left is not Kind.TEXT else right


def _until(deadline: float, check: CrossSystemCheck, rows: Iterator[Row]) -> Iterator[Row]:
    for number, row in enumerate(rows):
        if number % 1000 == 0 and time.monotonic() > deadline:
            raise SideUnfit(f"the comparison was ended; its timeout is {check.timeout}")
        yield row


def _found(check: CrossSystemCheck, tally: Tally, tables: tuple[str, ...]) -> Found:
    left, right = tally.left, tally.right
    measured = 0
    told = [f"left {left.row_count} rows, right {right.row_count}"]
    if "rows" in check.compare:
        measured += tally.disagreement_count
        told.append(f"{tally.matched_count} agree{'' if tally.columns else ' in their keys alone'}")
        told += [f"{count} {finding}" for finding, count in tally.counts.items() if count]
    elif "count" in check.compare:
        measured += abs(left.row_count - right.row_count)
    if "sum" in check.compare:
        apart = list(tally.sums_apart())
        measured += len(apart)
        told += apart
    if left.in_flight_count or right.in_flight_count:
        told.append(f"{left.in_flight_count} and {right.in_flight_count} younger than the cut-off")
    sample = [line for finding in Finding for line in tally.samples[finding]] if "rows" in check.compare else []
    detail = "; ".join(told)
    if left.row_count + right.row_count == 0 and left.in_flight_count and right.in_flight_count:
        return Found(
            None, f"not proven: every row is younger than the cut-off ({detail})", is_unproven=True, tables=tables
        )
    return Found(measured, detail, tuple(sample), tables, flaw=None if check.allow_empty else _flaw(check, tally))


def _flaw(check: CrossSystemCheck, tally: Tally) -> str | None:
    for name, side in (("left", tally.left), ("right", tally.right)):
        if side.row_count + side.in_flight_count == 0:
            return f"no rows to check on the {name} side"
    is_asked = check.compare == ("sum",) or ("sum" in check.compare and "compare" in check.model_fields_set)
    if is_asked and all(column.kind is not Kind.NUMBER for column in tally.columns):
        return "no column that both sides have is a number"
    return None
