"""Count a table's rows and fingerprint them, in the server and in whatever snapshot the session holds.

    rows          count(*)
    fingerprint   two sums, each mod 2^64 and 16 hexadecimal digits: of hashtextextended(r, seed) over all rows
                  r  = ROW(columns by name)::text COLLATE "C", as UTF-8: no generated columns, columns sorted as bytes
                  seeds: 0 and 7046029254386353131

A sum does not ask for an order, counts duplicates, and needs no sort and no memory. Where the rows lie, in which order
the columns were added, which were dropped, how numbers and dates are shown here: nothing of that goes in. So the value
is the same for the same rows from PostgreSQL 15 to 18, before a dump and after its restore, on primary and standby.
It finds accidents, not forgers: the hash is not a cryptographic one.

What has no such value gets none, and `why`: rows we may not read, a row whose text is beyond 1 GB, characters that are
not in UTF-8. In databases of a multi-byte encoding other than UTF-8 (EUC_JP …) and in those without one (SQL_ASCII)
the bytes are hashed as they are: no function of the server makes UTF-8 of them that it would then take for text. So
those compare with databases of the same encoding only (`Encoding.is_portable`). The hash reads words in the machine's
order: values of big-endian servers (s390x) compare among themselves.

Large objects: one value for all of a database; r is `oid:offset:length:sha256` of each piece of 1 MiB of each object,
read as a client reads it, so that holes are zeros. An empty object is one piece of length 0.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

import psycopg
from psycopg import errors

from pgvault.errors import ServerUnfit, ServerUnreachable
from pgvault.postgres.connection import open_connection

# Whatever decides how a value is written as text, or whether a query gives other rows than the table has.
SETTINGS = MappingProxyType(
    {
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "postgres",
        "TimeZone": "UTC",
        "extra_float_digits": "1",  # anything above 0: as few digits as give back the very same value
        "bytea_output": "hex",
        "lc_monetary": "C",
        "xmloption": "content",
        "quote_all_identifiers": "off",  # regclass and its like
        "search_path": "pg_catalog",
        "row_security": "off",  # an error, where a policy would hide rows
        "default_transaction_read_only": "on",
        "default_transaction_isolation": "read committed",  # whoever wants more says so
        # What a production server feels is the number of our sessions, not a planner's idea on top of it.
        "max_parallel_workers_per_gather": "0",
        "jit": "off",
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
    }
)
SETTINGS_17 = MappingProxyType({"transaction_timeout": "0"})
# A query that nobody waits for any more ends: else it would read on, and hold vacuum back, until its table is read.
# Not everywhere to be had: a server refuses it where its system can not tell.
LEFT_ALONE = ("client_connection_check_interval", "10s")

SEEDS = (0, 7046029254386353131)
PIECE_BYTES = 1 << 20  # of a large object
PIECES_AT_ONCE = 64
LOCKS_AT_ONCE = 200

# SQLSTATE classes after which a table was not asked, rather than can not be fingerprinted: lost connections,
# transactions that were rolled back (recovery conflicts), locks not got, statements that were canceled.
NOT_ANSWERED = ("08", "25", "40", "55", "57")


@dataclass(frozen=True, slots=True)
class TableName:
    """A table with rows of its own."""

    oid: int
    schema: str
    table: str
    bytes: int  # with TOAST; what the last vacuum counted, where a table is locked
    is_unlogged: bool = False

    @property
    def quoted(self) -> str:
        """As SQL names it, quoted whatever it is."""
        return f"{quote(self.schema)}.{quote(self.table)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a table holds."""

    rows: int | None
    fingerprint: str | None  # 32 hexadecimal digits
    why: str | None = None  # why there is no fingerprint


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a database writes text."""

    name: str
    bytes_max: int  # of one character

    @property
    def is_portable(self) -> bool:
        """Whether fingerprints compare with those of databases of other encodings."""
        return self.name == "UTF8" or (self.bytes_max == 1 and self.name != "SQL_ASCII")


def are_comparable(one: Encoding, other: Encoding) -> bool:
    """Tell whether unequal fingerprints of databases with these encodings prove unequal rows."""
    return one.name == other.name or (one.is_portable and other.is_portable)


def open_session(
    dsn: str,
    password: str | None = None,
    *,
    database: str | None = None,
    lock_timeout: timedelta,
    statement_timeout: timedelta = timedelta(0),
) -> psycopg.Connection[tuple[object, ...]]:
    """Connect and prepare a session, with autocommit; no limit for statements where that is 0.

    Raises ServerUnreachable, ConfigInvalid.
    """
    connection = open_connection(dsn, password, database=database)
    try:
        connection.prepare_threshold = None  # no statement is worth it
        prepare(connection, lock_timeout=lock_timeout)
        ask(connection, f"SELECT set_config('statement_timeout', '{_milliseconds(statement_timeout)}', false)")
    except BaseException:
        connection.close()
        raise
    return connection


def _milliseconds(duration: timedelta) -> str:
    return f"{int(duration / timedelta(milliseconds=1))}ms"


def prepare(connection: psycopg.Connection[tuple[object, ...]], *, lock_timeout: timedelta) -> None:
    """Make a session ready to fingerprint: settings, and the encoding of names.

    Outside a transaction, on a connection with autocommit: a rollback would take the settings back.
    """
    settings = dict(SETTINGS) | {"lock_timeout": _milliseconds(lock_timeout)}
    if connection.info.server_version >= 170000:
        settings |= SETTINGS_17
    # A database without an encoding has names that are no text: they come and go as the bytes they are.
    settings["client_encoding"] = "SQL_ASCII" if encoding_of(connection).name == "SQL_ASCII" else "UTF8"
    for name, value in settings.items():
        ask(connection, f"SELECT pg_catalog.set_config('{name}', '{value}', false)")
    with contextlib.suppress(errors.InvalidParameterValue):
        name, value = LEFT_ALONE
        ask(connection, f"SELECT pg_catalog.set_config('{name}', '{value}', false)")


def encoding_of(connection: psycopg.Connection[tuple[object, ...]]) -> Encoding:
    """Return the encoding of the database we are connected to."""
    query = (
        "SELECT e.name, pg_catalog.pg_encoding_max_length(pg_catalog.pg_char_to_encoding(e.name))"
        " FROM pg_catalog.getdatabaseencoding() AS e (name)"
    )
    ((name, bytes_max),) = ask(connection, query)
    return Encoding(text(name), number(bytes_max))


TABLES = """
SELECT c.oid, n.nspname::text, c.relname::text, {size}, c.relpersistence = 'u'
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence IN ('p', 'u')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""


# The first asks every table for its files, and so waits for one that somebody has locked; the second is what the last
# vacuum counted, without TOAST.
TRUE_SIZE = "coalesce(pg_table_size(c.oid), 0)"
LAST_SIZE = "greatest(c.relpages, 0)::bigint * current_setting('block_size')::bigint"


def list_tables(connection: psycopg.Connection[tuple[object, ...]]) -> list[TableName]:
    """Return the tables that have rows of their own, sorted by schema and table as bytes.

    Ordinary tables and leaf partitions, logged or not; no members of extensions, no foreign or temporary tables.
    """
    try:
        with connection.transaction():
            rows = ask(connection, TABLES.format(size=TRUE_SIZE))
    except errors.LockNotAvailable:
        rows = ask(connection, TABLES.format(size=LAST_SIZE))
    found = [
        TableName(number(oid), text(schema), text(table), number(size), bool(unlogged))
        for oid, schema, table, size, unlogged in rows
    ]
    return sorted(found, key=lambda each: (encoded(each.schema), encoded(each.table)))


def lock_tables(connection: psycopg.Connection[tuple[object, ...]], tables: Sequence[TableName]) -> None:
    """Lock tables as reading does (ACCESS SHARE), so that none changes its shape until the transaction ends.

    Tables we may not read are left out: they can not be locked either. Raises ServerUnfit when a table stays locked by
    somebody else for longer than `lock_timeout`, or is gone.
    """
    oids = ",".join(str(each.oid) for each in tables)
    if not oids:
        return
    query = f"SELECT oid FROM pg_class WHERE oid IN ({oids}) AND has_table_privilege(oid, 'SELECT')"
    readable = {number(oid) for (oid,) in ask(connection, query)}
    mine = [each for each in tables if each.oid in readable]
    for start in range(0, len(mine), LOCKS_AT_ONCE):
        names = ", ".join(f"ONLY {each.quoted}" for each in mine[start : start + LOCKS_AT_ONCE])
        try:
            execute(connection, f"LOCK TABLE {names} IN ACCESS SHARE MODE")
        except (errors.LockNotAvailable, errors.UndefinedTable, errors.InvalidSchemaName) as error:
            raise ServerUnfit(f"tables can not be locked for reading: {said(error)}") from error


def fingerprint_table(
    connection: psycopg.Connection[tuple[object, ...]], table: TableName, *, has_children: bool = False
) -> TableFacts:
    """Count and fingerprint one table's own rows; those of tables that inherit from it, with `has_children` only.

    A failure that says something about the table is told in `why`, and the transaction around it goes on. Raises
    ServerUnfit when the question was not answered (lock, time, recovery conflict), ServerUnreachable.
    """
    try:
        with connection.transaction():
            expression = row_text(connection, table)
            rows = table.quoted if has_children else f"ONLY {table.quoted}"
            return _read(connection, f"SELECT count(*), {SUMS} FROM (SELECT {expression} AS r FROM {rows}")
    except psycopg.Error as error:
        why = explain(connection, error, what=f"table '{table}'")
    return TableFacts(count_rows(connection, table), None, why)


# OFFSET 0 keeps the planner from writing the row's text out once for each of the two sums.
SUMS = ", ".join(f"sum(hashtextextended(r, {seed}))::text" for seed in SEEDS)


def _read(connection: psycopg.Connection[tuple[object, ...]], query: str) -> TableFacts:
    ((rows, *sums),) = ask(connection, f"{query} OFFSET 0) AS row_texts")
    return TableFacts(number(rows), digits(sums))


def count_rows(connection: psycopg.Connection[tuple[object, ...]], table: TableName) -> int | None:
    """Count a table's own rows; None where that fails, too."""
    try:
        with connection.transaction():
            ((rows,),) = ask(connection, f"SELECT count(*) FROM ONLY {table.quoted}")
    except psycopg.Error as error:
        explain(connection, error, what=f"table '{table}'")
        return None
    return number(rows)


def row_text(connection: psycopg.Connection[tuple[object, ...]], table: TableName) -> str:
    """Return the SQL expression of a row's text, for use in a query on that table alone."""
    query = (
        f"SELECT attname::text FROM pg_attribute WHERE attrelid = {table.oid} AND attnum > 0"
        " AND NOT attisdropped AND attgenerated = ''"
    )
    names = sorted((text(name) for (name,) in ask(connection, query)), key=encoded)
    row = f"ROW({', '.join(map(quote, names))})::text"
    encoding = encoding_of(connection)
    if encoding.is_portable and encoding.name != "UTF8":
        # Any bytes are text in an encoding of one byte a character, those of UTF-8 among them.
        row = f"convert_from(convert_to({row}, 'UTF8'), getdatabaseencoding())"
    return f'({row}) COLLATE "C"'


def fingerprint_large_objects(connection: psycopg.Connection[tuple[object, ...]]) -> TableFacts:
    """Count and fingerprint the large objects of the database. Raises as `fingerprint_table` does."""
    ((count,),) = ask(connection, "SELECT count(*) FROM pg_largeobject_metadata")
    try:
        with connection.transaction():
            return TableFacts(number(count), _large_objects(connection))
    except psycopg.Error as error:
        return TableFacts(number(count), None, explain(connection, error, what="the large objects"))


def _large_objects(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    hashes = ", ".join(
        f"sum(hashtextextended((concat_ws(':', o, at, length(piece), encode(sha256(piece), 'hex')))"
        f' COLLATE "C", {seed}))::text'
        for seed in SEEDS
    )
    first = (
        f"SELECT {hashes}, array_agg(o) FILTER (WHERE length(piece) = {PIECE_BYTES}) FROM"
        f" (SELECT oid AS o, 0 AS at, lo_get(oid, 0, {PIECE_BYTES}) AS piece"
        " FROM pg_largeobject_metadata OFFSET 0) AS pieces"
    )
    ((one, two, large),) = ask(connection, first)
    sums = [total(one), total(two)]
    for oid in large if isinstance(large, list) else ():
        start = PIECE_BYTES
        is_whole = True
        while is_whole:
            stop = start + PIECES_AT_ONCE * PIECE_BYTES
            more = (
                f"SELECT {hashes}, coalesce(bool_and(length(piece) = {PIECE_BYTES}), false) FROM"
                f" (SELECT {oid}::oid AS o, at, lo_get({oid}::oid, at, {PIECE_BYTES}) AS piece"
                f" FROM generate_series({start}::bigint, {stop - 1}::bigint, {PIECE_BYTES}) AS at OFFSET 0) AS pieces"
                " WHERE length(piece) > 0"
            )
            ((one, two, whole),) = ask(connection, more)
            is_whole, start = bool(whole), stop
            sums = [sums[0] + total(one), sums[1] + total(two)]
    return digits(sums)


def explain(connection: psycopg.Connection[tuple[object, ...]], error: psycopg.Error, *, what: str) -> str:
    """Return in one clause why PostgreSQL gives no fingerprint. Raises where it did not come to that."""
    if connection.closed or error.sqlstate is None or error.sqlstate.startswith("08"):
        raise ServerUnreachable(f"the session with PostgreSQL was lost: {said(error)}") from error
    if error.sqlstate.startswith(NOT_ANSWERED):
        raise ServerUnfit(f"{what} could not be read: {said(error)}") from error
    return said(error)


def said(error: psycopg.Error) -> str:
    """What PostgreSQL says, in one line."""
    return error.diag.message_primary or str(error).strip().partition("\n")[0]


def ask(connection: psycopg.Connection[tuple[object, ...]], query: str) -> list[tuple[object, ...]]:
    """Return all rows of a query that holds no values of ours but names and numbers."""
    return connection.execute(encoded(query)).fetchall()


def execute(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> None:
    """Run a statement that returns nothing."""
    connection.execute(encoded(statement))


def quote(name: str) -> str:
    """A name as SQL takes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def digits(sums: Sequence[object]) -> str:
    """Return a fingerprint from its two sums."""
    return "".join(f"{total(each) % 2**64:016x}" for each in sums)


def total(value: object) -> int:
    """A sum: a number as text, NULL over no rows."""
    return 0 if value is None else value if isinstance(value, int) else int(text(value))


def text(value: object) -> str:
    """A name; bytes where the database has no encoding, which survive as surrogate escapes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise TypeError(f"expected text from PostgreSQL, not {type(value).__name__}")
    return value


def encoded(value: str) -> bytes:
    """The bytes of a name or a query, as `text` read them."""
    return value.encode("utf-8", "surrogateescape")


def number(value: object) -> int:
    """A number of any of the integer types."""
    if not isinstance(value, int):
        raise TypeError(f"expected a number from PostgreSQL, not {type(value).__name__}")
    return value
