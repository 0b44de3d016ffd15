from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from pgvault.errors import ServerUnfit, ServerUnreachable
from pgvault.postgres.fingerprint import (
    TableFacts,
    encoding_of,
    fingerprint_large_objects,
    fingerprint_table,
    list_tables,
    lock_tables,
    open_session,
)
from tests.postgres.values import EVERY_TYPE, EVERY_TYPE_FINGERPRINT, UNLIKE
from tests.servers import MAJORS, NEWEST, Server, ServerFactory, older_in_ci

Session = psycopg.Connection[tuple[object, ...]]
SHORT = timedelta(milliseconds=200)


@pytest.fixture(scope="module")
def newest(templates: Path) -> Iterator[Server]:
    """One server of the newest major for all tests here, each with a database of its own."""
    factory = ServerFactory(templates)
    yield factory(NEWEST)
    factory.clear()


@pytest.fixture
def database(newest: Server, request: pytest.FixtureRequest) -> str:
    """A new database."""
    name = f"d{abs(hash(request.node.nodeid))}"
    newest.sql(f"CREATE DATABASE {name}")
    return name


@contextmanager
def session(server: Server, database: str = "postgres", role: str = "postgres") -> Iterator[Session]:
    with open_session(server.dsn_of(role, database), lock_timeout=SHORT) as opened:
        yield opened


def prints(server: Server, database: str = "postgres", role: str = "postgres") -> dict[str, TableFacts]:
    """Every table of a database by name, each in one transaction, as a dump does it."""
    with session(server, database, role) as opened, opened.transaction():
        tables = list_tables(opened)
        return {each.table: fingerprint_table(opened, each) for each in tables}


@older_in_ci
def test_every_type_has_the_same_fingerprint_on_every_major(server: ServerFactory, major: int) -> None:
    """A change of this value makes every logical backup that was ever taken differ from its restore."""
    one = server(major)
    one.sql("ALTER ROLE postgres SET timezone = 'Asia/Kathmandu'")
    one.sql("ALTER ROLE postgres SET datestyle = 'German'")
    one.sql("ALTER ROLE postgres SET intervalstyle = 'iso_8601'")
    one.sql("ALTER ROLE postgres SET bytea_output = 'escape'")
    one.sql("ALTER ROLE postgres SET extra_float_digits = '-10'")
    one.sql("ALTER ROLE postgres SET quote_all_identifiers = 'on'")
    one.sql("ALTER ROLE postgres SET default_transaction_isolation = 'serializable'")
    for statement in EVERY_TYPE:
        one.sql(statement)

    assert prints(one)["every_type"] == TableFacts(4, EVERY_TYPE_FINGERPRINT)


def test_unlike_values_have_unlike_fingerprints(newest: Server, database: str) -> None:
    """Nearly the same is not the same: -0, trailing zeros, an empty string for NULL."""
    names = []
    for number, (kind, values) in enumerate(UNLIKE):
        for place, value in enumerate(values):
            names.append([f"t{number}_{place}" for place in range(len(values))])
            newest.sql(
                f"CREATE TABLE t{number}_{place} (v {kind}); INSERT INTO t{number}_{place} VALUES ({value})",
                database=database,
            )

    found = prints(newest, database)

    for group in names:
        assert len({found[name].fingerprint for name in group}) == len(group), group
        assert {found[name].rows for name in group} == {1}


def test_where_rows_and_columns_lie_does_not_matter(newest: Server, database: str) -> None:
    """Order of rows, order of columns, dropped and generated columns, inheritance: the same rows."""
    for statement in (
        "CREATE TABLE plain (a int, b text, é float8)",
        "INSERT INTO plain SELECT i, 'x' || i, i / 7.0 FROM generate_series(1, 500) i",
        "CREATE TABLE turned (é float8, b text, gone int, a int)",
        "INSERT INTO turned SELECT é, b, 1, a FROM plain ORDER BY a DESC",
        "ALTER TABLE turned DROP gone",
        "CREATE TABLE generated (b text, c int GENERATED ALWAYS AS (a + 1) STORED, a int, é float8)",
        "INSERT INTO generated (b, a, é) SELECT b, a, é FROM plain",
        "CREATE TABLE virtual (b text, c int GENERATED ALWAYS AS (a + 1) VIRTUAL, a int, é float8)",
        "INSERT INTO virtual (b, a, é) SELECT b, a, é FROM plain",
        "CREATE TABLE parent (é float8, a int)",
        "CREATE TABLE child (b text) INHERITS (parent)",
        "INSERT INTO child SELECT é, a, b FROM plain",
        "CREATE TABLE late (a int, b text)",
        "INSERT INTO late SELECT a, b FROM plain",
        "ALTER TABLE late ADD é float8",
        "UPDATE late SET é = a / 7.0",
        "CREATE TABLE parts (a int, b text, é float8) PARTITION BY LIST (a)",
        "CREATE TABLE part PARTITION OF parts DEFAULT",
        "INSERT INTO parts SELECT * FROM plain",
    ):
        newest.sql(statement, database=database)

    found = prints(newest, database)

    assert {found.pop("parent")} == {TableFacts(0, "0" * 32)}
    assert set(found) == {"plain", "turned", "generated", "virtual", "child", "late", "part"}
    assert {facts.rows for facts in found.values()} == {500}
    assert len({facts.fingerprint for facts in found.values()}) == 1


def test_each_row_and_each_bit_counts(newest: Server, database: str) -> None:
    """Rows in any order are the same; a row too much, twice, or with one bit changed is not."""
    dice = random.Random(4)
    newest.sql("CREATE TABLE t (a int, b bytea, c text)", database=database)
    with (
        psycopg.connect(newest.dsn_of("postgres", database), autocommit=True) as writing,
        session(newest, database) as reading,
    ):
        (table,) = list_tables(reading)

        def facts(rows: list[tuple[int, bytes, str | None]]) -> TableFacts:
            writing.execute("TRUNCATE t")
            writing.cursor().executemany("INSERT INTO t VALUES (%s, %s, %s)", rows)
            return fingerprint_table(reading, table)

        for _ in range(12):
            rows = [
                (dice.randrange(5), dice.randbytes(dice.choice((1, 40, 3000))), dice.choice((None, "", "ß")))
                for _ in range(dice.randrange(1, 30))
            ]
            expected = facts(rows)

            assert facts(dice.sample(rows, len(rows))) == expected
            assert facts([*rows, rows[0]]).fingerprint != expected.fingerprint
            assert facts([*rows[1:], rows[0], rows[0]]).rows == len(rows) + 1
            number, content, told = rows[-1]
            changed = bytearray(content)
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
            other = facts([*rows[:-1], (number, bytes(changed), told)])
            assert other.rows == expected.rows
            assert other.fingerprint != expected.fingerprint


def test_odd_tables(newest: Server, database: str) -> None:
    """No columns, odd names, megabytes in a row; rows that lie elsewhere are nobody's."""
    odd = 'tab"le %s\n☃ select'
    quoted = '"' + odd.replace('"', '""') + '"'
    for statement in (
        "CREATE TABLE none ()",
        "INSERT INTO none DEFAULT VALUES",
        'CREATE SCHEMA "S %s "" ☃"',
        f'CREATE TABLE "S %s "" ☃".{quoted} ("c%s ""\n☃" int, "select" text)',
        f'INSERT INTO "S %s "" ☃".{quoted} VALUES (1, $$x$$)',
        "CREATE TABLE big AS SELECT string_agg(md5(i::text), '') AS c FROM generate_series(1, 60000) i",
        "CREATE TABLE bigger AS SELECT overlay(c placing 'Z' from 1500000) AS c FROM big",
        "CREATE FOREIGN DATA WRAPPER nowhere",
        "CREATE SERVER far FOREIGN DATA WRAPPER nowhere",
        "CREATE FOREIGN TABLE remote (c int) SERVER far",
    ):
        newest.sql(statement, database=database)

    found = prints(newest, database)

    assert set(found) == {"none", odd, "big", "bigger"}
    assert all(facts.why is None and facts.rows == 1 for facts in found.values())
    assert len({facts.fingerprint for facts in found.values()}) == len(found)


@pytest.mark.endurance
@pytest.mark.skipif(15 not in MAJORS, reason="only Debian's build has ICU")
def test_what_compares_equal_need_not_be_the_same(server: ServerFactory) -> None:
    """A collation that takes 'a' for 'A', as a column's and as the database's, changes no fingerprint."""
    one = server(15)
    plain = []
    for statement in (
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "CREATE TABLE lower (c text COLLATE ci)",
        "INSERT INTO lower VALUES ('a')",
        "CREATE TABLE upper (c text COLLATE ci)",
        "INSERT INTO upper VALUES ('A')",
        "CREATE TABLE plain (c text)",
        "INSERT INTO plain VALUES ('a')",
    ):
        one.sql(statement)
        plain += [statement] if "plain" in statement else []
    one.sql("CREATE DATABASE other TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C'")
    for statement in plain:
        one.sql(statement, database="other")

    found = prints(one)

    assert found["lower"] == found["plain"] == prints(one, "other")["plain"]
    assert found["upper"].fingerprint != found["lower"].fingerprint


def test_encodings_that_become_utf_8_give_the_same(newest: Server) -> None:
    """LATIN1 and UTF8 with the same characters; bytes without an encoding are taken as they are, names too."""
    for encoding in ("UTF8", "LATIN1", "SQL_ASCII", "EUC_JP", "WIN1252"):
        name = f"e_{encoding.lower()}"
        newest.sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    for name in ("e_utf8", "e_latin1", "e_win1252"):
        newest.sql('CREATE TABLE "é" ("ä" text, z int, "~" int)', database=name)
        newest.sql("INSERT INTO \"é\" VALUES ('àéîõü', 1, 2), ('', 2, 3)", database=name)
    with psycopg.connect(newest.dsn_of("postgres", "e_sql_ascii"), autocommit=True) as raw:
        raw.execute(b'CREATE TABLE "\xe9\\" ("\xff" text)')
        raw.execute(b"INSERT INTO \"\xe9\\\" VALUES ('\xe0\xe9')")

    assert prints(newest, "e_utf8") == prints(newest, "e_latin1") == prints(newest, "e_win1252")
    (name,) = prints(newest, "e_sql_ascii")
    assert name.encode("utf-8", "surrogateescape") == b"\xe9\\"
    assert prints(newest, "e_sql_ascii")[name].rows == 1
    portable = {}
    for name in ("e_utf8", "e_latin1", "e_sql_ascii", "e_euc_jp"):
        with session(newest, name) as opened:
            portable[name] = encoding_of(opened).is_portable
    assert portable == {"e_utf8": True, "e_latin1": True, "e_sql_ascii": False, "e_euc_jp": False}


def test_what_may_not_be_read_says_why_and_the_rest_goes_on(newest: Server, database: str) -> None:
    """No privilege; rows that a policy would hide, from the owner as well: told, and no rows are passed for all."""
    for statement in (
        "CREATE ROLE stranger LOGIN",
        "CREATE ROLE owner LOGIN",
        "CREATE TABLE a_secret (i int)",
        "CREATE TABLE b_hidden (i int)",
        "CREATE TABLE c_open (i int)",
        "ALTER TABLE b_hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, OWNER TO owner",
        "INSERT INTO b_hidden VALUES (1)",
        "GRANT SELECT ON b_hidden, c_open TO stranger, owner",
    ):
        newest.sql(statement, database=database)

    for role in ("stranger", "owner"):
        found = prints(newest, database, role)
        assert found["a_secret"] == TableFacts(None, None, "permission denied for table a_secret")
        assert found["b_hidden"].fingerprint is None
        assert found["b_hidden"].why == 'query would be affected by row-level security policy for table "b_hidden"'
        assert found["c_open"] == TableFacts(0, "0" * 32)
        with session(newest, database, role) as opened, opened.transaction():
            lock_tables(opened, list_tables(opened))  # what can not be read is left out
    assert prints(newest, database)["b_hidden"].rows == 1


def test_a_table_that_stays_locked_or_a_lost_session_is_no_answer(newest: Server, database: str) -> None:
    """Neither is taken for a fact about the table."""
    newest.sql("CREATE TABLE t (i int)", database=database)
    with session(newest, database) as reading:
        (table,) = list_tables(reading)
        with psycopg.connect(newest.dsn_of("postgres", database)) as locking:
            locking.execute("LOCK TABLE t")

            with pytest.raises(
                ServerUnfit, match=r"'public.t' could not be read: canceling statement due to lock timeout"
            ):
                fingerprint_table(reading, table)
            with reading.transaction(), pytest.raises(ServerUnfit, match="can not be locked for reading"):
                lock_tables(reading, [table])

        newest.sql(f"SELECT pg_terminate_backend({reading.info.backend_pid}, 5000)")

        with pytest.raises(ServerUnreachable, match="lost"):
            fingerprint_table(reading, table)


def test_large_objects_are_compared_as_they_are_read(newest: Server, database: str) -> None:
    """However their pages were cut: holes are zeros; a byte, a length or a number more is another fingerprint."""
    size = 3 * 2**20
    ways = {
        "whole": f"SELECT lo_from_bytea(7, overlay(decode(repeat('00', {size}), 'hex') placing 'z' from {size}))",
        "holes": f"SELECT lo_put(lo_create(7), {size - 1}, 'z')",
        "short": f"SELECT lo_put(lo_create(7), {size - 2}, 'z')",
        "other": f"SELECT lo_put(lo_create(7), {size - 1}, 'y')",
        "named": f"SELECT lo_put(lo_create(8), {size - 1}, 'z')",
        "empty": "SELECT lo_create(7)",
        "zeros": "SELECT lo_put(lo_create(7), 0, '\\x00')",
        "piece": f"SELECT lo_from_bytea(7, decode(repeat('00', {2**20}), 'hex'))",
    }
    found = {}
    newest.sql("CREATE ROLE reader LOGIN")
    with session(newest, database) as opened, session(newest, database, "reader") as denied:
        assert fingerprint_large_objects(opened) == TableFacts(0, "0" * 32)
        for name, statement in ways.items():
            newest.sql(statement, database=database)
            found[name] = fingerprint_large_objects(opened)
            if name == "whole":
                refused = TableFacts(1, None, "permission denied for large object 7")
                assert fingerprint_large_objects(denied) == refused
            newest.sql("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", database=database)

    assert found["whole"] == found.pop("holes")
    assert {facts.rows for facts in found.values()} == {1}
    assert len({facts.fingerprint for facts in found.values()}) == len(found)


@pytest.mark.endurance
def test_a_row_beyond_a_gigabyte_says_so(newest: Server, database: str) -> None:
    """Its text can not be made: its number of rows is known all the same."""
    newest.sql("CREATE TABLE t (a bytea, b bytea)", database=database)
    newest.sql(
        "INSERT INTO t SELECT c, c FROM (SELECT decode(repeat('ab', 300000000), 'hex') AS c) AS d", database=database
    )

    facts = prints(newest, database)["t"]

    assert (facts.rows, facts.fingerprint) == (1, None)
    assert facts.why is not None
