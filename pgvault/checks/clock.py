"""The moment that a check's data are of, by the server's clock, and queries that ask for another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pgvault.checks.answer import Planned
from pgvault.checks.query import Moment
from pgvault.checks.scanned import called_functions
from pgvault.checks.session import Session
from pgvault.checks.sql import has_as_of, reads_clock, reads_clock_by_text, with_as_of

RECENT = timedelta(minutes=5)  # the wall clock stands for a moment no older than this
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CLOCK = "reads the wall clock, use :as_of"


class Unproven(Exception):
    """The check can not say anything about these data."""

    def __init__(self, why: str, tables: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.tables = tuple(tables)


@dataclass(frozen=True, slots=True)
class AsOf:
    """What `:as_of` stands for in one session."""

    at: datetime | None  # None: not known
    is_past: bool  # the data are restored, and of a moment that the wall clock does not stand for

    def require(self) -> datetime:
        """Return the moment. Raises Unproven where it is not known."""
        if self.at is None:
            raise Unproven("the moment that was restored to is not known")
        return self.at

    def put_into(self, text: str) -> str:
        """Return a query with the moment in the place of `:as_of`. Raises Unproven."""
        return with_as_of(text, self.require()) if has_as_of(text) else text


def moment_of(session: Session, moment: Moment) -> AsOf:
    """Return what `:as_of` stands for; on a live server that is its clock now."""
    row = session.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").fetchone()
    assert row is not None
    now = EPOCH + timedelta(microseconds=row[0])
    at = moment.at if moment.is_restored else moment.at or now
    return AsOf(at, moment.is_restored and (at is None or now - at > RECENT))


def reads_wall_clock(session: Session, statement: str, planned: Planned) -> bool:
    """Tell whether a query reads the clock: by its own words, in a view, or in a function that it calls."""
    if any(reads_clock(text) for text in (statement, *planned.expressions)):
        return True
    if reads_clock_by_text(statement, planned.expressions):
        return True
    return any(reads_clock(body) for body in called_functions(session, [statement, *planned.expressions]).values())
