"""Collations whose provider sorts otherwise than it did: which indexes are at risk, and whether they are in order.

An index on text is only as good as the order it was built in. Another glibc or ICU may sort some strings otherwise;
then an index that is whole to the byte finds rows no more, and accepts duplicates. PostgreSQL records the version of
each collation: where the one here is another than was recorded, or than production had when it was backed up, every
index by it is checked for order and for all its rows, before anything else is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psycopg

from pgvault.checks.result import SAMPLE_ROWS, CheckResult, NotTested, Verdict, finding
from pgvault.postgres.fingerprint import quote, said
from pgvault.postgres.inventory import CollationEntry, DatabaseEntry, Raw

DEFAULT_OID = 100
NONE = NotTested("collation versions: no collation that something is sorted by has one")
INDEXES = """
SELECT i.indexrelid::bigint, format('%%I.%%I', n.nspname, c.relname), a.amname = 'btree'
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_am a ON a.oid = c.relam
WHERE c.relkind = 'i' AND c.relpersistence = 'p' AND i.indisvalid AND n.nspname NOT IN ('pg_catalog', 'pg_toast')
  AND i.indcollation::oid[] && %s::oid[] ORDER BY c.relpages, c.oid
"""
SCHEMA = (
    "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'"
)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A collation that has another version here."""

    oid: int
    collation: str  # "public.german", "the default"
    was: str  # the version that its indexes were built or kept in
    here: str | None
    refresh: str  # what makes PostgreSQL believe the new version, once the indexes are right


@dataclass(frozen=True, slots=True)
class IndexAtRisk:
    """An index that is sorted by such a collation."""

    database: str
    name: str
    problem: str | None  # what is wrong with it; None: it is in order
    is_checked: bool


def find_mismatches(
    database: DatabaseEntry,
    collations: Iterable[CollationEntry],
    *,
    noted_database: DatabaseEntry | None,
    noted: Mapping[int, CollationEntry],
) -> list[Mismatch]:
    """Return what has another version here than is recorded, or than it had at the backup (`noted…`)."""
    found = []
    if (was := _was(database, noted_database)) is not None:
        refresh = f"ALTER DATABASE {quote(database.name)} REFRESH COLLATION VERSION"
        found.append(Mismatch(DEFAULT_OID, f"the default of {database.name!r}", was, database.actual, refresh))
    for each in collations:
        if (was := _was(each, noted.get(each.oid))) is not None:
            refresh = f"ALTER COLLATION {quote(each.schema)}.{quote(each.name)} REFRESH VERSION"
            name = f"{each.schema}.{each.name} in {database.name!r}"
            found.append(Mismatch(each.oid, name, was, each.actual, refresh))
    return found


def _was(here: DatabaseEntry | CollationEntry, noted: DatabaseEntry | CollationEntry | None) -> str | None:
    """Return the version that was, where it is another one here; None where nothing differs or has a version."""
    if noted is not None and noted.actual is not None and noted.actual != here.actual:
        return noted.actual
    return here.recorded if here.recorded is not None and here.recorded != here.actual else None


def check_indexes(raw: Raw, database: str, mismatches: Sequence[Mismatch]) -> list[IndexAtRisk]:
    """Check every index by these collations, smallest first. Raises psycopg.Error where none can be asked."""
    rows = raw.execute(INDEXES.encode(), [[mismatch.oid for mismatch in mismatches]]).fetchall()
    schema = _amcheck_schema(raw) if rows else ""
    return [_check(raw, schema, database, row) for row in rows]


def _amcheck_schema(raw: Raw) -> str:
    raw.execute("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA pg_catalog")
    row = raw.execute(SCHEMA.encode()).fetchone()
    assert row is not None
    return _text(row[0])


def _check(raw: Raw, schema: str, database: str, row: Sequence[object]) -> IndexAtRisk:
    oid, name, is_btree = row
    problem = None
    if is_btree:
        try:
            raw.execute(f"SELECT {quote(schema)}.bt_index_check(%s::oid::regclass, true)".encode(), [oid])
        except psycopg.Error as error:
            if raw.closed:
                raise
            problem = said(error)
    return IndexAtRisk(database, _text(name), problem, bool(is_btree))


def judge_collations(
    count: int, mismatches: Sequence[Mismatch], indexes: Sequence[IndexAtRisk], *, seconds: float
) -> list[CheckResult | NotTested]:
    """Say which collations changed, and what that did to the indexes by them."""
    if not mismatches:
        if not count:
            return [NONE]
        return [finding("collations", None, seconds=seconds, detail=f"{count} versions of collations are as recorded")]
    first = mismatches[0]
    more = f" (and {len(mismatches) - 1} more)" if len(mismatches) > 1 else ""
    changed = f"collation {first.collation} has version {first.here}, not {first.was}{more}"
    results: list[CheckResult | NotTested] = []
    if left := [index for index in indexes if not index.is_checked]:
        names = ", ".join(index.name for index in left[:3])
        results.append(NotTested(f"the order of {len(left)} indexes by such collations that are no btrees: {names}"))
    broken = [index for index in indexes if index.problem is not None]
    if broken:
        worst = broken[0]
        detail = f"{len(broken)} of {len(indexes)} indexes are out of order, first {worst.name} in {worst.database!r}: "
        detail += f"{worst.problem}: {changed}; REINDEX them, then {first.refresh}"
    else:
        detail = f"{changed}; {len(indexes)} indexes at risk, all that could be checked are in order: {first.refresh}"
    named = broken or indexes
    sample = tuple(f"{each.database}: {each.name}" + (f": {each.problem}" * bool(each.problem)) for each in named)
    severity = "critical" if broken else "warning"
    measured = len(broken) or len(mismatches)
    results.append(
        CheckResult("collations", Verdict.FAILED, measured, 0, severity, detail, seconds, sample=sample[:SAMPLE_ROWS])
    )
    return results


def _text(value: object) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
