"""The types of checks as queries: pure, from what is configured to what is asked of the database.

Every table is read by itself, before anything is asked of its rows:

    SELECT * FROM (SELECT * FROM "orders" WHERE (…) OFFSET 0) AS looked WHERE NOT (looked."amount" > 0)

OFFSET 0 is what PostgreSQL's planner never looks through: no index, constraint or partition bound answers in place of
the rows, since each of them may be what is wrong. Indexes are off besides, so that `where` reads rows, too. What is
returned are the offending rows; of these the report shows keys.

A check of values that are all NULL would be green for nothing, as would one whose `where` lets no row through:
`subject` asks whether there was anything that could be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal

from psycopg import sql

from pgvault.checks.query import NO_INDEXES, Query
from pgvault.config import (
    AggregateCheck,
    AsOf,
    CheckConfig,
    CompletenessCheck,
    CrossFieldCheck,
    FormatCheck,
    RangeCheck,
    ReferentialCheck,
    UniquenessCheck,
)
from pgvault.config.checktypes import Bound, TableCheck

TypedCheck = (
    CompletenessCheck | UniquenessCheck | ReferentialCheck | RangeCheck | FormatCheck | CrossFieldCheck | AggregateCheck
)

# Shapes, not existence: whether an address is anybody's, or a country's letters are taken, no pattern knows.
LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
FORMATS = {
    "email": rf"{ATOM}+(?:\.{ATOM}+)*@(?:{LABEL}\.)+[A-Za-z]{{2,63}}",
    "uuid": "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    "url": rf"https?://{LABEL}(?:\.{LABEL})*(?::[0-9]{{1,5}})?(?:[/?#][^[:space:]]*)?",
    "phone": r"\+[1-9][0-9]{6,14}",  # E.164
    "ipv4": rf"{BYTE}(?:\.{BYTE}){{3}}",
    "date": "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])",
    "currency": "[A-Z]{3}",  # ISO 4217
    "country": "[A-Z]{2}",  # ISO 3166-1 alpha-2
}

Sql = sql.Composable


def query_of(check: CheckConfig | TypedCheck) -> Query:
    """Return what a configured check asks of one database."""
    match check:
        case CheckConfig():
            return Query(check.query, check.measure, check.null)
        case CompletenessCheck():
            return _rows(check, _incomplete(check))
        case UniquenessCheck():
            return _uniqueness(check)
        case ReferentialCheck():
            return _referential(check)
        case RangeCheck():
            return _rows(check, _out_of_range(check), subject=_has_values([check.column]))
        case FormatCheck():
            return _rows(check, _malformed(check), subject=_has_values([check.column]))
        case CrossFieldCheck():
            return _cross_field(check)
        case AggregateCheck():
            return _aggregate(check)


def _rows(check: TableCheck, offends: Sql, *, subject: Sql | None = None) -> Query:
    """Count the rows of which `offends` is true, if there are any rows of which `subject` is."""
    looked = _looked(check.table, check.where)
    return _query(
        sql.SQL("SELECT * FROM {} AS looked WHERE {}").format(looked, offends),
        subject=_exists(looked, sql.SQL("true") if subject is None else subject),
    )


def _query(text: Sql, *, subject: Sql) -> Query:
    return Query(text.as_string(None), "rows", settings=NO_INDEXES, subject=subject.as_string(None))


def _looked(table: Sequence[str], where: str | None) -> Sql:
    """Return a table's rows as a subquery through which the planner does not look."""
    # The line's end: a condition may end with a comment.
    condition = sql.SQL("") if where is None else sql.SQL(" WHERE ({}\n)").format(sql.SQL(where))
    return sql.SQL("(SELECT * FROM {}{} OFFSET 0)").format(sql.Identifier(*table), condition)


def _exists(looked: Sql, condition: Sql) -> Sql:
    return sql.SQL("SELECT EXISTS (SELECT FROM {} AS looked WHERE {})").format(looked, condition)


def _column(name: str, *, of: str = "looked") -> Sql:
    return sql.Identifier(of, name)


def _text_of(name: str) -> Sql:
    # Some collations refuse regular expressions; the database's own never does.
    return sql.SQL('({}::text COLLATE pg_catalog."default")').format(_column(name))


def _has_values(columns: Sequence[str]) -> Sql:
    """No column is NULL, also where a constraint says so: that num_nulls does not ask."""
    return sql.SQL("num_nulls({}) = 0").format(_list(_column(name) for name in columns))


def _list(parts: Iterable[Sql]) -> Sql:
    return sql.SQL(", ").join(parts)


def _all(parts: Iterable[Sql]) -> Sql:
    return sql.SQL(" AND ").join(parts)


def _incomplete(check: CompletenessCheck) -> Sql:
    missing = sql.SQL("num_nulls({}) > 0").format(_list(_column(name) for name in check.columns))
    if check.blank == "present":
        return missing
    blanks = (sql.SQL("{} !~ '[^[:space:]]'").format(_text_of(name)) for name in check.columns)
    return sql.SQL(" OR ").join([missing, *blanks])


def _uniqueness(check: UniquenessCheck) -> Query:
    """Return the rows that are not alone with their values."""

    def value(name: str) -> Sql:
        return sql.SQL("lower({}::text)").format(_column(name)) if check.ignore_case else _column(name)

    looked = _looked(check.table, check.where)
    values = [value(name) for name in check.columns]
    names = [sql.Identifier(f"value{number}") for number in range(len(values))]
    text = sql.SQL(
        "SELECT looked.* FROM {looked} AS looked JOIN (SELECT {named} FROM {looked} AS looked WHERE {known}"
        " GROUP BY {numbers} HAVING count(*) > 1) AS shared ON {same}"
    ).format(
        looked=looked,
        named=_list(sql.SQL("{} AS {}").format(*pair) for pair in zip(values, names, strict=True)),
        known=_has_values(check.columns),
        numbers=sql.SQL(", ".join(str(number + 1) for number in range(len(values)))),
        same=_all(sql.SQL("{} = shared.{}").format(*pair) for pair in zip(values, names, strict=True)),
    )
    return _query(text, subject=_exists(looked, _has_values(check.columns)))


def _referential(check: ReferentialCheck) -> Query:
    """Return the rows that refer to nothing."""
    looked, target = _looked(check.table, check.where), _looked(check.references.table, check.references.where)
    pairs = zip(check.columns, check.references.columns, strict=True)
    same = _all(sql.SQL("{} = {}").format(_column(there, of="target"), _column(here)) for here, there in pairs)
    text = sql.SQL("SELECT * FROM {} AS looked WHERE {} AND NOT EXISTS (SELECT FROM {} AS target WHERE {})").format(
        looked, _has_values(check.columns), target, same
    )
    return _query(text, subject=_exists(looked, _has_values(check.columns)))


def _out_of_range(check: RangeCheck) -> Sql:
    column = _column(check.column)
    bounds = {">=": check.min, ">": check.above, "<=": check.max, "<": check.below}
    given = {sign: bound for sign, bound in bounds.items() if bound is not None}
    within = _all(sql.SQL("{} {} {}").format(column, sql.SQL(sign), _bound(bound)) for sign, bound in given.items())
    outside = sql.SQL("NOT ({})").format(within)
    if any(isinstance(bound, int | Decimal) for bound in given.values()):
        # To PostgreSQL it is greater than every number.
        return sql.SQL("{} OR {}::text = 'NaN'").format(outside, column)
    return outside


def _bound(bound: Bound) -> Sql:
    if not isinstance(bound, AsOf):
        return sql.Literal(bound)
    sign = "-" if bound.offset < timedelta() else "+"
    return sql.SQL("(:as_of {} {})").format(sql.SQL(sign), _interval(abs(bound.offset)))


def _interval(duration: timedelta) -> Sql:
    return sql.SQL("interval {}").format(sql.Literal(f"{duration.total_seconds():f} seconds"))


def _malformed(check: FormatCheck) -> Sql:
    pattern = check.pattern if check.format is None else FORMATS[check.format]
    operator = sql.SQL("!~*" if check.ignore_case else "!~")
    return sql.SQL("{} {} {}").format(_text_of(check.column), operator, sql.Literal(f"^(?:{pattern})$"))


def _cross_field(check: CrossFieldCheck) -> Query:
    expression = sql.SQL("({}\n)").format(sql.SQL(check.expression))
    if check.null == "fail":
        return _rows(check, sql.SQL("{} IS NOT TRUE").format(expression))
    return _rows(check, sql.SQL("{} IS FALSE").format(expression), subject=sql.SQL("{} IS NOT NULL").format(expression))


PERIODS = """
WITH looked AS (
    SELECT floor(extract(epoch FROM :as_of - {time}::timestamptz) / {seconds})::bigint AS period, {value} AS value
    FROM {source} AS looked
    WHERE {time}::timestamptz <= :as_of AND {time}::timestamptz > :as_of - {reach}
), measured AS (
    SELECT period, {function}(value)::numeric AS value FROM looked GROUP BY period
), periods AS (
    SELECT period, coalesce(measured.value, {nothing}) AS value
    FROM generate_series(0, (SELECT max(period) FROM looked)) AS period LEFT JOIN measured USING (period)
), compared AS (
    SELECT (SELECT value FROM periods WHERE period = 0) AS last,
           (SELECT avg(value) FROM periods WHERE period > 0) AS usual
)
SELECT CASE WHEN last = usual THEN 0 ELSE abs(last - usual) / nullif(abs(usual), 0) END AS deviation FROM compared
"""


def _aggregate(check: AggregateCheck) -> Query:
    """Return |last - average| / |average|; a period without rows is 0 of what is counted or added up, else nothing."""
    if check.table is not None:
        source = _looked(check.table, check.where)
    else:
        source = sql.SQL("({}\n)").format(sql.SQL(check.query or ""))
    is_total = check.function in ("count", "sum")
    count = check.window // check.per
    text = sql.SQL(PERIODS).format(
        time=_column(check.time),
        seconds=sql.Literal(Decimal(str(check.per.total_seconds()))),
        value=sql.SQL("1") if check.column is None else _column(check.column),
        source=source,
        reach=_interval(check.per * (count + 1)),
        function=sql.SQL(check.function),
        nothing=sql.SQL("0" if is_total else "NULL"),
    )
    return Query(text.as_string(None), "value", settings=NO_INDEXES)
